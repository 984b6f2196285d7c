"""What as many pictures as ImageNet has cost before one is read: their index, and the engine's look at their run."""

from __future__ import annotations

from perf.figures import CPU_SECONDS, Measured
from perf.memory_cases import limited
from perf.workshop import Workshop
from pipeline.errors import Refusal

INDEX_LIMIT, SHARD_LIMIT = 500.0, 60.0  # MB
INDEX_SECONDS = 10.0  # of processor time, about twice of what it took when this was written
FIRST_LOOK_LIMIT, SECOND_LOOK_LIMIT = 38.0, 3.0  # seconds of processor time


def index_peak(shop: Workshop) -> Measured:
    """The peak of the job that makes the index."""
    return limited(shop.index()["make"]["peak_bytes"], INDEX_LIMIT)


def index_seconds(shop: Workshop) -> Measured:
    """Processor time of the job that makes the index."""
    seconds = shop.index()["make"]["cpu_seconds"]
    return Measured(CPU_SECONDS, (seconds,), (INDEX_SECONDS,), more_is_better=False)


def shard_share(shop: Workshop) -> Measured:
    """What a shard's job reads of the index, above what its imports take."""
    found = shop.index()
    return limited(found["shard"]["peak_bytes"] - found["idle"]["peak_bytes"], SHARD_LIMIT)


def first_look(shop: Workshop) -> Measured:
    """Processor time of ``snakemake -n`` where nothing is made."""
    return _look(shop, "first", FIRST_LOOK_LIMIT)


def second_look(shop: Workshop) -> Measured:
    """Processor time of ``snakemake -n`` where all is made and shown."""
    return _look(shop, "second", SECOND_LOOK_LIMIT)


def _look(shop: Workshop, which: str, limit: float) -> Measured:
    found = shop.looks()
    first, second = found["first"]["num_missing"], found["second"]["num_missing"]
    if not first or second:
        raise Refusal(f"snakemake -n tells {first:.0f} results to make at first, and {second:.0f} when all are there")
    return Measured(CPU_SECONDS, (found[which]["cpu_seconds"],), (limit,), more_is_better=False)
