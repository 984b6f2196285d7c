"""report.md, and that what is versioned does not differ from run to run."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import NOTHING_TRAINED, parameters
from report_runs import REPORT_PLACE, Reported, reported

from pipeline.reporting.summary import table

VERSIONED = ("metrics.json", "report.md", "plots/tasks.csv", "plots/curves.csv")


def test_a_table_reads_in_a_terminal() -> None:
    assert table(["name", "n"], [["a|b", "1,200"], ["c", "7"]]) == (
        "| name |     n |\n| ---- | ----: |\n| a\\|b | 1,200 |\n| c    |     7 |"
    )


def test_the_text_has_scores_rows_and_the_page(report: Reported) -> None:
    text = report.text("report.md")
    assert "| ta_ia+aesthetic | ta_ia, finetuned on aesthetic |   0.600 | 0.560 - 0.640 |" in text
    assert "| model           | arm                           | overall | 95 % interval | global | entity |" in text
    assert "| ta_ia+aesthetic | ta_ia, finetuned on aesthetic |   0.625 |" in text
    assert "truncated 1" in text
    assert text.endswith("The page of the run: `reports/made_up/report.html`\n")


def test_every_distance_stands_with_its_spread_in_the_text_and_on_the_page(report: Reported) -> None:
    shown = "0.03000 ± 0.01000"
    assert "| model | distance        | value ± std over subsets |" in report.text("report.md")
    assert f"| aio   | kid_demo_vision | {shown}        |" in report.text("report.md")
    assert f'<td class="r">{shown}</td>' in report.text("report.html")


def test_nothing_scored_is_said(tmp_path: Path) -> None:
    text = reported(tmp_path, **NOTHING_TRAINED).text("report.md")
    assert "No model was scored in this run." in text
    assert "geneval" not in text


@pytest.mark.parametrize("name", VERSIONED)
def test_another_place_and_other_execution_values_give_the_same_bytes(
    report: Reported, again: Reported, name: str
) -> None:
    assert again.folder != report.folder
    assert again.text(name) == report.text(name)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    execution = {**parameters()["execution"], "num_threads": 7, "inference_batch_size": 3}
    return reported(tmp_path_factory.mktemp("elsewhere"), execution=execution)


def test_what_does_not_make_a_result_is_not_written(report: Reported, again: Reported) -> None:
    assert report.run.plan.fingerprints.of(REPORT_PLACE) == again.run.plan.fingerprints.of(REPORT_PLACE)
    assert "threads of a job</dt><dd>7<" in again.text("report.html"), "but the page tells"
