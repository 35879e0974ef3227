"""What can be downloaded of a sweep: a fixed list of names, each a file of its run folder or made from one."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import csv
import json
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from dashboards.reading import Fields, bytes_of, rows_of, stamp, table_of


class Download(NamedTuple):
    """One of the names."""

    label: str
    media_type: str
    source: str
    """The file of the run folder that it is, or is made from."""


_PARQUET = "application/vnd.apache.parquet"
DOWNLOADS = {
    "frontier.parquet": Download("frontier, Parquet", _PARQUET, "frontier.parquet"),
    "frontier.csv": Download("frontier, CSV", "text/csv", "frontier.parquet"),
    "figure.svg": Download("figure, SVG", "image/svg+xml", "frontier.svg"),
    "figure.png": Download("figure, PNG", "image/png", "frontier.png"),
    "report.html": Download("report, one HTML file", "text/html", "frontier.parquet"),
    "sweep.yaml": Download("sweep file", "application/yaml", "sweep.yaml"),
    "tables/summary.parquet": Download("hypervolumes and shares, Parquet", _PARQUET, "frontier_summary.parquet"),
    "tables/matched.parquet": Download("matched comparisons, Parquet", _PARQUET, "frontier_matched.parquet"),
    "tables/surfaces.parquet": Download("surfaces over seeds, Parquet", _PARQUET, "frontier_surfaces.parquet"),
}


def downloads_of(folder: Path) -> list[Fields]:
    """Those that there are, with their addresses relative to the page."""
    found: list[Fields] = []
    for name, about in DOWNLOADS.items():
        if (there := stamp(folder / about.source)) is not None:
            size = there[1] if about.source.rpartition(".")[2] == name.rpartition(".")[2] else None
            found.append({"name": name, "label": about.label, "href": f"sweeps/{folder.name}/{name}", "bytes": size})
    return found


def content_of(folder: Path, name: str) -> bytes | None:
    """What is sent under one of the names but the report's; None where the sweep has no such thing yet."""
    about = DOWNLOADS[name]
    if name == "frontier.csv":
        table = table_of(folder, about.source)
        return None if table is None else csv_of(table.data)
    return bytes_of(folder, about.source)


def csv_of(table: pa.Table) -> bytes:
    """Lists as JSON, times in ISO 8601, nothing for what is missing."""
    sink = StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in rows_of(table):
        writer.writerow([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in row.values()])
    return sink.getvalue().encode()
