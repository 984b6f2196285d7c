"""GenEval's verdicts: hand-made truths for each rule, and the reference verdicts where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Refusal
from pipeline.evaluation.geneval import (
    COLORS,
    PUBLISHED_RULES,
    TASKS,
    Box,
    Detection,
    Rules,
    Verdict,
    box_iou,
    filter_detections,
    judge_image,
    read_prompts,
    relative_position,
)

HERE: Box = (10, 10, 20, 20)
LEFT: Box = (0, 40, 10, 50)
RIGHT: Box = (60, 40, 70, 50)


def seen(class_name: str, score: float = 0.95, box: Box = HERE, color: str | None = None) -> Detection:
    return Detection(class_name, score, box, None, color)


def known_colors(class_name: str, detections: Sequence[Detection]) -> list[str]:
    return [str(detection.color) for detection in detections]


def judge(tag: str, include: list[dict[str, Any]], detections: list[Detection], **more: Any) -> Verdict:
    metadata = {"tag": tag, "prompt": "p", "include": include, **more}
    return judge_image(metadata, detections, known_colors, PUBLISHED_RULES)


def test_single_object_needs_its_class_strictly_above_the_threshold() -> None:
    include = [{"class": "dog", "count": 1}]
    assert judge("single_object", include, [seen("dog", 0.31), seen("cat")]) == Verdict(True, "")
    assert judge("single_object", include, [seen("dog", 0.3)]) == Verdict(False, "dog: expected at least 1, found 0")


def test_each_failed_clause_has_its_reason() -> None:
    include = [{"class": "dog", "count": 1}, {"class": "cat", "count": 1}]
    assert judge("two_object", include, [seen("cat")]).reason == "dog: expected at least 1, found 0"
    assert judge("two_object", include, []).reason == (
        "dog: expected at least 1, found 0; cat: expected at least 1, found 0"
    )
    assert judge("two_object", include, [seen("cat"), seen("dog"), seen("dog"), seen("bird")]).correct


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([0.95, 0.91], ""),
        ([0.95, 0.91, 0.9, 0.5], ""),  # 0.9 is not above 0.9
        ([0.95, 0.9], "dog: expected at least 2, found 1"),
        ([0.95, 0.94, 0.93], "dog: expected fewer than 3, found 3"),
    ],
)
def test_counting_takes_confident_objects_only_and_exactly_the_number(scores: list[float], reason: str) -> None:
    verdict = judge(
        "counting",
        [{"class": "dog", "count": 2}],
        [seen("dog", score) for score in scores],
        exclude=[{"class": "dog", "count": 3}],
    )
    assert verdict == Verdict(not reason, reason)


def test_colour_looks_at_the_most_confident_object_only() -> None:
    include = [{"class": "dog", "count": 1, "color": "red"}]
    sure_red = [seen("dog", 0.5, color="blue"), seen("dog", 0.9, color="red")]
    sure_blue = [seen("dog", 0.9, color="blue"), seen("dog", 0.5, color="red")]
    assert judge("colors", include, sure_red).correct
    assert judge("colors", include, sure_blue).reason == "dog: expected 1 red, found blue"


def test_colours_are_asked_of_exactly_the_counted_objects() -> None:
    asked: list[tuple[str, int]] = []

    def classify(class_name: str, detections: Sequence[Detection]) -> list[str]:
        asked.append((class_name, len(detections)))
        return ["red"] * len(detections)

    metadata = {"tag": "colors", "prompt": "p", "include": [{"class": "dog", "count": 2, "color": "red"}]}
    assert judge_image(metadata, [seen("dog")] * 3, classify, PUBLISHED_RULES).correct
    assert not judge_image(metadata, [seen("dog")], classify, PUBLISHED_RULES).correct
    assert asked == [("dog", 2)]


def test_position_is_judged_from_the_anchor_named_first() -> None:
    include = [{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}]
    assert judge("position", include, [seen("dog", box=LEFT), seen("cat", box=RIGHT)]).correct
    mirrored = judge("position", include, [seen("dog", box=RIGHT), seen("cat", box=LEFT)])
    assert mirrored.reason == "dog: expected left of cat, found right of it"
    same_place = judge("position", include, [seen("dog"), seen("cat")])
    assert same_place.reason == "dog: expected left of cat, found in no relation to it"


def test_position_fails_with_its_anchor() -> None:
    include = [
        {"class": "cat", "count": 1, "color": "red"},
        {"class": "dog", "count": 1, "position": ["left of", 0]},
    ]
    verdict = judge("position", include, [seen("dog", box=LEFT), seen("cat", box=RIGHT, color="blue")])
    assert verdict.reason == "cat: expected 1 red, found blue; dog: expected left of an object that itself failed"


@pytest.mark.parametrize(
    ("box_a", "relations"),
    [
        ((-30, 0, -20, 10), {"left of"}),
        ((30, 0, 40, 10), {"right of"}),
        ((0, -30, 10, -20), {"above"}),
        ((0, 30, 10, 40), {"below"}),
        ((30, 30, 40, 40), {"right of", "below"}),
        ((0, 0, 10, 10), set()),
        ((1.9, 0, 11.9, 10), set()),  # offset 1.9 within the margin 0.1 * (10 + 10)
        ((3.9, 0, 13.9, 10), set()),  # (3.9 - 2) / 3.9 = 0.487
        ((4.1, 0, 14.1, 10), {"right of"}),  # (4.1 - 2) / 4.1 = 0.512
    ],
)
def test_relative_position(box_a: Box, relations: set[str]) -> None:
    assert relative_position(box_a, (0, 0, 10, 10), 0.1) == relations


def test_filter_keeps_the_sixteen_most_confident_of_a_class() -> None:
    scores = [0.31 + 0.01 * number for number in range(20)]
    kept = filter_detections([seen("dog", score) for score in scores] + [seen("cat", 0.1)], "colors", PUBLISHED_RULES)
    assert list(kept) == ["dog"]
    assert [detection.score for detection in kept["dog"]] == scores[:3:-1]


def test_overlapping_detections_go_only_where_suppression_is_asked_for() -> None:
    strict = Rules(min_score=0.3, min_counting_score=0.9, max_objects=16, max_overlap=0.5, position_margin=0.1)
    dogs = [seen("dog", 0.6, (0, 0, 9, 8)), seen("dog", 0.9, (0, 0, 9, 9)), seen("dog", 0.8, (20, 20, 29, 29))]
    assert box_iou(dogs[0].box, dogs[1].box) == pytest.approx(0.9)  # 10 x 9 of 10 x 10 with the extra pixel
    assert [dog.score for dog in filter_detections(dogs, "colors", strict)["dog"]] == [0.9, 0.8]
    assert len(filter_detections(dogs, "colors", PUBLISHED_RULES)["dog"]) == 3


@pytest.mark.parametrize(
    "broken",
    [
        {"tag": "colors", "prompt": "p"},
        {"tag": "colours", "prompt": "p", "include": [{"class": "dog", "count": 1}]},
        {"tag": "colors", "prompt": "p", "include": []},
        {"tag": "colors", "prompt": "p", "include": [{"class": "dog", "count": 0}]},
        {"tag": "colors", "prompt": "p", "include": [{"count": 1}]},
        {"tag": "position", "prompt": "p", "include": [{"class": "dog", "count": 1, "position": ["above", 0]}]},
    ],
)
def test_metadata_outside_the_schema_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="GenEval"):
        judge_image(broken, [], known_colors, PUBLISHED_RULES)


def test_prompt_files_are_numbered_and_checked(tmp_path: Path) -> None:
    line = json.dumps({"tag": "single_object", "prompt": "a dog", "include": [{"class": "dog", "count": 1}]})
    other = line.replace("a dog", "one dog")
    file = tmp_path / "prompts.jsonl"
    file.write_text(f"{line}\n{other}\n")
    assert [(row["prompt_id"], row["prompt"]) for row in read_prompts(file)] == [
        ("00000", "a dog"),
        ("00001", "one dog"),
    ]
    file.write_text(f"{line}\n{line}\n")
    with pytest.raises(Refusal, match="already on line 1"):
        read_prompts(file)
    file.write_text("{\n")
    with pytest.raises(Refusal, match=r"prompts\.jsonl:1: no JSON"):
        read_prompts(file)


def test_published_prompts_are_read_whole(shared: Path) -> None:
    rows = read_prompts(shared / "data" / "geneval" / "evaluation_metadata.jsonl")
    counts = {task: sum(row["tag"] == task for row in rows) for task in TASKS}
    assert counts == dict(zip(TASKS, (80, 99, 80, 94, 100, 100), strict=True))
    assert rows[-1]["prompt_id"] == "00552"
    assert {clause["color"] for row in rows for clause in row["include"] if "color" in clause} <= set(COLORS)


def test_relations_agree_with_the_reference(shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "goldens" / "geneval_relations.jsonl").open()]
    assert len(rows) == 200
    assert [sorted(relative_position(row["a"], row["b"], PUBLISHED_RULES.position_margin)) for row in rows] == [
        sorted(row["relations"]) for row in rows
    ]


def test_verdicts_agree_with_the_reference(shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "goldens" / "geneval_verdicts.jsonl").open()]
    assert len(rows) == 600
    for row in rows:
        detections = [
            Detection(entry["label"], entry["score"], tuple(entry["box"]), None, entry["color"])
            for entry in row["detections"]
        ]
        verdict = judge_image(row["metadata"], detections, known_colors, PUBLISHED_RULES)
        assert verdict.correct == row["correct"], (row["id"], verdict.reason)
        assert verdict.correct == (verdict.reason == "")
