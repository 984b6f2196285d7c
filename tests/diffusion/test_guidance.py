"""Guidance: what each scale, interval and rescaling amounts to; values and memory of both branches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.diffusion.guidance import Condition, Guidance, Guided, rescaled

pytestmark = pytest.mark.models

SHAPE = (3, 2, 4, 4)
ALWAYS = (0.0, 1.0)


def condition(rows: int, num_tokens: int, value: float, coherence: float) -> Condition:
    text = torch.full((rows, num_tokens, 2), value)
    mask = torch.ones(rows, num_tokens, dtype=torch.bool)
    return Condition(text, mask, {"coherence": torch.full((rows,), coherence)})


TEXT, EMPTY = condition(3, 4, 1.0, 1.0), condition(1, 1, 0.0, 0.0)


def noise() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))


class Recorder:
    """Predicts something of x, its text and its coherence, and counts; masked tokens would spoil the prediction."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []
        self.carried: list[list[float] | None] = []

    def __call__(
        self, x: Tensor, t: Tensor, condition: Condition, carried: Tensor | None, /
    ) -> tuple[Tensor, Tensor | None]:
        assert x.shape[0] == t.shape[0] == condition.text.shape[0] == condition.values["coherence"].shape[0]
        self.batch_sizes.append(len(x))
        self.carried.append(None if carried is None else carried.tolist())
        shown = (condition.text * condition.mask[..., None]).sum(dim=(1, 2)) / condition.mask.sum(dim=1) / 2
        size = (1 + 2 * shown + 4 * condition.values["coherence"])[:, None, None, None]
        before = torch.zeros(len(x)) if carried is None else carried
        return size * x, before + 1 + shown


def once(scale: float, *, interval: tuple[float, float] = ALWAYS, rescale: float = 0.0, t: float = 0.5) -> Tensor:
    return Guided(Recorder(), TEXT, EMPTY, Guidance(scale, interval, rescale))(noise(), t)


@pytest.mark.parametrize("scale", [0.0, 0.25, 1.0, 4.0])
def test_guidance_is_negative_plus_scaled_difference_of_text_and_values(scale: float) -> None:
    # The negative gives x; text adds 2 x and its coherence 4 x.
    torch.testing.assert_close(once(scale), (1 + 6 * scale) * noise())


def test_one_pass_for_both_branches_and_only_the_one_that_counts() -> None:
    recorder = Recorder()
    for scale in (0.0, 1.0, 4.0):
        guided = Guided(recorder, TEXT, EMPTY, Guidance(scale, ALWAYS, 0.0))
        guided(noise(), 1.0)
        guided(noise(), 0.5)
    assert recorder.batch_sizes == [3, 3, 3, 3, 6, 6]


@pytest.mark.parametrize(
    ("t", "is_guided"), [(0.0, False), (0.19, False), (0.2, True), (0.5, True), (0.8, True), (1.0, False)]
)
def test_outside_the_interval_the_text_alone_counts(t: float, is_guided: bool) -> None:
    found = once(4.0, interval=(0.2, 0.8), t=t)
    assert torch.equal(found, once(4.0 if is_guided else 1.0))


def test_neutral_values_change_no_bit() -> None:
    both = torch.cat([noise(), noise()])
    positive, negative = Recorder()(both, torch.ones(6), TEXT.followed_by(EMPTY.expanded(3)), None)[0].chunk(2)
    assert torch.equal(once(4.0), negative + 4.0 * (positive - negative))


def test_padding_by_nothing_copies_nothing() -> None:
    num_tokens = TEXT.text.shape[1]
    assert TEXT.padded(num_tokens) is TEXT
    assert TEXT.padded(num_tokens + 2).text.shape[1] == num_tokens + 2


def test_rescaling_brings_back_the_spread_per_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    guided, positive = torch.randn(2, *SHAPE, generator=generator).unbind(0)
    guided = guided * torch.tensor([1.0, 5.0, 9.0])[:, None, None, None]
    whole, half = rescaled(guided, positive, 1.0), rescaled(guided, positive, 0.5)
    torch.testing.assert_close(whole.std(dim=(1, 2, 3)), positive.std(dim=(1, 2, 3)))
    torch.testing.assert_close(half, (whole + guided) / 2)
    assert torch.equal(rescaled(guided, positive, 0.0), guided)
    torch.testing.assert_close(rescaled(guided, guided, 0.7), guided)  # nothing to bring back
    torch.testing.assert_close(once(4.0, rescale=1.0), once(1.0))  # here guided and text differ by a factor alone


def test_each_branch_carries_its_own() -> None:
    recorder = Recorder()
    guided = Guided(recorder, TEXT, EMPTY, Guidance(4.0, (0.0, 0.9), 0.0))
    for t in (1.0, 0.8, 0.6, 0.95):
        guided(noise(), t)
    # Unguided, the text's branch alone goes on, for both; then each adds its own.
    assert recorder.carried == [None, [2.0] * 6, [4.0] * 3 + [3.0] * 3, [6.0] * 3]


def test_conditions_that_differ_in_their_values_do_not_go_together() -> None:
    without = Condition(EMPTY.text, EMPTY.mask, {})
    with pytest.raises(KeyError, match="coherence"):
        Guided(Recorder(), TEXT, without, Guidance(4.0, ALWAYS, 0.0))
