"""GenEval 2's scores: closed forms, the published analysis, and what is no score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Refusal
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.soft_tifa import AM, GM, AnsweredPrompt, aggregate, prompt_means

GOLDEN = Path(__file__).resolve().parents[3] / "shared/goldens/geneval2_soft_tifa.json"
BOOTSTRAP = Bootstrap(200, 0.95, 0)
TWO = (
    AnsweredPrompt("a", 3, ("object", "count"), (0.81, 0.25)),
    AnsweredPrompt("b", 4, ("object",), (0.5,)),
)
WANTED = {"a": 2, "b": 1}


def test_the_means_of_a_prompt() -> None:
    assert prompt_means((0.81, 0.25)) == pytest.approx((0.53, 0.45))
    assert prompt_means((1.0, 1.0)) == pytest.approx((1.0, 1.0))
    assert prompt_means((1.0, 0.0)) == (0.5, 0.0)
    assert prompt_means((1e-300,) * 10) == pytest.approx((1e-300, 1e-300))  # their product is below what float64 has


def test_two_prompts_by_hand() -> None:
    scores = aggregate(WANTED, TWO[::-1], BOOTSTRAP)
    assert {name: one.score for name, one in scores.overall.items()} == pytest.approx({AM: 51.5, GM: 47.5})
    assert {name: (one.score, one.number) for name, one in scores.skills.items()} == {
        "count": (pytest.approx(25), 1),
        "object": (pytest.approx(65.5), 2),
    }
    assert {number: (one.score, one.number) for number, one in scores.atomicity.items()} == {
        3: (pytest.approx(45), 1),
        4: (pytest.approx(50), 1),
    }
    am = scores.overall[AM].interval
    assert (am.low, am.high) == pytest.approx((50, 53))  # one of the two twice, at either end


def test_intervals_are_of_resampled_prompts_and_the_same_each_time() -> None:
    prompts = tuple(AnsweredPrompt(str(i), 3, ("object",) * 5, (float(i % 2),) * 5) for i in range(100))
    wanted = {one.prompt_id: 5 for one in prompts}
    scores = aggregate(wanted, prompts, BOOTSTRAP)
    for one in (scores.overall[AM], scores.skills["object"], scores.atomicity[3]):
        assert one.score == pytest.approx(50)
        # a share of 100 prompts has a standard error of 5; questions taken for prompts would have one of 2.2
        assert 16 <= one.interval.high - one.interval.low <= 24
    assert aggregate(wanted, prompts, BOOTSTRAP) == scores


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs goldens/geneval2_soft_tifa.json in ../shared")
def test_agreement_with_the_published_analysis() -> None:
    golden: dict[str, Any] = json.loads(GOLDEN.read_text())
    prompts = [
        AnsweredPrompt(str(one["item"]), one["atom_count"], tuple(one["skills"]), tuple(one["probabilities"]))
        for one in golden["items"]
    ]
    scores = aggregate({one.prompt_id: len(one.skills) for one in prompts}, prompts, BOOTSTRAP)
    for name, one in scores.overall.items():
        assert one.score == pytest.approx(golden[name], abs=1e-9)
    assert {name: one.score for name, one in scores.skills.items()} == pytest.approx(golden["skills"], abs=1e-9)
    found = {str(number): one.score for number, one in scores.atomicity.items()}
    assert found == pytest.approx(golden["atomicity"], abs=1e-9)


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        (TWO[:1], "1 of 2 prompts have no answers, first b"),
        ((), "2 of 2 prompts have no answers, first a"),
        ((*TWO, TWO[0]), "prompt a: is answered twice"),
        ((*TWO, replace(TWO[0], prompt_id="c")), "prompt c: is none of the 2 prompts"),
        ((replace(TWO[0], probabilities=(0.5,)), TWO[1]), "prompt a: 1 answers and 2 skills for 2 questions"),
        ((replace(TWO[0], skills=("object",)), TWO[1]), "prompt a: 2 answers and 1 skills for 2 questions"),
        ((replace(TWO[0], probabilities=(0.5, 1.01)), TWO[1]), r"prompt a: 1.01 is no probability"),
        ((replace(TWO[0], probabilities=(0.5, float("nan"))), TWO[1]), "prompt a: nan is no probability"),
    ],
)
def test_what_is_no_score(answered: tuple[AnsweredPrompt, ...], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        aggregate(WANTED, answered, BOOTSTRAP)
