"""What a model would score on colours by chance: were its pictures' colours independent of what prompts ask for.

Of a picture that shows no object of the asked shape, the verdict is wrong whatever the colour. Of one that does, an
independent prompt would ask for the colour that it has with the share that this colour has among the task's prompts.
Chance is the mean of that over all pictures: the model's own rate of right shapes and its own preference for colours
are in it, and only the link between prompt and colour is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import Refusal
from pipeline.evaluation.geneval import Detection, Rules, filter_detections, parse_metadata

TASK = "colors"


@dataclass(frozen=True, slots=True)
class ColorChance:
    """Shares of 1.

    Attributes:
        chance: expected share of right verdicts if colours were independent of prompts.
        right_shapes: share of pictures that show an object of the asked shape.
    """

    chance: float
    right_shapes: float


def color_chance(
    metadata: Mapping[str, Mapping[str, Any]],
    detections_of_pictures: Sequence[tuple[str, Sequence[Detection]]],
    rules: Rules,
) -> ColorChance:
    """Chance in the task ``colors``.

    Args:
        metadata: prompt id -> the prompt's metadata, for all prompts of the benchmark.
        detections_of_pictures: (prompt id, detections with their colours) of each picture of the task.
        rules: which detections count.

    Raises:
        Refusal: no picture of the task is given.
    """
    clauses = {name: parse_metadata(line).include[0] for name, line in metadata.items() if line["tag"] == TASK}
    if not detections_of_pictures or not clauses:
        raise Refusal(f"no picture of the task {TASK}: there is nothing to tell chance from")
    counts = Counter(clause.color for clause in clauses.values())
    shares, shown = [], 0
    for prompt_id, detections in detections_of_pictures:
        right_detections = filter_detections(detections, TASK, rules).get(clauses[prompt_id].class_name, [])
        shown += bool(right_detections)
        shares.append(counts[right_detections[0].color] / len(clauses) if right_detections else 0.0)
    return ColorChance(float(np.mean(shares)), shown / len(detections_of_pictures))
