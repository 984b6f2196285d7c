"""Finetuned models beside those that they start from: style and scores, before, after and their difference."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import pytest
from made_up import HOSTILE, STYLE_SCORE, job_of, parameters, shapes_metrics, style_metrics
from report_runs import REPORT_PLACE, Reported, reported

from pipeline.errors import Refusal
from pipeline.reporting.finetuning import finetunings
from pipeline.reporting.lineage import Lineage
from pipeline.reporting.scores import Scored, _merge_style, metrics_content, read_scores
from pipeline.reporting.summary import score_blocks


def section(page: str) -> str:
    """The text of the page's section."""
    found = re.search(r'<section id="finetuning">.*?</section>', page, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]*>", " ", found[0]).split())


def test_a_finetuned_model_stands_beside_the_one_it_starts_from(
    report: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(report.run.plan.layout.project)
    job = job_of(report.run.plan, REPORT_PLACE)
    (one,) = finetunings(job, read_scores(job))
    assert (one.before, one.after, one.finetuned_on, one.auc) == ("ta_ia", "ta_ia+aesthetic", "aesthetic", 0.9875)
    style, overall = one.changes
    assert (style.name, style.before, style.after) == ("style", 0.2, 0.8)
    assert style.apart
    # every prompt differs by the same: no resampling moves the difference, though it moves both scores
    assert style.difference.value == pytest.approx(0.6)
    assert (style.difference.interval.low, style.difference.interval.high) == pytest.approx((0.6, 0.6))
    assert (overall.name, overall.before, overall.after) == ("geneval_shapes", 0.7, 0.6)
    right = [sum(n % 10 < limit for n in range(18)) / 18 for limit in (7, 6)]
    assert overall.difference.value == pytest.approx(right[1] - right[0])


def test_the_page_shows_both_scores_with_intervals_and_difference(report: Reported) -> None:
    text = section(report.text("report.html"))
    assert "style 0.200 0.170 to 0.230 0.800 0.770 to 0.830 +0.600 +0.60 to +0.60 apart" in text
    assert "geneval_shapes 0.700 0.660 to 0.740 0.600 0.560 to 0.640" in text
    assert "an AUC of 0.9875" in text
    assert '<a href="#finetuning">' in report.text("report.html")


def test_metrics_and_the_terminal_have_the_style(report: Reported) -> None:
    models = json.loads(report.text("metrics.json"))["models"]
    assert models["ta_ia+aesthetic"]["style"] == {"score": 0.8, "interval": [0.77, 0.8300000000000001], "auc": 0.9875}
    assert "style" not in models["aio"]
    assert re.search(r"\| ta_ia +\| ta_ia +\| 0.200 \| 0.170 - 0.230 \| +0.9875 \|", report.text("report.md"))


def test_a_refused_style_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STYLE_SCORE:
        monkeypatch.setitem(made_up.STYLE_SCORE, name, -1.0)
    refused = reported(tmp_path / "project")
    text = section(refused.text("report.html"))
    assert "No style score : AUC 0.500 on held-out pictures &lt;script&gt;" in text
    assert "geneval_shapes 0.700" in text
    assert json.loads(refused.text("metrics.json"))["models"]["ta_ia"]["style"] == {
        "auc": 0.5,
        "refused": f"AUC 0.500 on held-out pictures {HOSTILE}",
    }
    assert "refused" in refused.text("report.md")


def test_without_a_finetuned_model_there_is_no_section(tmp_path: Path) -> None:
    rows: dict[str, Any] = parameters()["score"]["rows"]
    del rows["ta_ia+aesthetic"], rows["ta_ia"]["style"]
    main = {"rows": {"main": {"scores": ["score/aio", "score/ta_ia"]}}}
    page = reported(tmp_path / "project", score={"rows": rows}, report=main)
    assert "finetuning" not in page.text("report.html").lower().split("<main")[0].split("</style>")[1]
    assert "style" not in json.loads(page.text("metrics.json"))["models"]["ta_ia"]
    assert "## style" not in page.text("report.md")


def test_two_style_scores_of_one_model_must_agree() -> None:
    scored = Scored(Lineage("a", "a", 0, (), ("train/a",), None), {}, {"b": shapes_metrics(0.5)})
    _merge_style(scored, "first", style_metrics(0.4))
    _merge_style(scored, "second", style_metrics(0.4))
    assert scored.style == style_metrics(0.4)
    assert metrics_content("run", [scored])["models"]["a"]["style"]["score"] == 0.4
    assert "| a     | a   | 0.400 |" in score_blocks([replace(scored, benchmarks={})])[-1]
    with pytest.raises(Refusal, match="score/first and score/third give a two different style scores"):
        _merge_style(scored, "third", style_metrics(0.5))
