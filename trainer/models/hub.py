"""Models of the Hugging Face hub: what is in the local cache is used as it is; else one short try to reach the hub.

A machine without network gets its answer in seconds: no retries, and the name look-up is bounded too.
"""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from trainer.errors import BadInput, EnvironmentProblem
from trainer.models.quiet import quiet_hub

Want = Literal["config", "weights", "tokenizer"]
T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 12.0

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
)
"""In the order of download: a cache that holds the last one that a model has holds all."""


def cached_folder(name: str, revision: str, want: Want) -> Path | None:
    """Folder in the local cache with all files wanted, without asking the hub; None if one is not there."""
    folder = _cached(name, CONFIG_FILE, revision)
    if folder is None or want == "config":
        return folder
    if want == "tokenizer":
        return _cached(name, "tokenizer.json", revision) or _cached(name, "merges.txt", revision)
    if single := _cached(name, WEIGHTS_FILE, revision):
        return single
    if _cached(name, WEIGHTS_INDEX, revision) is None:
        return None
    shards = shard_names(folder / WEIGHTS_INDEX)
    return folder if all(_cached(name, shard, revision) for shard in shards) else None


def download_folder(name: str, revision: str, want: Want) -> Path:
    """Folder in the local cache with all files wanted, after fetching those that are missing.

    Raises:
        BadInput: the hub has no such model or revision, or it has no safetensors or tokenizer.
        EnvironmentProblem: the hub cannot be reached, or wants a login.
    """
    with quiet_hub():
        files = _ask(name, revision, lambda: _within(ANSWER_TIMEOUT_S, lambda: _files_at_hub(name, revision)))
        wanted = _wanted(name, revision, want, files)
        return _ask(name, revision, lambda: _download(name, revision, wanted))


def shard_names(index: Path) -> list[str]:
    """Weight files that an index names.

    Raises:
        BadInput: not an index.
    """
    try:
        weight_map = json.loads(index.read_text("utf-8"))["weight_map"]
        return sorted({str(shard) for shard in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{index}: cannot be read as an index of weight files: {error!r}") from None


def ways_on() -> str:
    """What to do without a hub."""
    return (
        "Three ways on:\n"
        "  --set model.name=FOLDER      a model on this machine (config.json, model.safetensors, tokenizer.json)\n"
        "  --set data.dataset=FOLDER    and a text or data set on this machine\n"
        "  sweeps/quickstart.yaml       the sweep of the built-in model, which needs no network"
    )


def _cached(name: str, file: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file, revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _files_at_hub(name: str, revision: str) -> set[str]:
    from huggingface_hub import HfApi

    info = HfApi().model_info(name, revision=revision, timeout=CONNECT_TIMEOUT_S)
    return {sibling.rfilename for sibling in info.siblings or ()}


def _wanted(name: str, revision: str, want: Want, files: set[str]) -> list[str]:
    if CONFIG_FILE not in files:
        raise BadInput(
            f"model {name!r} at revision {revision!r} has no config.json on the hub: not a transformers model"
        )
    match want:
        case "config":
            return [CONFIG_FILE]
        case "tokenizer":
            return [CONFIG_FILE, *(file for file in TOKENIZER_FILES if file in files)]
        case "weights":
            if WEIGHTS_FILE in files:
                return [CONFIG_FILE, WEIGHTS_FILE]
            if WEIGHTS_INDEX in files:
                return [CONFIG_FILE, WEIGHTS_INDEX]
            raise BadInput(no_safetensors(f"model {name!r} at revision {revision!r}", name, _converted(name)))


def no_safetensors(where: str, name: str, converted_revision: str | None) -> str:
    """Message for a model without safetensors: other formats can run code when they are read."""
    easy = (
        f"the hub's converter has made them: --set model.revision={converted_revision} . Or c"
        if converted_revision
        else "C"
    )
    return (
        f"{where} has no safetensors, and other formats are not read because they can run code. {easy}onvert it once, "
        f'if you trust it:  python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
        f"[c.from_pretrained('{name}').save_pretrained('FOLDER') for c in (M, T)]\"  and use --set model.name=FOLDER"
    )


def _converted(name: str) -> str | None:
    """Revision in which the hub's own converter offers safetensors of a model, if it does."""
    from huggingface_hub import HfApi

    try:
        offers = _within(
            CONNECT_TIMEOUT_S,
            lambda: list(HfApi().get_repo_discussions(name, author="SFconvertbot", discussion_type="pull_request")),
        )
    except Exception:
        return None  # only a hint for a message
    return next((f"refs/pr/{offer.num}" for offer in offers if offer.status == "open"), None)


def _download(name: str, revision: str, files: list[str]) -> Path:
    from huggingface_hub import hf_hub_download

    def fetch(file: str) -> Path:
        return Path(hf_hub_download(name, file, revision=revision, etag_timeout=CONNECT_TIMEOUT_S))

    folders = [fetch(file).parent for file in files]
    if WEIGHTS_INDEX in files:
        for shard in shard_names(folders[0] / WEIGHTS_INDEX):
            fetch(shard)
    return folders[0]


def _ask(name: str, revision: str, question: Callable[[], T]) -> T:
    """`question` to the hub, with its troubles told apart: what the user wrote, or the machine."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return question()
    except BadInput:
        raise
    except GatedRepoError:
        raise EnvironmentProblem(
            f"model {name!r} is only for accounts that accepted its terms at {ENDPOINT}/{name} : accept them, "
            "run  hf auth login , and start again"
        ) from None
    except RepositoryNotFoundError:
        raise BadInput(
            f"model {name!r} is neither a folder on this machine nor a public model at {ENDPOINT} "
            "(for a private one, run  hf auth login  first). Check model.name, or use --set model.name=builtin"
        ) from None
    except RevisionNotFoundError:
        raise BadInput(f"model {name!r} has no revision {revision!r} at {ENDPOINT}: check model.revision") from None
    except OfflineModeIsEnabled:
        raise EnvironmentProblem(_unreachable(name, ENDPOINT, "HF_HUB_OFFLINE is set")) from None
    except Exception as error:  # whatever else there is between us and the hub is not the user's sweep file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise EnvironmentProblem(_unreachable(name, ENDPOINT, reason)) from None


def _unreachable(name: str, endpoint: str, reason: str) -> str:
    return (
        f"model {name!r} is neither a folder on this machine nor in its model cache, and {endpoint} "
        f"could not be reached ({reason}). {ways_on()}"
    )


def _within(timeout_s: float, question: Callable[[], T]) -> T:
    """`question()`, or TimeoutError. A thread that hangs in a name look-up cannot be stopped, so it is left behind."""
    answers: list[T] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(question())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="ask-the-hub")
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    return answers[0]
