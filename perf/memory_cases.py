"""What stages and the start of a training take of memory, beside limits."""

from __future__ import annotations

from perf.figures import MEGABYTES, Measured
from perf.workshop import Workshop

MEGABYTE = 1e6
STAGE_LIMIT, OPEN_LIMIT, WORKER_LIMIT = 600.0, 500.0, 100.0
# Drawing on a CPU holds its network's input: guided texts of 2 x 64 x 180 x 2,048 float32 alone are 189 MB.
STAGE_LIMITS = {"generate": 800.0}
GROWTH = 1.1  # of a stage on four times the rows, and of a training over its steps
LEAST = 1.0  # MB: a difference below it is none


def stage_peak(shop: Workshop, stage: str) -> Measured:
    """A stage's peak on the largest shard."""
    return limited(shop.stage_costs(stage)[-1][2], STAGE_LIMITS.get(stage, STAGE_LIMIT))


def stage_growth(shop: Workshop, stage: str) -> Measured:
    """A stage's peak on the largest shard beside that on the smallest."""
    costs = shop.stage_costs(stage)
    return limited(costs[-1][2], GROWTH * costs[0][2] / MEGABYTE)


def opening(shop: Workshop) -> Measured:
    """The peak of a training of five sets when its first batch is in hand."""
    return limited(shop.opened(0)["peak_bytes"], OPEN_LIMIT)


def further_worker(shop: Workshop) -> Measured:
    """Private pages that a second worker adds."""
    one, two = (shop.opened(num_workers)["private_bytes_later"] for num_workers in (1, 2))
    return limited(two - one, WORKER_LIMIT)


def growth_over_steps(shop: Workshop) -> Measured:
    """Private pages after more steps beside those after some."""
    found = shop.opened(1)
    return limited(found["private_bytes_later"], GROWTH * found["private_bytes"] / MEGABYTE)


def limited(num_bytes: float, limit: float) -> Measured:
    """Bytes beside a limit in MB."""
    return Measured(MEGABYTES, (max(num_bytes / MEGABYTE, LEAST),), (limit,), more_is_better=False)
