"""What the galleries show: the same prompts side by side, captions beside pictures, boxes and parents of mixes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import HOSTILE, NUM_ROWS, SECONDS, job_of, picture
from report_runs import REPORT_PLACE, Reported

from pipeline.data.schema import Column
from pipeline.data.shards import Shard
from pipeline.digest import sha256_of_bytes
from pipeline.evaluation.geneval import TASKS
from pipeline.reporting.augmented import AugmentedDataset, augmented_datasets
from pipeline.reporting.captions import CaptionedDataset, captioned_datasets
from pipeline.reporting.lengths import lengths_of, num_words
from pipeline.reporting.pictures import PictureBook
from pipeline.reporting.real import RealPictures
from pipeline.reporting.scores import read_scores
from pipeline.reporting.side_by_side import Comparison, compare, in_turn


@dataclass(frozen=True)
class _Galleries:
    comparisons: dict[str, Comparison]
    captioned: list[CaptionedDataset]
    augmented: list[AugmentedDataset]


@pytest.fixture(scope="module")
def galleries(report: Reported) -> _Galleries:
    job, book = job_of(report.run.plan, REPORT_PLACE), PictureBook(10**7)
    real = RealPictures(job, book)
    comparisons = compare(job, read_scores(job), real, book)
    return _Galleries(
        {comparison.benchmark: comparison for comparison in comparisons},
        captioned_datasets(job, real),
        augmented_datasets(job, real),
    )


def test_each_task_has_its_turn() -> None:
    items = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("c2", "c")]
    assert in_turn(items, 4) == ["a1", "a2", "b1", "c1"]
    assert in_turn(items, 100) == [name for name, _ in items]
    assert in_turn([], 3) == []


@given(groups=st.lists(st.integers(0, 4), max_size=40), number=st.integers(0, 50))
def test_turns_give_as_many_as_there_are_and_none_twice(groups: list[int], number: int) -> None:
    items = [(str(number), str(group)) for number, group in enumerate(groups)]
    chosen = in_turn(items, number)
    assert len(chosen) == len(set(chosen)) == min(number, len(items))
    taken = [sum(dict(items)[name] == group for name in chosen) for group in {g for _, g in items}]
    full = [sum(g == group for _, g in items) for group in {g for _, g in items}]
    assert all(t == f or t >= max(taken) - 1 for t, f in zip(taken, full, strict=True))


def test_no_row_group_is_read_for_the_one_picture_in_it_that_is_shown(
    report: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row group holds a thousand pictures, a page shows a handful of each."""
    asked: list[Column] = []
    for name in ("row", "read", "read_run"):
        read = getattr(Shard, name)

        def noting(*arguments: Any, read: Callable[..., Any] = read) -> Any:
            asked.extend(arguments[-1])
            return read(*arguments)

        monkeypatch.setattr(Shard, name, noting)
    job, book = job_of(report.run.plan, REPORT_PLACE), PictureBook(10**7)
    real = RealPictures(job, book)
    comparisons = compare(job, read_scores(job), real, book)
    assert any(drawn.picture for comparison in comparisons for drawn in comparison.prompts[0].drawn)
    assert augmented_datasets(job, real)
    assert Column.KEY in asked
    assert Column.IMAGE not in asked


def test_all_models_are_shown_on_the_same_prompts(galleries: _Galleries) -> None:
    shapes = galleries.comparisons["geneval_shapes"]
    assert (shapes.num_prompts, len(shapes.prompts)) == (18, 18)
    assert {prompt.task for prompt in shapes.prompts} == set(TASKS)
    assert shapes.same_noise
    for prompt in shapes.prompts:
        assert [drawn.model for drawn in prompt.drawn] == ["aio", "ta_ia", "ta_ia+aesthetic"]


def test_a_picture_stands_with_its_own_verdict(galleries: _Galleries) -> None:
    shapes = galleries.comparisons["geneval_shapes"]
    fifth = shapes.prompts[4]  # prompt id 00004: right for models that are right in 6 of 10 cases
    aio, ta_ia, _ = fifth.drawn
    assert (aio.correct, aio.num_correct, aio.num_judged) == (False, 0, 2)
    assert aio.reason == f"{HOSTILE}: expected at least 1, found 0"
    assert (ta_ia.correct, ta_ia.num_correct, ta_ia.reason) == (True, 2, "")
    assert ta_ia.picture == sha256_of_bytes(picture("ta_ia", "00004", 0))


def test_a_picture_stands_with_the_questions_that_failed(galleries: _Galleries) -> None:
    asked = galleries.comparisons["dpg_shapes"]
    assert (asked.num_prompts, len(asked.prompts), asked.same_noise) == (4, 4, True)
    assert {prompt.task for prompt in asked.prompts} == {"one_object", "two_objects"}
    aio, ta_ia, _ = next(prompt for prompt in asked.prompts if prompt.drawn[0].correct is False).drawn
    assert aio.reason == f"no: Is there a {HOSTILE}?; hence: Is it red? Is it left?"
    assert (aio.num_correct, aio.num_judged) == (0, 2)
    assert (ta_ia.correct, ta_ia.num_correct, ta_ia.reason) == (True, 2, "")


def test_captions_stand_with_the_real_picture_and_without_verdict(galleries: _Galleries) -> None:
    captions = galleries.comparisons["heldout_captions"]
    first = captions.prompts[0]
    assert first.real == f"{sha256_of_bytes(picture('heldout/0'))}:64"
    assert {drawn.model for drawn in first.drawn} == {"aio", "ta_ia"}
    assert all(drawn.correct is None and drawn.num_judged == 0 for drawn in first.drawn)


def test_the_main_set_comes_first_and_says_what_became_of_each_row(galleries: _Galleries) -> None:
    assert [dataset.images for dataset in galleries.captioned] == [
        "download/imagenet",
        "download/aesthetic",
        "download/heldout",
    ]
    rows = galleries.captioned[0].pictures
    assert [row.key for row in rows] == [f"imagenet/{i}" for i in range(6)]
    label, vlm = rows[0].captions
    assert (label.caption, label.instruction) == (f"an image of {HOSTILE}", None)
    assert (vlm.caption, vlm.instruction) == (f"a large circle {HOSTILE} on a pale ground, number 0", "full")
    assert rows[1].captions[1].caption is None
    assert rows[1].captions[1].rejected == f"loop: '{HOSTILE}' stands 9 times in it"
    assert rows[2].picture is None
    assert [(caption.caption, caption.rejected) for caption in rows[2].captions] == [(None, ""), (None, "")]


def test_ends_of_captions_are_counted_over_all_shards(galleries: _Galleries) -> None:
    label, vlm = galleries.captioned[0].sets
    assert label.num_ended_by("template") == NUM_ROWS - 1
    assert label.lengths is not None
    assert (label.lengths.unit, label.lengths.shortest, label.lengths.longest) == ("word", 4, 4)
    assert (vlm.num_captions, vlm.num_ended_by("length"), vlm.num_ended_by("stop")) == (9, 2, 7)
    assert vlm.instructions == {"full": 9}
    assert vlm.lengths is not None
    assert (vlm.lengths.unit, vlm.lengths.shortest, vlm.lengths.longest) == ("token", 10, 15)
    assert sum(bar.number for bar in vlm.lengths.bars) == 9


def test_what_a_set_lost_has_examples_with_their_pictures(galleries: _Galleries) -> None:
    label, vlm = galleries.captioned[0].sets
    assert label.rejects == ()
    (loops,) = vlm.rejects
    assert (loops.reason, loops.number) == ("loop", 2)
    assert [key for key, _, _ in loops.examples] == ["imagenet/1", "imagenet/7"]
    assert {detail for _, detail, _ in loops.examples} == {f"'{HOSTILE}' stands 9 times in it"}
    assert None not in {shown for _, _, shown in loops.examples}


def test_pace_is_of_the_jobs_on_record(galleries: _Galleries) -> None:
    _, vlm = galleries.captioned[0].sets
    assert vlm.pace == (9 + 2) / (2 * SECONDS)  # two shards; the row that was lost before was not captioned


@given(numbers=st.lists(st.integers(0, 3000), max_size=200))
def test_every_length_is_in_one_bar(numbers: list[int]) -> None:
    found = lengths_of(np.array(numbers, dtype=np.int64), "token")
    if not numbers:
        assert found is None
        return
    assert found is not None
    assert 1 <= len(found.bars) <= 24
    for bar in found.bars:
        assert bar.number == sum(bar.first <= number <= bar.last for number in numbers)
    assert (found.bars[0].first, found.bars[-1].last) == (min(numbers), max(numbers))
    assert max(bar.height for bar in found.bars) == 1.0
    assert found.median == float(np.median(numbers))


def test_words_are_counted_as_blanks_part_them() -> None:
    captions = pa.chunked_array([["a red ring", " two  blanks ", "one"], []], pa.string())
    assert num_words(captions).tolist() == [3, 2, 1]


def test_mixes_show_where_the_second_picture_is(galleries: _Galleries) -> None:
    (mixes,) = (dataset for dataset in galleries.augmented if dataset.name == "cutmix")
    assert mixes.is_cutmix
    assert not mixes.without_labels
    assert mixes.num_kinds == {"half": 2, "quarter": 3}, "the row whose picture was rejected is of no kind"
    half = mixes.pictures[0]
    assert (half.kind, half.box) == ("half", (50.0, 0.0, 50.0, 100.0))
    base, pasted = half.parents
    assert base.key == "imagenet/0"
    assert base.class_name == HOSTILE
    assert base.picture == f"{sha256_of_bytes(picture('imagenet/0'))}:64"
    assert pasted.key == "imagenet/7", "of the other shard"
    assert pasted.picture is not None
    assert [caption.name for caption in half.captions] == ["cutmix-vlm"]
