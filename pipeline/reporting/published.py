"""Published figures that stand beside a run's scores as context. They are of another benchmark: the page says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published score; None where none is quoted.

    Attributes:
        geneval: overall score, 0 to 1.
        dpg_bench: score, 0 to 100.
    """

    model: str
    geneval: float | None
    dpg_bench: float | None


# As quoted by "How far can we go with ImageNet for Text-to-Image generation?" (arXiv 2502.21318).
PUBLISHED = (
    Published("SD-XL", 0.55, 74.65),
    Published("Stable Diffusion 2.1", 0.50, None),
    Published("PixArt-alpha", 0.48, None),
    Published("Stable Diffusion 1.5", 0.43, None),
)
SOURCE = "arXiv 2502.21318"
CLAIM = (
    "The paper that this pipeline follows (arXiv 2502.21318) claims +6 % on GenEval and +5 % on DPG-Bench over SD-XL, "
    "for models of 0.3 to 0.4 billion parameters trained on ImageNet alone."
)
