"""The miniature's prompts: schema, uniqueness, balance, words that agree with their clauses."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.demo.benchmarks.geneval_shapes import COUNT_WORDS, prompts
from pipeline.demo.world.world import SHAPES
from pipeline.errors import Refusal
from pipeline.evaluation.geneval import TASKS, parse_metadata

NUM = 24


def test_each_task_has_its_number_of_unique_prompts_of_the_schema() -> None:
    rows = prompts(NUM, seed=0)
    assert Counter(row["tag"] for row in rows) == dict.fromkeys(TASKS, NUM)
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert [row["prompt_id"] for row in rows] == [f"{number:05d}" for number in range(len(rows))]
    for row in rows:
        assert set(row) == {"prompt_id", "tag", "prompt", "include", "exclude"}
        parse_metadata(row)


def test_the_words_of_a_prompt_name_what_its_clauses_ask_for() -> None:
    num_checked = Counter[str]()
    for row in prompts(NUM, seed=3):
        requirement = parse_metadata(row)
        first = requirement.include[0]
        named = [f"{clause.color} {clause.class_name}".removeprefix("None ") for clause in requirement.include]
        if row["tag"] == "counting":
            wanted = f"{COUNT_WORDS[first.count]} {first.class_name}s"
            assert [(clause.class_name, clause.count) for clause in requirement.exclude] == [
                (first.class_name, first.count + 1)
            ]
        elif row["tag"] == "position":
            anchor, subject = requirement.include
            assert anchor.position is None
            assert subject.position is not None
            assert subject.position[1] == 0
            wanted = f"a {subject.class_name} {subject.position[0]} a {anchor.class_name}"
        else:
            wanted = " and ".join(f"a {name}" for name in named)
        assert wanted in row["prompt"]
        assert (requirement.exclude != ()) == (row["tag"] == "counting")
        if len(requirement.include) == 2:
            assert requirement.include[0].class_name != requirement.include[1].class_name
        if row["tag"] == "color_attr":
            assert requirement.include[0].color != requirement.include[1].color
        num_checked[row["tag"]] += 1
    assert num_checked == dict.fromkeys(TASKS, NUM)


def test_shapes_are_asked_for_equally_often() -> None:
    rows = [row for row in prompts(NUM, seed=0) if row["tag"] == "single_object"]
    assert Counter(row["include"][0]["class"] for row in rows) == dict.fromkeys(SHAPES, NUM // len(SHAPES))


def test_prompts_repeat_for_a_seed_and_differ_between_seeds() -> None:
    assert prompts(NUM, seed=0) == prompts(NUM, seed=0)
    assert [row["prompt"] for row in prompts(NUM, seed=0)] != [row["prompt"] for row in prompts(NUM, seed=1)]


def test_fewer_prompts_are_the_first_of_more() -> None:
    few, many = prompts(5, seed=0), prompts(NUM, seed=0)
    for task in TASKS:
        assert [row["prompt"] for row in few if row["tag"] == task] == [
            row["prompt"] for row in many if row["tag"] == task
        ][:5]


@pytest.mark.parametrize("num_prompts", [0, 49])
def test_a_number_out_of_range_is_refused(num_prompts: int) -> None:
    with pytest.raises(Refusal, match=f"not num_prompts_per_task {num_prompts}"):
        prompts(num_prompts, seed=0)
    assert len(prompts(48, seed=0)) == 48 * len(TASKS)
