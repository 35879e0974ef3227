"""A store is whole or not there, and is made once whoever wants it."""

import errno
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from trainer.data.store import dtype_for, open_or_make, open_store
from trainer.data.stream import RowBatch
from trainer.errors import EnvironmentProblem

ROWS = np.arange(12).reshape(4, 3)


def make(folder: Path, rows=ROWS, *, d_vocab: int = 100, batches=None):
    return open_or_make(
        folder,
        batches or (lambda: iter([RowBatch(rows[:1], 1), RowBatch(rows[1:1], 2), RowBatch(rows[1:], 5)])),
        made_from={"what": "test"},
        context=rows.shape[1],
        d_vocab=d_vocab,
        waiting=lambda: None,
    )


def never():
    raise AssertionError("read again")


@pytest.mark.parametrize(("d_vocab", "dtype"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_a_store_gives_back_its_rows_in_the_smallest_type_that_holds_the_vocabulary(tmp_path, d_vocab, dtype):
    rows = np.array([[0, d_vocab - 1]])
    store = make(tmp_path / "s", rows, d_vocab=d_vocab)
    assert store.rows.tolist() == rows.tolist()
    assert store.manifest.dtype == store.rows.dtype.name == dtype == dtype_for(d_vocab)
    assert isinstance(store.rows, np.memmap)
    assert not store.rows.flags.writeable


def test_a_store_says_what_it_holds(tmp_path):
    manifest = make(tmp_path / "s").manifest
    assert (manifest.n_rows, manifest.context, manifest.largest_token, manifest.n_documents) == (4, 3, 11, 5)
    assert manifest.made_from == {"what": "test"}
    assert manifest.sha256 == sha256((tmp_path / "s/tokens.bin").read_bytes()).hexdigest()


def test_a_store_that_is_there_is_not_made_again(tmp_path):
    make(tmp_path / "s")
    assert make(tmp_path / "s", batches=never).rows.tolist() == ROWS.tolist()


def _shorten(folder):
    with (folder / "tokens.bin").open("r+b") as file:
        file.truncate(5)


def _lengthen(folder):
    with (folder / "tokens.bin").open("ab") as file:
        file.write(b"\0\0")


def _garble(folder):
    (folder / "manifest.json").write_text('{"n_rows": ')


@pytest.mark.parametrize(
    "harm",
    [_shorten, _lengthen, _garble, lambda f: (f / "tokens.bin").unlink(), lambda f: (f / "manifest.json").unlink()],
)
def test_a_store_that_is_not_what_its_manifest_says_is_made_again(tmp_path, harm):
    make(tmp_path / "s")
    harm(tmp_path / "s")
    assert open_store(tmp_path / "s") is None
    assert make(tmp_path / "s").rows.tolist() == ROWS.tolist()


def test_nothing_is_left_when_making_fails(tmp_path):
    def fail():
        yield RowBatch(ROWS, 1)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        make(tmp_path / "s", batches=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["s.lock"]


MAKER = """
import sys, time
from pathlib import Path
import numpy as np
from trainer.data.store import open_or_make
from trainer.data.stream import RowBatch

folder, pause_s = Path(sys.argv[1]), float(sys.argv[2])

def batches():
    with (folder.parent / "made").open("a") as file:
        file.write("x")
    print("making", flush=True)
    for number in range(4):
        yield RowBatch(np.full((1, 3), number), number)
        time.sleep(pause_s)

def waiting():
    print("waiting", flush=True)

store = open_or_make(folder, batches, made_from={}, context=3, d_vocab=100, waiting=waiting)
print("rows", store.rows[:, 0].tolist(), flush=True)
"""


def start(folder: Path, pause_s: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", MAKER, str(folder), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_want_a_store_at_once_make_it_once(tmp_path):
    processes = [start(tmp_path / "s", 0.2) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [output[-1] for output in outputs] == ["rows [0, 1, 2, 3]"] * 2
    assert (tmp_path / "made").read_text() == "x"


def test_a_process_says_that_it_waits_and_takes_over_from_one_that_was_killed(tmp_path):
    first = start(tmp_path / "s", 60)
    assert first.stdout is not None
    assert first.stdout.readline() == "making\n"
    second = start(tmp_path / "s", 0)
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting\n"
    assert open_store(tmp_path / "s") is None, "a half-written store is no store"
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.communicate(timeout=60)[0].splitlines()[-1] == "rows [0, 1, 2, 3]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "s", "s.lock"], "leftovers were cleared"


def test_a_cache_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="SAE_FRONTIER_CACHE"):
        make(tmp_path / "file" / "rows" / "s")


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "no write permission")]
)
def test_a_disk_that_takes_no_more_is_one_message_and_leaves_nothing(tmp_path, monkeypatch, number, message):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("trainer.files.os.fsync", refuse)
    with pytest.raises(EnvironmentProblem, match=f"{message}.*SAE_FRONTIER_CACHE"):
        make(tmp_path / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["s.lock"]
