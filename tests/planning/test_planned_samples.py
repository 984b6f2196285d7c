"""Samples: every kind of work is in them, they are small, and what a row and a job take comes out of two of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_project import PROJECT

from pipeline.params.check import check
from pipeline.params.load import convert
from pipeline.params.schema import STAGE_NAMES
from pipeline.planning.command import parameters
from pipeline.planning.counts import Counts, Told
from pipeline.planning.measure import _line
from pipeline.planning.sample import rows_to_measure, sample_parameters
from pipeline.planning.work import Works


@pytest.mark.parametrize("name", ["demo", "ablation", "webdataset", "compare-models"])
def test_a_sample_shows_every_kind_of_work_with_few_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    params = parameters(Path(f"params/{name}.yaml"), PROJECT)
    chosen = rows_to_measure(params, STAGE_NAMES)
    raw = sample_parameters(params, chosen, num_rows=100, num_samples=640, num_prompts=1, page=True)
    small = convert(raw, "sample")
    check(small)
    wanted, shown = ({work.key for work in Works(one, Counts(one, Told())).all()} for one in (params, small))
    assert wanted <= shown
    for row in small.rows("download"):
        assert small.row("download", row).num_rows <= 100
        assert small.row("download", row).num_shards == 1
    for row in small.rows("train"):
        assert small.row("train", row).num_steps * small.row("train", row).batch_size <= 640
    assert len(list(Works(small, Counts(small, Told())).all())) <= len(
        list(Works(params, Counts(params, Told())).all())
    )


def test_a_row_and_a_job_are_told_apart_by_two_samples() -> None:
    """Two jobs a sample, of 3 s each and 0.1 s a row."""
    per_row, fixed = _line([20, 200], [3 + 0.1 * 10, 3 + 0.1 * 100], jobs=2)
    assert (per_row, fixed) == pytest.approx((0.1, 3.0))
    per_row, fixed = _line([20, 200], [3.0, 2.9], jobs=2)  # noise is no negative time
    assert per_row > 0
    assert fixed == pytest.approx(2.95, abs=0.1)
    assert _line([1, 1], [4.0, 6.0], jobs=1)[1] == 5.0
