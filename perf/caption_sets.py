"""Two caption sets of one pass, beside a pass for each: what it saves that pictures are computed once.

``python -m perf.caption_sets``: the demo's captioner writes a long and a short caption of pictures of the demo's world,
as a row of two sets does it, and as two rows do it, one after another. Both run in this process in turns, with models
that are loaded; seconds of the processor in user code are compared, and captions must be equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image

from perf.turns import in_turns, rates, user_seconds
from pipeline.captioners.base import Caption, Picture, SetsCaptioner, Setting
from pipeline.captioners.local_sets import LocalSets, LocalSetsCaptioner
from pipeline.captioners.sets import InTurn
from pipeline.data.images import decode, square_view
from pipeline.errors import Refusal, Reject, exit_status
from pipeline.params.caption_sets import CaptionSet
from pipeline.params.kinds import SOURCES
from pipeline.params.load import BASE_PRESET, Params, load
from pipeline.params.references import split_reference

SETS = ("full", "brief")  # what the demo's captioner is told for a long and for a short caption
IMAGES = "download/imagenet"
APART, TOGETHER = "two passes", "one pass"


def view_of(data: bytes, side_px: int) -> Image.Image:
    """The square view of a picture."""
    return square_view(decode(data, max_pixels=1_000_000), side_px)


def pictures(params: Params, num_pictures: int) -> list[Picture]:
    """The first pictures of the demo's world as files, decoded when they are looked at."""
    row = params.row(*split_reference(IMAGES))
    source = SOURCES.class_of(row).open(row, params.seeds.data)
    locations = [entry.location for entry in islice(source.entries(), num_pictures)]
    return [
        Picture(number, f"imagenet/{location}", None, (), partial(view_of, data))
        for number, (location, data) in enumerate(zip(locations, source.read_many(locations), strict=True))
    ]


def captioners(params: Params) -> dict[str, SetsCaptioner]:
    """Both ways to write the two sets."""
    declared = params.sections["recaption"].tables["captioners"]["vlm"]
    sets = {name: CaptionSet(instructions={name: 1.0}) for name in SETS}
    values = {name: getattr(declared, name) for name in declared.__struct_fields__}
    several = type(declared)(**{**values, "instructions": None, "sets": sets})
    own = {name: several.of_set(name) for name in SETS}
    setting = Setting(params.execution, params.seeds.data, IMAGES, 0, None, None)
    apart = InTurn({name: LocalSetsCaptioner.open(told, setting) for name, told in own.items()})
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
    params = load(project / BASE_PRESET, project)
    torch.set_num_threads(params.execution.num_threads)
    seen, ways = pictures(params, num_pictures), captioners(params)
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
