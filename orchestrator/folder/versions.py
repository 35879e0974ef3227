"""What a trial ran on: versions of this program and of PyTorch, the commit, the device. Asked once per process."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.folder.records import Versions

DISTRIBUTION = "sae-frontier"


@cache
def code_version() -> str:
    """Version of this package as installed, or `source` where it runs from a folder without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "source"


@cache
def git_commit() -> str | None:
    """Commit that this code is at, with `+changes` where files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    commit = _git(here, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit


def versions_on(device: str) -> Versions:
    """Of this process. `device`: what it trains on, such as `cpu`."""
    import torch

    return Versions(
        code=code_version(),
        git_commit=git_commit(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        device=device,
    )


def _git(folder: Path, *arguments: str) -> str:
    """What git says; nothing where there is no git, no commit, or no answer."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
