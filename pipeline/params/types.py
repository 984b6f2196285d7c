"""The types that parameters are made of: names, references, bounded numbers, structs that know their keys."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_+\-]*$"
REFERENCE_PATTERN = r"^[a-z_]+/[A-Za-z0-9][A-Za-z0-9_+\-]*$"

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Reference = Annotated[str, Meta(pattern=REFERENCE_PATTERN)]
Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Meta(gt=0.0, lt=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Weights = Annotated[dict[Text, NotNegative], Meta(min_length=1)]
Interval = Annotated[list[Fraction], Meta(min_length=2, max_length=2)]
References = Annotated[dict[Reference, Positive], Meta(min_length=1)]
PerChannel = float | list[float]
StorageDtype = Literal["float32", "float16"]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of parameters that knows its keys: an unknown one is refused, none can be changed later."""
