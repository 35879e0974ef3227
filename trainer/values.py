"""The base of every config: a value that is checked once and never changes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveFinite = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFinite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A value: cannot be changed, refuses keys it does not know, and takes 5 for 5.0 but not "5" for 5."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
