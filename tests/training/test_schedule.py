"""Schedules against their closed forms, and what more steps mean."""

from __future__ import annotations

import math

import pytest

from pipeline.params.schema import ConstantSchedule, CosinePartSchedule, CosineSchedule, WarmupStableDecay
from pipeline.training.schedule import continues, rate_factor

CONSTANT = ConstantSchedule(num_warmup_steps=4)
COSINE = CosineSchedule(num_warmup_steps=2, final_fraction=0.1)
PART = CosinePartSchedule(num_warmup_steps=5000, part=0.7)
DECAYING = WarmupStableDecay(num_warmup_steps=2, num_decay_steps=4)


def test_constant() -> None:
    assert [rate_factor(CONSTANT, step, 7) for step in range(7)] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert rate_factor(ConstantSchedule(num_warmup_steps=0), 0, 7) == 1


def test_cosine() -> None:
    factors = [rate_factor(COSINE, step, 10) for step in range(10)]
    assert factors[:3] == [0.5, 1, 1]
    assert factors[6] == pytest.approx(0.1 + 0.9 * 0.5)  # half-way
    assert factors == sorted(factors[:2]) + sorted(factors[2:], reverse=True)
    assert rate_factor(COSINE, 10, 10) == pytest.approx(0.1)


def test_part_of_a_cosine_as_the_paper_has_it() -> None:
    """0.5 (1 + cos(0.7 pi progress)): at its ends and in the middle, by hand."""
    assert [rate_factor(PART, step, 500_000) for step in (0, 2499, 4999)] == pytest.approx([1 / 5000, 0.5, 1])
    assert rate_factor(PART, 5000, 500_000) == 1
    assert rate_factor(PART, 252_500, 500_000) == pytest.approx(0.7269952498697734)  # (1 + cos 63 degrees) / 2
    assert rate_factor(PART, 499_999, 500_000) == pytest.approx(0.2061073738537634, abs=3e-6)  # 126 degrees
    whole = CosinePartSchedule(num_warmup_steps=2, part=1.0)
    same = CosineSchedule(num_warmup_steps=2, final_fraction=0.0)
    assert [rate_factor(whole, step, 9) for step in range(9)] == [rate_factor(same, step, 9) for step in range(9)]
    assert math.cos(math.radians(126)) == pytest.approx(2 * 0.2061073738537634 - 1)


def test_warmup_stable_decay() -> None:
    assert [rate_factor(DECAYING, step, 10) for step in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    # Shorter than its decay: all decay, never 0.
    assert [rate_factor(DECAYING, step, 3) for step in range(3)] == pytest.approx([0.5, 2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("schedule", "step", "made_under", "num_steps", "expected"),
    [
        (CONSTANT, 10, 10, 20, True),
        (CONSTANT, 10, 20, 10, True),
        (CONSTANT, 11, 20, 10, False),  # further than asked
        (COSINE, 5, 10, 10, True),
        (COSINE, 5, 10, 20, False),
        (PART, 5, 10, 10, True),
        (PART, 5, 10, 20, False),
        (DECAYING, 6, 10, 20, True),  # the decay of 10 starts after 6 steps
        (DECAYING, 7, 10, 20, False),
        (DECAYING, 7, 10, 10, True),
        (DECAYING, 9, 20, 12, False),  # not decayed yet where it was made, but here it would be
        (DECAYING, 8, 20, 12, True),
        (DECAYING, 10, 10, 9, False),
    ],
)
def test_which_states_can_go_on(
    schedule: ConstantSchedule | CosineSchedule | CosinePartSchedule | WarmupStableDecay,
    step: int,
    made_under: int,
    num_steps: int,
    expected: bool,
) -> None:
    assert continues(schedule, step=step, made_under=made_under, num_steps=num_steps) is expected


def test_a_state_that_goes_on_has_met_the_same_rates() -> None:
    """``continues`` follows from ``rate_factor``: true exactly where no earlier step had another rate (WSD)."""
    for made_under in range(1, 15):
        for num_steps in range(1, 15):
            for step in range(min(made_under, num_steps) + 1):
                rates = [[rate_factor(DECAYING, i, n) for i in range(step)] for n in (made_under, num_steps)]
                allowed = continues(DECAYING, step=step, made_under=made_under, num_steps=num_steps)
                assert not allowed or rates[0] == rates[1]
                assert allowed or rates[0] != rates[1] or _decay_began(step, made_under, num_steps)


def _decay_began(step: int, made_under: int, num_steps: int) -> bool:
    # The first decayed step still has factor 1, so a state one step into a decay is turned down needlessly: harmless.
    return step == min(max(0, n - DECAYING.num_decay_steps) for n in (made_under, num_steps)) + 1
