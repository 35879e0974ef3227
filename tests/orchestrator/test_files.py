"""Files appear whole, and a disk that refuses is explained."""

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.folder.files import (
    append_lines,
    is_whole,
    parquet_bytes,
    sealed,
    whole_lines,
    write_bytes,
    write_json,
    write_parquet,
)
from trainer.errors import EnvironmentProblem
from trainer.faults import hook_of, injected, parsed


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_its_folders_appear_with_nothing_beside(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names_in(path.parent) == ["file"]


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOSPC, "Free some space"), (errno.EACCES, "right to write"), (errno.EIO, "Check that")]
)
def test_when_the_disk_refuses_the_old_file_stays_and_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def refuse(_handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EnvironmentProblem, match=advice) as caught:
        write_bytes(path, b"new")
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("write", [lambda path: write_bytes(path, b""), lambda path: append_lines(path, ["a"])])
def test_a_file_in_the_place_of_a_folder_is_an_environment_problem(tmp_path: Path, write: object):
    (tmp_path / "file").touch()
    assert callable(write)
    with pytest.raises(EnvironmentProblem, match="is a file: move it away"):
        write(tmp_path / "file" / "inner")


def test_json_has_null_for_what_is_not_finite(tmp_path: Path):
    write_json(tmp_path / "x.json", {"a": [1.0, float("nan"), (float("inf"), 2)], "b": {"c": float("-inf")}, "d": "é"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1.0, None, [None, 2]], "b": {"c": None}, "d": "é"}


def test_parquet_comes_back_and_has_the_same_bytes_twice(tmp_path: Path):
    table = pa.table({"x": [1, 2, 3]})
    write_parquet(tmp_path / "x.parquet", table)
    assert parquet_bytes(table) == (tmp_path / "x.parquet").read_bytes()
    assert pq.ParquetFile(tmp_path / "x.parquet").read().equals(table)
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 1


def test_a_missing_file_has_no_lines(tmp_path: Path):
    assert list(whole_lines(tmp_path / "none")) == []


LINES = st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=8))


@given(before=LINES, after=LINES.filter(bool), torn=st.text("abc", min_size=1, max_size=9000))
def test_a_torn_line_is_neither_read_nor_in_the_way(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str], torn: str
):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    append_lines(path, before)
    with path.open("a") as file:
        file.write(torn)
    assert list(whole_lines(path)) == before
    append_lines(path, after)
    assert list(whole_lines(path)) == before + after


def test_lines_are_appended_all_or_none(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    append_lines(path, ["one", "two"], durable=True)
    for place in ("append.middle", "append.sync"):
        with (
            injected(hook_of(parsed(f"{place}:*:1=enospc"))),
            pytest.raises(EnvironmentProblem, match="Free some space"),
        ):
            append_lines(path, ["three", "four"], durable=True)
        assert list(whole_lines(path)) == ["one", "two"]
    append_lines(path, ["three"])
    assert list(whole_lines(path)) == ["one", "two", "three"]


def test_a_seal_shows_any_change_and_nothing_else():
    fields = {"a": [1.5, float("nan")], "b": {"c": "d"}}
    found = json.loads(json.dumps(sealed(fields)))
    assert is_whole(dict(found))
    assert is_whole({"no": "seal"})
    for name, value in (("a", [1.5, 1.0]), ("b", {}), ("new", 1)):
        assert not is_whole({**found, name: value})
    opened = dict(found)
    is_whole(opened)
    assert opened == {"a": [1.5, None], "b": {"c": "d"}}
