"""Faults happen where they are told to, and nowhere else."""

import errno
import os
import signal
from pathlib import Path

import pytest

from trainer.faults import Fault, Killed, fault_point, hook_of, injected, parsed
from trainer.files import write_whole
from trainer.pulse import heard_by, pulse


def test_faults_are_read_from_a_line():
    assert parsed("step:17=kill, write:*.json:2=enospc,checkpoint.before_rename=hang") == [
        Fault("step", 17, "kill"),
        Fault("write:*.json", 2, "enospc"),
        Fault("checkpoint.before_rename", None, "hang"),
    ]
    assert parsed("") == []


@pytest.mark.parametrize("text", ["step", "step:17", "=kill", "step:17=explode"])
def test_what_is_no_fault_is_refused(text: str):
    with pytest.raises(ValueError, match="is not PLACE"):
        parsed(text)


def test_a_fault_happens_at_the_number_that_a_place_says_or_when_it_is_come_by_so_often(tmp_path: Path):
    with injected(hook_of(parsed("step:17=oom,write:*.json:2=enospc"))):
        for step in range(16):
            fault_point("step", step)
        with pytest.raises(MemoryError):
            fault_point("step", 17)
        write_whole(tmp_path / "a.json", b"one")
        write_whole(tmp_path / "a.txt", b"two")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            write_whole(tmp_path / "a.json", b"three")
        write_whole(tmp_path / "a.json", b"four")
    assert (tmp_path / "a.json").read_bytes() == b"four"
    fault_point("step", 17)


def test_a_fault_that_left_its_mark_happens_no_more(tmp_path: Path):
    for n_expected in (1, 0):
        n_happened = 0
        with injected(hook_of(parsed("step=oom"), once=tmp_path / "marks")):
            for _ in range(3):
                try:
                    fault_point("step", 1)
                except MemoryError:
                    n_happened += 1
        assert n_happened == n_expected


def test_a_kill_is_a_signal_that_nothing_catches():
    pid = os.fork()
    if pid == 0:
        try:
            hook_of(parsed("step:1=kill"))("step", 1)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.mark.parametrize("place", ["write:x", "write.middle:x", "sync:x", "rename:x", "renamed:x"])
def test_a_file_is_old_or_new_wherever_its_writer_is_killed(tmp_path: Path, place: str):
    path = tmp_path / "x"
    write_whole(path, b"the old content")

    def kill(where: str, _: int | None) -> None:
        if where == place:
            raise Killed(where)

    with pytest.raises(Killed), injected(kill):
        write_whole(path, b"the new content")
    assert path.read_bytes() == (b"the new content" if place == "renamed:x" else b"the old content")


def test_a_pulse_is_heard_while_somebody_listens():
    heard: list[str] = []
    pulse("evaluate")
    with heard_by(lambda: heard.append("one")):
        pulse("evaluate")
        with heard_by(lambda: heard.append("two")):
            pulse("evaluate")
        pulse("evaluate")
    pulse("evaluate")
    assert heard == ["one", "two", "one"]
