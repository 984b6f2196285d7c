"""Captions from class names, and the draw of instructions."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from PIL import Image

from pipeline.captioners.base import Caption, Picture, draw_instruction
from pipeline.captioners.label import LabelCaptioner
from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal, Reject
from pipeline.params.captioners import LabelCaptioner as LabelParams

TEMPLATE = "an image of a {class_name}"


def of_class(class_name: str | None) -> Picture:
    """A row with this class name, whose picture nobody may look at."""

    def view(side_px: int) -> Image.Image:
        raise AssertionError(side_px)

    return Picture(0, "imagenet/0", class_name, (), view)


def test_the_class_name_is_put_into_the_template() -> None:
    rows = LabelCaptioner(LabelParams(template=TEMPLATE), 4).caption([of_class("tench"), of_class("{odd} name ")])
    assert rows == [
        Caption("an image of a tench", TEMPLATE, FinishReason.TEMPLATE, 0),
        Caption("an image of a {odd} name", TEMPLATE, FinishReason.TEMPLATE, 0),
    ]


def test_a_row_without_a_class_name_is_rejected_and_keeps_its_place() -> None:
    rows = LabelCaptioner(LabelParams(template=TEMPLATE), 4).caption([of_class(None), of_class("star"), of_class(" ")])
    assert [row.reason if isinstance(row, Reject) else row.text for row in rows] == [
        "no_class_name",
        "an image of a star",
        "no_class_name",
    ]


@pytest.mark.parametrize("name", ["n01440764", " n01440764_ "])
def test_an_id_is_no_word(name: str) -> None:
    captioner = LabelCaptioner(LabelParams(template=TEMPLATE), 4)
    with pytest.raises(Refusal, match=r"'n01440764_?' is an id and no word .* class_names\.tsv .*<tab>tench"):
        captioner.caption([of_class("tench"), of_class(name)])


@pytest.mark.parametrize(
    "template",
    ["an image", "a {label}", "a {class_name} and {colour}", "a {}", "a {class_name!r}", "a {class_name:>9}",
     "a {class_name.real}", "a {class_name", "{{class_name}}"],
)  # fmt: skip
def test_other_templates_are_refused(template: str) -> None:
    with pytest.raises(Refusal, match="template"):
        LabelCaptioner(LabelParams(template=template), 4)


def test_labels_need_no_deep_learning_library() -> None:
    code = (
        "import sys, pipeline.captioners.label as _;"
        "print(sorted({'torch', 'transformers', 'diffusers', 'PIL', 'pipeline.data.randomness'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_instructions_are_drawn_by_key_in_their_shares() -> None:
    weights = {"full": 0.7, "brief": 0.2, "name": 0.1, "never": 0.0}
    keys = [f"imagenet/{number}" for number in range(4000)]
    drawn = {key: draw_instruction(weights, 0, key) for key in keys}
    counts = Counter(drawn.values())
    assert {name: counts[name] / len(keys) for name in weights} == pytest.approx(weights, abs=0.025)  # 3.5 sigma
    assert all(draw_instruction(weights, 0, key) == drawn[key] for key in reversed(keys))
    assert any(draw_instruction(weights, 1, key) != drawn[key] for key in keys)


def test_instructions_without_weight_are_refused() -> None:
    with pytest.raises(Refusal, match="positive weight"):
        draw_instruction({"full": 0.0}, 0, "imagenet/1")
