"""The largest numbers of prompts that parameters may ask for are those that the benchmarks have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.demo.benchmarks import dpg_shapes, geneval_shapes, geneval_shapes_long
from pipeline.errors import Refusal
from pipeline.params.benchmarks import MAX_DENSE_PROMPTS, MAX_PROMPTS_PER_TASK


@pytest.mark.parametrize(
    ("prompts", "limit"),
    [
        (geneval_shapes.prompts, MAX_PROMPTS_PER_TASK),
        (geneval_shapes_long.prompts, MAX_PROMPTS_PER_TASK),
        (dpg_shapes.prompts, MAX_DENSE_PROMPTS),
    ],
    ids=["geneval_shapes", "geneval_shapes_long", "dpg_shapes"],
)
def test_as_many_prompts_as_there_are(prompts: Callable[[int, int], list[dict[str, Any]]], limit: int) -> None:
    assert prompts(limit, 0)
    with pytest.raises(Refusal, match=f"1 to {limit} prompts"):
        prompts(limit + 1, 0)
