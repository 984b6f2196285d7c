"""The types that parameters are made of: names, references, bounded numbers, structs that know their keys."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_+\-]*\Z"
# A row, or one of its several caption sets: recaption/imagenet-vlm.full
REFERENCE_PATTERN = r"^[a-z_]+/[A-Za-z0-9][A-Za-z0-9_+\-]*(\.[A-Za-z0-9][A-Za-z0-9_+\-]*)?\Z"

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Reference = Annotated[str, Meta(pattern=REFERENCE_PATTERN)]
Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
PositiveFraction = Annotated[float, Meta(gt=0.0, le=1.0)]
OpenFraction = Annotated[float, Meta(gt=0.0, lt=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Weights = Annotated[dict[Text, NotNegative], Meta(min_length=1)]
Interval = Annotated[list[Fraction], Meta(min_length=2, max_length=2)]
References = Annotated[dict[Reference, Positive], Meta(min_length=1)]
PerChannel = float | list[float]
StorageDtype = Literal["float32", "float16"]
TextStorageDtype = Literal["float32", "float16", "float8", "int8"]  # the two last with a scale per token


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of parameters that knows its keys: an unknown one is refused, none can be changed later.

    Attributes:
        path_fields: fields that name a place in the file system; a stamp of what lies there counts, not the path.
    """

    path_fields: ClassVar[tuple[str, ...]] = ()

    def places(self) -> dict[str, str]:
        """Where ``path_fields`` lead, from the project's folder on; those that are left out lead nowhere."""
        return {field: path for field in self.path_fields if (path := getattr(self, field)) is not None}


class TableRow(Strict, frozen=True, kw_only=True):
    """What the rows of all stages have in common.

    Attributes:
        is_import: the row names something made elsewhere.
        is_pipeline: that is a whole pipeline of diffusers.
    """

    is_import: ClassVar[bool] = False
    is_pipeline: ClassVar[bool] = False

    version: Count


class ShardedRow(TableRow, frozen=True, kw_only=True):
    """A row whose result is a set of shards."""

    max_reject_fraction: Fraction
    row_group_rows: Count


class Fault(NamedTuple):
    """A value that does not fit: its key, the value, and why."""

    key: str
    value: Any
    why: str


def no_weight(key: str, weights: dict[str, float]) -> Fault | None:
    """A fault where no weight is above 0."""
    return None if sum(weights.values()) > 0 else Fault(key, weights, "one weight at least must be above 0")
