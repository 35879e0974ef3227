"""`sae.start_from`: folders of trained SAEs become what trials know them by, the hash of their weights.

So a trial is the same wherever its SAE was copied to, and another once the SAE is. Read once, when a sweep file is; the
run folder keeps a copy, and its own sweep file names hashes only.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.sweep.problems import Problems
from orchestrator.sweep.yaml_lines import Key, Tree, TreePath
from trainer.config import SCRATCH
from trainer.errors import BadInput

if TYPE_CHECKING:
    from trainer.external.given import GivenSAE

KNOWN = r"[0-9a-f]{16}"
PLACES: tuple[TreePath, ...] = (("sae", "start_from"), ("grid", "sae.start_from"))


def with_starts(tree: Tree, problems: Problems) -> "tuple[Tree, dict[str, GivenSAE]]":
    """The tree with hashes in place of folders, and the SAEs by hash. What cannot be read is noted."""
    found: dict[str, GivenSAE] = {}
    for section, key in PLACES:
        values = tree.get(section) if isinstance(tree, dict) else None
        if isinstance(tree, dict) and isinstance(values, dict) and key in values:
            named: dict[Key, Tree] = {**values, key: _known(values[key], (section, key), found, problems)}
            tree = {**tree, section: named}
    return tree, found


def _known(value: Tree, path: TreePath, found: "dict[str, GivenSAE]", problems: Problems) -> Tree:
    if isinstance(value, dict):
        return {key: _known(inner, (*path, key), found, problems) for key, inner in value.items()}
    if isinstance(value, list):
        return [_known(inner, (*path, index), found, problems) for index, inner in enumerate(value)]
    if not isinstance(value, str) or value in ("", SCRATCH):
        return value
    folder = Path(value).expanduser()
    if re.fullmatch(KNOWN, value) and not folder.exists():
        return value
    from trainer.external.given import read_given  # loads PyTorch

    try:
        sae = read_given(folder)
    except (BadInput, OSError, ValueError) as problem:
        problems.add(path, str(problem))
        return SCRATCH
    found[sae.weights_id] = sae
    return sae.weights_id
