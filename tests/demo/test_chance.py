"""Chance on colours, where it can be counted by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from pipeline.data.randomness import generator
from pipeline.demo.benchmarks.geneval_shapes import prompts
from pipeline.demo.chance import color_chance
from pipeline.demo.judge.detector import classify_color
from pipeline.demo.world.world import COLORS, SHAPES
from pipeline.errors import Refusal
from pipeline.evaluation.geneval import PUBLISHED_RULES, Detection, judge_image


def detection(shape: str, color: str, score: float = 0.95) -> Detection:
    return Detection(shape, score, (0.0, 0.0, 9.0, 9.0), None, color)


def prompt(shape: str, color: str, tag: str = "colors") -> dict[str, Any]:
    clause = {"class": shape, "count": 1, "color": color}
    return {"tag": tag, "prompt": f"a {color} {shape}", "include": [clause], "exclude": []}


ALL = {f"{shape} {color}": prompt(shape, color) for shape, color in product(SHAPES, COLORS)}


def test_right_shapes_of_any_colour_are_right_in_one_of_six() -> None:
    seen = [(name, [detection(name.split()[0], "red")]) for name in ALL]
    found = color_chance(ALL, seen, PUBLISHED_RULES)
    assert found.chance == pytest.approx(1 / 6)
    assert found.right_shapes == 1


def test_wrong_shapes_are_never_right() -> None:
    seen = [(name, [detection("circle", name.split()[1])]) for name in ALL]
    found = color_chance(ALL, seen, PUBLISHED_RULES)
    assert found.right_shapes == pytest.approx(1 / 6)
    assert found.chance == pytest.approx(1 / 36)
    nothing = color_chance(ALL, [(name, []) for name in ALL], PUBLISHED_RULES)
    assert (nothing.chance, nothing.right_shapes) == (0, 0)


def test_the_prompts_own_colours_count_and_other_tasks_do_not() -> None:
    asked = {"a": prompt("ring", "red"), "b": prompt("ring", "red"), "c": prompt("ring", "blue")}
    asked |= {"d": prompt("ring", "green", tag="color_attr")}
    seen = [("a", [detection("ring", "blue")]), ("c", [detection("ring", "red")]), ("b", [detection("ring", "green")])]
    assert color_chance(asked, seen, PUBLISHED_RULES).chance == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)


def test_only_what_the_verdict_looks_at_counts() -> None:
    """The most confident object of the asked shape, above the rules' threshold."""
    seen = [
        ("ring red", [detection("ring", "blue", 0.5), detection("ring", "red", 0.9), detection("moon", "red", 1.0)])
    ]
    asked = {"ring red": prompt("ring", "red"), "moon red": prompt("moon", "red")}
    assert color_chance(asked, seen, PUBLISHED_RULES).chance == 1
    weak = [("ring red", [detection("ring", "red", 0.3)])]
    assert color_chance(asked, weak, PUBLISHED_RULES).right_shapes == 0


def test_it_is_what_a_model_that_knows_no_colour_scores_on_the_real_prompts() -> None:
    metadata = {str(one["prompt_id"]): one for one in prompts(40, seed=0)}
    draws, seen, right = generator(0, "a model that knows no colour"), [], []
    for prompt_id, line in metadata.items():
        if line["tag"] != "colors":
            continue
        for _ in range(200):
            shape = line["include"][0]["class"] if draws.random() < 0.7 else SHAPES[int(draws.integers(6))]
            shown = [detection(shape, tuple(COLORS)[min(5, int(draws.exponential(2)))])]
            seen.append((prompt_id, shown))
            right.append(judge_image(line, shown, classify_color, PUBLISHED_RULES).correct)
    found = color_chance(metadata, seen, PUBLISHED_RULES)
    assert found.right_shapes == pytest.approx(0.75, abs=0.02)
    assert found.chance == pytest.approx(float(np.mean(right)), abs=0.02)


def test_no_pictures_are_refused() -> None:
    with pytest.raises(Refusal, match="no picture of the task colors"):
        color_chance(ALL, [], PUBLISHED_RULES)
