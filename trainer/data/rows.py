"""Rows of tokens, addressed by number, and the order in which they are trained on. Reads arrays; knows no data sets.

The order is a pure function of the seed and of how many rows there are: no state, nothing to save, any batch of any
step can be asked for by any process.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from trainer.errors import BadInput

HASH_CHUNK_ROWS = 4096
"""Rows hashed or compared at a time: bounds the memory, and does not change the hash."""


@lru_cache(maxsize=4)
def permutation(n_rows: int, seed: int, epoch: int) -> Integer[np.ndarray, " rows"]:
    """The order of `n_rows` rows in one epoch: numpy's PCG64 seeded with (seed, epoch). Read-only."""
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(n_rows)
    order.setflags(write=False)
    return order


class RowSet:
    """Some rows of a token array, in a fixed order. The array may be memory-mapped: only rows asked for are read."""

    def __init__(self, tokens: Integer[np.ndarray, "all_rows pos"], index: Integer[np.ndarray, " rows"]) -> None:
        self._tokens = tokens
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    @property
    def context(self) -> int:
        """Tokens per row."""
        return self._tokens.shape[1]

    def take(self, positions: Integer[np.ndarray, " batch"] | slice) -> Integer[Tensor, "batch pos"]:
        """The rows at these positions of this set, as int64 token ids."""
        return torch.from_numpy(self.stored(positions).astype(np.int64))

    def stored(self, positions: Integer[np.ndarray, " batch"] | slice) -> Integer[np.ndarray, "batch pos"]:
        """The same rows in the type they are stored in."""
        return self._tokens[self._index[positions]]

    def at(
        self, rows: Integer[Tensor, "*places"], positions: Integer[Tensor, "*places_too"]
    ) -> Integer[Tensor, "*tokens"]:
        """Single tokens, by row of this set and position in it; the two broadcast. Reads no more than those."""
        return torch.from_numpy(self._tokens[self._index[rows.numpy()], positions.numpy()].astype(np.int64))

    def places(self, rows: Integer[Tensor, " places"]) -> Integer[np.ndarray, " places"]:
        """Where rows of this set lie in the array that they are stored in."""
        return self._index[rows.numpy()]

    @property
    def array(self) -> Integer[np.ndarray, "all_rows pos"]:
        """The tokens that the rows are some of, as they are stored."""
        return self._tokens

    def content_hash(self) -> str:
        """SHA-256 of the tokens of all rows in order, each token four bytes, little-endian; 64 hex digits."""
        digest = hashlib.sha256()
        for start in range(0, len(self), HASH_CHUNK_ROWS):
            digest.update(self.stored(slice(start, start + HASH_CHUNK_ROWS)).astype("<u4").tobytes())
        return digest.hexdigest()


class Rows:
    """Rows to train on and rows to evaluate on.

    Training takes the rows in a new random order each epoch, without end. Position `p` of that endless order is in
    epoch `p // n_train_rows`; a batch may lie across two epochs, and then may hold a row of both.
    """

    def __init__(self, *, train: RowSet, evaluation: RowSet, seed: int, data_hash: str, eval_hash: str) -> None:
        self.train = train
        self.evaluation = evaluation
        self.seed = seed
        self.data_hash = data_hash
        """SHA-256 of the training rows' tokens in stored order (`RowSet.content_hash`), whatever the seed."""
        self.eval_hash = eval_hash
        """SHA-256 of the evaluation rows' tokens (`RowSet.content_hash`)."""

    @classmethod
    def from_tokens(
        cls, train: Integer[Tensor, "train_rows pos"], evaluation: Integer[Tensor, "eval_rows pos"], seed: int
    ) -> "Rows":
        """Rows held in memory: the twin of `prepare_rows` for tests and notebooks. Neither set may be empty.

        Does not compare the two sets: a test may want them equal.
        """
        train_set, eval_set = (
            RowSet(tokens.detach().cpu().numpy(), np.arange(len(tokens))) for tokens in (train, evaluation)
        )
        if not len(train_set) or not len(eval_set):
            raise BadInput(
                f"{len(train_set)} training and {len(eval_set)} evaluation rows: at least one of each is needed"
            )
        return cls(
            train=train_set,
            evaluation=eval_set,
            seed=seed,
            data_hash=train_set.content_hash(),
            eval_hash=eval_set.content_hash(),
        )

    @property
    def n_train_rows(self) -> int:
        return len(self.train)

    @property
    def context(self) -> int:
        """Tokens per row."""
        return self.train.context

    def train_rows(self, start: int, stop: int) -> Integer[Tensor, "batch pos"]:
        """Positions `start` to `stop` of the endless training order, as int64 token ids."""
        positions = np.arange(start, stop)
        epochs = positions // self.n_train_rows
        order = np.concatenate(
            [
                permutation(self.n_train_rows, self.seed, int(epoch))[positions[epochs == epoch] % self.n_train_rows]
                for epoch in np.unique(epochs)
            ]
            or [positions]
        )
        return self.train.take(order)

    def train_batch(self, step: int, batch_rows: int) -> Integer[Tensor, "batch pos"]:
        """The batch of optimizer step `step` (from 0): a pure function of (seed, step, batch_rows).

        Raises:
            BadInput: more rows per batch than there are training rows, so that one batch would hold a row twice.
        """
        if batch_rows > self.n_train_rows:
            raise BadInput(
                f"train.batch_rows={batch_rows}, but there are {self.n_train_rows} training rows: a batch would hold "
                f"some of them twice. Use --set train.batch_rows={self.n_train_rows} or less, or more text"
            )
        return self.train_rows(step * batch_rows, (step + 1) * batch_rows)

    def eval_batches(self, batch_rows: int) -> Iterator[Integer[Tensor, "batch pos"]]:
        """All evaluation rows once, in their fixed order; the last batch may be smaller."""
        for start in range(0, len(self.evaluation), batch_rows):
            yield self.evaluation.take(slice(start, start + batch_rows))


def rows_in_memory(*, n_train: int, n_eval: int, context: int, d_vocab: int, seed: int = 0) -> Rows:
    """Random rows, all different in practice: a seeded token stream in place of a data set."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(d_vocab, (n_train + n_eval, context), generator=generator)
    return Rows.from_tokens(tokens[:n_train], tokens[n_train:], seed)
