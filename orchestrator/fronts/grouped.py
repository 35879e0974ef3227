"""Trials that belong together, as indices into a table."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def grouped(table: pa.Table, by: Sequence[str]) -> list[np.ndarray]:
    """For each combination of values of these columns the rows that have it, in order of their first row."""
    if len(table) == 0:
        return []
    codes = np.zeros(len(table), dtype=np.int64)
    for name in by:
        column = table[name].combine_chunks().dictionary_encode()
        indices = np.asarray(column.indices)
        codes = np.unique(codes * (len(column.dictionary) + 1) + indices, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return sorted(groups, key=lambda group: group[0])
