"""Encode images with threads that decode ahead: the shard's bytes are those of one thread, whatever happens."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import chdir
from pathlib import Path

import pytest
import small_project
import tiny_project

from pipeline.dag.units import UnitId
from pipeline.data import batches
from pipeline.data import image_rows as rows_module
from pipeline.data.schema import LATENTS, Column
from pipeline.data.shards import Shard
from pipeline.encoders.autoencoder import LoadedAutoencoder
from pipeline.errors import Reject, Transient

UNIT = UnitId("encode_images", "pictures", "0")
NUM_ROWS = 23


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a world in one shard, and a parameter file for each number of threads."""
    folder = tmp_path_factory.mktemp("ahead")
    tiny_project.make_project(folder)
    for num_workers in (0, 1, 2, 4):
        raw = tiny_project.parameters()
        raw["execution"].update(inference_batch_size=4, num_workers=num_workers)
        raw["download"]["rows"]["pictures"].update(num_rows=NUM_ROWS, num_shards=1)
        raw["encode_images"]["max_reject_fraction"] = 0.1
        small_project.write_parameters(folder / f"{num_workers}.yaml", raw)
    with chdir(folder):
        assert small_project.run_stage("download", "pictures", "0.yaml") == 0
    return folder


@pytest.fixture(autouse=True)
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def shard() -> Path:
    plan = small_project.plan_of(Path.cwd(), "0.yaml")
    return plan.made_folder(UNIT) / plan.unit(UNIT).files[0]


def forget() -> None:
    """Remove the shard, and its unfinished work."""
    plan = small_project.plan_of(Path.cwd(), "0.yaml")
    fingerprint = plan.fingerprints.of(UNIT)
    assert fingerprint is not None
    for path in plan.store.entry(fingerprint).parent.glob(f"{plan.store.entry(fingerprint).name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(plan.layout.shown(UNIT.stage, UNIT.row), ignore_errors=True)


def encode(num_workers: int) -> int:
    status = small_project.run_stage(UNIT.stage, UNIT.row, f"{num_workers}.yaml", UNIT.part)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    return status


@pytest.fixture(scope="module")
def wanted(project: Path) -> bytes:
    with chdir(project):
        forget()
        assert encode(0) == 0
        return shard().read_bytes()


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_bytes_are_those_of_one_thread(wanted: bytes, num_workers: int) -> None:
    forget()
    assert encode(num_workers) == 0
    assert shard().read_bytes() == wanted


@pytest.mark.parametrize("stopped_by", [Transient("the power went; run again"), KeyboardInterrupt()])
def test_a_job_that_is_stopped_half_way_goes_on_to_the_same_bytes(
    wanted: bytes, monkeypatch: pytest.MonkeyPatch, stopped_by: BaseException
) -> None:
    forget()
    write, encoded, written = batches._write, [], []
    model_encode = LoadedAutoencoder.encode

    def ends(path: Path, batch: object) -> None:
        if len(written) == 3:
            raise stopped_by
        written.append(path)
        write(path, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(batches, "_write", ends)
        assert encode(2) != 0
    monkeypatch.setattr(
        LoadedAutoencoder, "encode", lambda self, images: encoded.append(len(images)) or model_encode(self, images)
    )
    assert encode(2) == 0
    assert encoded == [4, 4, 3]  # three batches of four were there
    assert shard().read_bytes() == wanted


def test_a_picture_that_cannot_be_decoded_is_rejected_at_its_row(
    wanted: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wanted
    row_view = rows_module.row_view

    def view(shard: Shard, number: int, *arguments: object) -> object:
        if number == 9:
            raise Reject("truncated", "another build of Pillow reads it not")
        return row_view(shard, number, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rows_module, "row_view", view)
    made = []
    for num_workers in (0, 2):
        forget()
        assert encode(num_workers) == 0
        made.append(shard().read_bytes())
    assert made[0] == made[1]
    rows = Shard(shard(), LATENTS)
    (reject,) = rows.rejects
    keys, valid = [row["key"] for row in rows.rows([Column.KEY])], rows.valid_rows()
    assert (reject.key, reject.reason) == (keys[9], "truncated")
    assert [number for number, is_valid in enumerate(valid) if not is_valid] == [9]
    manifest = small_project.run_stage(UNIT.stage, UNIT.row, "2.yaml", "manifest")
    assert manifest == 0
    shown = Path("data/small/encode_images/pictures/manifest.json")
    assert json.loads(shown.read_text())["rejected"] == {"truncated": 1}
    forget()


def test_a_side_that_does_not_fit_is_refused_while_threads_are_at_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    init = LoadedAutoencoder.__init__

    def wider(self: LoadedAutoencoder, *arguments: object, **named: object) -> None:
        init(self, *arguments, **named)  # type: ignore[arg-type]
        self.downsampling_factor = 3

    monkeypatch.setattr(LoadedAutoencoder, "__init__", wider)
    assert encode(2) == 1
    assert "side_px = 32: must be a multiple of 3" in capsys.readouterr().err
