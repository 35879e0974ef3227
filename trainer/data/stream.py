"""Documents to tokens to rows: a stream from one end to the other, a few million characters in memory at a time."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer
from tokenizers import Tokenizer

from trainer.data.columns import ArrowArray
from trainer.errors import BadInput

BATCH_CHARACTERS = 2**21
"""Text handed to the tokenizer at a time."""
PIECE_CHARACTERS = 2**20
"""Longer documents are tokenised in pieces of about this size, cut at line ends."""


class TokenBatch(NamedTuple):
    """The tokens of some whole documents, end to end."""

    tokens: Integer[np.ndarray, " tokens"]
    n_documents: int


class RowBatch(NamedTuple):
    """Rows that are complete, and how many documents have been read so far to get there."""

    rows: Integer[np.ndarray, "rows pos"]
    n_documents: int


class TextEncoder:
    """A tokenizer without its padding, truncation and special tokens, and the token that ends a document."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: a `PreTrainedTokenizerFast`; it is copied, never changed.

        Raises:
            BadInput: it has no end-of-text token.
        """
        if tokenizer.eos_token_id is None:
            raise BadInput(
                f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no end-of-text token (eos_token): it "
                "goes after each document. Set it in tokenizer_config.json, or give data that is already tokenised"
            )
        self.eos_id = int(tokenizer.eos_token_id)
        definition = json.loads(tokenizer.backend_tokenizer.to_str())
        definition["truncation"] = definition["padding"] = None
        text = json.dumps(definition, sort_keys=True)
        self._tokenizer = Tokenizer.from_str(text)
        self.sha256 = hashlib.sha256(f"{self.eos_id} {text}".encode()).hexdigest()

    def encode(self, documents: list[str]) -> TokenBatch:
        """All tokens of each document in order, then its end-of-text token."""
        pieces: list[str] = []
        ends: list[bool] = []
        for document in documents:
            cut = list(pieces_of(document))
            pieces += cut
            ends += [False] * (len(cut) - 1) + [True]
        encoded = self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        tokens = [
            np.asarray([*e.ids, self.eos_id] if end else e.ids, np.int64) for e, end in zip(encoded, ends, strict=True)
        ]
        return TokenBatch(np.concatenate(tokens), len(documents))


def pieces_of(document: str) -> Iterator[str]:
    """`document` in parts that join to it again; more than one only if it is longer than `PIECE_CHARACTERS`."""
    start = 0
    while len(document) - start > PIECE_CHARACTERS:
        line_end = document.find("\n", start + PIECE_CHARACTERS)
        if line_end < 0:
            break
        yield document[start : line_end + 1]
        start = line_end + 1
    yield document[start:]


def encode_texts(columns: Iterable[ArrowArray], encoder: TextEncoder) -> Iterator[TokenBatch]:
    """Tokens of the documents that are not blank, an end-of-text token after each."""
    waiting: list[str] = []
    n_characters = 0
    for column in columns:
        for document in column.to_pylist():
            if document is None or not document.strip():
                continue
            waiting.append(document)
            n_characters += len(document)
            if n_characters >= BATCH_CHARACTERS:
                yield encoder.encode(waiting)
                waiting, n_characters = [], 0
    if waiting:
        yield encoder.encode(waiting)


def flatten_lists(columns: Iterable[ArrowArray]) -> Iterator[TokenBatch]:
    """The integers of lists of any length, end to end in order; nothing is added between lists."""
    for column in columns:
        values = column.flatten()
        if values.null_count:
            raise BadInput("the token column holds an empty value (null) inside a list: every token must be a number")
        yield TokenBatch(values.to_numpy(zero_copy_only=False).astype(np.int64), len(column))


def cut_into_rows(
    batches: Iterable[TokenBatch], *, context: int, d_vocab: int, max_rows: int | None, where: str
) -> Iterator[RowBatch]:
    """The stream of tokens cut every `context`; what is left at the end is dropped. Stops at `max_rows`.

    Raises:
        BadInput: a token outside 0 to `d_vocab - 1`.
    """
    rest = np.empty(0, dtype=np.int64)
    n_documents = n_rows = 0
    for batch in batches:
        check_vocabulary(batch.tokens, d_vocab, where=where)
        n_documents += batch.n_documents
        stream = np.concatenate([rest, batch.tokens])
        n_new = len(stream) // context
        rows, rest = stream[: n_new * context].reshape(n_new, context), stream[n_new * context :]
        rows = rows if max_rows is None else rows[: max_rows - n_rows]
        n_rows += len(rows)
        yield RowBatch(rows, n_documents)
        if n_rows == max_rows:
            return


def check_vocabulary(tokens: Integer[np.ndarray, " tokens"], d_vocab: int, *, where: str) -> None:
    """Raises `BadInput` if some token is not one of the model's."""
    if len(tokens):
        for token in (int(tokens.min()), int(tokens.max())):
            if not 0 <= token < d_vocab:
                raise foreign_token(token, d_vocab, where=where)


def foreign_token(token: int, d_vocab: int, *, where: str) -> BadInput:
    """The message about a token that the model does not have."""
    return BadInput(
        f"{where} gives token {token}, but the model's tokens are 0 to {d_vocab - 1}: the tokens, or the tokenizer, "
        "are another model's. Give data tokenised for this model, or text and this model's tokenizer"
    )
