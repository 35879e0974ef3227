"""Where and how figures were taken, and how they are written. Times nothing; `timing.py` does."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

Row = dict[str, object]
LOAD_AT_START = round(os.getloadavg()[0], 1)
NOTED_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "neon")


def processor() -> str:
    """As lscpu names it, with the vector extensions that matter to products."""
    try:
        text = subprocess.run(["lscpu"], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
        fields = dict(re.findall(r"^([^:\n]+):\s*(.*)$", text.stdout, re.MULTILINE))
    except (OSError, subprocess.CalledProcessError):
        return platform.processor() or platform.machine()
    flags = set(fields.get("Flags", "").split())
    noted = ", ".join(flag for flag in NOTED_CPU_FLAGS if flag in flags)
    family = f"family {fields.get('CPU family', '?')} model {fields.get('Model', '?')}"
    return f"{fields.get('Model name', platform.machine())} ({family}{'; ' + noted if noted else ''})"


def machine(device: str) -> Row:
    """What a reader needs to judge figures by."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_at_start": LOAD_AT_START,
    }


def with_common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds what every benchmark takes."""
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=4, help="turns of each thing that is timed (default: 4)")
    parser.add_argument("--clocks", nargs="+", choices=("process", "wall"), default=["process", "wall"],
                        help="of a CPU: process time on one thread, wall time on two (default: both)")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: then wall time, and a floor in bfloat16")
    return parser


def save(path: Path | None, *, device: str, notes: dict[str, str], rows: Sequence[Row]) -> None:
    """Write figures with the machine and the command they come from."""
    if path is None:
        return
    command = " ".join([f"python -m {module_name()}", *without_paths(sys.argv[1:])])
    record = {"command": command, "machine": machine(device), "notes": notes, "rows": list(rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, default=_number) + "\n")


def module_name() -> str:
    """Of the script that runs."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).stem


def without_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with folders of this machine left out: of an absolute path only its last part stays."""
    return [f"PATH/{Path(each).name}" if Path(each).is_absolute() else each for each in arguments]


def show(row: Row) -> None:
    """One line."""
    print("  ".join(f"{name} {each:g}" if isinstance(each, float) else f"{name} {each}" for name, each in row.items()),
          flush=True)  # fmt: skip


def _number(value: object) -> float:
    if isinstance(value, np.generic):
        return float(value)
    raise TypeError(f"{type(value)} in a result")
