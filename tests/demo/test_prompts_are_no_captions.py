"""No prompt is word for word a sentence that the demo's captioners can write: what is asked was never trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import sandbox

from pipeline.demo.benchmarks import geneval_shapes, geneval_shapes_long
from pipeline.demo.world.describe import INSTRUCTIONS, SMALL_RADIUS, describe
from pipeline.demo.world.scene import SceneObject
from pipeline.demo.world.world import BACKGROUNDS, SHAPES

SIDE_PX = 64
CENTERS_PX = (16.0, 32.0, 48.0)
RADII_PX = (SMALL_RADIUS * SIDE_PX - 2, SMALL_RADIUS * SIDE_PX + 4)
NUM = 48


def groups_of(clause: dict[str, Any], color: str) -> Iterator[list[SceneObject]]:
    """What a clause asks for, at every place that captions have words for, small and large."""
    for x, y, radius in product(CENTERS_PX, CENTERS_PX, RADII_PX):
        yield [SceneObject(clause["class"], clause.get("color", color), x, y, radius)] * clause["count"]


def captions_about(row: dict[str, Any]) -> Iterator[str]:
    """All that is said of pictures of a prompt's contents; a colour that is not asked for is any one."""
    colors = ("red", "blue")
    for groups in product(*(groups_of(*pair) for pair in zip(row["include"], colors, strict=False))):
        for instruction, background in product(INSTRUCTIONS, BACKGROUNDS["plain"]):
            things = [thing for group in groups for thing in group]
            yield describe(things, style="plain", background=background, side_px=SIDE_PX, instruction=instruction)


@pytest.fixture(scope="module")
def captions() -> set[str]:
    """All captions of the contents that both benchmarks ask for, and those made of class names."""
    template = sandbox.demo()["recaption"]["captioners"]["label"]["template"]
    found = {template.format(class_name=shape) for shape in SHAPES}
    for row in geneval_shapes.prompts(NUM, 0):
        found.update(captions_about(row))
    return found


@pytest.mark.parametrize("benchmark", [geneval_shapes, geneval_shapes_long])
def test_no_prompt_is_a_caption(benchmark: Any, captions: set[str]) -> None:
    # Captions of just these contents are among them: what is compared could be equal.
    assert {"a photo of three rings", "a picture of a moon", "an image of a moon"} <= captions
    assert not {row["prompt"] for row in benchmark.prompts(NUM, 0)} & captions
