"""What a model is trained on, as paths: shards of latents and of text, and how they are combined.

Row j of shard i is the same picture in every set: rows never move. Paths are the store's files; nothing is read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.params.types import PerChannel


@dataclass(frozen=True)
class LatentSet:
    """Raw latents and how they are read: (z - shift) * scale, one number or one per channel.

    Attributes:
        shards: files of the table ``latents``, in order.
        scale: factor.
        shift: offset, None for none.
        index: where each row lies, as the row's manifest says it; None: asked of the shards.
    """

    shards: tuple[Path, ...]
    scale: PerChannel
    shift: PerChannel | None
    index: Path | None = None


@dataclass(frozen=True)
class TextSet:
    """Text embeddings of one caption set.

    Attributes:
        shards: files of the table ``text``, in order.
        unconditional: a shard of one row, the embedding of the empty caption.
        index: where each row lies, as the row's manifest says it; None: asked of the shards.
    """

    shards: tuple[Path, ...]
    unconditional: Path
    index: Path | None = None


WeightedTexts = tuple[tuple[TextSet, float], ...]


@dataclass(frozen=True)
class SwapSet:
    """Augmented pictures that stand in for plain ones at high noise.

    Attributes:
        latents: row by row made from the plain set's rows.
        texts: their own captions, with shares.
        above_t: used where t is larger.
        probability: how often there.
        weight: share among several swap sets that t allows.
    """

    latents: LatentSet
    texts: WeightedTexts
    above_t: float
    probability: float
    weight: float


@dataclass(frozen=True)
class ValidationData:
    """Pictures never trained on."""

    latents: LatentSet
    texts: WeightedTexts


@dataclass(frozen=True)
class TrainingData:
    """All sets of one training. The order of texts and of swaps does not matter: they are sorted by content."""

    latents: LatentSet
    texts: WeightedTexts
    swaps: tuple[SwapSet, ...]
    validation: ValidationData | None
