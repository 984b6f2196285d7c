"""DPG-Bench's scores: dependency chains worked out by hand, refusals, intervals, and the reference scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.errors import Refusal
from pipeline.evaluation.dpg import (
    AnsweredImage,
    DpgScores,
    Question,
    aggregate,
    answers_detail,
    check_questions,
    failures,
    read_question,
    score_image,
)
from pipeline.evaluation.intervals import Bootstrap

BOOTSTRAP = Bootstrap(num_resamples=4000, level=0.95, seed=0)


def question(number: int, *parents: int, category: str = "entity") -> Question:
    return Question(number, parents, category, f"{category} - x", f"Question {number}?")


def said(text: str) -> tuple[str, ...]:
    return tuple({"y": "yes", "n": "no", "Y": "Yes", "o": "two"}[letter] for letter in text)


CHAIN = (question(1), question(2, 1), question(3, 2), question(4))
DIAMOND = (question(1), question(2, 1), question(3, 1), question(4, 2, 3))
PAIR = (question(1), question(2), question(3, 1, category="attribute"), question(4, 1, 2, category="relation"))


@pytest.mark.parametrize(
    ("questions", "answers", "counts"),
    [
        (CHAIN, "yyyy", "yyyy"),
        (CHAIN, "nyyy", "nnny"),  # a failure reaches the grandchild
        (CHAIN, "ynyy", "ynny"),
        (CHAIN, "yyny", "yyny"),
        (CHAIN, "Yyyy", "nnny"),  # exactly "yes", nothing near it
        (CHAIN, "oyyy", "nnny"),
        (DIAMOND, "yyny", "yynn"),  # one failed parent of two is enough
        (DIAMOND, "nyyy", "nnnn"),
        (DIAMOND, "yyyn", "yyyn"),
        (PAIR, "ynyy", "ynyn"),
        ((question(2, 1), question(1)), "yn", "nn"),
        ((question(3, 2), question(2, 1), question(1)), "yyn", "ynn"),  # children first: no further than one step
    ],
)
def test_a_question_does_not_count_where_one_that_it_depends_on_fails(
    questions: tuple[Question, ...], answers: str, counts: str
) -> None:
    scored = score_image(questions, said(answers))
    in_order = {q.question_id: c == "y" for q, c in zip(questions, counts, strict=True)}
    assert dict(zip([q.question_id for q in questions], scored.counts, strict=True)) == in_order
    assert scored.score == pytest.approx(counts.count("y") / len(questions))
    assert scored.said_yes == tuple(letter == "y" for letter in answers)


def test_failures_are_named_first_their_own_then_what_follows() -> None:
    assert failures(CHAIN, score_image(CHAIN, said("yyyy"))) == ""
    assert failures(CHAIN, score_image(CHAIN, said("nyyn"))) == (
        "no: Question 1? Question 4?; hence: Question 2? Question 3?"
    )
    detail = answers_detail(CHAIN, said("ynyy"))
    assert detail["score"] == 0.5
    assert [one["counts"] for one in json.loads(json.dumps(detail))["answers"]] == [True, False, False, True]
    assert detail["answers"][2] == {
        "id": 3,
        "category": "entity",
        "question": "Question 3?",
        "answer": "yes",
        "counts": False,
    }


def scores(answers: dict[str, list[str]], questions: dict[str, Any], *, only_last: bool = False) -> DpgScores:
    answered = [AnsweredImage(p, i, said(text)) for p, texts in answers.items() for i, text in enumerate(texts)]
    number = len(next(iter(answers.values())))
    return aggregate(questions, answered[::-1], number, BOOTSTRAP, only_last_image_in_categories=only_last)


HAND_MADE = {"a": ["ynyy", "yyyn"], "b": ["nyyy", "yyyy"]}
HAND_MADE_QUESTIONS = {"a": PAIR, "b": CHAIN}


def test_prompts_count_alike_whatever_their_questions_and_categories_are_raw() -> None:
    found = scores(HAND_MADE, HAND_MADE_QUESTIONS)
    # a: (1, 0, 1, 0) and (1, 1, 1, 0); b: (0, 0, 0, 1) and (1, 1, 1, 1)
    assert found.prompts == {"a": pytest.approx((2 / 4 + 3 / 4) / 2), "b": pytest.approx((1 / 4 + 1) / 2)}
    assert found.overall == pytest.approx((0.625 + 0.625) / 2)
    # entity: of a 3 of 4 answers, of b 7 of 8; the relation counts in no image, but one answer was yes
    assert found.categories == pytest.approx({"entity": 10 / 12, "attribute": 1.0, "relation": 0.5})
    assert list(found.categories) == ["entity", "attribute", "relation"]
    assert found.category_questions == {"entity": 6, "attribute": 1, "relation": 1}
    assert found.details == pytest.approx({"attribute - x": 1.0, "entity - x": 10 / 12, "relation - x": 0.5})
    assert (found.images_right, found.num_prompts, found.num_images) == (0.25, 2, 2)


def test_the_published_code_keeps_the_last_image_alone_in_categories() -> None:
    found = scores(HAND_MADE, HAND_MADE_QUESTIONS, only_last=True)
    assert found.categories == pytest.approx({"entity": 1.0, "attribute": 1.0, "relation": 0.0})
    assert found.category_questions == {"entity": 6, "attribute": 1, "relation": 1}
    assert found.overall == scores(HAND_MADE, HAND_MADE_QUESTIONS).overall


def test_prompts_of_different_length_weigh_the_same_in_the_overall_score() -> None:
    found = scores({"a": ["n"], "b": ["yyyy"]}, {"a": (question(1),), "b": CHAIN})
    assert found.overall == 0.5
    assert found.categories == {"entity": pytest.approx(4 / 5)}


def test_holes_strangers_and_repetitions_are_refused() -> None:
    with pytest.raises(Refusal, match="1 of 2 images have no verdict, first image 0 of prompt b"):
        scores({"a": ["yyyy"]}, HAND_MADE_QUESTIONS)
    with pytest.raises(Refusal, match="image 1 of prompt c is not in the grid"):
        scores({**HAND_MADE, "c": ["yyyy", "yyyy"]}, HAND_MADE_QUESTIONS)
    with pytest.raises(Refusal, match="3 answers for 4 questions"):
        scores({"a": ["yyy"]}, {"a": PAIR})
    with pytest.raises(Refusal, match="no prompt"):
        aggregate({}, [], 1, BOOTSTRAP, only_last_image_in_categories=False)
    twice = [AnsweredImage("a", 0, said("yyyy"))] * 2
    with pytest.raises(Refusal, match="image 0 of prompt a is judged twice"):
        aggregate({"a": PAIR}, twice, 1, BOOTSTRAP, only_last_image_in_categories=False)


@pytest.mark.parametrize(
    ("questions", "why"),
    [
        ((), "one or more"),
        ((question(1), question(1)), "each number once"),
        ((question(1), question(2, 3)), r"question 2: depends on \[3\], which must be others of \[1, 2\]"),
        ((question(1, 1),), "question 1: depends on"),
        ((question(1, category="color"),), "category 'color' is not one of global, entity"),
    ],
)
def test_graphs_that_cannot_be_scored_are_refused(questions: tuple[Question, ...], why: str) -> None:
    with pytest.raises(Refusal, match=why):
        check_questions("p", questions)


def test_the_interval_is_the_binomials() -> None:
    """40 prompts of one question, 10 answered by yes: a resampled score is Binomial(40, 1/4) / 40."""
    questions = {f"{n:02d}": (question(1),) for n in range(40)}
    found = scores({name: ["y" if int(name) < 10 else "n"] for name in questions}, questions)
    low, high = binom.ppf([0.025, 0.975], 40, 0.25) / 40
    for interval in (found.overall_interval, found.category_intervals["entity"]):
        assert interval.low == pytest.approx(low, abs=1.01 / 40)
        assert interval.high == pytest.approx(high, abs=1.01 / 40)
    certain = scores({key: ["y"] for key in questions}, questions)
    assert (certain.overall_interval.low, certain.overall_interval.high) == (1, 1)


def test_a_category_that_one_prompt_asks_for_has_an_interval() -> None:
    """No resample may be without a question, whatever is drawn."""
    questions = {**{f"{n:02d}": (question(1),) for n in range(30)}, "one": (question(1), *PAIR[1:3])}
    answers = {name: ["y" * len(asked)] for name, asked in questions.items()}
    interval = scores(answers, questions).category_intervals["attribute"]
    assert (interval.low, interval.high) == (1, 1)
    assert np.isfinite([interval.low, interval.high]).all()


ROW = {
    "proposition_id": "3",
    "dependency": "1, 2",
    "tuple": "attribute - color (ring, red)",
    "question_natural_language": "Is the ring red?",
}


def test_a_row_of_the_published_table_is_read() -> None:
    assert read_question(ROW) == Question(3, (1, 2), "attribute", "attribute - color", "Is the ring red?")
    alone = read_question({**ROW, "dependency": 0, "tuple": "global -  (photo)"})
    assert (alone.parents, alone.category) == ((), "global")
    with pytest.raises(Refusal, match="key 'tuple' is missing"):
        read_question({key: value for key, value in ROW.items() if key != "tuple"})
    with pytest.raises(Refusal, match="invalid literal"):
        read_question({**ROW, "dependency": "1 and 2"})


def test_scores_agree_with_the_reference(shared: Path) -> None:
    reference = json.loads((shared / "goldens" / "dpg_scores.json").read_text())
    items = reference["items"]
    assert len(items) == 60
    questions = {item["item_id"]: [read_question(row) for row in item["questions"]] for item in items}
    answered = [
        AnsweredImage(item["item_id"], index, tuple(answers))
        for item in items
        for index, answers in enumerate(item["answers"])
    ]
    for item in items:
        mine = [score_image(questions[item["item_id"]], answers).score for answers in item["answers"]]
        assert mine == pytest.approx(item["image_scores"], abs=1e-12)
        assert [q.category for q in questions[item["item_id"]]] == [row["category_broad"] for row in item["questions"]]
    found = aggregate(questions, answered, 4, BOOTSTRAP, only_last_image_in_categories=True)
    assert found.prompts == pytest.approx({item["item_id"]: item["item_score"] for item in items}, abs=1e-12)
    assert 100 * found.overall == pytest.approx(reference["dpg_score"], abs=1e-10)
