"""Parameters of scores beside the benchmarks' own verdicts."""

from __future__ import annotations

from pipeline.params.types import Count, Fraction, Name, Positive, Reference, Strict


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
