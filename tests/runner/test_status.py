"""``make status`` on a small project whose first stages really ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_project import PROJECT, into_a_closed_pipe, plan_of, run_small, run_stage, small_parameters, write_parameters

from pipeline.dag.units import UnitId
from pipeline.runner.status import RowStatus, look, main, render, wants_color
from pipeline.store.made_by import code_name, this_code

MADE = {("download", "heldout"): 3, ("download", "pictures"): 4, ("recaption", "pictures-label"): 3}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made, but for the report."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "params/demo.yaml"):
        write_parameters(tmp_path / name, small_parameters())
    run_small()
    return tmp_path


def _rows(project: Path) -> dict[tuple[str, str], RowStatus]:
    return {(row.stage, row.row): row for row in look(plan_of(project)).rows}


def _snapshot(project: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in project.rglob("*") if path.is_file() and path.name != "digests.json"]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_done_and_missing_are_counted_by_row(project: Path) -> None:
    before = _snapshot(project)
    rows = _rows(project)
    assert {key: (row.num_done, row.num_parts) for key, row in rows.items() if row.num_done} == {
        key: (number, number) for key, number in MADE.items()
    }
    assert (rows["report", "main"].num_missing, rows["report", "main"].num_parts) == (1, 1)
    assert not any(row.stale or row.failures for row in rows.values())
    assert _snapshot(project) == before


def test_nothing_made_is_all_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "params/demo.yaml"):
        write_parameters(tmp_path / name, small_parameters())
    rows = _rows(tmp_path)
    assert {key: row.num_missing for key, row in rows.items()} == {**MADE, ("report", "main"): 1}
    assert "nothing in it yet" in render(look(plan_of(tmp_path)), plan_of(tmp_path), colored=False)


def test_a_changed_parameter_makes_the_rows_below_it_missing_and_their_files_stale(project: Path) -> None:
    changed = small_parameters()
    changed["recaption"]["captioners"]["label"]["template"] = "a {class_name}"
    write_parameters(project / "params.yaml", changed)
    row = _rows(project)["recaption", "pictures-label"]
    assert (row.num_done, row.num_missing) == (0, 3)
    assert {path.name for path in row.stale} == {"00000.parquet", "00001.parquet", "manifest.json", "rejects.parquet"}
    assert not _rows(project)["download", "pictures"].stale


def test_a_row_that_the_parameters_do_not_have_and_a_stranger_are_stale(project: Path) -> None:
    without = small_parameters(recaption={"rows": {}})
    write_parameters(project / "params.yaml", without)
    (project / "data/small/download/heldout/notes.txt").write_text("mine")
    rows = _rows(project)
    assert not rows["recaption", "pictures-label"].is_wanted
    assert len(rows["recaption", "pictures-label"].stale) == 4
    assert [path.name for path in rows["download", "heldout"].stale] == ["notes.txt"]
    text = render(look(plan_of(project)), plan_of(project), colored=False)
    assert "not in the parameters" in text


def test_results_that_came_another_way_are_not_stale(project: Path) -> None:
    os.rename(project / "data/store", project / "elsewhere")  # as after a pull into a fresh clone
    status = look(plan_of(project))
    assert status.num_to_take_in > 0
    assert not any(row.stale for row in status.rows)


def test_a_failure_shows_its_message_and_log_until_other_parameters_come(project: Path) -> None:
    unit_id = UnitId("report", "main", "report")
    mark = plan_of(project).failure(unit_id)
    mark.parent.mkdir(parents=True)
    fingerprint = plan_of(project).fingerprints.of(unit_id)
    mark.write_text(json.dumps({"message": "ValueError: a page too long", "fingerprint": fingerprint}))
    row = _rows(project)["report", "main"]
    assert (row.num_done, row.num_missing, len(row.failures), row.num_parts) == (0, 0, 1, 1), "counted once"
    text = render(look(plan_of(project)), plan_of(project), colored=False)
    assert "failed: report/main report: ValueError: a page too long" in text
    assert "log: logs/small/report/main/report.log" in text
    report = small_parameters()["report"]
    write_parameters(project / "params.yaml", small_parameters(report={**report, "version": report["version"] + 1}))
    row = _rows(project)["report", "main"]
    assert (row.failures, row.stale) == ([], [mark])


def test_a_real_failure_is_shown_and_goes_when_it_is_mended(project: Path) -> None:
    strict = small_parameters()
    strict["download"]["rows"]["heldout"]["max_image_pixels"] = 10  # no picture is that small
    write_parameters(project / "params.yaml", strict)
    assert run_stage("download", "heldout") == 1
    failed = [failure for row in look(plan_of(project)).rows for failure in row.failures]
    assert [failure.unit_id for failure in failed] == [UnitId("download", "heldout", "0")]
    assert "max_reject_fraction" in failed[0].message
    assert failed[0].log.is_file()
    write_parameters(project / "params.yaml", small_parameters())
    assert not any(row.failures for row in look(plan_of(project)).rows)


def test_a_source_that_is_not_there_is_said(project: Path) -> None:
    folder = {"source": "folder", "path": "data/pictures", "revision": 1, "num_rows": "all", "num_shards": 1}
    rows = {**small_parameters()["download"]["rows"], "mine": folder}
    write_parameters(project / "params.yaml", small_parameters(download={"rows": rows}))
    said = "params.yaml: download.rows.mine.path = 'data/pictures': nothing is there"
    assert said in render(look(plan_of(project)), plan_of(project), colored=False)
    (project / "data/pictures").mkdir()
    assert "cannot be made" not in render(look(plan_of(project)), plan_of(project), colored=False)


def _of_code(project: Path, change: dict[str, str | None] | None, number: int) -> None:
    """Let the store say that other code made some of its results."""
    for path in sorted((project / "data/store").glob("*/*/job.json"))[:number]:
        record = json.loads(path.read_text())
        record["code"] = None if change is None else {**this_code(), **change}
        path.write_text(json.dumps(record))


def _code_lines(project: Path) -> list[str]:
    text = render(look(plan_of(project)), plan_of(project), colored=False)
    return [line for line in text.splitlines() if "other code" in line]


def test_results_of_other_code_are_counted_in_one_line(project: Path) -> None:
    now = code_name(this_code())
    assert _code_lines(project) == []
    _of_code(project, {"version": "0.0.9"}, 1)
    _of_code(project, {"commit": "f" * 40}, 3)
    _of_code(project, None, 1)
    version = this_code()["version"]
    assert _code_lines(project) == [
        f"made by other code than now ({now}): 3 (2 by {version}, commit ffffffff; 1 by code that is not recorded)"
    ]
    for number in range(4):
        _of_code(project, {"commit": str(number) * 40}, 5 - number)
    (line,) = _code_lines(project)
    assert line.count(" by ") == 4
    assert line.endswith("; 1 more)")


def test_other_libraries_and_results_that_nobody_wants_are_no_other_code(project: Path) -> None:
    for path in (project / "data/store").glob("*/*/job.json"):
        record = json.loads(path.read_text())
        record["code"]["packages"] = {"torch": "9"}
        path.write_text(json.dumps(record))
    changed = small_parameters()
    changed["recaption"]["captioners"]["label"]["template"] = "a {class_name}"
    write_parameters(project / "params.yaml", changed)
    wanted = plan_of(project).unit_ids()
    fingerprints = {plan_of(project).made(unit_id) for unit_id in wanted}
    for path in (project / "data/store").glob("*/*/job.json"):
        if path.parent.name not in fingerprints:
            path.write_text("{}")
    assert _code_lines(project) == []


def test_a_store_that_cannot_be_looked_at_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.rename(project / "data/store", project / "elsewhere")
    (project / "data/store").write_text("")
    assert main([]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "data/store" in line
    assert "Not a directory (ENOTDIR); a file lies where a folder should" in line


def test_an_unreadable_mark_is_no_crash(project: Path) -> None:
    mark = plan_of(project).failure(UnitId("report", "main", "report"))
    mark.parent.mkdir(parents=True)
    mark.write_text('{"mess')
    assert _rows(project)["report", "main"].stale == [mark]


def test_the_table_is_aligned_and_colour_is_for_terminals(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == "params.yaml (run small)"
    end = lines[1].index("missing") + len("missing")
    table = lines[2 : 3 + len(MADE) + 1]
    assert [line[end - 1] for line in table] == [".", ".", ".", "1", "1"]  # three rows, the report, all
    assert "\033" not in text
    assert "\033[31m" in render(look(plan_of(project)), plan_of(project), colored=True) or "\033[33m" in render(
        look(plan_of(project)), plan_of(project), colored=True
    )
    assert not wants_color(sys.stdout)


def test_a_reader_that_goes_early_is_no_error(project: Path) -> None:
    assert into_a_closed_pipe("from pipeline.runner.status import main; main([])", project) == (0, "")


def test_bad_parameters_are_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--params", "params/none.yaml"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_look_at_a_finished_run_imports_nothing_heavy(project: Path) -> None:
    code = (
        "import sys; from pipeline.runner.status import main; main([]); "
        "print([m for m in ('torch', 'pandas', 'transformers', 'pyarrow') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
