"""Tables of analyses as Arrow tables: their lines held to their columns, the columns' meaning in the file."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from orchestrator.paper.analysis import Column, Line, Tables, TableSpec

METADATA_KEY = b"sae_frontier_paper"
SCHEMA_VERSION = "1.0"


def checked(tables: Tables, specs: Sequence[TableSpec]) -> Tables:
    """The same lines as plain values, NaN and infinity as None.

    Raises TypeError, which is a bug of the analysis, for a table or column that it did not announce, a value that is
    missing, or one of another type.
    """
    known = {spec.name: spec for spec in specs}
    if unknown := sorted(tables.keys() - known.keys()):
        raise TypeError(f"lines of tables that were not announced: {', '.join(unknown)}")
    return {name: table_of(lines, known[name]).to_pylist() for name, lines in tables.items()}


def table_of(lines: Iterable[Line], spec: TableSpec, *, facts: Mapping[str, Any] | None = None) -> pa.Table:
    """Lines as a table with the spec's columns; `facts` and the title go into the file's metadata."""
    names = {column.name for column in spec.columns}
    plain = [{name: _plain(value) for name, value in line.items()} for line in lines]
    for line in plain:
        if unknown := sorted(line.keys() - names):
            raise TypeError(f"{spec.name}: no such column: {', '.join(unknown)}")
        for column in spec.columns:
            if not column.nullable and line.get(column.name) is None:
                raise TypeError(f"{spec.name}.{column.name} has no value in {line}")
    about = {"schema_version": SCHEMA_VERSION, "table": spec.name, "title": spec.title, **(facts or {})}
    metadata = {METADATA_KEY: json.dumps(about, sort_keys=True).encode()}
    schema = pa.schema([_field(column) for column in spec.columns], metadata=metadata)
    try:
        return pa.Table.from_pylist(plain, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise TypeError(f"{spec.name}: a value does not have its column's type: {problem}") from problem


def columns_hash(specs: Sequence[TableSpec]) -> str:
    """Changes when a table gets another column or type: what was kept without it is then computed anew."""
    shape = {spec.name: [(column.name, str(column.type), column.nullable) for column in spec.columns] for spec in specs}
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]


def _field(column: Column) -> pa.Field:
    metadata = {"unit": column.unit, "description": column.description}
    return pa.field(column.name, column.type, nullable=column.nullable, metadata=metadata)


def _plain(value: Any) -> Any:
    """Scalars of NumPy and PyTorch as Python's; NaN and infinity as None."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
