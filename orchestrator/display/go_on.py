"""Commands that people are told to type, quoted for a shell, so that no name in them can be anything but a name."""

import shlex
import sys
from pathlib import Path


def resume_command(folder: Path) -> str:
    """Does what is left of a run."""
    return _command("resume", str(folder))


def retry_command(folder: Path) -> str:
    """Does it, and tries failed trials again."""
    return _command("retry", str(folder), "--failed")


def stop_command(folder: Path) -> str:
    """Asks the launcher of a run to stop."""
    return _command("stop", str(folder))


def dashboard_command(folder: Path) -> str:
    """Shows a run in a browser, live."""
    return _command("dashboard", str(folder))


def _command(*words: str) -> str:
    return shlex.join([Path(sys.executable).name, "-m", "orchestrator", *words])
