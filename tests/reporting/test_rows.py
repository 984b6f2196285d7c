"""Rows and rejects on the page; what the jobs took."""

from __future__ import annotations

from made_up import HOSTILE, NUM_ROWS, SECONDS, job_of
from report_runs import REPORT_PLACE, Reported

from pipeline.dag.units import MANIFEST, UnitId
from pipeline.reporting.costs import StageCost, stage_costs, total_cost
from pipeline.reporting.rows import RowCount, count_rows, meaning
from pipeline.store.store import JOB_JSON


def _rows(report: Reported) -> dict[str, RowCount]:
    return {f"{row.stage}/{row.row}": row for row in count_rows(job_of(report.run.plan, REPORT_PLACE))}


def test_rows_are_conserved_and_counted(report: Reported) -> None:
    rows = _rows(report)
    assert all(row.num_whole + row.num_rejected + row.num_null_upstream == row.num_rows for row in rows.values())
    pictures, mixes, captions = rows["download/imagenet"], rows["augment/cutmix"], rows["recaption/imagenet-vlm"]
    assert (pictures.num_rows, pictures.num_whole, pictures.rejected) == (NUM_ROWS, NUM_ROWS - 1, {"truncated": 1})
    assert (mixes.num_whole, mixes.num_null_upstream, mixes.rejected) == (NUM_ROWS - 1, 1, {})
    assert (captions.num_whole, captions.num_null_upstream, captions.rejected) == (NUM_ROWS - 3, 1, {"loop": 2})
    assert pictures.num_shards == 2
    assert {row.num_unread_texts for row in rows.values()} == {0}


def test_pictures_of_the_benchmarks_are_counted_per_benchmark(report: Reported) -> None:
    rows = _rows(report)
    assert rows["generate/aio, geneval_shapes"].num_rows == 6 * 3 * 2
    assert rows["generate/aio, heldout_captions"].num_rows == NUM_ROWS
    assert "generate/ta_ia+aesthetic, heldout_captions" not in rows


def test_examples_name_the_row_and_what_was_seen(report: Reported) -> None:
    assert _rows(report)["download/imagenet"].examples == {"truncated": [("imagenet/2", f"cut off, {HOSTILE}")]}


def test_reasons_of_all_stages_are_explained() -> None:
    for reason in (
        "truncated",
        "held_out",
        "near_held_out",
        "no_other_class",
        "empty_caption",
        "not_finite",
        "no_letters",
        "no_text",
        "no_caption",
        "not_described",
    ):
        assert len(meaning(reason)) > 10
    assert meaning("never heard of") == ""


def test_seconds_of_the_jobs_are_added_per_stage(report: Reported) -> None:
    costs = {cost.stage: cost for cost in stage_costs(job_of(report.run.plan, REPORT_PLACE))}
    assert costs["train"].seconds == 2 * SECONDS
    assert costs["download"].num_jobs == 4 * 2 + 6  # an index, a manifest each, and six shards in all
    assert costs["augment"].longest_seconds == SECONDS


def test_a_result_that_came_another_way_has_no_time(report: Reported) -> None:
    plan = report.run.plan
    fingerprint = plan.fingerprints.of(UnitId("augment", "cutmix", MANIFEST))
    assert fingerprint is not None
    record = plan.store.entry(fingerprint) / JOB_JSON
    kept = record.read_bytes()
    record.unlink()
    try:
        costs = {cost.stage: cost for cost in stage_costs(job_of(plan, REPORT_PLACE))}
        assert (costs["augment"].num_jobs, costs["augment"].num_without_record) == (4, 1)
        assert not record.exists()
    finally:
        record.write_bytes(kept)


def test_costs_are_summed_from_records_and_old_ones_count_their_time_alone(report: Reported) -> None:
    stages = stage_costs(job_of(report.run.plan, REPORT_PLACE))
    total = total_cost(stages)
    assert total.seconds == sum(cost.seconds for cost in stages)
    assert total.num_old == total.num_jobs  # made-up records have seconds alone
    assert (total.cpu_seconds, total.device_seconds, total.bytes_read) == (None, None, None)
    one, other = (
        StageCost(stage, 1, 0, 2.0, 2.0, "x", cpu_seconds=3.0, peak_memory_bytes=peak, bytes_written=5)
        for stage, peak in (("download", 7), ("augment", 9))
    )
    both = total_cost([one, other])
    assert (both.seconds, both.cpu_seconds, both.peak_memory_bytes, both.bytes_written) == (4.0, 6.0, 9, 10)
