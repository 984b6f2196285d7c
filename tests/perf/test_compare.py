"""The comparison's bookkeeping: ratio, spread and what is met follow from the figures; other rows are refused."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from perf import big_sets, compare, made_rows, page_cache, peer_loaders, scale_cases
from perf.cases import CASES
from perf.figures import Case, Measured, better_peer, row_of
from perf.loader_cases import _check_equal
from perf.our_loader import Epochs
from perf.performance_page import BEGIN, END, table, with_table, write_drawing
from perf.stage_process import STAGES
from perf.workshop import PROJECT, SMALL, Workshop, answer_of
from pipeline.data.schema import GENERATED, Column
from pipeline.data.shards import Shard
from pipeline.errors import Refusal
from pipeline.training.draws import TrainingRows

ROW_KEYS = {"name", "ours", "unit", "ratio", "spread", "goal", "met"}
PEER_KEYS = {"peer", "peer_name", "peer_version"}


def rates(ours: tuple[float, ...], theirs: tuple[float, ...], name: str = "other") -> Measured:
    return Measured("samples/s", ours, theirs, True, name, "1.0")


def test_a_ratio_is_the_median_within_turns_and_larger_where_we_are_better() -> None:
    """The second turn was slow for both: ratios are 2, 3 and 2.5 all the same."""
    row = row_of("loader", 2.5, rates((200.0, 30.0, 250.0), (100.0, 10.0, 100.0)))
    assert (row["ratio"], row["spread"], row["met"]) == (2.5, [2.0, 3.0], True)
    assert (row["ours"], row["peer"], row["peer_name"], row["peer_version"]) == (200.0, 100.0, "other", "1.0")
    less = row_of("memory", 1.0, Measured("MB", (400.0,), (600.0,), False))
    assert (less["ratio"], less["limit"], less["met"]) == (1.5, 600.0, True)


def test_a_row_that_misses_its_goal_is_not_met() -> None:
    assert row_of("loader", 2.5, rates((249.0,), (100.0,)))["met"] is False
    assert row_of("memory", 1.0, Measured("MB", (601.0,), (600.0,), False))["met"] is False
    assert row_of("share", None, rates((1.0,), (100.0,)))["met"] is None


def test_the_better_peer_is_the_one_beside_which_we_look_worst() -> None:
    slow, fast = rates((10.0,), (1.0,), "slow"), rates((10.0,), (5.0,), "fast")
    assert better_peer([slow, fast]) == better_peer([fast, slow]) == fast


def test_turns_of_unequal_number_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        row_of("loader", 1.0, rates((1.0, 2.0, 3.0), (1.0, 2.0)))


def test_the_report_has_its_keys_and_the_page_its_table(tmp_path: Path) -> None:
    found = {"a": rates((3.0,), (1.0,)), "b": Measured("MB", (9.0,), (5.0,), False)}
    cases = [Case[object](name, 1.0, partial(lambda _, name: found[name], name=name)) for name in found]
    said: list[str] = []
    report = compare.report(cases, object(), {"other": "1.0"}, said.append)
    assert set(report) == {"machine", "date", "versions", "rows"}
    peer, limit = json.loads(json.dumps(report, allow_nan=False))["rows"]
    assert set(peer) == ROW_KEYS | PEER_KEYS
    assert set(limit) == ROW_KEYS | {"limit"}
    assert [line.rsplit(" ", 1)[1] for line in said] == ["True", "False"]
    text = table(report)
    assert "| a | - | other | 3.00 | 1 | yes |" in text
    assert "| b | 9 MB | limit 5 MB | 0.56 | 1 | **no** |" in text
    page = with_table(f"before\n{BEGIN}\nold\n{END}\nafter\n", text)
    assert page == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"
    with pytest.raises(Refusal, match="has no lines"):
        with_table("no markers", text)


def test_a_row_that_cannot_be_measured_is_not_met_and_the_others_are_measured() -> None:
    def refused(_: object) -> Measured:
        raise Refusal("no disk")

    cases = [Case("broken", None, refused), Case[object]("whole", 1.0, lambda _: rates((3.0,), (1.0,)))]
    report = compare.report(cases, object(), {}, lambda _: None)
    broken, whole = report["rows"]
    assert set(broken) == ROW_KEYS | {"limit", "failed"}
    assert (broken["met"], broken["failed"], whole["met"]) == (False, "no disk", True)
    assert "| broken | - | - | not measured: no disk | - | **no** |" in table(report)


def test_the_page_has_the_markers_and_no_row_stands_twice() -> None:
    page = (PROJECT / compare.PAGE).read_text()
    assert with_table(page, "x").count("\nx\n") == 1
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def test_the_drawing_has_two_plots_with_a_line_per_stage(tmp_path: Path) -> None:
    costs = {stage: [(10, 1.0, 1e8), (20, 2.0, 1.1e8)] for stage in ("one", "two")}
    write_drawing(tmp_path / "costs.svg", costs)
    text = (tmp_path / "costs.svg").read_text()
    assert (text.count("<path"), text.count("<rect"), text.count(">one<")) == (4, 2, 2)


@pytest.fixture
def rows_folder(tmp_path: Path) -> Path:
    made_rows.write_flat(tmp_path, SMALL.warm)
    made_rows.write_sets(tmp_path, SMALL.warm)
    return tmp_path


def test_our_loader_gives_the_rows_of_the_flat_file(rows_folder: Path) -> None:
    flat = made_rows.flat_rows(rows_folder, SMALL.warm)
    rows = TrainingRows(made_rows.training_data(rows_folder))
    found = peer_loaders.sums(Epochs(rows, "mean", 0))
    wanted = {name: peer_loaders.bits(flat[array]) for name, array in (("text", "text"), ("latents", "mean"))}
    assert {name: found[name] for name in wanted} == wanted
    assert found["num_rows"] == len(flat)
    drawn = peer_loaders.sums(Epochs(rows, "sample", 1))
    square = float((flat["mean"].astype(float) ** 2 + flat["std"].astype(float) ** 2).sum())
    assert drawn["squares"] == pytest.approx(square, rel=0.05)


def test_loaders_that_give_other_rows_are_refused() -> None:
    own = {"num_rows": 4, "text": 10, "latents": 7, "squares": 5.0}
    _check_equal({"ours": own, "peer": {**own, "squares": 5.01}})
    with pytest.raises(Refusal, match="peer: text sums to 11"):
        _check_equal({"ours": own, "peer": {**own, "text": 11}})
    with pytest.raises(Refusal, match="peer: latents of mean square"):
        _check_equal({"ours": own, "peer": {**own, "squares": 6.0}})


def test_an_evicted_file_is_not_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 16))
    assert page_cache.resident_bytes(path) == 1 << 16
    try:
        page_cache.evict([path])
    except Refusal:
        pytest.skip("this folder lies in memory")
    assert page_cache.resident_bytes(path) == 0
    page_cache.warm([path])
    assert page_cache.resident_bytes(path) == 1 << 16


def test_the_five_sets_open_as_a_training(tmp_path: Path) -> None:
    big_sets.write(tmp_path, list(big_sets.SETS), SMALL.big_rows, SMALL.big_shards)
    batch = next(big_sets.batches(tmp_path, 0, 0))
    assert batch.latents.shape == (big_sets.BATCH_SIZE, made_rows.CHANNELS, 1, 1)
    assert any("#mix" in key for key in batch.sample_ids)
    assert np.isfinite(batch.text).all()


def test_the_peak_of_a_small_program_is_not_that_of_its_large_parent() -> None:
    held = np.ones(25_000_000)  # 200 MB
    found = answer_of(["perf.own_memory"])
    assert held.nbytes > found["peak_bytes"] >= found["private_bytes"] > 1_000_000


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, Path(sys.executable), SMALL)


@pytest.mark.slow
def test_every_stage_is_run_at_each_size(shop: Workshop) -> None:
    shop.stage_costs(STAGES[-1])
    assert tuple(shop.costs) == STAGES
    assert all([size for size, _, _ in costs] == list(SMALL.stages) for costs in shop.costs.values())
    assert all(peak > 50e6 for costs in shop.costs.values() for _, _, peak in costs)
    shown = shop.folder / "project/data/perf/generate" / f"of-{SMALL.stages[1]}"
    (path,) = shown.glob("*/00000.parquet")
    prompts = [row[Column.PROMPT] for row in Shard(path, GENERATED).rows([Column.PROMPT])]
    assert len(set(prompts)) == SMALL.stages[1]


def test_the_index_is_made_and_a_shards_run_of_it_read(shop: Workshop) -> None:
    found = shop.index()
    assert found["make"]["cpu_seconds"] > 0
    assert found["shard"]["peak_bytes"] > found["idle"]["peak_bytes"] * 0.9
    assert shop.index() is found
    shares = [case.measure(shop) for case in CASES if case.name.startswith("index of")]
    assert [share.unit for share in shares] == ["CPU s", "MB", "MB"]


@pytest.mark.slow
def test_a_first_look_misses_all_and_a_second_one_nothing(shop: Workshop) -> None:
    first, second = (case.measure(shop) for case in CASES if case.name.startswith("snakemake"))
    assert shop.looks()["first"]["num_missing"] > 100
    assert min(first.ours + second.ours) > 0.0
    shop.looks()["second"]["num_missing"] = 1.0
    with pytest.raises(Refusal, match="and 1 when all are there"):
        scale_cases.second_look(shop)


def test_processor_time_is_shown_as_a_figure() -> None:
    row = row_of("look", 1.0, Measured("CPU s", (25.114,), (38.0,), False))
    report = {"date": "d", "machine": "m", "versions": {}, "rows": [row]}
    assert "| look | 25.1 CPU s | limit 38.0 CPU s | 1.51 | 1 | yes |" in table(report)
