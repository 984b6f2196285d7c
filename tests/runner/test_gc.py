"""``make gc`` on a small real store."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_project import PROJECT, into_a_closed_pipe, plan_of, run_small, small_parameters, write_parameters

from pipeline.dag.units import UnitId
from pipeline.data.files import FINGERPRINT_JSON, MODEL_FILES
from pipeline.errors import Refusal
from pipeline.runner.gc import _collect, main, parameter_files, wants_of
from pipeline.store.embedded import write_fingerprint_json
from pipeline.store.entries import CHECKPOINTS
from pipeline.store.surplus import Surplus, surplus_of

CAPTIONS = ("recaption, manifest", "recaption, shard", "recaption, shard")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which all is wanted."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "params/demo.yaml"):
        write_parameters(tmp_path / name, small_parameters())
    run_small()
    return tmp_path


def _write(project: Path, parameters: dict[str, Any]) -> None:
    for name in ("params.yaml", "params/demo.yaml"):
        write_parameters(project / name, parameters)


def _surplus(project: Path) -> list[Surplus]:
    wants = wants_of(parameter_files(project), project)
    return surplus_of(project / "data/store", wants.results, wants.works)


def _entries(project: Path) -> set[str]:
    return {path.name for path in (project / "data/store").glob("*/*")}


def _drop_captions(project: Path) -> None:
    _write(project, small_parameters(recaption={"rows": {}}))


def _add_model(project: Path, fingerprint: str) -> Path:
    entry = project / "data/store" / fingerprint[:2] / fingerprint
    for name in MODEL_FILES:
        (entry / name).parent.mkdir(parents=True, exist_ok=True)
        (entry / name).write_text(name)
    write_fingerprint_json(entry, fingerprint, list(MODEL_FILES))
    return entry


def _add_partial(project: Path, name: str, file: str) -> Path:
    folder = project / "data/store" / name[:2] / f"{name}.partial"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text("x" * 1000)
    (folder / "lock").write_text("1\n")
    return folder


def test_in_a_store_where_all_is_wanted_nothing_is_listed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _entries(project)
    assert before
    assert main([]) == 0
    assert main(["--delete"]) == 0
    assert "all that it holds is wanted" in capsys.readouterr().out
    assert _entries(project) == before


def test_what_no_file_wants_is_listed_with_its_kind_and_goes_only_when_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _entries(project)
    _drop_captions(project)
    surplus = _surplus(project)
    assert tuple(sorted(item.kind.what for item in surplus)) == CAPTIONS
    assert all(item.num_bytes > 0 and item.age_seconds < 600 for item in surplus)
    assert main([]) == 0
    assert _entries(project) == before
    assert main(["--delete"]) == 0
    assert "removed 3" in capsys.readouterr().out
    assert _entries(project) == before - {item.name for item in surplus}
    assert all(
        plan_of(project).is_made(unit_id) for unit_id in plan_of(project).unit_ids() if unit_id.stage == "download"
    )


GC = "import sys; from pipeline.runner.gc import main; sys.exit(main({arguments}))"


def test_what_nobody_could_read_of_is_not_removed(project: Path) -> None:
    _drop_captions(project)
    before = _entries(project)
    assert into_a_closed_pipe(GC.format(arguments=[]), project) == (0, "")
    status, said = into_a_closed_pipe(GC.format(arguments=["--delete"]), project)
    assert (status, said.count("\n")) == (1, 1)
    assert "so nothing in it was removed" in said
    assert _entries(project) == before


def test_one_file_that_wants_it_is_enough(project: Path) -> None:
    write_parameters(project / "params.yaml", small_parameters(recaption={"rows": {}}))
    assert _surplus(project) == []


def test_frozen_parameters_of_past_runs_do_not_count(project: Path) -> None:
    write_parameters(project / ".work/params/0123456789abcdef.yaml", small_parameters())
    _drop_captions(project)
    assert len(_surplus(project)) == len(CAPTIONS)


def test_pictures_are_named_by_their_row(project: Path) -> None:
    parameters = small_parameters(recaption={"rows": {}})
    parameters["download"]["rows"].pop("pictures")
    _write(project, parameters)
    found = {(item.kind.what, item.kind.row) for item in _surplus(project)}
    assert {("download, index", "pictures"), ("download, shard", "pictures"), ("download, manifest", "")} <= found


def test_what_a_run_still_shows_frees_nothing_yet(project: Path) -> None:
    _drop_captions(project)
    shard = next(item for item in _surplus(project) if item.kind.what == "recaption, shard")
    job_record = (shard.path / "job.json").stat().st_size
    assert shard.num_bytes_freed == job_record  # all else is linked into data/small
    shutil.rmtree(project / "data/small/recaption")
    again = next(item for item in _surplus(project) if item.name == shard.name)
    assert again.num_bytes_freed == again.num_bytes == shard.num_bytes


def test_models_and_their_checkpoints_go_only_by_name(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = _add_model(project, "abc1" * 10), _add_model(project, "abd2" * 10)
    checkpoints = _add_partial(project, "ace3" * 10, f"{CHECKPOINTS}/step_3_of_9/state.json")
    assert {item.kind.what for item in _surplus(project)} == {
        "train or finetune, model",
        "train or finetune, checkpoints",
    }
    assert main(["--delete"]) == 0
    assert first.is_dir()
    assert checkpoints.is_dir()
    assert main(["--delete", "--models", "abc", "ace"]) == 0
    assert (first.exists(), second.exists(), checkpoints.exists()) == (False, True, False)
    assert main(["--delete", "--models", "abc"]) == 1
    assert "no model that nobody wants" in capsys.readouterr().err


def test_a_name_that_fits_several_models_removes_none(project: Path) -> None:
    models = _add_model(project, "abc1" * 10), _add_model(project, "abd2" * 10)
    with pytest.raises(Refusal, match="fits several"):
        _collect(project, delete=True, models=["ab"])
    assert all(path.is_dir() for path in models)


def test_a_model_named_by_a_beginning_that_is_wanted_is_out_of_reach(project: Path) -> None:
    wanted = plan_of(project).fingerprints.of(UnitId("recaption", "pictures-label", "0"))
    assert wanted
    with pytest.raises(Refusal, match="no model that nobody wants"):
        _collect(project, delete=True, models=[wanted])
    assert wanted in _entries(project)


def test_checkpoints_have_the_trainers_name() -> None:
    trainer = (PROJECT / "pipeline/training/trainer.py").read_text()  # importing it would import torch
    assert f'CHECKPOINTS_FOLDER = "{CHECKPOINTS}"' in trainer


def test_unfinished_work_of_a_live_process_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _add_partial(project, "ff00" * 10, "batches/0.json")
    handle = os.open(folder / "lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert [item.is_locked for item in _surplus(project)] == [True]
    assert main(["--delete"]) == 0
    assert folder.is_dir()
    assert "at work now" in capsys.readouterr().out
    os.close(handle)
    assert main(["--delete"]) == 0
    assert not folder.exists()


def test_unfinished_work_that_is_wanted_stays(project: Path) -> None:
    unit_id = UnitId("report", "main", "report")
    name = plan_of(project).fingerprints.work_name(unit_id)
    assert name
    folder = _add_partial(project, name, "out/page")
    assert main(["--delete"]) == 0
    assert folder.is_dir()


def test_unfinished_work_of_a_result_that_lost_a_file_stays(project: Path) -> None:
    plan = plan_of(project)
    unit_id = UnitId("recaption", "pictures-label", "0")
    fingerprint, name = plan.fingerprints.of(unit_id), plan.fingerprints.work_name(unit_id)
    assert fingerprint
    assert name
    folder = _add_partial(project, name, "batches/0.batch")
    (plan.store.entry(fingerprint) / plan.unit(unit_id).files[0]).unlink()
    assert main(["--delete"]) == 0
    assert folder.is_dir()


def test_what_a_killed_process_left_goes_and_a_living_ones_stays(project: Path) -> None:
    dead = project / "data/store/ab" / f"{'ab' * 20}.taken.{2**22 + 1}"  # above the largest process number
    live = project / "data/store/ab" / f"{'ac' * 20}.taken.{os.getpid()}"
    for folder in (dead, live):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    assert main(["--delete"]) == 0
    assert (dead.exists(), live.exists()) == (False, True)


def test_a_file_that_does_not_load_keeps_everything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _entries(project)
    _drop_captions(project)
    (project / "params/broken.yaml").write_text("trian: {}\n")
    assert main([]) == 0
    assert "recaption, shard" in capsys.readouterr().out
    assert main(["--delete"]) == 1
    error = capsys.readouterr().err
    assert "params/broken.yaml: trian is not a parameter" in error
    assert error.count("\n") == 1
    assert _entries(project) == before


def test_in_a_shared_store_nothing_is_removed(
    project: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = tmp_path_factory.mktemp("shared") / "store"
    os.rename(project / "data/store", shared)
    without = small_parameters(recaption={"rows": {}})
    for store in (str(shared), "data/store"):  # named outright, and through a link
        _write(project, {**without, "execution": {**without["execution"], "store": store}})
        before = {path.name for path in shared.glob("*/*")}
        assert main(["--delete"]) == 1
        assert "is shared" in capsys.readouterr().err
        assert {path.name for path in shared.glob("*/*")} == before
        (project / "data/store").unlink(missing_ok=True)
        (project / "data/store").symlink_to(shared)


def test_a_running_snakemake_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _drop_captions(project)
    before = _entries(project)
    lock = project / ".work/run.lock"
    handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    lock.write_text(json.dumps({"kind": "snakemake", "pid": 1, "token": "t"}))
    assert main(["--delete"]) == 1
    os.close(handle)
    assert "snakemake runs here" in capsys.readouterr().err
    assert _entries(project) == before


def test_a_source_that_is_gone_or_changed_makes_the_wants_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _folder_of_pictures(tmp_path / "pictures")
    parameters = small_parameters()
    for row in parameters["download"]["rows"].values():
        for key in ("num_scenes", "style", "layout", "several", "side_px"):
            row.pop(key)
        row.update(source="folder", path="pictures")
    _write(tmp_path, parameters)
    run_small()
    before = _entries(tmp_path)
    os.rename(tmp_path / "pictures", tmp_path / "away")
    assert _surplus(tmp_path) == []  # the shown index counts
    shutil.rmtree(tmp_path / "data/small")
    assert main(["--delete"]) == 1
    assert "bring it back" in capsys.readouterr().err
    os.rename(tmp_path / "away", tmp_path / "pictures")
    assert main(["--delete"]) == 0
    (tmp_path / "pictures/tern/more.png").write_bytes((tmp_path / "pictures/tern/0.png").read_bytes())
    assert main(["--delete"]) == 1
    assert _entries(tmp_path) == before


def _folder_of_pictures(folder: Path) -> None:
    from PIL import Image

    for label, name in enumerate(("tench", "tern")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (20, 20), (label * 100, number * 20, 0)).save(folder / name / f"{number}.png")


def test_a_model_entry_is_known_by_its_files(project: Path) -> None:
    assert (_add_model(project, "fe" * 20) / FINGERPRINT_JSON).is_file()
    assert [item.kind.is_model for item in _surplus(project)] == [True]
