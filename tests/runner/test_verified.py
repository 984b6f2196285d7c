"""Shards that came another way are compared with their manifest by the job that first uses them, and not before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.runner.status import look, render

SHARDS = [UnitId("download", "imagenet", str(number)) for number in range(2)]
OTHER_TEMPLATE = "a picture of a {class_name}"


def pulled(folder: Path) -> dict[str, object]:
    """The results of a run without their store, and parameters that want other captions."""
    shutil.rmtree(folder / "data/store")
    raw = sandbox.small()
    raw["recaption"]["captioners"]["label"]["template"] = OTHER_TEMPLATE
    sandbox.write_params(folder, raw)
    return raw


def with_another_class(path: Path) -> None:
    """A shard with the same metadata, fingerprint included, and another class name in one row."""
    table = pq.read_table(path)
    names = table["class_name"].to_pylist()
    names[0] = "dragon"
    position = table.schema.get_field_index("class_name")
    changed = table.set_column(position, table.schema.field(position), pa.array(names, pa.string()))
    path.unlink()
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)


def record(plan: Plan, unit_id: UnitId) -> dict[str, object]:
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    path = plan.store.entry(fingerprint) / "job.json"
    content: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
    return content


def test_right_bytes_are_compared_once_and_remembered(made: Path) -> None:
    raw = pulled(made)
    done = sandbox.stage(made, "recaption", "--row", "imagenet-label", "--part", "0")
    assert done.returncode == 0, done.stderr
    plan = sandbox.plan(made, raw)
    assert "verified" in record(plan, SHARDS[0])
    assert "verified" not in record(plan, SHARDS[1])  # nothing has used it yet
    assert "compared with their manifests when first used" in render(look(plan), plan, colored=False)


def test_other_bytes_under_a_right_fingerprint_are_refused_by_the_job_that_uses_them(made: Path) -> None:
    pulled(made)
    with_another_class(made / "data/small/download/imagenet/00000.parquet")
    done = sandbox.stage(made, "recaption", "--row", "imagenet-label", "--part", "0")
    assert done.returncode == 1
    assert "its bytes are not those that its manifest tells of" in done.stderr
    assert "Traceback" not in done.stderr
    assert sandbox.stage(made, "recaption", "--row", "imagenet-label", "--part", "1").returncode == 0


def test_without_a_manifest_nothing_can_be_compared_and_the_log_says_so(made: Path) -> None:
    raw = pulled(made)
    (made / "data/small/download/imagenet/manifest.json").unlink()
    done = sandbox.stage(made, "recaption", "--row", "imagenet-label", "--part", "0")
    assert done.returncode == 0, done.stderr
    plan = sandbox.plan(made, raw)
    log = plan.log(UnitId("recaption", "imagenet-label", "0")).read_text()
    assert "download/imagenet 00000: came another way, and no manifest here tells its bytes: not verified" in log
