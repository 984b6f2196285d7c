"""Parameters of scores: judges, metrics of sets of pictures, features that those are measured on, style probes."""

from __future__ import annotations

from typing import ClassVar

from pipeline.params.benchmarks import Role
from pipeline.params.types import Count, Fraction, Name, Positive, Reference, Strict, Text


class Judge(Strict, tag_field="kind", frozen=True, kw_only=True):
    """What looks at a picture for a benchmark.

    Attributes:
        roles: what it can be: ``detector``, ``answerer`` or both.
    """

    roles: ClassVar[tuple[Role, ...]] = ()

    @property
    def pretrained(self) -> tuple[str, str | None] | None:
        """The model and its pinned revision; None where no model is loaded."""
        return None


class ShapesJudge(Judge, tag="shapes", frozen=True, kw_only=True):
    """The demo's exact one of shapes and colours."""

    roles: ClassVar[tuple[Role, ...]] = ("detector", "answerer")


class Metric(Strict, tag_field="kind", frozen=True, kw_only=True):
    """A distance between two sets of pictures, in features of an image encoder."""


class Kid(Metric, tag="kid", frozen=True, kw_only=True):
    """The kernel distance, a mean over random subsets."""

    subset_size: Count
    num_subsets: Count


class Fid(Metric, tag="fid", frozen=True, kw_only=True):
    """The Frechet distance."""


class Features(Strict, tag_field="kind", frozen=True, kw_only=True):
    """An image encoder whose features distances and style probes are measured on."""

    side_px: Count
    demo: bool

    @property
    def pretrained(self) -> tuple[str, str | None] | None:
        """The model and its pinned revision; None where no model is loaded."""
        return None


class VisionTower(Features, tag="vision_tower", frozen=True, kw_only=True):
    """The vision tower of a captioner."""

    model: Text
    revision: Text | None = None

    @property
    def pretrained(self) -> tuple[str, str | None]:
        """The model and its pinned revision."""
        return self.model, self.revision


class StyleProbe(Strict, frozen=True, kw_only=True):
    """A linear probe between plain and aesthetic pictures: where it is fitted, checked and asked."""

    benchmark: Name
    plain: Reference
    aesthetic: Reference
    heldout_plain: Reference
    heldout_aesthetic: Reference
    num_fitted: Count
    num_heldout: Count
    l2: Positive
    min_auc: Fraction
