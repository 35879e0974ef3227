"""What names in a run folder may be, and numbers that may be missing."""

import math
from typing import Annotated

from pydantic import BeforeValidator, Field

TRIAL_ID = r"^[0-9a-f]{16}$"
"""What `TrialConfig.trial_id` gives."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
"""Sweeps and packs: no slash and no leading dot, so such a name never leaves its folder."""
TrialId = Annotated[str, Field(pattern=TRIAL_ID)]
PackId = Annotated[str, Field(pattern=NAME)]
SweepId = Annotated[str, Field(pattern=NAME)]


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A measured number. NaN and infinities are None, in the file null."""
