"""Parameters edited while a run goes on, refused parameters, and what else lies or lay in the folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import Checkout
from expect import (
    NUM_UNITS,
    NUM_UNITS_OF_CAPTIONS,
    OTHER_TEMPLATE,
    TEMPLATE,
    assert_all_there,
    assert_nothing_to_do,
    until,
)

from pipeline.params.schema import STAGE_NAMES

pytestmark = pytest.mark.slow

CAPTIONS = "data/light/recaption/main-label/00000.parquet"


def test_edited_while_snakemake_runs(done: Checkout, right_bytes: dict[str, str]) -> None:
    old = done.set(TEMPLATE, OTHER_TEMPLATE)
    running = done.start_snakemake()
    until(running)
    done.set(TEMPLATE, old)
    ended = running.ended()
    assert ended.status == 0, ended.text
    assert len(ended.lines_with("params.yaml was changed while this ran: type the command again")) == 1
    assert done.results()[CAPTIONS] != right_bytes[CAPTIONS], "made for the parameters that the run started with"
    assert_all_there(done, right_bytes, NUM_UNITS + NUM_UNITS_OF_CAPTIONS)


def test_edited_while_dvc_runs(fresh: Checkout, right_bytes: dict[str, str]) -> None:
    old = fresh.set(TEMPLATE, OTHER_TEMPLATE)
    running = fresh.start_dvc()
    until(running, "download/heldout 00000: made")
    fresh.set(TEMPLATE, old)
    ended = running.ended()
    if ended.status == 0:  # the edit fell between two steps, and no step read the old value
        assert "params.yaml was changed" not in ended.text
    else:
        words = "params.yaml was changed while this ran: the result is kept; type the command again"
        assert len(ended.lines_with(words)) == 1, ended.text
    ended = fresh.dvc("repro")
    assert ended.status == 0, ended.text
    assert_all_there(fresh, right_bytes, NUM_UNITS)


def test_another_limit_of_rejects_judges_rows_anew_and_makes_no_shard(done: Checkout) -> None:
    before = done.set("download.max_reject_fraction", 0.5)
    ended = done.snakemake()
    assert ended.status == 0, ended.text
    assert done.num_made == NUM_UNITS + 3, "the manifests of two datasets, and the page"
    done.set("download.max_reject_fraction", before)
    ended = done.dvc("repro")
    assert ended.status == 0, ended.text
    assert done.num_made == NUM_UNITS + 3


@pytest.mark.parametrize(
    ("edit", "arguments", "words"),
    [
        (None, ("--config", "run=other"), "--config is not taken"),
        (("recaption.max_reject_fractoin", 0.1), (), "did you mean 'max_reject_fraction'?"),
        (("recaption.rows.main-label.images", "download/nowhere"), (), "no such row"),
        (("download.rows.main.num_shards", 0), (), "download.rows.main.num_shards = 0"),
    ],
)
def test_refused_in_one_line(
    done: Checkout, edit: tuple[str, object] | None, arguments: tuple[str, ...], words: str
) -> None:
    if edit:
        done.set(*edit)
    ended = done.snakemake(*arguments)
    assert ended.status != 0
    assert "Traceback" not in ended.text
    assert len(ended.lines_with(words)) == 1, ended.text
    if edit:
        ended = done.stage("recaption", "main-label")
        assert ended.status != 0
        assert (len(ended.text.splitlines()), words in ended.text) == (1, True), ended.text


def test_deleted_damaged_and_stray_files(done: Checkout, right_bytes: dict[str, str]) -> None:
    main = done.folder / "data/light/download/main"
    (main / "00000.parquet").unlink()
    damaged = bytearray((main / "00001.parquet").read_bytes())
    damaged[100] ^= 0xFF
    (main / "00001.parquet").unlink()  # a copy, as after `cp`: an edit through the link would reach the store
    (main / "00001.parquet").write_bytes(damaged)
    (main / "index.json").unlink()
    (main / "index.json").write_text("{}")
    (main / "notes.txt").write_text("mine")
    (done.folder / "data/light/augment/crop/old").mkdir()
    (done.folder / "data/light/augment/crop/old/00000.parquet").write_bytes(b"not Parquet")
    ended = done.snakemake()
    assert_nothing_to_do(ended)
    aside = done.folder / "data/.set_aside/data/light"
    assert (aside / "download/main/notes.txt").read_text() == "mine"
    assert (aside / "augment/crop/old/00000.parquet").read_bytes() == b"not Parquet"
    said = ended.lines_with("not made by this pipeline, moved aside")
    assert any("download/main/notes.txt" in line for line in said), ended.text
    assert_all_there(done, right_bytes, NUM_UNITS)


def test_a_stage_command_mends_its_own_row(done: Checkout, right_bytes: dict[str, str]) -> None:
    folder = done.folder / "data/light/recaption/main-label"
    (folder / "00001.parquet").unlink()
    (folder / "stray.txt").write_text("mine")
    ended = done.stage("recaption", "main-label")
    assert ended.status == 0, ended.text
    assert done.results() == right_bytes
    assert done.num_made == NUM_UNITS
    assert (done.folder / "data/.set_aside/data/light/recaption/main-label/stray.txt").read_text() == "mine"


def test_rows_and_a_shard_less(done: Checkout) -> None:
    def fewer(params: dict[str, Any]) -> None:
        params["augment"]["rows"] = {}
        params["recaption"]["rows"] = {}
        params["download"]["rows"]["main"]["num_shards"] = 2

    done.change(fewer)
    ended = done.snakemake()
    assert ended.status == 0, ended.text
    shown = set(done.results())
    assert "data/light/download/main/00001.parquet" in shown
    assert "data/light/download/main/00002.parquet" not in shown
    assert not [name for name in shown if "/augment/" in name or "/recaption/" in name]
    ended = done.dvc("repro")
    assert ended.status == 0, ended.text
    assert set(done.results()) == shown


def test_views_of_dvc(done: Checkout) -> None:
    listed = done.dvc("stage", "list", "--all")
    names = {line.split()[0] for line in listed.text.splitlines() if "@" in line}
    rows = {
        f"{stage}@{row}"
        for stage, section in done.params.items()
        if "rows" in (section or ())
        for row in section["rows"]
    }
    assert names == rows
    assert done.dvc("repro").status == 0
    for command in (("dag",), ("metrics", "show"), ("plots", "show")):
        ended = done.dvc(*command)
        assert ended.status == 0, ended.text


def test_both_engines_have_the_stages_of_the_parameters() -> None:
    project = Path(__file__).resolve().parents[2]
    steps = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    assert list(steps) == list(STAGE_NAMES)
    for stage, step in steps.items():
        assert step["foreach"] == f"${{{stage}.rows}}"
        assert step["do"]["cmd"] == f"python -m stages.{stage} --params params.yaml --row ${{key}}"
    rules = [
        line.split("/")[-1].removesuffix('.smk"')
        for line in (project / "Snakefile").read_text().splitlines()
        if "include:" in line
    ]
    assert rules == ["start", *STAGE_NAMES]
