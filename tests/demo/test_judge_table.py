"""Scenes of the judge's table fulfil their prompts, or fail to, by their own words; tables count what a judge says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.randomness import generator
from pipeline.demo.judge import scenes, table
from pipeline.demo.judge.detector import classify_color, detect
from pipeline.demo.judge.scenes import WRONGS, half_cut, true_scene
from pipeline.demo.judge.table import markdown
from pipeline.demo.world.render import outline_mask, render
from pipeline.demo.world.scene import Scene, SceneObject
from pipeline.demo.world.world import COLORS, SHAPES, STYLES
from pipeline.evaluation.geneval import PUBLISHED_RULES, TASKS, Detection, judge_image

SCENE_CHANGES = {
    "wrong colour": scenes.wrong_color,
    "colours swapped": scenes.swapped_colors,
    "wrong shape": scenes.wrong_shape,
    "one missing": scenes.one_missing,
    "relation mirrored": scenes.mirrored,
    "one too many": scenes.one_too_many,
}


def words_of(scene: Scene) -> list[Detection]:
    """What a judge would find that knows the scene itself; no pixel is looked at."""
    found = []
    for thing in scene.objects:
        x, y, r = thing.center_x_px, thing.center_y_px, thing.radius_px
        found.append(Detection(thing.shape, 1.0, (x - r, y - r, x + r, y + r), None, thing.color))
    return found


def fulfils(prompt: dict[str, Any], scene: Scene) -> bool:
    return judge_image(prompt, words_of(scene), classify_color, PUBLISHED_RULES).correct


@pytest.mark.parametrize("task", TASKS)
def test_right_scenes_show_what_was_asked_whole_and_apart(task: str) -> None:
    for style in STYLES:
        for prompt, scene, _ in table.cases(task, style, 40):
            assert fulfils(prompt, scene), (prompt, scene)
            assert scene.style == style
            covered = sum(outline_mask(thing, scene.side_px) for thing in scene.objects)
            assert covered.max() <= 1.0, "objects do not overlap"
            assert covered[[0, -1]].max() == covered[:, [0, -1]].max() == 0.0, "none touches the border"


@pytest.mark.parametrize("kind", SCENE_CHANGES)
def test_scenes_made_wrong_are_wrong_by_their_own_words(kind: str) -> None:
    for task in WRONGS[kind].tasks:
        for prompt, scene, draws in table.cases(task, "plain", 40):
            changed = SCENE_CHANGES[kind](prompt, scene, draws)
            assert not fulfils(prompt, changed), (prompt, changed)
            covered = sum(outline_mask(thing, scene.side_px) for thing in changed.objects)
            assert np.max(covered) <= 1.0


def test_every_kind_of_wrongness_is_one_of_scene_or_of_pixels() -> None:
    assert set(WRONGS) - set(SCENE_CHANGES) == {"half cut", "blurred", "white noise", "soft noise"}
    assert all(kind.meaning and set(kind.tasks) <= set(TASKS) for kind in WRONGS.values())


def test_half_cut_hides_half_of_one_object_and_nothing_else() -> None:
    pair = (SceneObject("circle", "red", 16, 16, 10), SceneObject("triangle", "blue", 48, 48, 10))
    scene = Scene("by hand", 64, "plain", "white", pair)
    whole = np.asarray(render(scene))
    masks = [outline_mask(thing, 64) for thing in pair]
    for number in range(20):
        cut = np.asarray(half_cut(scene, generator("test", "half_cut", number)))
        changed = (cut != whole).any(axis=2)
        shares = sorted(float(mask[changed].sum() / mask.sum()) for mask in masks)
        assert shares[0] == 0.0
        assert 0.2 < shares[1] < 0.8
    lower_half_of_triangle = replace(scene, objects=pair[1:])
    for number in range(20):
        cut = np.asarray(half_cut(lower_half_of_triangle, generator("test", "triangle", number)))
        assert (cut[56] != np.asarray(render(replace(scene, objects=())))[56]).any(), "its foot is always left in part"


def sees_a_red_circle(image: Image.Image) -> Sequence[Detection]:
    return [Detection("circle", 1.0, (20, 20, 40, 40), None, "red")]


def test_the_tables_count_what_the_judge_says() -> None:
    shapes, colors = table.confusion(sees_a_red_circle, 36)
    assert sum(shapes.values()) == 72
    assert {judged for _, judged in shapes} == {"circle"}
    assert {true for true, _ in shapes} == set(SHAPES)
    assert {judged for _, judged in colors} == {"red"}
    assert all(colors[color, "red"] == 12 for color in COLORS)
    text = table.confusion_table("shape", SHAPES, shapes)
    assert "| circle | 12 | . | . | . | . | . | . | . |" in text
    assert "| moon | 12 | . |" in text
    right = table.right_on_true(sees_a_red_circle, 36)
    assert all(right["true", "colors", style] == pytest.approx(1 / 36) for style in STYLES)
    assert all(right["true", task, style] == 0.0 for task in ("two_object", "counting") for style in STYLES)


def test_one_object_is_seen_as_itself_and_several_or_none_as_no_object() -> None:
    one = Detection("moon", 0.9, (0, 0, 9, 9), None, "blue")
    doubtful = Detection("ring", 0.2, (0, 0, 9, 9), None, "red")
    assert table.seen_as([one, doubtful]) == ("moon", "blue")
    assert table.seen_as([one, one]) == ("several", "several")
    assert table.seen_as([doubtful]) == ("none", "none")


def test_the_judge_knows_right_from_wrong_on_a_few_of_each() -> None:
    """The whole table, with more pictures, stands in docs/judge.md."""
    assert min(table.right_on_true(detect, 4).values()) == 1.0
    for prompt, scene, draws in table.cases("color_attr", "aesthetic", 4):
        for kind in ("wrong colour", "colours swapped", "one missing", "wrong shape"):
            found = detect(WRONGS[kind].picture(prompt, scene, draws))
            assert not judge_image(prompt, found, classify_color, PUBLISHED_RULES).correct, (kind, prompt, scene)


def test_no_pictures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--num-wrong", "0"]) == 1
    assert "--num-wrong is 0; give 1 picture or more" in capsys.readouterr().err


def test_a_table_has_lines_of_one_length() -> None:
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    with pytest.raises(ValueError, match="a line of another length"):
        markdown(["a", "b"], [["1"]])


def test_scenes_follow_from_their_coordinates() -> None:
    prompt = table.prompts_by_task()["counting"][0]
    first, second = (true_scene(prompt, "plain", generator("test", 1)) for _ in range(2))
    assert first == second
