"""The limit of rejects judges a row as a whole: it ends a job of no use early, and voids no shard that is good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_project import plan_of, run_small, run_stage, small_parameters, write_parameters

from pipeline.dag.units import MANIFEST, REPORT, UnitId
from pipeline.store.store import PARTIAL_SUFFIX

PARAMS = "params.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_limit(parameters: dict[str, Any], limit: float) -> dict[str, Any]:
    for stage in ("download", "recaption"):
        parameters[stage]["max_reject_fraction"] = limit
    return parameters


def entries(project: Path) -> set[str]:
    """Finished results."""
    return {path.name for path in (project / "data/store").glob("*/*") if not path.name.endswith(PARTIAL_SUFFIX)}


def test_another_limit_makes_manifests_anew_and_nothing_else(project: Path) -> None:
    write_parameters(project / PARAMS, with_limit(small_parameters(), 0.01))
    run_small()
    before = plan_of(project)
    made, fingerprints = entries(project), {unit_id: before.fingerprints.of(unit_id) for unit_id in before.unit_ids()}
    write_parameters(project / PARAMS, with_limit(small_parameters(), 0.5))
    run_small()
    after = plan_of(project)
    changed = {unit_id for unit_id in after.unit_ids() if after.fingerprints.of(unit_id) != fingerprints[unit_id]}
    manifests = {unit_id for unit_id in after.unit_ids() if unit_id.part == MANIFEST}
    assert changed == {*manifests, UnitId("report", "main", REPORT)}
    assert entries(project) - made == {after.fingerprints.of(unit_id) for unit_id in manifests}


def write_pictures(project: Path, *, num_unusable: int) -> None:
    """Twelve files, of which the last ones are no pictures."""
    for number in range(12):
        path = project / "pictures" / ("cat" if number % 2 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < 12 - num_unusable:
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        else:
            path.write_bytes(b"not a picture")


def of_pictures(limit: float) -> dict[str, Any]:
    parameters = with_limit(small_parameters(recaption={"rows": {}}), limit)
    row = {"source": "folder", "path": "pictures", "revision": 1, "num_rows": "all", "num_shards": 2}
    parameters["download"]["rows"] = {"own": row}
    return parameters


def test_a_shard_made_under_a_high_limit_stays_and_its_row_is_judged_by_the_low_one(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_pictures(project, num_unusable=3)
    write_parameters(project / PARAMS, of_pictures(0.5))
    assert run_stage("download", "own") == 0
    made = entries(project)
    write_parameters(project / PARAMS, of_pictures(0.2))
    assert run_stage("download", "own") == 1
    assert "download/own manifest: 3 of 12 rows rejected (not_an_image 3)" in capfd.readouterr().err
    assert entries(project) == made
    write_parameters(project / PARAMS, of_pictures(0.25))
    assert run_stage("download", "own") == 0
    assert len(entries(project) - made) == 1  # the manifest


def test_a_shard_whose_rejects_alone_pass_the_limit_ends_early_and_is_made_when_it_is_raised(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_pictures(project, num_unusable=6)
    write_parameters(project / PARAMS, of_pictures(0.05))
    assert [run_stage("download", "own", part=part) for part in ("0", "1")] == [1, 1]
    told = capfd.readouterr().err
    assert "of 12 rows rejected" in told
    assert "more than max_reject_fraction = 0.05" in told
    write_parameters(project / PARAMS, of_pictures(0.5))
    assert run_stage("download", "own") == 0
