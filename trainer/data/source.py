"""What every source of documents offers, and what they share.

Boundary: Arrow arrays of strings or of lists of integers come out. Knows no tokenizer and no rows. The `datasets`
library is imported only when something has to be read.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from trainer.data.columns import ArrowArray, ArrowSchema, Kind
from trainer.errors import BadInput
from trainer.values import Frozen

READ_ROWS = 256
"""Documents read at a time."""


class Contents(Frozen):
    """What is found when a source is first opened; kept, so that a store can be found again without opening it."""

    kind: Kind
    column: str
    revision: str
    """Commit of a hub data set; otherwise empty, as the identity already holds a hash of the content."""
    n_documents: int | None
    """None if only reading it all would tell."""


@runtime_checkable
class Source(Protocol):
    """One split of a data set."""

    @property
    def label(self) -> str:
        """For messages, such as "split 'train' of roneneldan/TinyStories"."""
        ...

    def identity(self) -> dict[str, str]:
        """Everything that says which documents these are; cheap, no network."""
        ...

    def look(self) -> Contents:
        """Opens it and chooses the column."""
        ...

    def read(self, contents: Contents) -> Iterator[ArrowArray]:
        """The column's values in order, some at a time."""
        ...


def check_split(split: str, available: list[str], *, dataset: str) -> None:
    """Raises `BadInput` with the list if `split` is not there."""
    if split not in available:
        raise BadInput(
            f"split '{split}' is not in {dataset}, which has: {', '.join(available)}. For training rows: "
            "--set data.split=NAME; for evaluation rows: --set data.eval_split=NAME, or data.eval_split=same to set "
            "rows of data.split aside"
        )


def tables(dataset: Any) -> Iterator[Any]:
    """A `Dataset` or `IterableDataset` as Arrow tables of `READ_ROWS` rows, without making Python objects."""
    yield from dataset.with_format("arrow").iter(batch_size=READ_ROWS)


def schema_of(dataset: Any, *, label: str) -> ArrowSchema:
    """Of the first table; `BadInput` if there is none. A stream often does not know its columns before that."""
    for table in tables(dataset):
        return table.schema
    raise BadInput(f"{label} is empty: it holds no documents")


def column_arrays(dataset: Any, column: str) -> Iterator[ArrowArray]:
    """The values of one column in order."""
    for table in tables(dataset):
        yield from table.column(column).chunks


@contextmanager
def quiet() -> Generator[None]:
    """Switches off progress bars, log lines and usage reports of the `datasets` and hub libraries meanwhile."""
    import datasets
    from datasets.utils import logging
    from huggingface_hub import constants
    from huggingface_hub.utils import logging as hub_logging

    bars, level, hub_level = datasets.are_progress_bars_disabled(), logging.get_verbosity(), hub_logging.get_verbosity()
    telemetry = constants.HF_HUB_DISABLE_TELEMETRY
    datasets.disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(logging.CRITICAL)
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        hub_logging.set_verbosity(hub_level)
        logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
