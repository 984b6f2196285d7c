"""The style score as a stage makes it: pictures of either style by hand, the demo's own encoder, real shards."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import PROJECT, WORLD, plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import UnitId
from pipeline.data.schema import GENERATED, INDEX, STYLES, Column
from pipeline.data.shards import Shard
from pipeline.demo.benchmarks.geneval_shapes import prompts
from pipeline.demo.world.render import render
from pipeline.demo.world.scene import scene_of
from pipeline.evaluation.geneval import TASKS

pytest.importorskip("torch")

NUM_FITTED, NUM_HELDOUT = 60, 20
CORNERS = {**WORLD, "layout": "corners", "num_scenes": 80, "num_shards": 2}
AESTHETIC = {**CORNERS, "style": "aesthetic"}
ROWS = {
    "plain": {**CORNERS, "num_rows": NUM_FITTED, "heldout": "download/held"},
    "held": {**CORNERS, "num_rows": NUM_HELDOUT},
    "aesthetic": {**AESTHETIC, "num_scenes": NUM_FITTED, "num_rows": NUM_FITTED},
    "held-aesthetic": {**AESTHETIC, "num_rows": NUM_HELDOUT, "heldout": "download/aesthetic"},
}
PROBE = {
    **{"benchmark": "geneval_shapes", "plain": "download/plain", "aesthetic": "download/aesthetic"},
    **{"heldout_plain": "download/held", "heldout_aesthetic": "download/held-aesthetic"},
    **{"num_fitted": NUM_FITTED, "num_heldout": NUM_HELDOUT, "l2": 0.01, "min_auc": 0.95},
}


def parameters(**probe: Any) -> dict[str, Any]:
    """Pictures made elsewhere, one set a style, that a probe is asked about."""
    names = ("plain", "aesthetic")
    elsewhere = {"arm": "truth", "seed": 0, "benchmarks": ["geneval_shapes"], "max_image_pixels": 10_000}
    return small_parameters(
        download={"rows": ROWS},
        recaption={"rows": {}},
        generate={
            "benchmarks": {
                "geneval_shapes": {
                    "kind": "geneval_shapes",
                    "num_prompts_per_task": 2,
                    "num_images": 1,
                    "num_shards": 1,
                }
            },
            "rows": {f"{name}-pictures": {"import": f"drawn/{name}", **elsewhere} for name in names},
        },
        score={
            "num_bootstrap": 50,
            "style_probes": {"styles": {**PROBE, **probe}},
            "rows": {name: {"images": f"generate/{name}-pictures", "style": "styles"} for name in names},
        },
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All datasets and drawn pictures made, no score yet; the current folder."""
    folder = tmp_path_factory.mktemp("style") / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data/demo_models").symlink_to(PROJECT / "data/demo_models")
    for style in ("plain", "aesthetic"):
        for number, prompt in enumerate(prompts(2, 0)):
            where = folder / "drawn" / style / "geneval_shapes" / prompt["prompt_id"]
            where.mkdir(parents=True)
            scene = scene_of(f"other-{number}", seed=9, style=style, layout="corners", side_px=64, several=0.0)
            render(scene).save(where / "0.png")
    write_parameters(folder / "params.yaml", parameters())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for row in ("held", "plain", "aesthetic", "held-aesthetic"):
            assert run_stage("download", row) == 0
        for row in ("plain-pictures", "aesthetic-pictures"):
            assert run_stage("generate", row) == 0
        yield folder


def result(project: Path, row: str, params: str = "params.yaml") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The metrics and the rows of the table."""
    plan = plan_of(project, params)
    fingerprint = plan.fingerprints.of(UnitId("score", row, "style"))
    assert fingerprint is not None
    folder = plan.store.entry(fingerprint) / "style"
    rows = Shard(folder / "style.parquet", STYLES).rows(STYLES.schema.names)
    return json.loads((folder / "metrics.json").read_text()), rows


def test_held_out_pictures_of_the_two_styles_are_other_pictures(project: Path) -> None:
    plan = plan_of(project)
    seen: dict[str, set[str]] = {}
    for row in ROWS:
        fingerprint = plan.fingerprints.of(UnitId("download", row, "index"))
        assert fingerprint is not None
        index = plan.store.entry(fingerprint) / "index.parquet"
        seen[row] = {one[Column.LOCATION] for one in Shard(index, INDEX).rows([Column.LOCATION])}
    assert not seen["plain"] & seen["held"]
    assert not seen["aesthetic"] & seen["held-aesthetic"]
    assert len(seen["held-aesthetic"]) == NUM_HELDOUT


def test_plain_pictures_score_low_and_aesthetic_ones_high(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, reads, payload = {}, Counter[tuple[Path, int]](), Shard.payload

    def counted(shard: Shard, number: int, column: Column) -> bytes | None:
        if shard.table is GENERATED:
            reads[shard.path, number] += 1
        return payload(shard, number, column)

    monkeypatch.setattr(Shard, "payload", counted)
    for row in ("plain", "aesthetic"):
        assert run_stage("score", row, part="style") == 0
        metrics, rows = result(project, row)
        assert metrics["auc"] >= 0.95
        assert (metrics["kind"], metrics["num_images"], len(rows)) == ("style", 12, 12)
        assert {one["task"] for one in rows} == set(TASKS)
        assert metrics["score"] == pytest.approx(np.mean([one["style"] for one in rows]))
        low, high = metrics["interval"]
        assert low <= metrics["score"] <= high
        scores[row] = metrics["score"]
    assert set(reads.values()) == {1}, "each picture is read once"
    assert len(reads) == 2 * 12
    assert scores["plain"] < 0.2
    assert scores["aesthetic"] > 0.8


def test_a_probe_that_cannot_tell_the_styles_apart_gives_no_score(project: Path) -> None:
    """Both sides are plain: what is held out of one is as much of the other."""
    rows = {**ROWS, "plain-2": {**ROWS["plain"]}}
    same = parameters(aesthetic="download/plain-2", heldout_aesthetic="download/held")
    same["download"]["rows"] = rows
    write_parameters(project / "same.yaml", same)
    assert run_stage("download", "plain-2", "same.yaml") == 0
    assert run_stage("score", "aesthetic", "same.yaml", part="style") == 0
    metrics, rows_of_table = result(project, "aesthetic", "same.yaml")
    assert metrics["auc"] < 0.95
    assert metrics["refused"].startswith(f"AUC {metrics['auc']:.3f} on held-out pictures, below 0.95")
    assert "score" not in metrics
    assert len(rows_of_table) == 12


def test_too_few_pictures_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = parameters(num_heldout=NUM_HELDOUT + 1)
    # Of a set whose number of rows is stated too many are refused before any work; "all" is known when it is made.
    few["download"]["rows"]["held"] |= {"num_scenes": NUM_HELDOUT, "num_rows": "all"}
    few["download"]["rows"]["held-aesthetic"] |= {"num_scenes": 100, "num_rows": NUM_HELDOUT + 1}
    write_parameters(project / "few.yaml", few)
    for row in ("held", "plain", "held-aesthetic"):
        assert run_stage("download", row, "few.yaml") == 0
    assert run_stage("score", "plain", "few.yaml", part="style") == 1
    said = "download/held has 20 whole pictures, score.style_probes.styles.num_heldout asks for 21"
    assert said in capsys.readouterr().err
