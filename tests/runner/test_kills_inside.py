"""A kill inside a shard of any stage: one batch at most is made twice, and its bytes are those of a calm run."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import small_project
import tiny_project

NUM_ROWS, BATCH_SIZE, NUM_KILLS = 23, 2, 10
CROP = {"kind": "crop", "min_scale": 0.5, "max_scale": 0.9}
PRELOADED = ["torch", "diffusers", "transformers", "pyarrow.parquet", "small_project"]
PHASES = ("before it is made", "when it is made", "while it is written", "when it is there")
BENCHMARK = tiny_project.BENCHMARK


@dataclass(frozen=True)
class Case:
    """A stage, the shard that is made, and what makes its batches small."""

    stage: str
    row: str
    part: str
    make_small: Callable[[], None]


def _small_downloads() -> None:
    import stages.download

    stages.download.PICTURES_PER_BATCH = BATCH_SIZE


def _small_augmentations() -> None:
    import stages.augment

    stages.augment.PICTURES_PER_BATCH = BATCH_SIZE


def _small_texts() -> None:
    import stages.encode_text

    stages.encode_text.MAX_STORED_BYTES = stages.encode_text.MAX_EMBEDDING_BYTES = 1


def _as_they_are() -> None:
    """Batches of these are those of the model: ``execution.inference_batch_size``."""


CASES = (
    Case("download", "pictures", "0", _small_downloads),
    Case("augment", "crop", "0", _small_augmentations),
    Case("recaption", "pictures-label", "0", _as_they_are),
    Case("encode_images", "pictures", "0", _as_they_are),
    Case("encode_text", "pictures-label", "0", _small_texts),
    Case("generate", "tiny", f"{BENCHMARK}.0", _as_they_are),
)


def parameters() -> dict[str, Any]:
    raw = tiny_project.parameters()
    raw["execution"].update(inference_batch_size=BATCH_SIZE, num_workers=2)  # a kill meets threads that read ahead
    raw["download"]["rows"]["pictures"].update(num_rows=NUM_ROWS, num_shards=1)
    raw["augment"].update(side_px=tiny_project.SIDE_PX, rows={"crop": {**CROP, "images": "download/pictures"}})
    raw["generate"]["benchmarks"][BENCHMARK].update(num_prompts_per_task=2, num_images=2)
    return raw


def made_to_the_model(case: Case, folder: Path, moment: tuple[int, str] | None) -> None:
    """In a process of its own: make one shard, noting each batch that is begun, and be killed at a moment."""
    from pipeline.data import batches

    os.chdir(folder)
    case.make_small()
    write, numbers, makes = batches._write, iter(range(10_000)), iter(range(10_000))

    def killed(number: int, phase: str) -> None:
        if moment == (number, phase):
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_write(path: Path, batch: Any) -> None:
        number = next(numbers)
        killed(number, PHASES[1])
        if moment == (number, PHASES[2]):
            path.with_suffix(".half").write_bytes(b"half of a batch")
        killed(number, PHASES[2])
        write(path, batch)
        killed(number, PHASES[3])

    def watched_keep(kept: Any, make: Any) -> Any:
        def watched_make(start: int, stop: int, lacking: list[int]) -> Any:
            with (folder / "begun").open("a") as log:
                log.write(f"{start}\n")
            killed(next(makes), PHASES[0])
            return make(start, stop, lacking)

        return keep(kept, watched_make)

    from pipeline.runner import shards

    keep = batches.keep_batches_of_all
    batches._write = watched_write
    shards.keep_batches_of_all = watched_keep
    os._exit(small_project.run_stage(case.stage, case.row, part=case.part))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every stage was run without a kill, batches as small as in the others."""
    folder = tmp_path_factory.mktemp("calm")
    tiny_project.make_project(folder)
    small_project.write_parameters(folder / "params.yaml", parameters())
    with chdir(folder):
        assert small_project.run_stage("download", "pictures", part="index") == 0
    for case in CASES:
        if case.stage == "generate":
            run_training(folder)
        assert child(case, folder, None) == 0
    return folder


def run_training(folder: Path) -> None:
    with chdir(folder):
        tiny_project.run_to_the_model()


def child(case: Case, folder: Path, moment: tuple[int, str] | None) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=made_to_the_model, args=(case, folder, moment))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def entry_of(folder: Path, case: Case) -> tuple[Path, str]:
    from pipeline.dag.units import UnitId

    with chdir(folder):
        plan = small_project.plan_of(folder)
        unit_id = UnitId(case.stage, case.row, case.part)
        fingerprint = plan.fingerprints.of(unit_id)
        assert fingerprint is not None
        return plan.store.entry(fingerprint), plan.unit(unit_id).files[0]


@pytest.mark.parametrize("case", CASES, ids=[case.stage for case in CASES])
def test_kills_inside_a_shard_cost_a_batch_each_and_change_no_byte(case: Case, calm: Path) -> None:
    entry, name = entry_of(calm, case)
    wanted = (entry / name).read_bytes()
    shutil.rmtree(entry)
    (calm / "data/small" / case.stage / case.row / name).unlink()  # or it would be taken in again
    (calm / "begun").unlink(missing_ok=True)
    draws = random.Random(case.stage)
    num_killed = 0
    for _ in range(NUM_KILLS):
        status = child(case, calm, (draws.randrange(2), draws.choice(PHASES)))
        assert status in (0, -signal.SIGKILL)
        if status == 0:
            break
        num_killed += 1
    assert child(case, calm, None) == 0
    begun = [int(line) for line in (calm / "begun").read_text().split()]
    assert num_killed >= 5
    assert len(set(begun)) >= 10
    assert len(begun) <= len(set(begun)) + num_killed
    assert max(begun.count(start) for start in begun) > 1
    assert (entry / name).read_bytes() == wanted
