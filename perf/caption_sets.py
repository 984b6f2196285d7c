"""Two caption sets of one pass, beside a pass for each: what it saves that pictures are computed once.

``python -m perf.caption_sets``: the demo's captioner writes a long and a short caption of pictures of the demo's world,
as a row of two sets does it, and as two rows do it, one after another. Both run in this process in turns, with models
that are loaded; seconds of the processor in user code are compared, and captions must be equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from perf.turns import in_turns, rates, user_seconds
from pipeline.captioners.base import Caption, Picture, SetsCaptioner, Setting
from pipeline.captioners.local_sets import LocalSets, LocalSetsCaptioner
from pipeline.captioners.sets import InTurn
from pipeline.data.images import decode, square_view
from pipeline.demo.world.render import png_bytes, render
from pipeline.demo.world.scene import scene_of
from pipeline.errors import Refusal, Reject, exit_status
from pipeline.params.caption_sets import CaptionSet
from pipeline.params.load import BASE_PRESET, load
from pipeline.params.schema import Execution

SETS = ("full", "brief")  # what the demo's captioner is told for a long and for a short caption
IMAGES = "download/world"
APART, TOGETHER = "two passes", "one pass"


def view_of(data: bytes, side_px: int) -> object:
    """The square view of a picture."""
    return square_view(decode(data, max_pixels=1_000_000), side_px)


def pictures(num_pictures: int) -> list[Picture]:
    """Pictures of the demo's world as files, decoded when they are looked at."""
    drawn = []
    for number in range(num_pictures):
        scene = scene_of(f"{number:06}", seed=0, style="plain", layout="grid", side_px=64, several=0.25)
        view: Callable[[int], object] = partial(view_of, png_bytes(render(scene)))
        drawn.append(Picture(number, f"{IMAGES}/{number}", None, (), view))  # type: ignore[arg-type]
    return drawn


def captioners(execution: Execution, project: Path) -> dict[str, SetsCaptioner]:
    """Both ways to write the two sets."""
    declared = load(project / BASE_PRESET, project).sections["recaption"].tables["captioners"]["vlm"]
    sets = {name: CaptionSet(instructions={name: 1.0}) for name in SETS}
    values = {name: getattr(declared, name) for name in declared.__struct_fields__}
    several = type(declared)(**{**values, "instructions": None, "sets": sets})
    own = {name: several.of_set(name) for name in SETS}
    setting = Setting(execution, 0, IMAGES, 0, None, None)
    apart = InTurn({name: LocalSetsCaptioner.open(params, setting) for name, params in own.items()})
    return {TOGETHER: LocalSets(own, setting), APART: apart}


def captioned(captioner: SetsCaptioner, seen: Sequence[Picture]) -> list[list[str]]:
    """The captions of both sets, a set and a batch at a time as the stage asks for them."""
    texts: list[list[str]] = [[] for _ in SETS]
    for start in range(0, len(seen), captioner.num_in_flight):
        batch = seen[start : start + captioner.num_in_flight]
        for number, rows in enumerate(captioner.caption_sets(batch, SETS)):
            texts[number] += [_words(row) for row in rows]
    return texts


def _words(row: Caption | Reject) -> str:
    return row.text if isinstance(row, Caption) else row.reason


def report(num_pictures: int, num_turns: int) -> None:
    """Print a line for each way: pictures a second, and how many times the other's speed that is."""
    import torch

    project = Path.cwd()
    execution = load(project / BASE_PRESET, project).execution
    torch.set_num_threads(execution.num_threads)
    seen, ways = pictures(num_pictures), captioners(execution, project)
    texts = {name: captioned(way, seen) for name, way in ways.items()}
    if texts[TOGETHER] != texts[APART]:
        raise Refusal(f"{TOGETHER} wrote other captions than {APART}: what they take cannot be compared")
    seconds = in_turns({name: partial(captioned, way, seen) for name, way in ways.items()}, num_turns, user_seconds)
    print("\n".join(rates(num_pictures, "pictures", seconds, APART)))
    ratios = sorted(one / two for one, two in zip(seconds[TOGETHER], seconds[APART], strict=True))
    print(f"{TOGETHER}: {ratios[len(ratios) // 2]:.3f} of the time of {APART} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    words = [sum(len(text.split()) for text in of_set) / num_pictures for of_set in texts[TOGETHER]]
    print("; ".join(f"{name}: {number:.1f} words a caption" for name, number in zip(SETS, words, strict=True)))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.caption_sets", description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=256, help="how many (256)")
    parser.add_argument("--turns", type=int, default=7, help="times that each way is run (7)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: report(asked.pictures, asked.turns))


if __name__ == "__main__":
    sys.exit(main())
