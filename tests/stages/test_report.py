"""Report: one page that stands alone, with what the run's results say."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whole_run import WholeRuns


def test_the_page_loads_nothing_from_elsewhere(whole: WholeRuns) -> None:
    page = (whole.snakemake.folder / "reports/whole/report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*["']""", page.replace('href="https://arxiv.org', '"'))
    assert "<script src" not in page


def test_rejected_rows_are_counted_as_the_manifests_count_them(whole: WholeRuns) -> None:
    page = (whole.snakemake.folder / "reports/whole/report.html").read_text()
    manifest = json.loads(whole.result("augment/cutmix", "manifest").read_text())
    for reason in manifest["rejected"]:
        assert reason in page
    assert "demo encoders" in page.lower()


def test_metrics_name_the_trained_models_arm_and_seed_and_what_it_was_finetuned_on(whole: WholeRuns) -> None:
    metrics = json.loads((whole.snakemake.folder / "reports/whole/metrics.json").read_text())
    assert metrics["schema"] == 1
    assert metrics["run"] == "whole"
    more = metrics["models"]["more"]
    assert (more["arm"], more["seed"], more["finetuned_on"]) == ("ta_ia", 0, "aesthetic, aesthetic")
    assert metrics["models"]["ta_ia"]["finetuned_on"] is None
    scored = metrics["models"]["ta_ia"]["benchmarks"]["geneval_shapes"]
    stored = json.loads(whole.result("score/ta_ia", "geneval_shapes", "geneval_shapes/metrics.json").read_text())
    assert scored["overall"] == stored["overall"]
    assert set(scored["tasks"]) == set(stored["tasks"])
