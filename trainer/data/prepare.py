"""From a `DataConfig` to `Rows`: finds or makes the stored rows, sets the evaluation rows apart, checks them.

Rows are made of documents end to end, cut every `context` tokens, without padding; what is left at the end of the split
is dropped. Text: an end-of-text token follows each document, nothing precedes it (as the data of Braun et al. 2024,
appendix D, is packed), blank documents are left out. Tokens: the lists are laid end to end in order and nothing is
added, so lists of exactly `context` tokens are rows as they are, lists of a multiple of that are cut into rows, and
lists of other lengths run on into each other.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from trainer.config import DataConfig, ModelConfig
from trainer.data.held_out import split_rows
from trainer.data.rows import Rows
from trainer.data.source import Contents, Source
from trainer.data.sources import source_for
from trainer.data.store import SCHEMA, TokenStore, dtype_for, key_of, open_or_make, read_whole, writable
from trainer.data.stream import RowBatch, TextEncoder, cut_into_rows, encode_texts, flatten_lists, foreign_token
from trainer.errors import BadInput
from trainer.files import write_whole

EVAL_POOL = 20
"""Evaluation rows from a split of their own are drawn from its first `EVAL_POOL * eval_rows` rows."""
REPORT_EVERY_S = 0.2


class Preparing(NamedTuple):
    """How far the making of the rows of one split is. Reported a few times a second, and once when done."""

    state: Literal["making", "waiting", "done"]
    """`waiting`: another process makes them."""
    label: str
    """Such as "split 'train' of roneneldan/TinyStories"."""
    n_documents: int
    n_documents_total: int | None
    """None if not known."""
    n_rows: int
    n_rows_total: int | None
    """The most rows that will be made, if there is a limit; the documents may end before."""


Progress = Callable[[Preparing], None]


def default_cache() -> Path:
    """`$SAE_FRONTIER_CACHE`, or `~/.cache/sae-frontier`."""
    return Path(os.environ.get("SAE_FRONTIER_CACHE") or "~/.cache/sae-frontier").expanduser()


def prepare_rows(
    data: DataConfig,
    *,
    model: ModelConfig,
    d_vocab: int,
    cache: Path | None = None,
    progress: Progress | None = None,
    n_context: int | None = None,
    tokenizer: Callable[[], Any] | None = None,
) -> Rows:
    """Rows of `data.context` tokens to train and to evaluate on, read once and kept in `cache`.

    `d_vocab`: tokens the model knows. `n_context`: the longest row it takes, if that is to be checked. `progress` hears
    of rows being made. `tokenizer` gives a `PreTrainedTokenizerFast` where it should not be the one of `model`; it is
    called only if the data is text.

    With `eval_split: same`, `eval_rows` rows of the split are set aside, chosen by `eval_seed`, and training has all
    others. Otherwise `eval_rows` of the first `EVAL_POOL * eval_rows` rows of `eval_split` are chosen by `eval_seed`.
    A hub data set is read at the commit that was the newest when this cache first saw it.

    Raises:
        BadInput: nothing readable there, an unknown split or column, tokens of another model, a tokenizer without
            end-of-text token, a row longer than the model's, too few rows, evaluation rows that are also trained on.
        EnvironmentProblem: the hub cannot be reached, the built-in text is not installed, the cache cannot be written.
    """
    check_request(data, n_context=n_context)
    preparer = _Preparer(model, data.context, d_vocab, cache or default_cache(), tokenizer, progress)
    max_rows = None if data.max_rows == "all" else data.max_rows
    store = preparer.store(data, data.split, max_rows)
    if data.eval_split == "same":
        return split_rows(data, store, None)
    return split_rows(data, store, preparer.store(data, data.eval_split, EVAL_POOL * data.eval_rows))


def check_request(data: DataConfig, *, n_context: int | None = None) -> None:
    """What can be said without looking at the data. Raises `BadInput`."""
    if data.context < 2:
        raise BadInput(
            f"data.context={data.context}: a row needs at least 2 tokens, or there is no next token to predict"
        )
    if n_context is not None and data.context > n_context:
        raise BadInput(
            f"data.context={data.context} is longer than the model's context of {n_context} tokens: "
            f"use --set data.context={n_context} or less"
        )
    if data.eval_split == data.split:
        raise BadInput(
            f"data.eval_split={data.eval_split} is data.split itself: evaluation rows would be trained on. Use "
            "eval_split: same, which sets rows of the split aside, or name another split"
        )


class _Preparer:
    """Makes or finds token stores for one model, context and cache."""

    def __init__(
        self,
        model: ModelConfig,
        context: int,
        d_vocab: int,
        cache: Path,
        tokenizer: Callable[[], Any] | None,
        progress: Progress | None,
    ) -> None:
        self._model, self._context, self._d_vocab, self._cache = model, context, d_vocab, cache
        self._tokenizer, self._progress = tokenizer, progress
        self._encoder: TextEncoder | None = None

    def store(self, data: DataConfig, split: str, max_rows: int | None) -> TokenStore:
        """The rows of one split, from the cache or made now."""
        source = source_for(data.dataset, split=split, column=data.column)
        identity = source.identity()
        contents = self._contents(source, identity)
        encoder = self._text_encoder() if contents.kind == "text" else None
        made_from: dict[str, Any] = {
            "schema": SCHEMA,
            "source": identity,
            "contents": contents.model_dump(exclude={"n_documents"}),
            "tokenizer": encoder.sha256 if encoder else "none",
            "context": self._context,
            "max_rows": max_rows,
            "dtype": dtype_for(self._d_vocab),
        }
        report = _Report(self._progress, source.label, contents.n_documents, max_rows)

        def batches() -> Iterator[RowBatch]:
            columns = source.read(contents)
            tokens = encode_texts(columns, encoder) if encoder else flatten_lists(columns)
            rows = cut_into_rows(
                tokens, context=self._context, d_vocab=self._d_vocab, max_rows=max_rows, where=source.label
            )
            yield from _at_least_one(report.watch(rows), source.label, self._context)

        store = open_or_make(
            self._cache / "rows" / key_of(made_from),
            batches,
            made_from=made_from,
            context=self._context,
            d_vocab=self._d_vocab,
            waiting=report.waiting,
        )
        self._check_largest(store, source.label)
        return store

    def _check_largest(self, store: TokenStore, label: str) -> None:
        """A store may have been made for a model with more tokens."""
        if store.manifest.largest_token >= self._d_vocab:
            raise foreign_token(store.manifest.largest_token, self._d_vocab, where=label)

    def _contents(self, source: Source, identity: dict[str, str]) -> Contents:
        """What the source holds: as noted when this cache first saw it, else by opening it."""
        note = self._cache / "sources" / f"{key_of({'schema': SCHEMA, **identity})}.json"
        if (noted := read_whole(note, Contents)) is not None:
            return noted
        contents = source.look()
        with writable(self._cache):
            note.parent.mkdir(parents=True, exist_ok=True)
            write_whole(note, contents.model_dump_json(indent=1).encode())
        return contents

    def _text_encoder(self) -> TextEncoder:
        if self._encoder is None:
            if self._tokenizer is not None:
                self._encoder = TextEncoder(self._tokenizer())
            else:
                from trainer.models.tokenizer import load_tokenizer  # transformers takes a second to import

                self._encoder = TextEncoder(load_tokenizer(self._model))
        return self._encoder


def _at_least_one(batches: Iterator[RowBatch], label: str, context: int) -> Iterator[RowBatch]:
    n_documents = n_rows = 0
    for batch in batches:
        n_documents, n_rows = batch.n_documents, n_rows + len(batch.rows)
        yield batch
    if not n_rows:
        problem = (
            f"{n_documents} documents that do not fill one row of {context} tokens" if n_documents else "no documents"
        )
        raise BadInput(f"{label} holds {problem}: give more text, or a smaller --set data.context=N")


class _Report:
    """Passes on how far it is, a few times a second."""

    def __init__(self, progress: Progress | None, label: str, n_documents: int | None, max_rows: int | None) -> None:
        self._progress = progress
        self._now = Preparing("making", label, 0, n_documents, 0, max_rows)
        self._last_s = float("-inf")

    def watch(self, batches: Iterator[RowBatch]) -> Iterator[RowBatch]:
        for batch in batches:
            yield batch
            n_rows = self._now.n_rows + len(batch.rows)
            self._now = self._now._replace(n_documents=batch.n_documents, n_rows=n_rows)
            if time.monotonic() - self._last_s >= REPORT_EVERY_S:
                self._last_s = time.monotonic()
                self._tell(self._now)
        if self._now.n_rows:
            self._tell(self._now._replace(state="done"))

    def waiting(self) -> None:
        self._tell(self._now._replace(state="waiting"))

    def _tell(self, news: Preparing) -> None:
        if self._progress is not None:
            self._progress(news)
