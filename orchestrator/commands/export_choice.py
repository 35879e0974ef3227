"""What `export` is asked to write: the format that options and the file's name agree on, and no option for nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from trainer.errors import BadInput

Format = Literal["parquet", "csv", "markdown", "latex", "html"]
Table = Literal["frontier", "summary", "matched", "surfaces"]
SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet", ".csv": "csv", ".md": "markdown", ".tex": "latex", ".html": "html",
}  # fmt: skip


def format_of(asked: Format | None, output: Path | None) -> Format:
    """As asked for, else as the file's name ends. Raises BadInput where the two say different things, or nothing."""
    if output is None:
        return asked or "parquet"
    by_name = SUFFIXES.get(output.suffix.lower())
    if by_name is None and asked is None:
        raise BadInput(
            f"-o {output}: cannot tell the format from its name; expected one that ends in {', '.join(SUFFIXES)}, or "
            "--format"
        )
    if by_name is not None and asked is not None and by_name != asked:
        raise BadInput(f"-o {output} is a name of a {by_name} file, and --format says {asked}: leave one of them out")
    return asked or by_name or "parquet"


def check_table(table: Table | None, format: Format, output: Path | None) -> None:
    """Raise BadInput where --table would be ignored."""
    if table is None:
        return
    if format not in ("parquet", "csv"):
        holds = "the whole dashboard" if format == "html" else "the comparisons of a paper"
        raise BadInput(
            f"--table {table} is for --format parquet and csv: {format} holds {holds}. Leave --table out, or take "
            "--format csv"
        )
    if format == "parquet" and output is None:
        raise BadInput(
            f"--table {table} without -o: all tables of the run folder are written together. Leave --table out, or say "
            f"where it goes: -o {table}.parquet, or --format csv for the terminal"
        )


def check_no_choice(options: Mapping[str, object]) -> None:
    """Raise BadInput for options that the dashboard's file would ignore."""
    if given := [name for name, value in options.items() if value]:
        raise BadInput(
            f"{', '.join(given)} cannot be with --format html, which shows the run folder's files as they are. Export "
            "them anew first, with --format parquet and these options, or take another format"
        )
