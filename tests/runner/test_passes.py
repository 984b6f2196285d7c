"""Caption sets that one pass makes: entries of their own, the bytes of sets made alone, whatever ends the pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import several_sets
from several_sets import BRIEF, FULL, NAME, PICTURES_ROW, entries, fingerprints, results, with_captioner
from small_project import plan_of, run_stage, write_parameters

from pipeline.dag.units import UnitId
from pipeline.params.load import read_yaml
from pipeline.runner import gc
from pipeline.runner.reconcile import reconcile
from pipeline.runner.status import look, render


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, and a captioner of two sets; no caption is made yet."""
    monkeypatch.chdir(tmp_path)
    several_sets.make_project(tmp_path)
    assert run_stage("download", "heldout") == run_stage("download", "pictures") == 0
    return tmp_path


def test_a_pass_makes_what_each_set_alone_and_a_plain_row_make(project: Path) -> None:
    assert run_stage("recaption", PICTURES_ROW) == 0
    together = results(project)
    assert set(together) == {f"{one}/{name}" for one in ("full", "brief") for name in several_sets.FILES}
    assert together["full/00000.parquet"] != together["brief/00000.parquet"]
    for one in ("brief", "full"):
        several_sets.forget(project)
        assert run_stage("recaption", f"{PICTURES_ROW}.{one}") == 0
        assert results(project) == {name: data for name, data in together.items() if name.startswith(one)}
    several_sets.forget(project)
    for one, told in several_sets.SETS.items():  # a plain row that is told the same is the same work
        with_captioner(project, **told)
        assert run_stage("recaption", PICTURES_ROW) == 0
        plain = {name.removeprefix(f"{one}/"): data for name, data in together.items() if name.startswith(one)}
        assert results(project) == plain


def test_what_lies_in_a_row_s_folder_follows_the_parameters(project: Path) -> None:
    with_captioner(project, instructions=FULL)
    assert run_stage("recaption", PICTURES_ROW) == 0
    plain, made = results(project), entries(project)
    with_captioner(project, sets={"full": {"instructions": FULL}, "brief": {"instructions": BRIEF}})
    assert run_stage("recaption", PICTURES_ROW) == 0
    sets = results(project)
    assert {name: data for name, data in sets.items() if name.startswith("full/")} == {
        f"full/{name}": data for name, data in plain.items()
    }
    assert len(entries(project) - made) == 3  # two shards of the set that was added, and its manifest
    with_captioner(project, sets={"brief": {"instructions": BRIEF}, "name": {"instructions": NAME}})
    assert run_stage("recaption", PICTURES_ROW) == 0
    assert {name.partition("/")[0] for name in results(project)} == {"brief", "name"}
    with_captioner(project, instructions=FULL)
    made = entries(project)
    assert run_stage("recaption", PICTURES_ROW) == 0
    assert (results(project), entries(project)) == (plain, made)


def test_a_set_that_is_added_costs_its_own_captions_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_stage("recaption", PICTURES_ROW) == 0
    before, made = results(project), entries(project)
    with_captioner(project, sets={**several_sets.SETS, "name": {"instructions": NAME}})
    asked = several_sets.watch_sets(monkeypatch)
    assert run_stage("recaption", PICTURES_ROW) == 0
    assert {tuple(names) for names in asked} == {(f"{PICTURES_ROW}.name",)}
    assert {name: data for name, data in results(project).items() if not name.startswith("name/")} == before
    assert len(entries(project) - made) == 3


def test_every_batch_of_a_pass_is_kept_for_each_set(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_stage("recaption", PICTURES_ROW) == 0
    calm = results(project)
    several_sets.forget(project)
    asked = several_sets.watch_sets(monkeypatch, ends_at=3)
    assert run_stage("recaption", PICTURES_ROW) == 1
    assert len(asked) == 3
    status = look(plan_of(project))
    rows = {row.row: row for row in status.rows if row.stage == "recaption"}
    sets = [rows[f"{PICTURES_ROW}.{one}"] for one in ("full", "brief")]
    assert [(row.num_done, len(row.failures)) for row in sets] == [(0, 1), (0, 1)]
    text = render(status, plan_of(project), colored=False)
    assert f"failed: recaption/{PICTURES_ROW}.brief 00000: ValueError: ended" in text
    assert f"log: logs/small/recaption/{PICTURES_ROW}/00000.log" in text
    asked = several_sets.watch_sets(monkeypatch)
    assert run_stage("recaption", PICTURES_ROW) == 0
    assert len(asked) == 2 * several_sets.BATCHES_PER_SHARD - 2  # two batches of the first shard were finished
    assert results(project) == calm
    assert not any(row.failures or row.stale for row in look(plan_of(project)).rows)


def test_one_set_of_a_pass_that_was_lost_is_made_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_stage("recaption", PICTURES_ROW) == 0
    calm, unit_id = results(project), UnitId("recaption", f"{PICTURES_ROW}.brief", "1")
    plan = plan_of(project)
    shutil.rmtree(plan.store.entry(str(plan.fingerprints.of(unit_id))))
    (plan.shown_folder(unit_id) / "00001.parquet").unlink()
    asked = several_sets.watch_sets(monkeypatch)
    assert run_stage("recaption", PICTURES_ROW, part="1") == 0
    assert {tuple(names) for names in asked} == {(f"{PICTURES_ROW}.brief",)}
    assert results(project) == calm


def test_sets_of_the_same_instructions_are_one_result(project: Path) -> None:
    with_captioner(project, sets={"a": {"instructions": FULL}, "b": {"instructions": FULL}})
    assert run_stage("recaption", PICTURES_ROW) == 0
    a, b = (fingerprints(project, f"{PICTURES_ROW}.{one}") for one in ("a", "b"))
    assert a == b
    assert {name.partition("/")[0] for name in results(project)} == {"a", "b"}


def test_sets_arrive_and_leave_by_other_ways(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Shown files without a store, as ``dvc pull`` leaves them, are taken in; those of no set leave the view."""
    assert run_stage("recaption", PICTURES_ROW) == 0
    calm, kept = results(project), entries(project)
    carried = tmp_path_factory.mktemp("carried") / "data"
    shutil.copytree(project / "data/small", carried)
    shutil.rmtree(project / "data/store")
    shutil.rmtree(project / "data/small")
    shutil.copytree(carried, project / "data/small")
    done = reconcile(plan_of(project), act=True)
    assert {unit_id.stage for unit_id in done.missing} == {"report"}
    assert (results(project), entries(project)) == (calm, kept)
    with_captioner(project, instructions=NAME)
    status = look(plan_of(project))
    stale = {row.row: len(row.stale) for row in status.rows if row.stage == "recaption"}
    assert stale == {PICTURES_ROW: 0, f"{PICTURES_ROW}.brief": 4, f"{PICTURES_ROW}.full": 4}
    reconcile(plan_of(project), act=True)
    assert results(project) == {}
    assert entries(project) == kept
    files = [Path("params.yaml")]
    assert len(gc.wants_of(files, project).results & kept) == len(kept) - 6
    with_captioner(project, sets=several_sets.SETS)
    reconcile(plan_of(project), act=True)
    assert results(project) == calm


def test_a_pass_says_which_of_its_sets_ended_it(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loops = {"full": {"instructions": FULL}, "brief": {"instructions": BRIEF, "max_new_tokens": 1}}
    with_captioner(project, sets=loops, loop_ngram_words=1, loop_max_repeats=1)
    raw = read_yaml(project / "params.yaml")
    write_parameters(project / "params.yaml", {**raw, "recaption": {**raw["recaption"], "max_garbage_fraction": 0.0}})
    assert run_stage("recaption", PICTURES_ROW) == 1
    both = ", ".join(f"recaption/{PICTURES_ROW}.{one} 00000" for one in ("brief", "full"))
    error = capfd.readouterr().err
    which = error.partition(f"{both}: ")[2].partition(": the captions are garbage")[0]
    assert which == f"recaption/{PICTURES_ROW}.brief 00000", error
    assert run_stage("recaption", f"{PICTURES_ROW}.brief") == 1
    assert f"recaption/{PICTURES_ROW}.brief 00000: the captions are garbage" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((f"{PICTURES_ROW}.long", None), f"recaption/{PICTURES_ROW}.long is no caption set; there are"),
        ((f"{PICTURES_ROW}.full", "7"), f"--part 7: recaption/{PICTURES_ROW}.full has no such part"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(
    project: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, str | None], said: str
) -> None:
    row, part = arguments
    assert run_stage("recaption", row, part=part) == 1
    error = capfd.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_the_page_has_each_set_on_a_line_of_its_own(project: Path) -> None:
    assert run_stage("recaption", PICTURES_ROW) == run_stage("report", "main") == 0
    text = (project / "reports/small/report.md").read_text() + (project / "reports/small/report.html").read_text()
    for one, told in several_sets.SETS.items():
        assert f"{PICTURES_ROW}.{one}" in text
        assert all(instruction in text for instruction in told["instructions"])
