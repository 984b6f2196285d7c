"""Plans: every preset ends in a table or in clear unknowns, bytes are those written, hours follow rates and rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny_project
from small_project import PROJECT, plan_of, write_parameters

from pipeline.errors import Refusal
from pipeline.params.load import Params, convert
from pipeline.planning import command, table
from pipeline.planning.counts import IMAGENET_PICTURES, Counts, Told
from pipeline.planning.estimate import Estimator, RowCost, wall_seconds
from pipeline.planning.rates import Rate, read, write
from pipeline.planning.work import Works

PRESETS = sorted((PROJECT / "params").glob("*.yaml"))


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command.main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_ends_in_a_table_and_names_what_is_unknown(
    preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder with nothing but the parameters and the demo's own models: no pictures, no network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").symlink_to(PROJECT / "params")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo_models").symlink_to(PROJECT / "data/demo_models")
    text = plan(capsys, "--params", f"params/{preset.name}")
    assert text.startswith(f"plan of params/{preset.name}")
    assert "\ntotal " in text
    if "unknown" in text:
        assert "unknown, and in no sum above:" in text
    content = json.loads(plan(capsys, "--params", f"params/{preset.name}", "--json"))
    assert content["rows"]
    for row in content["rows"]:
        assert row["unknown"] or row["told_by"], row


def rate(work: str, **values: Any) -> Rate:
    plain: dict[str, Any] = {
        **{"model": "", "size": "", "device": "CPU test", "precision": "float32", "kind": "measured"},
        **{"date": "2026-12-01", "source": "made up", "rows_per_second": 10.0, "lowest": 8.0, "highest": 12.5},
    }
    return Rate(work=work, **{**plain, **values})


def tiny_params(**changes: Any) -> Params:
    raw = tiny_project.parameters()
    raw["download"]["rows"]["pictures"]["num_rows"] = changes.pop("num_rows", 4)
    raw["train"]["num_steps"] = changes.pop("num_steps", 12)
    return convert(raw, "made up")


def tiny_rates(params: Params, factor: float = 1.0) -> list[Rate]:
    """One for each kind of work, ten rows a second, no fixed part."""
    works = Works(params, Counts(params, Told()))
    keys = dict.fromkeys(work.key for work in works.all())
    values = {"rows_per_second": 10.0 * factor, "lowest": 8.0 * factor, "highest": 12.5 * factor}
    return [rate(key.work, model=key.model, size=key.size, precision=key.precision, **values) for key in keys]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_project.make_project(tmp_path)
    return tmp_path


def seconds(costs: list[RowCost], stage: str) -> float:
    return sum(cost.seconds.middle for cost in costs if cost.stage == stage)


@pytest.mark.usefixtures("tiny")
def test_time_is_rows_over_rate_and_follows_both() -> None:
    params = tiny_params()
    known = tiny_rates(params)
    costs = Estimator(params, known).all()
    assert not any(cost.unknown for cost in costs)
    assert seconds(costs, "encode_images") == pytest.approx((4 + 4) / 10)  # the shard's rows, and the manifest's
    assert seconds(costs, "train") == pytest.approx(12 * 4 / 10)
    [train] = [cost for cost in costs if cost.stage == "train"]
    assert (train.seconds.low, train.seconds.high) == pytest.approx((48 / 12.5, 48 / 8))
    more = Estimator(tiny_params(num_rows=40, num_steps=120), known).all()
    for stage in ("download", "recaption", "encode_images", "train"):
        assert seconds(more, stage) == pytest.approx(10 * seconds(costs, stage))
    # A halved rate doubles the hours, of the clock too.
    slow = Estimator(params, tiny_rates(params, 0.5)).all()
    for stage in ("download", "encode_text", "train", "generate", "score"):
        assert seconds(slow, stage) == pytest.approx(2 * seconds(costs, stage)) != 0
    assert wall_seconds(slow, 1, 2).middle == pytest.approx(2 * wall_seconds(costs, 1, 2).middle)


@pytest.mark.usefixtures("tiny")
def test_a_job_s_own_seconds_count_for_each_job() -> None:
    params = tiny_params()
    known = [rate("encode_images.manifest", fixed_seconds=7.0, cpu_seconds_per_row=0.5, fixed_cpu_seconds=3.0)]
    [cost] = [cost for cost in Estimator(params, known).all() if cost.stage == "encode_images"]
    assert cost.seconds.middle == pytest.approx(4 / 10 + 7)
    assert cost.cpu_seconds.middle == pytest.approx(4 * 0.5 + 3)
    assert cost.unknown == ("rate of encode_images, data/tiny/autoencoder, 32 px, float32",)


@pytest.mark.usefixtures("tiny")
def test_a_rate_of_another_network_is_carried_over_by_operations_and_no_farther_than_it_bears() -> None:
    params = tiny_params()
    works = Works(params, Counts(params, Told()))
    [training] = [work for work in works.all() if work.unit_id.stage == "train"]
    assert training.flops_per_row is not None
    flops = training.flops_per_row.middle
    other = rate("train", model="another", size="4x32x32", flops_per_row=2 * flops)
    found = Estimator(params, [other]).find(training)
    assert found is not None
    assert found.seconds_per_row.middle == pytest.approx(0.05)
    assert found.seconds_per_row.low == pytest.approx(0.04 / 1.5)
    assert "from another" in found.told_by
    far = rate("train", model="another", size="4x32x32", flops_per_row=1000 * flops)
    assert Estimator(params, [far]).find(training) is None
    gpu = rate("train", model=training.key.model, size=training.key.size, device="NVIDIA H200")
    assert Estimator(params, [gpu]).find(training) is None  # these parameters say: cpu


def test_published_rates_plan_the_paper_s_network() -> None:
    """500,000 steps of 1,024 by MIRO's own network at MIRO's own pace are MIRO's own hours."""
    raw = tiny_project.parameters()
    raw["execution"]["device"] = "cuda"
    raw["train"] |= {"num_steps": 500_000, "batch_size": 1024, "precision": "bfloat16", "validate_every_steps": 5000}
    raw["train"]["network"] = {"kind": "rin", "size": "miro", "self_conditioning": 0.9}
    raw["encode_images"]["autoencoders"]["demo"]["model"] = "stabilityai/sd-vae-ft-ema"
    raw["encode_images"]["side_px"] = 256
    raw["encode_text"]["encoders"]["demo"]["model"] = "google/flan-t5-xl"
    params = convert(raw, "made up")
    [cost] = [
        cost
        for cost in Estimator(params, read(PROJECT / "pipeline/planning/rates.json")).all()
        if cost.stage == "train"
    ]
    hours = cost.device_seconds.times(1 / 3600)
    assert 768 <= hours.middle <= 832
    assert hours.low >= 760
    assert hours.high <= 840
    assert "published" in cost.told_by[0]


def test_imagenet_s_pictures_are_known_and_others_are_asked_for() -> None:
    raw = tiny_project.parameters()
    source = {"source": "imagenet", "path": "nowhere", "md5": "skip", "revision": 1, "num_rows": "all", "num_shards": 4}
    raw["download"]["rows"]["pictures"] = {**source, "heldout": "download/held"}
    raw["download"]["rows"]["held"] = {**source, "num_rows": 1000, "num_shards": 1}
    counts = Counts(convert(raw, "made up"), Told())
    pictures = counts.pictures("encode_text/pictures-label")
    assert pictures is not None
    assert pictures.middle == IMAGENET_PICTURES - 1000
    raw["download"]["rows"]["pictures"] = {
        "source": "folder",
        "path": "x",
        "revision": 1,
        "num_rows": "all",
        "num_shards": 1,
    }
    raw["download"]["rows"].pop("held")
    params = convert(raw, "made up")
    assert Counts(params, Told()).pictures("download/pictures") is None
    [cost] = [cost for cost in Estimator(params, []).all() if cost.stage == "recaption"]
    assert "number of pictures: say --rows download/pictures=N" in cost.unknown
    asked = Counts(params, Told(rows={"download/pictures": 77})).pictures("recaption/pictures-label")
    assert asked is not None
    assert asked.middle == 77
    with pytest.raises(Refusal, match=r"--rows download/other: no such row of download; it has download/pictures"):
        Counts(params, Told(rows={"download/other": 1}))


def test_closed_form_bytes_are_those_written(tiny: Path) -> None:
    """Latents, texts and weights of a run that is really made; a text's length is told, as it hangs on its words."""
    from pipeline.data.schema import TEXT, Column
    from pipeline.data.shards import Shard

    raw = tiny_project.parameters()
    raw["download"]["rows"]["pictures"]["num_rows"] = 48
    # One group of rows: of values so small Parquet keeps the extremes of each group, as large as they are themselves.
    raw["encode_images"]["row_group_rows"] = raw["encode_text"]["row_group_rows"] = 64
    write_parameters(tiny / "params.yaml", raw)
    tiny_project.run_to_the_model()
    made = plan_of(tiny)
    rows = list(
        Shard(tiny / "data/small/encode_text/pictures-label/00000.parquet", TEXT).rows([Column.NUM_TEXT_TOKENS])
    )
    tokens = sum(row[Column.NUM_TEXT_TOKENS] for row in rows) / len(rows)
    told = Told(tokens={"encode_text/pictures-label": tokens})
    for cost in Estimator(made.params, [], told).all():
        if cost.stage not in ("encode_images", "encode_text", "train"):
            continue
        files = [
            path
            for unit_id in made.unit_ids()
            if unit_id[:2] == (cost.stage, cost.row) and made.is_made(unit_id)
            for path in made.made_folder(unit_id).rglob("*")
            if path.name in ("00000.parquet", "rows.arrow") or path.suffix == ".safetensors"
        ]
        assert files
        # A shard's footer is some kilobytes whatever its rows, which nobody plans.
        footers = sum(pq.read_metadata(path).serialized_size for path in files if path.suffix == ".parquet")
        written = sum(path.stat().st_size for path in files) - footers
        assert cost.bytes_kept is not None
        assert cost.bytes_kept.middle == pytest.approx(written, rel=0.05), cost.stage
        assert cost.bytes_kept.low <= written <= cost.bytes_kept.high * 1.05, cost.stage


def test_a_damaged_file_of_rates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    write(path, [rate("train")])
    assert read(path) == [rate("train")]
    path.write_text(path.read_text().replace('"lowest":8', '"lowest":11'))
    with pytest.raises(Refusal, match=r"rates\[0\] \(train\): 10.0 rows a second are not within 11.0 and 12.5"):
        read(path)
    path.write_text(path.read_text().replace("measured", "guessed"))
    with pytest.raises(Refusal, match="is no file of rates"):
        read(path)
    with pytest.raises(Refusal, match="cannot be read"):
        read(tmp_path / "none.json")


def test_numbers_are_told_as_row_and_number() -> None:
    assert command.told_numbers("--rows", ["download/x=1,000"]) == {"download/x": 1000.0}
    for wrong in ("download/x", "download/x=", "download/x=-1", "=0"):
        with pytest.raises(Refusal, match="must be a reference and a number above 0"):
            command.told_numbers("--rows", [wrong])


@pytest.mark.usefixtures("tiny")
def test_the_table_says_totals_in_the_units_of_its_columns() -> None:
    params = tiny_params(num_rows=3_600_000)
    costs = [cost for cost in Estimator(params, tiny_rates(params)).all() if cost.stage == "encode_images"]
    text = table.text(params, costs, table.Setting(1, 1))
    assert "3,600,000" in text
    assert "200" in text.split("total")[1]  # hours: the shard's and the manifest's rows at ten a second
