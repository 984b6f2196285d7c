"""Differences between models on the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_up import job_of, parameters, shapes_metrics
from report_runs import REPORT_PLACE, Reported, reported

from pipeline.evaluation.geneval import TASKS
from pipeline.reporting.differences import arms_with_seeds, pairs_by_benchmark
from pipeline.reporting.lineage import Lineage
from pipeline.reporting.scores import Scored, read_scores


def _scored(name: str, arm: str, seed: int) -> Scored:
    return Scored(Lineage(name, arm, seed, (), ("train/x",), None), {}, {"b": shapes_metrics(0.5)})


@pytest.fixture
def pairs(report: Reported, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(report.run.plan.layout.project)
    job = job_of(report.run.plan, REPORT_PLACE)
    return pairs_by_benchmark(job, read_scores(job))


def test_every_pair_of_a_benchmark_of_tasks_is_compared_once(pairs: Any) -> None:
    assert list(pairs) == ["geneval_shapes", "dpg_shapes"], "distances have no verdicts to compare"
    found = pairs["geneval_shapes"]
    assert [(pair.minuend, pair.subtrahend) for pair in found.models] == [
        ("ta_ia", "aio"),
        ("ta_ia+aesthetic", "aio"),
        ("ta_ia+aesthetic", "ta_ia"),
    ]
    assert found.arms == ()


def test_differences_are_those_of_the_verdicts(pairs: Any) -> None:
    """Made up: prompt n is right for aio where n % 10 < 3, for ta_ia where n % 10 < 7; three prompts a task."""
    found = pairs["geneval_shapes"].models[0].differences
    for number, task in enumerate(TASKS):
        prompts = range(3 * number, 3 * number + 3)
        wanted = sum((n % 10 < 7) - (n % 10 < 3) for n in prompts) / 3
        assert found.tasks[task].value == pytest.approx(wanted), task
        assert found.tasks[task].interval.low <= wanted <= found.tasks[task].interval.high
    assert found.overall.value == pytest.approx(sum(d.value for d in found.tasks.values()) / 6)


def test_differences_of_questions_are_those_of_the_answers(pairs: Any) -> None:
    """Made up: of four prompts, one is right for aio and three for ta_ia; the others have a quarter of their score."""
    found = pairs["dpg_shapes"].models[0].differences
    assert found.overall.value == pytest.approx((3 + 0.25) / 4 - (1 + 3 * 0.25) / 4)
    assert {name: one.value for name, one in found.tasks.items()} == pytest.approx(
        {"global": 0.0, "entity": 0.5, "attribute": 0.0, "relation": 0.5}
    )
    entity = found.tasks["entity"]
    assert entity.interval.low <= 0.5 <= entity.interval.high
    assert not found.tasks["attribute"].is_clear


class _Cells(HTMLParser):
    """The text of table rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += data


def test_the_page_shows_them_with_sign_and_interval(report: Reported, pairs: Any) -> None:
    rows = [" ".join(row.split()) for row in _Cells(report.text("report.html")).rows]
    shown = next(row for row in rows if row.startswith("ta_ia - aio"))
    overall = pairs["geneval_shapes"].models[0].differences.overall
    assert f"{overall.value:+.3f} {overall.interval.low:+.2f} to {overall.interval.high:+.2f}" in shown
    assert len(re.findall(r"[+-]\d\.\d\d to [+-]\d\.\d\d", shown)) == 1 + len(TASKS)


def test_the_page_shows_differences_of_questions_too(report: Reported, pairs: Any) -> None:
    rows = [" ".join(row.split()) for row in _Cells(report.text("report.html")).rows]
    shown = [row for row in rows if row.startswith("ta_ia - aio")]
    assert len(shown) == 2
    overall = pairs["dpg_shapes"].models[0].differences.overall
    assert f"{overall.value:+.3f} {overall.interval.low:+.2f} to {overall.interval.high:+.2f}" in shown[1]
    assert len(re.findall(r"[+-]\d\.\d\d to [+-]\d\.\d\d", shown[1])) == 1 + 4


def test_an_arm_of_two_seeds_stands_on_the_page_as_one(tmp_path: Path) -> None:
    rows = parameters()["train"]["rows"]
    rows["ta_ia"] |= {"arm": "aio", "seed": 1}
    page = reported(tmp_path / "project", train={"rows": rows}).text("report.html")
    shown = [
        row for row in (" ".join(row.split()) for row in _Cells(page).rows) if " - " in row and "overall" not in row
    ]
    assert shown[0].startswith("aio, finetuned on aesthetic - aio (2 seeds) ")
    # made-up shares of right pictures: 0.6 against the mean of 0.3 and 0.7, by prompts whose numbers end in 0 to 9
    right = [sum(n % 10 < limit for n in range(18)) / 18 for limit in (6, 3, 7)]
    assert f"{right[0] - (right[1] + right[2]) / 2:+.3f}" in shown[0]
    assert "The same for single models" in page


def test_arms_are_means_over_seeds_and_nothing_else() -> None:
    several = [_scored("a", "aio", 0), _scored("a-s1", "aio", 1), _scored("t", "ta", 0)]
    assert arms_with_seeds(several) == {"aio": ["a", "a-s1"], "ta": ["t"]}
    assert arms_with_seeds([several[0], several[2]]) == {}
    same_seed = [*several, _scored("a-other-sampler", "aio", 0)]
    assert arms_with_seeds(same_seed) == {}
