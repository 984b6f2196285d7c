"""Parameters of datasets: where pictures come from, and sets that are made from another one, row by row."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from pipeline.params.types import Count, Fault, Fraction, NotNegative, Reference, ShardedRow, Strict, Text, no_weight


class DownloadRow(ShardedRow, tag_field="source", frozen=True, kw_only=True):
    """A dataset.

    Attributes:
        same_as_heldout: fields in which a set and its held-out rows agree, so that both are of one source.
        unread_by_shards: fields that make no picture another one: which rows are listed, which the index says, and how
            many may be lost. A change of one leaves the shards as they are, where the index lists the same.
    """

    same_as_heldout: ClassVar[tuple[str, ...]] = ()
    unread_by_shards: ClassVar[frozenset[str]] = frozenset()

    revision: Count
    num_rows: Count | Literal["all"]
    num_shards: Count
    max_image_pixels: Count
    heldout: Reference | None = None

    def fault(self) -> Fault | None:
        """A value that no set of this kind can have: its key, the value and why; None where there is none."""
        if isinstance(self.num_rows, int) and self.num_rows < self.num_shards:
            return Fault("num_shards", self.num_shards, f"must be at most num_rows ({self.num_rows})")
        return None


class ShapeWorldRow(DownloadRow, tag="shape_world", kw_only=True, frozen=True):
    """Pictures of the demo's own small world."""

    # A scene follows from its number alone: worlds of other sizes share the scenes that both have.
    same_as_heldout: ClassVar[tuple[str, ...]] = ("style", "layout", "side_px")

    num_scenes: Count
    style: Literal["plain", "aesthetic"]
    layout: Literal["grid", "corners"]
    several: Fraction
    side_px: Count

    def fault(self) -> Fault | None:
        """As of any set; no more rows than scenes."""
        if isinstance(self.num_rows, int) and self.num_rows > self.num_scenes:
            return super().fault() or Fault(
                "num_rows", self.num_rows, f"must be at most num_scenes ({self.num_scenes})"
            )
        return super().fault()


class FolderRow(DownloadRow, tag="folder", kw_only=True, frozen=True):
    """Pictures of a folder, one sub-folder a class."""

    same_as_heldout: ClassVar[tuple[str, ...]] = ("path",)
    path_fields: ClassVar[tuple[str, ...]] = ("path",)

    path: Text


class AugmentRow(ShardedRow, tag_field="kind", frozen=True, kw_only=True):
    """A dataset made from another, row by row.

    Attributes:
        mixes: each picture is made of two; the second is of the shard that ``partner_shard`` names.
    """

    mixes: ClassVar[bool] = False

    images: Reference
    side_px: Count

    def fault(self) -> Fault | None:
        """A value that no set of this kind can have: its key, the value and why; None where there is none."""
        return None


class CutMixWeights(Strict, frozen=True, kw_only=True):
    """How often each CutMix pattern is drawn, relative to the others."""

    half: NotNegative
    quarter: NotNegative
    ninth: NotNegative
    sixteenth: NotNegative


class CutMixRow(AugmentRow, tag="cutmix", frozen=True, kw_only=True):
    """A picture with a part of another class pasted in."""

    mixes: ClassVar[bool] = True

    weights: CutMixWeights

    def fault(self) -> Fault | None:
        """Some pattern must be drawn."""
        return no_weight("weights", msgspec.structs.asdict(self.weights))


class CropRow(AugmentRow, tag="crop", frozen=True, kw_only=True):
    """A random square part of a picture."""

    min_scale: Annotated[float, Meta(gt=0.0, le=1.0)]
    max_scale: Annotated[float, Meta(gt=0.0, le=1.0)]

    def fault(self) -> Fault | None:
        """A smallest scale above the largest."""
        if self.min_scale > self.max_scale:
            return Fault("min_scale", self.min_scale, f"must be at most max_scale ({self.max_scale})")
        return None
