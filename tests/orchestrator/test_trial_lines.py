"""Rows as a table: the same through the cache as without, whatever changed in between."""

from pathlib import Path

import pytest

from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts import trial_lines
from orchestrator.fronts.trial_lines import lines_of, read_lines
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.rows import a_config, a_row
from trainer.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """With 18 rows, of which a cache is kept."""
    monkeypatch.setattr(trial_lines, "CACHED_FROM", 10)
    made = RunFolder(tmp_path)
    for row in fake_rows(layers=2, coeffs=3, seeds=1):
        made.write_row(row)
    return made


def cache(folder: RunFolder) -> Path:
    return folder.path / "cache" / "lines.arrow"


def assert_as_without(folder: RunFolder) -> None:
    assert read_lines(folder).equals(lines_of(folder.rows(), folder.curve).combine_chunks())


def test_a_small_sweep_has_no_cache(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.write_row(a_row())
    assert_as_without(folder)
    assert not cache(folder).exists()


def test_no_rows_are_no_lines(tmp_path: Path):
    assert read_lines(RunFolder(tmp_path)).num_rows == 0


def test_the_cache_says_what_the_rows_say(folder: RunFolder):
    assert_as_without(folder)
    assert cache(folder).exists()
    assert_as_without(folder)


def test_rows_are_not_read_again(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    before = read_lines(folder)
    monkeypatch.setattr(RunFolder, "row", lambda *_: pytest.fail("read again"))
    assert read_lines(folder).equals(before)


def test_new_changed_and_removed_rows_are_seen(folder: RunFolder):
    read_lines(folder)
    folder.write_row(a_row(a_config(seed=77)))
    assert_as_without(folder)
    first = folder.rows()[0]
    folder.write_row(first.model_copy(update={"status": RowStatus.FAILED, "error": "diverged at step 3"}))
    assert_as_without(folder)
    folder.result(folder.rows()[5].trial_id).unlink()
    assert_as_without(folder)
    assert read_lines(folder).num_rows == 18


def test_a_broken_cache_and_one_of_another_version_are_made_anew(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    expected = read_lines(folder)
    whole = cache(folder).read_bytes()
    for broken in (b"", b"ARROW1", whole[: len(whole) // 2]):
        cache(folder).write_bytes(broken)
        assert read_lines(folder).equals(expected)
        assert cache(folder).read_bytes() == whole
    monkeypatch.setattr(trial_lines, "_VERSION", {b"lines": b"2"})
    assert read_lines(folder).equals(expected)
    assert cache(folder).read_bytes() != whole


def test_few_new_rows_do_not_write_the_whole_cache_again(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial_lines, "REWRITTEN_AT", 0.08)
    read_lines(folder)
    before = cache(folder).read_bytes()
    folder.write_row(a_row(a_config(seed=77)))
    assert_as_without(folder)
    assert cache(folder).read_bytes() == before
    folder.write_row(a_row(a_config(seed=78)))
    assert_as_without(folder)
    assert cache(folder).read_bytes() != before


def test_a_broken_row_is_named_with_a_cache_too(folder: RunFolder):
    read_lines(folder)
    folder.result(folder.rows()[0].trial_id).write_text("{")
    with pytest.raises(BadInput, match=r"results/[0-9a-f]{16}\.json"):
        read_lines(folder)


def test_a_failed_trial_without_facts_is_a_line(tmp_path: Path):
    row = a_row(status=RowStatus.FAILED, error="out of memory").model_copy(update={"facts": None})
    (line,) = lines_of([row]).to_pylist()
    assert (line["status"], line["error"], line["d_sae"]) == ("failed", "out of memory", None)
