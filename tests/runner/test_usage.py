"""What a job record tells of its cost: present after a real run, of known size, shared, and of children too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import several_sets
from small_project import plan_of, run_small, run_stage, small_parameters, write_parameters

from pipeline.dag.units import UnitId
from pipeline.runner import usage
from pipeline.store.store import JOB_JSON

MEGABYTE = 1_000_000


def record(project: Path, unit_id: UnitId) -> dict[str, Any]:
    plan = plan_of(project)
    fingerprint = plan.made(unit_id)
    assert fingerprint is not None
    return dict(json.loads((plan.store.entry(fingerprint) / JOB_JSON).read_text()))


def test_every_job_of_a_run_records_its_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_parameters(tmp_path / "params.yaml", small_parameters())
    run_small()
    unit_ids = [unit for unit in plan_of(tmp_path).unit_ids() if unit.stage in ("download", "recaption")]
    assert len(unit_ids) > 7
    for unit_id in unit_ids:
        told = record(tmp_path, unit_id)
        assert set(usage.FIELDS) <= set(told), unit_id
        assert told["seconds"] >= 0.0
        assert 0.0 < told["cpu_seconds"] < 60.0
        assert told["peak_memory_bytes"] > 50 * MEGABYTE  # an interpreter with pyarrow
        assert told["device_seconds"] is None
        assert told["peak_device_memory_bytes"] is None
        shards = sum(fact["bytes"] for name, fact in told["files"].items() if name.endswith(".parquet"))
        assert told["bytes_written"] >= shards


def test_children_that_were_waited_for_count() -> None:
    code = (
        "import os; data = os.urandom(1000); open(os.devnull, 'wb').write(data * 9000)\nfor _ in range(6000000): pass"
    )
    used = usage.measured(0)
    subprocess.run([sys.executable, "-c", code], check=True)
    found = used()
    assert found.bytes_written is not None
    assert 9 * MEGABYTE <= found.bytes_written < 10 * MEGABYTE
    assert found.cpu_seconds > 0.05
    alone = usage.measured(0)()
    assert alone.cpu_seconds < 0.05
    assert alone.bytes_written == 0


def test_a_pass_of_several_sets_shares_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    several_sets.make_project(tmp_path)
    assert run_stage("download", "heldout") == run_stage("download", "pictures") == 0
    assert run_stage("recaption", several_sets.PICTURES_ROW, part="0") == 0
    full, brief = (record(tmp_path, UnitId("recaption", f"pictures-vlm.{one}", "0")) for one in several_sets.SETS)
    shared = ("seconds", "cpu_seconds", "bytes_read", "bytes_written", "peak_memory_bytes")
    assert [full[name] for name in shared] == [brief[name] for name in shared]


def test_shares_add_up_and_peaks_do_not() -> None:
    whole = usage.Usage(8.0, 6.0, 16.0, "NVIDIA H200", 400, 300, 100, 50)
    share = whole.shared(2)
    assert (share["cpu_seconds"], share["device_seconds"], share["bytes_read"], share["bytes_written"]) == (
        3,
        8,
        50,
        25,
    )
    assert (share["peak_memory_bytes"], share["peak_device_memory_bytes"]) == (400, 300)


def test_devices_that_were_claimed_count_each(monkeypatch: pytest.MonkeyPatch) -> None:
    found = usage.measured(4)()
    assert found.device_seconds == pytest.approx(4 * found.seconds)
    assert usage.measured(0)().device_seconds is None


def test_a_system_that_does_not_tell_leaves_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(usage, "IO", tmp_path / "none")
    monkeypatch.setattr(usage, "STATUS", tmp_path / "none")
    found = usage.measured(0)()
    assert (found.bytes_read, found.bytes_written, found.peak_memory_bytes) == (None, None, None)
    assert found.seconds >= 0.0
