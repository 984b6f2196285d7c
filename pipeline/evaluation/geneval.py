"""GenEval's verdicts and scores: pure functions over detections.

The rules are those of the published benchmark (Ghosh et al., "GenEval: An Object-Focused Framework for Evaluating
Text-to-Image Alignment", arXiv 2310.11513): which detections count, when one image is correct, how image verdicts
become task scores. Where the detections and the colours come from is another module's business, so the same code
judges photographs and the demo's shapes.

Pixels: x grows to the right, y grows downward; a box is (x_min, y_min, x_max, y_max) with the right and the lower
edge exclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pipeline.errors import Refusal
from pipeline.evaluation.prompt_files import json_lines

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")

MIN_REVISED_OFFSET_PX = 1e-3  # below this on both axes two boxes stand in no relation
MIN_DIRECTION = 0.5  # share of the centre distance that an axis must keep for its relation to hold

Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that a detector saw.

    Attributes:
        class_name: the class in the benchmark's own spelling.
        score: the detector's confidence, 0 to 1.
        box: (x_min, y_min, x_max, y_max) in pixels of the judged image, right and lower edge exclusive.
        mask: bool [height, width] of the whole image, or None where the detector makes none.
        color: the colour's name where the detector itself tells it, else None.
    """

    class_name: str
    score: float
    box: Box
    mask: np.ndarray | None
    color: str | None


ColorClassifier: TypeAlias = Callable[[str, Sequence[Detection]], Sequence[str]]
"""From a class name and detections of it to one colour name per detection."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the verdict.

    Attributes:
        min_score: a detection counts when its score is strictly above this.
        min_counting_score: the same in the counting task.
        max_objects: at most this many detections per class, the most confident ones.
        max_overlap: a detection whose IoU with a more confident one of its class reaches this is dropped; 1 keeps all.
        position_margin: share of both boxes' summed size that their centres must be apart before a relation holds.
    """

    min_score: float
    min_counting_score: float
    max_objects: int
    max_overlap: float
    position_margin: float


PUBLISHED_RULES = Rules(min_score=0.3, min_counting_score=0.9, max_objects=16, max_overlap=1.0, position_margin=0.1)


@dataclass(frozen=True, slots=True)
class IncludeClause:
    """What must be there: ``count`` objects of a class, maybe of a colour, maybe in a relation to an earlier clause.

    Attributes:
        position: (relation, index of the earlier clause), or None.
    """

    class_name: str
    count: int
    color: str | None
    position: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class ExcludeClause:
    """What must not be there: ``count`` or more objects of a class."""

    class_name: str
    count: int


@dataclass(frozen=True, slots=True)
class Requirement:
    """One prompt's metadata line, checked."""

    tag: str
    prompt: str
    include: tuple[IncludeClause, ...]
    exclude: tuple[ExcludeClause, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one image shows what its prompt asks for; ``reason`` names each failed clause, empty when correct."""

    correct: bool
    reason: str


def parse_metadata(metadata: Mapping[str, Any]) -> Requirement:
    """A metadata line of the benchmark as checked clauses.

    Keys beyond tag, prompt, include and exclude (such as ``prompt_id``) are left alone.

    Raises:
        Refusal: a key is missing, a tag or relation unknown, a count below one, or a position that does not point to
            an earlier clause.
    """
    try:
        tag, prompt = metadata["tag"], metadata["prompt"]
        include = tuple(_parse_include(entry, index) for index, entry in enumerate(metadata["include"]))
        exclude = tuple(ExcludeClause(entry["class"], entry["count"]) for entry in metadata.get("exclude", ()))
    except KeyError as error:
        raise Refusal(f"GenEval metadata {dict(metadata)}: key {error} is missing; use the published schema") from error
    if tag not in TASKS:
        raise Refusal(f"GenEval prompt {prompt!r}: tag {tag!r} is not one of {', '.join(TASKS)}")
    counts = [clause.count for clause in include] + [clause.count for clause in exclude]
    if not include or min(counts) < 1:
        raise Refusal(f"GenEval prompt {prompt!r}: needs an include clause, and counts of at least 1")
    return Requirement(tag, prompt, include, exclude)


def _parse_include(entry: Mapping[str, Any], index: int) -> IncludeClause:
    position = entry.get("position")
    if position is not None:
        relation, target = position
        if relation not in RELATIONS or not 0 <= target < index:
            raise Refusal(
                f"GenEval include clause {index} {dict(entry)}: position must be one of {', '.join(RELATIONS)} "
                "and the index of an earlier clause"
            )
        position = (relation, target)
    return IncludeClause(entry["class"], entry["count"], entry.get("color"), position)


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """The lines of a metadata file, each with ``prompt_id``: its number from 0 as five digits.

    Raises:
        Refusal: a line that is no JSON or not of the schema, or a prompt that stands there twice.
    """
    rows: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for number, metadata in json_lines(path.read_text(encoding="utf-8"), str(path)):
        prompt = parse_metadata(metadata).prompt
        if prompt in seen:
            raise Refusal(f"{path}:{number}: prompt {prompt!r} is already on line {seen[prompt]}; remove one")
        seen[prompt] = number
        rows.append({**metadata, "prompt_id": f"{len(rows):05d}"})
    return rows


def box_iou(box_a: Box, box_b: Box) -> float:
    """Intersection over union of two boxes, each side counted one pixel longer, as the published code does."""

    def area(x_min: float, y_min: float, x_max: float, y_max: float) -> float:
        return max(x_max - x_min + 1, 0) * max(y_max - y_min + 1, 0)

    shared = area(max(box_a[0], box_b[0]), max(box_a[1], box_b[1]), min(box_a[2], box_b[2]), min(box_a[3], box_b[3]))
    return shared / (area(*box_a) + area(*box_b) - shared)


def filter_detections(detections: Sequence[Detection], tag: str, rules: Rules) -> dict[str, list[Detection]]:
    """The detections that count, per class, most confident first (equal scores keep their order).

    Classes of which nothing is left are absent.
    """
    min_score = rules.min_counting_score if tag == "counting" else rules.min_score
    kept: dict[str, list[Detection]] = {}
    num_candidates: dict[str, int] = {}
    for detection in sorted(detections, key=lambda detection: -detection.score):
        rank = num_candidates.get(detection.class_name, 0)
        if detection.score <= min_score or rank >= rules.max_objects:
            continue
        num_candidates[detection.class_name] = rank + 1
        group = kept.setdefault(detection.class_name, [])
        if rules.max_overlap >= 1 or all(box_iou(detection.box, other.box) < rules.max_overlap for other in group):
            group.append(detection)
    return kept


def relative_position(box_a: Box, box_b: Box, position_margin: float) -> frozenset[str]:
    """The relations in which box a stands to box b (none, one or two of ``RELATIONS``).

    The centres' offset is shortened on each axis by ``position_margin`` times both boxes' summed size there; what is
    left, divided by the unshortened distance, must exceed one half.
    """
    a, b = np.asarray(box_a, dtype=np.float64), np.asarray(box_b, dtype=np.float64)
    offset = (a[:2] + a[2:] - b[:2] - b[2:]) / 2
    margin = position_margin * ((a[2:] - a[:2]) + (b[2:] - b[:2]))
    revised = np.maximum(np.abs(offset) - margin, 0) * np.sign(offset)
    if np.all(np.abs(revised) < MIN_REVISED_OFFSET_PX):
        return frozenset()
    dx, dy = revised / np.linalg.norm(offset)
    holds = {
        "left of": dx < -MIN_DIRECTION,
        "right of": dx > MIN_DIRECTION,
        "above": dy < -MIN_DIRECTION,
        "below": dy > MIN_DIRECTION,
    }
    return frozenset(relation for relation in RELATIONS if holds[relation])


def judge_image(
    metadata: Mapping[str, Any], detections: Sequence[Detection], classify_color: ColorClassifier, rules: Rules
) -> Verdict:
    """Whether the detections of one image satisfy the clauses of its prompt.

    Colour and position look at the ``count`` most confident objects of a class only; further objects do no harm
    unless an exclude clause counts them.

    Raises:
        Refusal: the metadata are not of the schema.
    """
    requirement = parse_metadata(metadata)
    objects_by_class = filter_detections(detections, requirement.tag, rules)
    groups: list[list[Detection] | None] = []
    failures: list[str] = []
    for clause in requirement.include:
        objects = objects_by_class.get(clause.class_name, [])
        failure = _failure_of_clause(clause, objects, groups, classify_color, rules)
        groups.append(None if failure else objects[: clause.count])
        failures += [failure] if failure else []
    for excluded in requirement.exclude:
        num_found = len(objects_by_class.get(excluded.class_name, []))
        if num_found >= excluded.count:
            failures.append(f"{excluded.class_name}: expected fewer than {excluded.count}, found {num_found}")
    return Verdict(not failures, "; ".join(failures))


def _failure_of_clause(
    clause: IncludeClause,
    objects: Sequence[Detection],
    groups: Sequence[Sequence[Detection] | None],
    classify_color: ColorClassifier,
    rules: Rules,
) -> str:
    """Why an include clause fails, or an empty text."""
    if len(objects) < clause.count:
        return f"{clause.class_name}: expected at least {clause.count}, found {len(objects)}"
    objects = objects[: clause.count]
    if clause.color is not None:
        colors = list(classify_color(clause.class_name, objects))
        if colors.count(clause.color) < clause.count:
            return f"{clause.class_name}: expected {clause.count} {clause.color}, found {', '.join(colors)}"
    if clause.position is None:
        return ""
    relation, target = clause.position
    target_group = groups[target]
    if target_group is None:
        return f"{clause.class_name}: expected {relation} an object that itself failed"
    for one in objects:
        for other in target_group:
            seen = relative_position(one.box, other.box, rules.position_margin)
            if relation not in seen:
                stands = " and ".join(sorted(seen)) or "in no relation to"
                return f"{clause.class_name}: expected {relation} {other.class_name}, found {stands} it"
    return ""
