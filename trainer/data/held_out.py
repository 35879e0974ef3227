"""Sets the evaluation rows apart from the training rows, and makes sure that no row is in both."""

from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from jaxtyping import Integer

from trainer.config import DataConfig
from trainer.data.rows import HASH_CHUNK_ROWS, Rows, RowSet
from trainer.data.store import TokenStore, key_of, read_whole
from trainer.errors import BadInput
from trainer.files import write_whole
from trainer.values import Frozen


class Verdict(Frozen):
    """What going through all training rows once has shown; kept beside the training store."""

    data_hash: str
    eval_hash: str
    shared_rows: list[tuple[int, int]]
    """(evaluation row, training row) of equal content, as numbers in their stores: the first few."""


def split_rows(data: DataConfig, store: TokenStore, eval_store: TokenStore | None) -> Rows:
    """`Rows` of a store, its evaluation rows from `eval_store`, or set aside if that is None.

    Raises:
        BadInput: too few rows, or an evaluation row that is also a training row.
    """
    n_rows = store.manifest.n_rows
    if eval_store is None:
        _check_enough_to_set_aside(data, n_rows)
        chosen = choose(n_rows, data.eval_rows, seed=data.eval_seed)
        train = RowSet(store.rows, np.setdiff1d(np.arange(n_rows), chosen))
        evaluation = RowSet(store.rows, chosen)
    else:
        n_there = eval_store.manifest.n_rows
        if n_there < data.eval_rows:
            raise BadInput(
                f"data.eval_rows={data.eval_rows}, but data.eval_split={data.eval_split} gives {n_there} rows of "
                f"{data.context} tokens: use --set data.eval_rows={n_there} or less"
            )
        train = RowSet(store.rows, np.arange(n_rows))
        evaluation = RowSet(eval_store.rows, choose(n_there, data.eval_rows, seed=data.eval_seed))
    verdict = _verdict(data, store, eval_store, train, evaluation)
    if verdict.shared_rows:
        raise _overlap(data, verdict.shared_rows, own_split=eval_store is not None)
    return Rows(
        train=train, evaluation=evaluation, seed=data.seed, data_hash=verdict.data_hash, eval_hash=verdict.eval_hash
    )


def choose(n_rows: int, n_chosen: int, *, seed: int) -> Integer[np.ndarray, " chosen"]:
    """`n_chosen` of `n_rows` row numbers, ascending: the first of a permutation by numpy's PCG64 of `seed`."""
    # Three numbers, so that no training order (two numbers) has the same seed.
    generator = np.random.Generator(np.random.PCG64([seed, 0, 1]))
    return np.sort(generator.permutation(n_rows)[:n_chosen])


def shared(train: RowSet, evaluation: RowSet, *, at_most: int = 3) -> list[tuple[int, int]]:
    """Pairs (position in `evaluation`, position in `train`) of rows with the same tokens, the first few."""
    where = {row: position for position, row in _contents(evaluation)}
    pairs: list[tuple[int, int]] = []
    for position, row in _contents(train):
        if row in where:
            pairs.append((where[row], position))
            if len(pairs) == at_most:
                break
    return pairs


def _contents(rows: RowSet) -> Iterable[tuple[int, bytes]]:
    for start in range(0, len(rows), HASH_CHUNK_ROWS):
        for offset, row in enumerate(rows.stored(slice(start, start + HASH_CHUNK_ROWS)).astype("<u4")):
            yield start + offset, row.tobytes()


def _verdict(
    data: DataConfig, store: TokenStore, eval_store: TokenStore | None, train: RowSet, evaluation: RowSet
) -> Verdict:
    asked = {
        "eval_rows": data.eval_rows,
        "eval_seed": data.eval_seed,
        "eval_store": "same" if eval_store is None else eval_store.folder.name,
    }
    path = store.folder / f"held-out-{key_of(asked)}.json"
    if (known := read_whole(path, Verdict)) is not None:
        return known
    verdict = Verdict(
        data_hash=train.content_hash(), eval_hash=evaluation.content_hash(), shared_rows=shared(train, evaluation)
    )
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_whole(path, verdict.model_dump_json().encode())
    return verdict


def _check_enough_to_set_aside(data: DataConfig, n_rows: int) -> None:
    if n_rows > data.eval_rows:
        return
    cap = f", capped by data.max_rows={data.max_rows}" if data.max_rows == n_rows else ""
    smaller = f"use --set data.eval_rows={n_rows // 10 or 1}" if n_rows > 1 else "use a smaller --set data.context=N"
    raise BadInput(
        f"data.eval_rows={data.eval_rows} rows were to be set aside, but {data.dataset} gives {n_rows} rows of "
        f"{data.context} tokens{cap}, and training needs some too: {smaller}, or more text"
    )


def _overlap(data: DataConfig, pairs: list[tuple[int, int]], *, own_split: bool) -> BadInput:
    listing = ", ".join(f"{evaluation} = {train}" for evaluation, train in pairs)
    where = f"data.eval_split={data.eval_split}" if own_split else "the rows set aside"
    return BadInput(
        f"evaluation rows are also training rows: {where} and {data.split} of {data.dataset} share rows "
        f"(evaluation row = training row: {listing}). Remove copies from the data, or use another data.eval_seed or "
        "data.eval_split"
    )
