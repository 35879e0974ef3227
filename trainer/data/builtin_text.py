"""The built-in text as a source."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property

import pyarrow as pa

from trainer.builtin import corpus
from trainer.data.columns import choose_column
from trainer.data.source import READ_ROWS, ArrowArray, Contents, check_split
from trainer.errors import EnvironmentProblem

BUILTIN = "builtin"


class BuiltinText:
    """The built-in text. Splits: `train`, and `held_out`, which the built-in model never saw."""

    def __init__(self, split: str, column: str) -> None:
        check_split(split, ["train", "held_out"], dataset=BUILTIN)
        choose_column(pa.schema({"text": pa.string()}), column, where="the built-in text")
        self._split = split

    @property
    def label(self) -> str:
        return f"split '{self._split}' of the built-in text"

    def identity(self) -> dict[str, str]:
        with _installed():
            content = hashlib.sha256(corpus.corpus_file().read_bytes()).hexdigest()
        return {"source": BUILTIN, "content": content, "split": self._split}

    def look(self) -> Contents:
        return Contents(kind="text", column="text", revision="", n_documents=len(self._documents))

    def read(self, contents: Contents) -> Iterator[ArrowArray]:
        documents = self._documents
        for start in range(0, len(documents), READ_ROWS):
            yield pa.array([document.text for document in documents[start : start + READ_ROWS]])

    @cached_property
    def _documents(self) -> list[corpus.Document]:
        with _installed():
            train, held_out = corpus.split_held_out(corpus.read_documents())
        return train if self._split == "train" else held_out


@contextmanager
def _installed() -> Generator[None]:
    try:
        yield
    except corpus.CorpusMissing as error:
        raise EnvironmentProblem(str(error)) from error
