"""A job that fails over older results: the run fails, nothing stale is shown, and nothing good is made again."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from checkout import Checkout
from expect import NOTHING, assert_refused
from PIL import Image

pytestmark = pytest.mark.slow

NUM_PICTURES = 12
NUM_UNITS = 8  # index, two shards, manifest; two caption shards, their manifest; the page
BROKEN = "pictures/1/3.png"


@pytest.fixture
def folder_of_pictures(fresh: Checkout) -> Checkout:
    """A checkout whose one dataset is a folder of pictures, in which a run was made."""
    for number in range(NUM_PICTURES):
        path = fresh.folder / f"pictures/{number % 2}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20, 100, 50)).save(path)

    def only_the_folder(params: dict[str, Any]) -> None:
        params["download"]["max_reject_fraction"] = 0.0
        params["download"]["rows"] = {
            "main": {"source": "folder", "path": "pictures", "revision": 1, "num_rows": "all", "num_shards": 2}
        }
        params["augment"]["rows"] = {}

    fresh.change(only_the_folder)
    ended = fresh.snakemake()
    assert ended.status == 0, ended.text
    assert fresh.num_made == NUM_UNITS
    return fresh


def break_a_picture(checkout: Checkout) -> None:
    """A picture cut short, and the revision raised, as the parameters' comment asks for."""
    path = checkout.folder / BROKEN
    shutil.copy2(path, checkout.folder / "kept.png")
    path.write_bytes(path.read_bytes()[:40])
    checkout.set("download.rows.main.revision", 2)


def mend_the_picture(checkout: Checkout) -> None:
    shutil.copy2(checkout.folder / "kept.png", checkout.folder / BROKEN)  # its time too, which a stamp sees


def test_a_source_that_is_not_there_is_one_line_of_both_engines(fresh: Checkout) -> None:
    fresh.set(
        "download.rows.main", {"source": "folder", "path": "x", "revision": 1, "num_rows": "all", "num_shards": 2}
    )
    for ended in (fresh.snakemake(), fresh.snakemake("--dry-run"), fresh.dvc("repro", "download@main")):
        assert_refused(
            ended, "params.yaml: download.rows.main.path = 'x': nothing is there; put the pictures there or "
        )
    assert (fresh.num_made, fresh.failures()) == (0, [])


@pytest.mark.parametrize("engine", ["snakemake", "dvc"])
def test_a_failed_job_leaves_nothing_stale(folder_of_pictures: Checkout, engine: str) -> None:
    checkout = folder_of_pictures
    type_it = {"snakemake": checkout.snakemake, "dvc": checkout.dvc}[engine]
    old = checkout.results()
    assert checkout.dvc("repro").status == 0
    break_a_picture(checkout)
    for _ in range(2):  # typed again with the cause still there, it fails again
        ended = type_it()
        assert ended.status != 0
        assert "Traceback" not in ended.text
        assert len(ended.lines_with("rows rejected (")) == 1, ended.text
        assert len(checkout.failures()) == 1
        assert NUM_UNITS < checkout.num_made < 2 * NUM_UNITS - 2, "the index and what hangs on the whole shard alone"
        assert max(checkout.times_made().values()) <= 2, "once for each revision"
    if engine == "snakemake":  # DVC leaves what its failed step and later steps showed before, and says so
        shown = checkout.results()
        assert not set(shown.values()) & set(old.values()), "results of the broken revision's whole shard alone"
        assert not [name for name in shown if name.endswith("manifest.json") or name.startswith("reports/")]
    else:
        assert "modified" in checkout.dvc("status").text
    num_made = checkout.num_made
    mend_the_picture(checkout)
    ended = type_it()
    assert ended.status == 0, ended.text
    assert checkout.failures() == []
    assert checkout.num_made == num_made + NUM_UNITS, "the index counts sizes: nothing of the broken one is taken"
    new = checkout.results()
    assert new.keys() == old.keys()
    assert new["data/light/download/main/00000.parquet"] != old["data/light/download/main/00000.parquet"]
    assert NOTHING in checkout.snakemake().text
    checkout.set("download.rows.main.revision", 1)
    assert NOTHING in checkout.snakemake().text
    assert checkout.results() == old
