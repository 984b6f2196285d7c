"""Batches that were damaged between a kill and the next run: the shard has the bytes of a calm run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_project import plan_of, run_stage, small_parameters, write_parameters

import stages.download
from pipeline.dag.units import INDEX, UnitId
from pipeline.data.writer import ShardWriter
from pipeline.errors import Transient

UNIT = UnitId("download", "pictures", "0")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def test_a_shard_of_damaged_batches_has_its_right_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages.download, "PICTURES_PER_BATCH", 2)
    write_parameters(tmp_path / "params.yaml", small_parameters())
    assert run_stage("download", "heldout") == 0
    assert run_stage("download", "pictures", part=INDEX) == 0
    assert run_stage("download", "pictures", part="0") == 0
    plan = plan_of(tmp_path)
    entry, name = plan.made_folder(UNIT), plan.unit(UNIT).files[0]
    wanted = (entry / name).read_bytes()
    shutil.rmtree(entry)
    (plan.layout.shown("download", "pictures") / name).unlink()  # or it would be taken in again

    def ends(writer: ShardWriter) -> None:
        raise Transient("the power went; run again")

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "_finish", ends)
        assert run_stage("download", "pictures", part="0") == 1
    kept = sorted((tmp_path / "data/store").glob("*/*.partial/batches/*.batch"))
    assert len(kept) == 3
    flip(kept[0])
    cut(kept[2])
    assert run_stage("download", "pictures", part="0") == 0
    assert (entry / name).read_bytes() == wanted
    assert "Traceback" not in capsys.readouterr().err
