"""What every picture starts and ends with: our look, tables read through one handle, files that appear whole.

The same figure gives the same bytes: no dates, no versions, no random ids.
"""

import json
import os
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from matplotlib import style as matplotlib_style
from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
_LOOK: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.hashsalt": "frontier",
    "pdf.fonttype": 42,  # fonts as TrueType, which publishers take
}
_SAVING: dict[str, dict[str, Any]] = {
    "png": {"dpi": 200, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}


@contextmanager
def look() -> Generator[None]:
    """Our settings over matplotlib's own, whatever the user's matplotlibrc says; put back afterwards."""
    with matplotlib_style.context(["default", _LOOK]):
        yield


def read(path: Path, unused: Sequence[str] = ()) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines of a table of a run folder, and what it says about itself. Raises `ValueError` for another file."""
    with path.open("rb") as file:  # one handle: the file may be replaced meanwhile
        table = pq.ParquetFile(file).read()
    facts = (table.schema.metadata or {}).get(b"sae_frontier")
    if facts is None:
        raise ValueError(f"{path} is no frontier table: its metadata has no key 'sae_frontier'")
    return table.drop_columns([name for name in unused if name in table.column_names]).to_pylist(), json.loads(facts)


def save(figure: Figure, path: Path) -> None:
    """In the format that its suffix names, one of `FORMATS`."""
    content = BytesIO()
    with look():
        figure.savefig(content, format=path.suffix[1:].lower(), **_SAVING[path.suffix[1:].lower()])
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        beside.write_bytes(content.getvalue())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
