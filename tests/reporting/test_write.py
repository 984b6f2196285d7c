"""The report's job: its files, the fingerprint that they carry, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up import MadeUpRun, parameters
from report_runs import REPORT_PLACE, Reported

from pipeline.dag.units import UnitId
from pipeline.data.files import FINGERPRINT_JSON, REPORT_FILES
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.reporting.headline import headline, main
from pipeline.reporting.write import write_report
from pipeline.store.embedded import results_in


def test_all_files_are_written_and_carry_the_fingerprint(report: Reported) -> None:
    names = [FINGERPRINT_JSON, *REPORT_FILES]
    results, strangers = results_in(report.folder, names)
    assert strangers == []
    (found,) = results
    assert found.fault is None
    assert found.fingerprint == report.run.plan.fingerprints.of(REPORT_PLACE)
    assert set(found.names) == set(names)
    carried = json.loads(report.text(FINGERPRINT_JSON))["files"]
    assert carried["metrics.json"] == sha256_of_file(report.folder / "metrics.json")


def test_a_missing_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lost = UnitId("score", "ta_ia", "geneval_shapes")
    run = MadeUpRun(tmp_path, parameters(), skip=lambda unit_id: unit_id == lost)
    with pytest.raises(Refusal, match="needs score/ta_ia geneval_shapes, which is not made"):
        run.make(REPORT_PLACE, write_report)


def test_the_headline_tells_scores_and_place(report: Reported, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = report.run.plan
    monkeypatch.chdir(plan.layout.project)
    fingerprint = plan.fingerprints.of(REPORT_PLACE)
    assert fingerprint is not None
    plan.show(REPORT_PLACE)
    lines = headline(plan).splitlines()
    assert lines[0] == "aio              geneval_shapes  0.300  (95 % interval 0.260 to 0.340)"
    assert lines[1].startswith("aio              dpg_shapes  0.438  (95 % interval ")
    assert lines[2] == "aio              heldout_captions  kid_demo_vision 0.03000 ± 0.01000  (± std over subsets)"
    assert lines[-1] == "Report: reports/made_up/report.html"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a parameter file, nothing made."""
    import yaml

    monkeypatch.chdir(tmp_path)
    for name in ("vlm", "autoencoder", "text_encoder"):
        (tmp_path / "data/demo_models" / name).mkdir(parents=True)
        (tmp_path / "data/demo_models" / name / "config.json").write_text("{}")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters()))
    return tmp_path


def test_without_a_report_there_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--params", "params.yaml"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "reports/made_up/report.html: there is no report of this run yet; run snakemake --configfile params.yaml\n"
    )


def test_a_report_of_other_parameters_is_not_taken_for_this_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "reports/made_up"
    folder.mkdir(parents=True)
    (folder / FINGERPRINT_JSON).write_text(json.dumps({"fingerprint": "of another one"}))
    (folder / "metrics.json").write_text(json.dumps({"models": {}}))
    assert main(["--params", "params.yaml"]) == 1
    assert "made with other parameters than params.yaml has now" in capsys.readouterr().err


def test_a_broken_report_is_told_as_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "reports/made_up"
    folder.mkdir(parents=True)
    (folder / FINGERPRINT_JSON).write_text("{")
    (folder / "metrics.json").write_text("{}")
    assert main(["--params", "params.yaml"]) == 1
    assert "not a report" in capsys.readouterr().err
