"""A model trained on long and short captions of one captioner: which of the two a picture is shown with is drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import several_sets
import tiny_project
from several_sets import PICTURES_ROW
from small_project import plan_of, run_stage, write_parameters

from pipeline.dag.units import UnitId
from pipeline.params.objectives import RectifiedFlow, UniformTimesteps
from pipeline.runner.job import Job
from pipeline.training.draws import TrainingDraws, TrainingRows
from pipeline.training.job import training_data

WEIGHTS = {"full": 0.8, "brief": 0.2}
NUM_EPOCHS = 400


def parameters() -> dict[str, Any]:
    raw, sets = tiny_project.parameters(), several_sets.parameters(sets=several_sets.SETS)
    raw["recaption"] = sets["recaption"]
    texts = {f"x-{one}": {"captions": f"recaption/{PICTURES_ROW}.{one}"} for one in WEIGHTS}
    raw["encode_text"]["rows"] = texts
    raw["train"]["rows"]["tiny"]["texts"] = {f"encode_text/x-{one}": weight for one, weight in WEIGHTS.items()}
    return raw


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mix")
    tiny_project.make_project(folder)
    several_sets.make_project(folder)
    write_parameters(folder / "params.yaml", parameters())
    return folder


def test_both_sets_are_drawn_by_their_weights_and_a_model_trains_on_them(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    made = ("download", "pictures"), ("recaption", PICTURES_ROW), ("encode_images", "pictures")
    for stage, row in (*made, *(("encode_text", f"x-{one}") for one in WEIGHTS)):
        assert run_stage(stage, row) == 0
    plan, unit_id = plan_of(project), UnitId("train", "tiny", "model")
    job: Any = Job(plan, unit_id, plan.params.row("train", "tiny"), "", None, None)  # type: ignore[arg-type]
    rows = TrainingRows(training_data(job))
    shards = {one: plan.fingerprints.of(UnitId("encode_text", f"x-{one}", "0")) for one in WEIGHTS}
    names = [next(one for one, shard in shards.items() if shard in text.fingerprints) for text in rows.main.texts]
    assert dict(zip(names, rows.main.weights, strict=True)) == WEIGHTS
    draws = TrainingDraws(
        rows,
        seed=(0, 0),
        objective=RectifiedFlow(timesteps=UniformTimesteps(), shift=1.0),
        caption_dropout=0.0,
        self_conditioning=0.0,
        batch_size=draws_per_epoch(rows),
    )
    drawn = Counter(names[draw.text] for epoch in range(NUM_EPOCHS) for draw in draws.of_step(epoch))
    assert drawn["full"] / drawn.total() == pytest.approx(WEIGHTS["full"], abs=0.04)
    assert set(drawn) == set(WEIGHTS)
    assert run_stage("train", "tiny") == 0


def draws_per_epoch(rows: TrainingRows) -> int:
    return int(rows.main.usable.sum())
