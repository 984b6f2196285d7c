"""Draws: every usable row once an epoch, arms alike, shares as asked, nothing shifted by null rows."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_training as tiny

from pipeline.data.randomness import Coordinates
from pipeline.errors import Refusal
from pipeline.params.schema import LogitNormalTimesteps, RectifiedFlow, UniformTimesteps
from pipeline.training.draws import Draw, TrainingDraws, TrainingRows, validation_draws
from pipeline.training.sets import SwapSet, TrainingData

UNIFORM = RectifiedFlow(timesteps=UniformTimesteps(), shift=1.0)
USABLE = sorted(set(range(14)) - {3, 9})


def draws_of(data: TrainingData, **changes: Any) -> TrainingDraws:
    values: dict[str, Any] = {
        "seed": (0, 0),
        "objective": UNIFORM,
        "caption_dropout": 0.2,
        "self_conditioning": 0.0,
        "batch_size": 5,
    }
    return TrainingDraws(TrainingRows(data), **{**values, **changes})


def sequence(draws: TrainingDraws, num_steps: int) -> list[Draw]:
    return [draw for step in range(num_steps) for draw in draws.of_step(step)]


def test_each_epoch_has_every_usable_row_once_in_another_order(data: TrainingData) -> None:
    drawn = sequence(draws_of(data), 12)  # 60 samples, 5 epochs of 12
    epochs = [[draw.row for draw in drawn[i : i + 12]] for i in range(0, 60, 12)]
    assert [sorted(epoch) for epoch in epochs] == [USABLE] * 5
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_position_is_arithmetic_and_steps_are_random_access(data: TrainingData) -> None:
    draws = draws_of(data)
    assert [draws.position(step) for step in (0, 2, 3, 12)] == [(0, 0), (0, 10), (1, 3), (5, 0)]
    in_order = sequence(draws, 12)
    assert [draw for step in reversed(range(12)) for draw in reversed(draws.of_step(step))] == in_order[::-1]
    assert draws_of(data).of_step(1_000_000) == draws.of_step(1_000_000)


def test_a_batch_larger_than_the_data_repeats_them(data: TrainingData) -> None:
    assert Counter(draw.row for draw in draws_of(data, batch_size=36).of_step(0)) == dict.fromkeys(USABLE, 3)


def test_arms_see_one_order_and_the_same_numbers(data: TrainingData) -> None:
    label_only = replace(data, texts=(data.texts[1],), swaps=())  # row 9 is whole here, null in the other arm
    one, other = sequence(draws_of(data), 12), sequence(draws_of(label_only), 13)
    other_rows = [(draw.coordinates, draw.t, draw.caption_dropped) for draw in other if draw.row != 9]
    assert [(draw.coordinates, draw.t, draw.caption_dropped) for draw in one] == other_rows[: len(one)]
    assert {draw.row for draw in other} == {*USABLE, 9}


def test_the_order_of_sets_in_the_parameters_does_not_matter(data: TrainingData) -> None:
    turned = replace(data, texts=data.texts[::-1])
    assert sequence(draws_of(data), 12) == sequence(draws_of(turned), 12)


def test_seeds_differ(data: TrainingData) -> None:
    first, second = (sequence(draws_of(data, seed=seed), 3) for seed in ((0, 0), (0, 1)))
    assert [draw.row for draw in first] != [draw.row for draw in second]
    assert {draw.t for draw in first}.isdisjoint(draw.t for draw in second)


def test_shares_of_texts_dropout_and_swaps(data: TrainingData) -> None:
    draws = draws_of(data)
    rows = TrainingRows(data)
    drawn = sequence(draws, 2000)
    assert {draw.swap for draw in drawn if draw.t <= 0.4} == {None}
    assert {draw.swap for draw in drawn if draw.row == 4} == {None}  # null in the swap set: the plain row
    high = [draw for draw in drawn if draw.t > 0.4 and draw.row != 4]
    assert abs(np.mean([draw.swap == 0 for draw in high]) - 0.5) < 0.03
    assert abs(np.mean([draw.caption_dropped for draw in drawn]) - 0.2) < 0.02
    vlm = next(i for i, text in enumerate(rows.main.texts) if text.fingerprints[0].startswith("vlm"))
    assert abs(np.mean([draw.text == vlm for draw in drawn if draw.swap is None]) - 0.7) < 0.03
    assert abs(np.mean([draw.t for draw in drawn]) - 0.5) < 0.01
    assert len({draw.t for draw in drawn}) == len(drawn)


def test_several_swaps_are_drawn_by_weight_among_those_that_t_allows(data: TrainingData, tmp_path: Path) -> None:
    crop = SwapSet(
        latents=tiny.latent_set(tiny.write_latents(tmp_path / "crop", tiny.swap_key)),
        texts=((tiny.write_text(tmp_path / "crop-vlm", tiny.swap_key), 1.0),),
        above_t=0.8,
        probability=1.0,
        weight=3.0,
    )
    both = replace(data, swaps=(replace(data.swaps[0], probability=1.0), crop))
    drawn = [draw for draw in sequence(draws_of(both), 2000) if draw.row != 4]
    names = [rows.latents.fingerprints[0] for rows in TrainingRows(both).swaps]
    between = Counter(names[draw.swap] for draw in drawn if draw.swap is not None and 0.4 < draw.t <= 0.8)
    above = Counter(names[draw.swap] for draw in drawn if draw.swap is not None and draw.t > 0.8)
    assert set(between) == {"cutmix-0"}
    assert abs(above["crop-0"] / above.total() - 0.75) < 0.03


def test_timesteps_follow_the_objective(data: TrainingData) -> None:
    objective = RectifiedFlow(timesteps=LogitNormalTimesteps(mean=0.0, std=1.0), shift=1.0)
    logits = [math.log(draw.t / (1 - draw.t)) for draw in sequence(draws_of(data, objective=objective), 2000)]
    assert abs(np.mean(logits)) < 0.04
    assert abs(np.std(logits) - 1) < 0.03


def test_validation_draws_are_fixed_and_spread_evenly(data: TrainingData) -> None:
    assert data.validation is not None
    drawn = validation_draws(TrainingRows(data.validation), 10, 0.9)
    assert [draw.t for draw in drawn] == pytest.approx([0.05 + 0.1 * i for i in range(10)])
    assert [draw.row for draw in drawn] == list(range(10))
    assert not any(draw.caption_dropped or draw.swap is not None for draw in drawn)


def test_a_text_set_without_weight_is_not_needed(data: TrainingData) -> None:
    rows = TrainingRows(replace(data, texts=((data.texts[0][0], 0.0), data.texts[1])))
    assert len(rows.main.texts) == 1
    with pytest.raises(Refusal, match="no text set has a positive weight"):
        TrainingRows(replace(data, texts=((data.texts[0][0], 0.0),)))


def test_sets_that_do_not_fit_are_refused(data: TrainingData, tmp_path: Path) -> None:
    other_keys = tiny.write_text(tmp_path / "other", lambda row: f"other/{row:03d}")
    with pytest.raises(Refusal, match="not the same pictures"):
        TrainingRows(replace(data, texts=((other_keys, 1.0),)))
    short = replace(data.texts[0][0], shards=data.texts[0][0].shards[:1])
    with pytest.raises(Refusal, match=r"\[7, 14\] rows up to each shard's end here, \[7\] there"):
        TrainingRows(replace(data, texts=((short, 1.0),)))
    wide = tiny.write_text(tmp_path / "wide", dim=5)
    with pytest.raises(Refusal, match="use one text encoder"):
        TrainingRows(replace(data, texts=(data.texts[1], (wide, 1.0))))
    not_made_from = replace(data.swaps[0], latents=data.latents, texts=data.texts)
    with pytest.raises(Refusal, match="tiny/000 stands in the place of tiny/000; make it from the plain set"):
        TrainingRows(replace(data, swaps=(not_made_from,)))
    all_null = tiny.write_text(tmp_path / "null", null=range(14))
    with pytest.raises(Refusal, match="no row of the training data is whole"):
        TrainingRows(replace(data, texts=((all_null, 1.0),)))


def test_self_conditioning_is_a_share_of_the_samples_and_changes_no_other_draw(data: TrainingData) -> None:
    plain, shared = (sequence(draws_of(data, self_conditioning=share), 120) for share in (0.0, 0.9))
    assert not any(draw.self_conditioned for draw in plain)
    assert 0.85 < sum(draw.self_conditioned for draw in shared) / len(shared) < 0.95
    assert [replace(draw, self_conditioned=False) for draw in shared] == plain
    again = draws_of(data, self_conditioning=0.9)
    assert [draw for step in reversed(range(120)) for draw in reversed(again.of_step(step))] == shared[::-1]


# --- draws that must be independent

# Of each named draw what it decides, or None where a sample does not show it, and how often it must be so.
OUTCOMES: dict[str, Any] = {
    "t": (lambda draw: draw.t, 0.5),
    "text": (lambda draw: None if draw.swap is not None else float(draw.text == 0), 0.5),
    "caption_dropout": (lambda draw: float(draw.caption_dropped), 0.3),
    "self_conditioning": (lambda draw: float(draw.self_conditioned), 0.6),
    "swap_set": (lambda draw: None if draw.swap is None else float(draw.swap == 0), 0.5),
    "swap": (lambda draw: float(draw.swap is not None), 0.4),
    "swap_text": (lambda draw: None if draw.swap is None else float(draw.text == 0), 0.5),
}
NUM_SAMPLES = 6000
BOUND = 4.5  # standard errors: chance alone passes it once in 5,000 sets of the 28 numbers that are looked at


@pytest.fixture(scope="module")
def every_draw(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Two text sets and two swap sets of two text sets each, of equal weights, all rows whole."""
    folder = tmp_path_factory.mktemp("every-draw")

    def texts(name: str, key_of: Any) -> tuple[Any, ...]:
        return tuple((tiny.write_text(folder / f"{name}-{number}", key_of), 1.0) for number in range(2))

    swaps = tuple(
        SwapSet(
            latents=tiny.latent_set(tiny.write_latents(folder / name, tiny.swap_key)),
            texts=texts(f"{name}-text", tiny.swap_key),
            above_t=0.0,
            probability=0.4,
            weight=1.0,
        )
        for name in ("cutmix", "crop")
    )
    latents = tiny.latent_set(tiny.write_latents(folder / "plain"))
    return TrainingData(latents, texts("plain-text", tiny.plain_key), swaps, None)


def dependences(data: TrainingData) -> set[str]:
    """Draws, or pairs of them, that are not as independent ones are, over many keys and epochs of one seed.

    Shares are looked at too: a draw that is seen only where another one came out so (the text of a swap) is shifted by
    that one where both are made from the same number, and there is no correlation to compute. The error of a mean of n
    values is s / sqrt(n), that of the correlation of n independent pairs 1 / sqrt(n).
    """
    draws = draws_of(data, caption_dropout=0.3, self_conditioning=0.6, batch_size=100)
    drawn = sequence(draws, NUM_SAMPLES // 100)
    values = {
        name: np.array([math.nan if (value := outcome(draw)) is None else value for draw in drawn])
        for name, (outcome, _) in OUTCOMES.items()
    }
    wrong = set()
    for name, (_, share) in OUTCOMES.items():
        seen = values[name][~np.isnan(values[name])]
        spread = 12**-0.5 if name == "t" else (share * (1 - share)) ** 0.5
        if abs(seen.mean() - share) > BOUND * spread / len(seen) ** 0.5:
            wrong.add(name)
    for one, other in itertools.combinations(OUTCOMES, 2):
        both = ~np.isnan(values[one]) & ~np.isnan(values[other])
        first, second = values[one][both], values[other][both]
        if len(first) and first.std() and second.std():
            correlation = np.corrcoef(first, second)[0, 1]
            if abs(correlation) > BOUND / len(first) ** 0.5:
                wrong.add(f"{one} and {other}")
    return wrong


def test_every_draw_has_a_coordinate_of_its_own(every_draw: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()

    def watched(at: Coordinates, name: str | int) -> float:
        names.add(name)
        return uniform(at, name)

    uniform = Coordinates.uniform
    monkeypatch.setattr(Coordinates, "uniform", watched)
    assert dependences(every_draw) == set()
    assert names == set(OUTCOMES)  # a new draw is looked at too, and none has taken another one's name


# Of a sample whose picture is swapped the plain text is thrown away: no outcome shows these two, the names above do.
NEVER_TOGETHER = {("text", "swap_set"), ("text", "swap_text")}


@pytest.mark.parametrize(
    ("one", "other"), [pair for pair in itertools.combinations(OUTCOMES, 2) if pair not in NEVER_TOGETHER]
)
def test_two_draws_from_one_coordinate_are_noticed(
    every_draw: TrainingData, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    def shared(at: Coordinates, name: str | int) -> float:
        return uniform(at, one if name == other else name)

    uniform = Coordinates.uniform
    monkeypatch.setattr(Coordinates, "uniform", shared)
    assert dependences(every_draw)
