"""Has a model learned its pictures by heart? One line per model of a run that draws its own training captions.

    python -m pipeline.reporting.memorization --params params/overfit.yaml

A picture counts when, of all training pictures, the nearest one (squared difference of pixels) is that of its caption.
The command fails where a model is below 60 in 64.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from pipeline.dag.plan import Plan
from pipeline.dag.stages import shard_units
from pipeline.dag.units import REPORT, UnitId, benchmark_part
from pipeline.data.image_rows import image_rows
from pipeline.data.images import MAX_PIXELS_CEILING, decode
from pipeline.data.schema import GENERATED, IMAGES, Column, Table
from pipeline.data.shards import Shard
from pipeline.errors import Refusal
from pipeline.params.benchmarks import Benchmark
from pipeline.params.references import origin, split_reference
from pipeline.runner.command import tell_of_run

LEAST_SHARE = 60 / 64
REPORT_ROW = "main"


@dataclass(frozen=True)
class ByHeart:
    """How many of a model's pictures are nearest to their own training picture."""

    name: str
    num_own: int
    num_pictures: int

    @property
    def passes(self) -> bool:
        """Is the share large enough?"""
        return self.num_own >= LEAST_SHARE * self.num_pictures

    def line(self) -> str:
        """The line that people read."""
        end = "by heart" if self.passes else f"NOT by heart, which takes {LEAST_SHARE:.1%}"
        return f"{self.name}: {self.num_own} of {self.num_pictures} pictures are nearest to their own; {end}"


def num_nearest_to_own(drawn: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> int:
    """Of how many keys the drawn picture is nearer to the real one of the same key than to any other.

    Args:
        drawn: key -> (height, width, 3), uint8.
        real: the same, of one size; has all keys of ``drawn``.
    """
    keys = list(real)
    pictures = np.stack([real[key] for key in keys]).astype(np.float64)
    distances = {key: np.square(pictures - picture).sum(axis=(1, 2, 3)) for key, picture in drawn.items()}
    # A tie is no knowledge of one of them.
    return sum(int((to_real <= to_real[keys.index(key)]).sum()) == 1 for key, to_real in distances.items())


def by_heart(plan: Plan) -> list[ByHeart]:
    """All models that the page of a run lists, on every benchmark of captions.

    Raises:
        Refusal: something is not made, there is no such benchmark, captions are equal, or pictures are not trained on.
    """
    counts = []
    for reference in plan.params.row(REPORT, REPORT_ROW).scores:
        row = plan.params.row(*split_reference(reference))
        images = split_reference(row.images)[1]
        table = plan.params.sections["generate"].tables["benchmarks"]
        for benchmark in plan.params.row("generate", images).benchmarks:
            entry = table[benchmark]
            if entry.caption_set is not None:
                drawn = _drawn(plan, images, benchmark, entry)
                side_px = plan.params.row("generate", images).side_px
                real = _real(plan, origin(plan.params, entry.caption_set), side_px)
                counts.append(ByHeart(split_reference(reference)[1], num_nearest_to_own(drawn, real), len(drawn)))
    if not counts:
        raise Refusal(f"{plan.params.source}: no row of score has a benchmark of kind captions to look at")
    return counts


def _drawn(plan: Plan, row: str, benchmark: str, entry: Benchmark) -> dict[str, np.ndarray]:
    """Key -> the first picture of its caption."""
    pictures: dict[str, np.ndarray] = {}
    prompts: set[str] = set()
    columns = [Column.PROMPT_ID, Column.IMAGE_INDEX, Column.PROMPT, Column.IMAGE]
    for number in range(entry.num_shards):
        unit_id = UnitId("generate", row, benchmark_part(benchmark, number))
        for values in _shard(plan, unit_id, GENERATED).rows(columns):
            if values[Column.IMAGE_INDEX] > 0:
                continue
            if values[Column.PROMPT] in prompts:
                raise Refusal(
                    f"{unit_id}: the caption {values[Column.PROMPT]!r} is there twice; take pictures that differ"
                )
            prompts.add(values[Column.PROMPT])
            pictures[values[Column.PROMPT_ID]] = np.asarray(decode(values[Column.IMAGE], max_pixels=MAX_PIXELS_CEILING))
    return pictures


def _real(plan: Plan, reference: str, side_px: int) -> dict[str, np.ndarray]:
    """Key -> the picture as models see it."""
    pictures: dict[str, np.ndarray] = {}
    for unit_id in shard_units(plan.params, reference):
        for row in image_rows(_shard(plan, unit_id, IMAGES), side_px):
            if row.view is not None:
                pictures[row.key] = np.asarray(row.view)
    return pictures


def _shard(plan: Plan, unit_id: UnitId, table: Table) -> Shard:
    return Shard(plan.made_folder(unit_id) / plan.unit(unit_id).files[0], table)


def checked(plan: Plan) -> str:
    """The lines of all models. Raises Refusal where one has not learned its pictures by heart."""
    counts = by_heart(plan)
    text = "\n".join(count.line() for count in counts)
    if not all(count.passes for count in counts):
        raise Refusal(f"{text}\na model that cannot learn so few pictures is not to be trusted with more; train longer")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Print the lines; returns the exit status, 1 where a model fails."""
    return tell_of_run("pipeline.reporting.memorization", __doc__.split("\n")[0], checked, arguments)


if __name__ == "__main__":
    sys.exit(main())
