"""Data sets on the Hugging Face hub, streamed: nothing is kept but the rows made of them. Runs no code of theirs."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from trainer.data.columns import choose_column
from trainer.data.source import ArrowArray, Contents, check_split, column_arrays, quiet, schema_of
from trainer.errors import BadInput, EnvironmentProblem
from trainer.models.hub import ways_on

TIMEOUT_S = 10
READ_RETRIES = 5
RETRY_INTERVAL_S = 2


class HubData:
    """One split of a hub data set, `ID` or `ID:SUBSET`."""

    def __init__(self, dataset: str, split: str, column: str) -> None:
        self._dataset, self._split, self._column = dataset, split, column
        self._id, _, self._subset = dataset.partition(":")

    @property
    def label(self) -> str:
        return f"split '{self._split}' of {self._dataset}"

    def identity(self) -> dict[str, str]:
        """The id, not the commit: a hub that cannot be reached is no obstacle to rows that are already made."""
        return {"source": "hub", "id": self._dataset, "split": self._split, "column": self._column}

    def look(self) -> Contents:
        with quiet(), self._reading():
            revision = self._newest_revision()
            dataset = self._open(revision)
            column = choose_column(schema_of(dataset, label=self.label), self._column, where=self.label)
            known = (dataset.info.splits or {}).get(self._split)
        n_documents = int(known.num_examples) if known is not None and known.num_examples else None
        return Contents(kind=column.kind, column=column.name, revision=revision, n_documents=n_documents)

    def read(self, contents: Contents) -> Iterator[ArrowArray]:
        with quiet(), self._reading():
            self._newest_revision()  # says at once, and once, that there is no hub
            yield from column_arrays(self._open(contents.revision), contents.column)

    def _newest_revision(self) -> str:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(self._id, timeout=TIMEOUT_S).sha or "main"

    def _open(self, revision: str) -> Any:
        import datasets

        splits = datasets.load_dataset(self._id, self._subset or None, streaming=True, revision=revision)
        check_split(self._split, [str(name) for name in splits], dataset=self._dataset)
        return splits[self._split]

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Few and short retries; everything that can go wrong on the way becomes one message."""
        from datasets import config
        from datasets.data_files import EmptyDatasetError
        from datasets.exceptions import DataFilesNotFoundError
        from huggingface_hub import errors

        # The hub library has used several HTTP libraries; this is the base class of the one it has now.
        http_error: type[Exception] = errors.HfHubHTTPError.__mro__[1]
        limits = {
            "STREAMING_READ_MAX_RETRIES": READ_RETRIES,
            "STREAMING_READ_RETRY_INTERVAL": RETRY_INTERVAL_S,
            "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL": RETRY_INTERVAL_S,
            "STREAMING_OPEN_MAX_RETRIES": READ_RETRIES,
            "STREAMING_OPEN_RETRY_INTERVAL": RETRY_INTERVAL_S,
        }
        before = {name: getattr(config, name) for name in limits}
        _set(config, limits)
        try:
            yield
        except (BadInput, EnvironmentProblem):
            raise
        except errors.GatedRepoError as error:
            raise BadInput(
                f"data.dataset={self._dataset} is gated: accept its terms on "
                f"https://huggingface.co/datasets/{self._id} and run  hf auth login"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise BadInput(
                f"data.dataset={self._dataset}: there is no such folder here, and no such data set on the hub that you "
                "may see. Check its spelling; a private one needs  hf auth login"
            ) from error
        except (EmptyDatasetError, DataFilesNotFoundError) as error:
            raise BadInput(f"data.dataset={self._dataset} on the hub: {_first_line(error)}") from error
        except (http_error, OSError) as error:
            raise EnvironmentProblem(
                f"cannot reach the hub for data.dataset={self._dataset}, which is no folder here "
                f"({_first_line(error)}). {ways_on()}"
            ) from error
        except (ValueError, RuntimeError, KeyError, pa.ArrowException) as error:
            raise BadInput(
                f"cannot read data.dataset={self._dataset}: {_first_line(error)}. A subset is named ID:SUBSET"
            ) from error
        finally:
            _set(config, before)


def _set(module: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(module, name, value)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
