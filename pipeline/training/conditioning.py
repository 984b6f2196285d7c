"""What a network is told in training beside its noised latents and its text: latents of a first pass, and scores.

Training data have no scores of their own. A network that takes some is trained as it is sampled: a picture with its
caption at the scores that it is drawn with, one whose caption is dropped at those that guidance leads away from. The
authors give each picture its own score, and zero where the caption is dropped (arXiv 2502.21318).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.interop import references
from pipeline.interop.references import References


@dataclass(frozen=True)
class Conditioning:
    """Values of one training.

    Attributes:
        self_conditioning: share of samples that are given latents of a first pass; 0 for a network that takes none.
        scores: score name to the value of a sample with its caption; a score that is not named is absent.
        dropped_scores: the same of a sample with the empty caption; the same names.
    """

    self_conditioning: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    dropped_scores: Mapping[str, float] = field(default_factory=dict)

    def scores_of(self, caption_dropped: Tensor) -> dict[str, Tensor]:
        """A value per sample for each score, float32 [B], of samples that have their caption or, [B] bool, do not."""
        return {
            name: torch.where(caption_dropped, self.dropped_scores[name], value) for name, value in self.scores.items()
        }


def conditioning_of(refers: References) -> Conditioning:
    """How a model is trained that says this of itself."""
    return Conditioning(
        self_conditioning=references.self_conditioning_of(refers),
        scores=references.chosen_scores(refers, {}),
        dropped_scores=references.negative_scores_of(refers),
    )
