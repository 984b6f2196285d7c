"""Parameters of samplers: how pictures are drawn with a model."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pipeline.params.types import Count, Fraction, Interval, NotNegative, Positive, Strict


class GuidedSampler(Strict, tag_field="kind", frozen=True, kw_only=True):
    """A way from noise (t = 1) to a picture (t = 0) with classifier-free guidance."""

    num_steps: Count
    guidance_scale: NotNegative
    guidance_interval: Interval
    guidance_rescale: Fraction


class Euler(GuidedSampler, tag="euler", frozen=True, kw_only=True):
    """Euler's method along the velocity."""


class Heun(GuidedSampler, tag="heun", frozen=True, kw_only=True):
    """Heun's method along the velocity: two passes a step."""


class Dpmpp2m(GuidedSampler, tag="dpmpp_2m", frozen=True, kw_only=True):
    """DPM-Solver++(2M)."""

    clamp: Positive | Literal["none"]


class Ddim(GuidedSampler, tag="ddim", frozen=True, kw_only=True):
    """DDIM without noise of its own."""

    clamp: Positive | Literal["none"]


Sampler = Euler | Heun | Dpmpp2m | Ddim


class FolderScheduler(Strict, tag_field="kind", tag="folder", frozen=True, kw_only=True):
    """The scheduler and the guidance of a diffusers folder, which are its own.

    Its pipelines draw alike, without guidance, at 1 and below, where 0 would be the negative condition alone for our
    own samplers: one spelling of no guidance is taken, 1.
    """

    num_steps: Count
    guidance_scale: Annotated[float, Meta(ge=1.0)]
