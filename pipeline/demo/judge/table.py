"""How far the demo's judge can be trusted: its verdicts on scenes of known truth, right ones and wrong ones.

Scenes for the prompts of ``geneval_shapes``, in both styles, are rendered and judged as generated pictures are. No
generated picture takes part, and nothing here changes the judge.

    python -m pipeline.demo.judge.table

prints the tables as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from pipeline.data.randomness import generator
from pipeline.demo.benchmarks import geneval_shapes
from pipeline.demo.judge.detector import classify_color, detect
from pipeline.demo.judge.scenes import WRONGS, blurred, noisy, true_scene
from pipeline.demo.models.recipes import HELDOUT_SEED
from pipeline.demo.world.render import render
from pipeline.demo.world.scene import Scene
from pipeline.demo.world.world import COLORS, SHAPES, STYLES
from pipeline.errors import Refusal, exit_status
from pipeline.evaluation.geneval import PUBLISHED_RULES, TASKS, Detection, judge_image

Judge: TypeAlias = Callable[[Image.Image], Sequence[Detection]]
"""Finds the objects in a picture."""

Worse: TypeAlias = Callable[[Image.Image, np.random.Generator], Image.Image]
"""From a picture and draws to a worse picture."""

NUM_PROMPTS = 36  # of a task; every shape, and every shape in every colour
BLURS_PX = (1.0, 2.0, 4.0)
NOISES = (20.0, 80.0)  # standard deviations, of 255
NOTHING, SEVERAL = "none", "several"
Shares: TypeAlias = dict[tuple[str, str, str], float]
"""(kind of picture, task, style) -> share of pictures that are judged right."""


@cache
def prompts_by_task() -> dict[str, list[dict[str, Any]]]:
    """The prompts that scenes are made for."""
    prompts: dict[str, list[dict[str, Any]]] = {task: [] for task in TASKS}
    for prompt in geneval_shapes.prompts(NUM_PROMPTS, HELDOUT_SEED):
        prompts[prompt["tag"]].append(prompt)
    return prompts


def cases(task: str, style: str, num: int) -> Iterable[tuple[dict[str, Any], Scene, np.random.Generator]]:
    """``num`` prompts of a task, each with a scene that fulfils it and draws for what is made of it."""
    prompts = prompts_by_task()[task]
    for number in range(num):
        draws = generator("demo_models", "judge", task, style, number)
        prompt = prompts[number % len(prompts)]
        yield prompt, true_scene(prompt, style, draws), draws


def _share(verdicts: Iterable[bool]) -> float:
    return float(np.mean(list(verdicts)))


def _right(judge: Judge, prompt: dict[str, Any], image: Image.Image) -> bool:
    return judge_image(prompt, judge(image), classify_color, PUBLISHED_RULES).correct


def right_on_true(judge: Judge, num: int) -> Shares:
    """Verdicts on right scenes."""
    return {
        ("true", task, style): _share(_right(judge, p, render(scene)) for p, scene, _ in cases(task, style, num))
        for task, style in product(TASKS, STYLES)
    }


def right_on_wrong(judge: Judge, num: int) -> Shares:
    """False positives: verdicts on scenes made wrong, for the tasks in which each kind is wrong."""
    return {
        (name, task, style): _share(
            _right(judge, prompt, kind.picture(prompt, scene, draws))
            for prompt, scene, draws in cases(task, style, num)
        )
        for name, kind in WRONGS.items()
        for task, style in product(kind.tasks, STYLES)
    }


def _blurred_by(deviation_px: float) -> Worse:
    return lambda image, draws: blurred(image, deviation_px)


def _noisy_by(deviation: float) -> Worse:
    return lambda image, draws: noisy(image, deviation, draws)


def right_by_degree(judge: Judge, num: int) -> Shares:
    """Verdicts on right scenes that get worse by degrees; what is right is no question of truth here."""
    worse = {f"blur {px:g} px": _blurred_by(px) for px in BLURS_PX}
    worse |= {f"noise {deviation:g} of 255": _noisy_by(deviation) for deviation in NOISES}
    return {
        (name, task, style): _share(
            _right(judge, prompt, make(render(scene), draws)) for prompt, scene, draws in cases(task, style, num)
        )
        for name, make in worse.items()
        for task, style in product(TASKS, STYLES)
    }


def seen_as(detections: Sequence[Detection]) -> tuple[str, str]:
    """(shape, colour) of the one object that counts; ``none`` or ``several`` where it is not one."""
    confident = [one for one in detections if one.score > PUBLISHED_RULES.min_score]
    if len(confident) != 1:
        return (SEVERAL, SEVERAL) if confident else (NOTHING, NOTHING)
    return confident[0].class_name, confident[0].color or NOTHING


def confusion(judge: Judge, num: int) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """(true, judged) -> number of single objects, for shapes and for colours, in the scenes of the task ``colors``."""
    shapes: Counter[tuple[str, str]] = Counter()
    colors: Counter[tuple[str, str]] = Counter()
    for style in STYLES:
        for _, scene, _ in cases("colors", style, num):
            (thing,) = scene.objects
            shape, color = seen_as(judge(render(scene)))
            shapes[thing.shape, shape] += 1
            colors[thing.color, color] += 1
    return shapes, colors


# --- tables


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; each line has as many cells as the head."""
    rows = [head, ["---"] * len(head), *lines]
    if any(len(row) != len(head) for row in rows):
        raise ValueError(f"a line of another length than the head {list(head)}")
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def shares_table(first: str, shares: Shares) -> str:
    """Kinds down, tasks across, plain / aesthetic in a cell, in percent; ``-`` where a kind is not wrong."""
    lines = []
    for name in dict.fromkeys(kind for kind, _, _ in shares):
        cells = []
        for task in TASKS:
            task_shares = [shares[name, task, style] for style in STYLES if (name, task, style) in shares]
            cells.append(" / ".join(map(_percent, task_shares)) or "-")
        lines.append([name, *cells])
    return markdown([first, *TASKS], lines)


def confusion_table(first: str, names: Sequence[str], counted: Counter[tuple[str, str]]) -> str:
    """True down, judged across, in numbers of pictures."""
    judged = [*names, NOTHING, SEVERAL]
    return markdown(
        [first, *judged],
        [[true, *(str(counted[true, other]) if counted[true, other] else "." for other in judged)] for true in names],
    )


def measured(judge: Judge, num_right: int, num_wrong: int) -> str:
    """All tables.

    Args:
        judge: finds the objects in a picture.
        num_right: right scenes of each task and style, at least 1.
        num_wrong: pictures of each kind of what is wrong or worse, task and style, at least 1.

    Raises:
        Refusal: a number is below 1.
    """
    for name, number in (("num-right", num_right), ("num-wrong", num_wrong)):
        if number < 1:
            raise Refusal(f"--{name} is {number}; give 1 picture or more of each kind, task and style")
    shapes, colors = confusion(judge, num_right)
    return "\n\n".join(
        [
            "Right scenes that are judged right, percent, plain / aesthetic:",
            shares_table("scenes", right_on_true(judge, num_right)),
            "Wrong pictures that are judged right (false positives), percent, plain / aesthetic:",
            shares_table("made wrong", right_on_wrong(judge, num_wrong)),
            "Right scenes, made worse by degrees, that are judged right, percent, plain / aesthetic:",
            shares_table("made worse", right_by_degree(judge, num_wrong)),
            "Single objects, true shape down, judged shape across:",
            confusion_table("shape", SHAPES, shapes),
            "The same by colour:",
            confusion_table("colour", tuple(COLORS), colors),
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.judge.table", description=__doc__)
    parser.add_argument("--num-right", type=int, default=200, help="right scenes of each task and style (200)")
    parser.add_argument("--num-wrong", type=int, default=40, help="of each kind of wrong ones, task and style (40)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: print(measured(detect, asked.num_right, asked.num_wrong)))


if __name__ == "__main__":
    sys.exit(main())
