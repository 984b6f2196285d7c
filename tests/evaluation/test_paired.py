"""The paired bootstrap against the binomial distribution, and against what the scores themselves say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.errors import Refusal
from pipeline.evaluation.dpg import OVERALL, AnsweredImage, Question
from pipeline.evaluation.dpg import aggregate as dpg_aggregate
from pipeline.evaluation.geneval import TASKS
from pipeline.evaluation.geneval_scores import JudgedImage, aggregate
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.paired import Shares, differences, mean_shares, weighted_differences

NUM_PROMPTS = 40
BOOTSTRAP = Bootstrap(num_resamples=4000, level=0.95, seed=0)


def shares(of_prompt: list[float]) -> Shares:
    """The same shares, prompt by prompt, in every task."""
    return {task: {f"{task}-{n:03d}": share for n, share in enumerate(of_prompt)} for task in TASKS}


@pytest.mark.parametrize("num_better", [4, 10, 20])
def test_the_interval_of_a_task_is_the_binomials(num_better: int) -> None:
    """One model is right wherever the other is, and on ``num_better`` prompts more: a resampled difference is
    Binomial(n, k / n) / n, whatever the other prompts' scores are."""
    better = [1.0] * num_better + [float(n % 2) for n in range(NUM_PROMPTS - num_better)]
    worse = [0.0] * num_better + better[num_better:]
    found = differences(shares(better), shares(worse), BOOTSTRAP)
    low, high = binom.ppf([0.025, 0.975], NUM_PROMPTS, num_better / NUM_PROMPTS) / NUM_PROMPTS
    for task in TASKS:
        assert found.tasks[task].value == pytest.approx(num_better / NUM_PROMPTS)
        # a quantile of 4000 draws may lie one step of the lattice beside the true one
        assert found.tasks[task].interval.low == pytest.approx(low, abs=1.01 / NUM_PROMPTS)
        assert found.tasks[task].interval.high == pytest.approx(high, abs=1.01 / NUM_PROMPTS)


def test_the_overall_interval_is_that_of_a_mean_of_six() -> None:
    share = 10 / NUM_PROMPTS
    found = differences(shares([1.0] * 10 + [0.0] * 30), shares([0.0] * NUM_PROMPTS), BOOTSTRAP).overall
    spread = np.sqrt(share * (1 - share) / NUM_PROMPTS / len(TASKS))
    assert found.value == pytest.approx(share)
    assert found.interval.low == pytest.approx(share - 1.96 * spread, abs=0.006)
    assert found.interval.high == pytest.approx(share + 1.96 * spread, abs=0.006)
    assert found.is_clear


def test_prompts_that_are_hard_for_both_do_not_widen_it() -> None:
    """Half of the prompts are beyond either model; one is 0.05 better on each: the difference is certain."""
    hard = [0.0, 0.9] * (NUM_PROMPTS // 2)
    found = differences(shares([share + 0.05 for share in hard]), shares(hard), BOOTSTRAP)
    assert found.overall.interval.low == pytest.approx(0.05)
    assert found.overall.interval.high == pytest.approx(0.05)


def test_a_model_does_not_differ_from_itself_and_signs_turn_around() -> None:
    one, other = shares([0.25, 0.5] * 20), shares([0.5, 0.75, 0.0, 1.0] * 10)
    same = differences(one, one, BOOTSTRAP).overall
    assert (same.value, same.interval.low, same.interval.high, same.is_clear) == (0, 0, 0, False)
    there, back = differences(one, other, BOOTSTRAP).overall, differences(other, one, BOOTSTRAP).overall
    assert there.value == pytest.approx(-back.value)
    assert there.interval.low == pytest.approx(-back.interval.high)


def test_values_are_differences_of_the_scores() -> None:
    def judged(right: int) -> list[JudgedImage]:
        names = [f"{task}-{n:03d}" for task in TASKS for n in range(8)]
        return [
            JudgedImage(name, i, (number * 7 + i) % 10 < right) for number, name in enumerate(names) for i in (0, 1)
        ]

    def shares_of(images: list[JudgedImage]) -> Shares:
        found: dict[str, dict[str, float]] = {}
        for image in images:
            of_task = found.setdefault(image.prompt_id.rpartition("-")[0], {})
            of_task[image.prompt_id] = of_task.get(image.prompt_id, 0.0) + image.correct / 2
        return found

    task_of = {image.prompt_id: image.prompt_id.rpartition("-")[0] for image in judged(0)}
    scores = [aggregate(judged(right), task_of, 2, BOOTSTRAP) for right in (7, 4)]
    found = differences(shares_of(judged(7)), shares_of(judged(4)), BOOTSTRAP)
    assert found.overall.value == pytest.approx(scores[0].overall - scores[1].overall)
    for task in TASKS:
        assert found.tasks[task].value == pytest.approx(scores[0].tasks[task] - scores[1].tasks[task])


def test_a_mean_over_seeds_is_taken_prompt_by_prompt() -> None:
    mean = mean_shares([shares([0.0, 1.0]), shares([0.5, 1.0])])
    assert mean["colors"] == {"colors-000": 0.25, "colors-001": 1.0}


def test_other_prompts_are_refused() -> None:
    with pytest.raises(Refusal, match="not judged on the same prompts"):
        differences(shares([0.5] * 3), shares([0.5] * 4), BOOTSTRAP)
    with pytest.raises(Refusal, match="not judged on the same prompts"):
        mean_shares([{"colors": {"a": 1.0}}, {"colors": {"b": 1.0}}])
    with pytest.raises(Refusal, match="these scores are of colors, not of GenEval's tasks"):
        differences({"colors": {"a": 1.0}}, {"colors": {"a": 1.0}}, BOOTSTRAP)
    weights = {OVERALL: {"a": 1.0}}
    with pytest.raises(Refusal, match="not judged on the same prompts"):
        weighted_differences({OVERALL: {"a": 1.0}}, {OVERALL: {"b": 1.0}}, weights, BOOTSTRAP)


def test_differences_of_questions_are_weighed_by_them_and_the_overall_score_is_not() -> None:
    """Prompt a has three questions of the category, b one, c none."""
    weights = {OVERALL: dict.fromkeys("abc", 1.0), "entity": {"a": 3.0, "b": 1.0}}
    one = {OVERALL: {"a": 1.0, "b": 0.5, "c": 1.0}, "entity": {"a": 1.0, "b": 0.5}}
    other = {OVERALL: {"a": 0.0, "b": 0.5, "c": 0.5}, "entity": {"a": 0.0, "b": 1.0}}
    found = weighted_differences(one, other, weights, BOOTSTRAP)
    assert found.overall.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert list(found.tasks) == ["entity"]
    assert found.tasks["entity"].value == pytest.approx((3 * 1 - 1 * 0.5) / 4)
    # two prompts drawn with replacement: both a, a and b, both b
    assert found.tasks["entity"].interval.low == pytest.approx(-0.5)
    assert found.tasks["entity"].interval.high == pytest.approx(1.0)


def test_differences_of_questions_are_differences_of_the_scores() -> None:
    questions = {
        f"{n:02d}": tuple(Question(i, (), ("entity", "other")[i % 2], "x", "?") for i in range(1, 2 + n % 4))
        for n in range(20)
    }

    def answers(prompt_id: str, limit: int) -> list[str]:
        return ["yes" if (7 * int(prompt_id) + 3 * i) % 10 < limit else "no" for i in range(len(questions[prompt_id]))]

    def shares_of(limit: int) -> Shares:
        found: dict[str, dict[str, float]] = {OVERALL: {}, "entity": {}, "other": {}}
        for name, asked in questions.items():
            yes = [answer == "yes" for answer in answers(name, limit)]
            found[OVERALL][name] = float(np.mean(yes))
            for category in ("entity", "other"):
                own = [one for one, question in zip(yes, asked, strict=True) if question.category == category]
                if own:
                    found[category][name] = float(np.mean(own))
        return found

    weights = {
        name: {p: 1.0 if name == OVERALL else float(sum(q.category == name for q in questions[p])) for p in prompts}
        for name, prompts in shares_of(5).items()
    }
    scores = [
        dpg_aggregate(
            questions,
            [AnsweredImage(name, 0, tuple(answers(name, limit))) for name in questions],
            1,
            BOOTSTRAP,
            only_last_image_in_categories=False,
        )
        for limit in (8, 3)
    ]
    found = weighted_differences(shares_of(8), shares_of(3), weights, BOOTSTRAP)
    assert found.overall.value == pytest.approx(scores[0].overall - scores[1].overall)
    for category in ("entity", "other"):
        wanted = scores[0].categories[category] - scores[1].categories[category]
        assert found.tasks[category].value == pytest.approx(wanted)
    assert found.overall.is_clear
