"""Pictures of every source into shards, beside a loop that opens, decodes and hashes the same pictures as files.

``python -m perf.source_speed PICTURES FOLDER``: PICTURES has JPEGs; FOLDER takes each of them as often as ``--copies``
says, in every layout. A turn runs, one after the other: the loop; a loop that makes the digests and the hash that
shards hold; and of each source one job with one thread, one job with two, and two jobs of half the pictures at once.
Each is a process of its own, timed from its start to its end, jobs started as Snakemake starts them. Rates are of time
on the clock, so that nothing else may run; processor time of a picture stands beside them. At the end: the peak of a
job's memory, of a tenth of the pictures and of all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from perf.source_layouts import (
    FILES,
    LAYOUTS,
    PARAMS,
    SERVED,
    forget_shards,
    give_addresses,
    pictures_of,
    write_project,
)
from perf.workshop import environment
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX
from pipeline.errors import Refusal, exit_status
from pipeline.params.check import project_params
from pipeline.runner.runlock import TOKEN_VARIABLE, RunLock

THREADS = (1, 2)
LOOP, DIGESTS = "loop", "loop with all digests"
Commands = list[list[str]]


class Taken(NamedTuple):
    """What processes that ran at once took: seconds on the clock and of the processor, and each one's peak in bytes."""

    seconds: float
    cpu_seconds: float
    peaks: list[int]


def jobs_of(layout: str) -> dict[str, Commands]:
    """Name of a figure to the processes that run at once for it."""
    one, two = (PARAMS.format(num_threads=number) for number in THREADS)
    return {
        f"{layout}, a job": [["download", one, layout, "0"]],
        f"{layout}, a job of two threads": [["download", two, layout, "0"]],
        f"{layout}, two jobs at once": [["download", one, f"{layout}-halves", part] for part in "01"],
    }


def run_at_once(commands: Commands, environ: dict[str, str], num_pictures: int | None) -> Taken:
    """Run processes at once. Raises Refusal where one fails, or they had another number of pictures together."""
    before, start = os.times(), time.perf_counter()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "perf.source_jobs", *command],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    said = [process.communicate() for process in started]
    seconds, after = time.perf_counter() - start, os.times()
    for process, command, (_, errors) in zip(started, commands, said, strict=True):
        if process.returncode:
            raise Refusal(f"{' '.join(command)}: failed ({(errors.strip().splitlines() or ['no word'])[-1]})")
    answers = [json.loads(output.strip().splitlines()[-1]) for output, _ in said]
    had = sum(answer["num_pictures"] for answer in answers)
    if num_pictures is not None and had != num_pictures:
        raise Refusal(f"{commands}: {had} pictures, where {num_pictures} were to be read")
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(seconds, cpu_seconds, [answer["peak_bytes"] for answer in answers])


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files, a process until the block ends."""
    command = [sys.executable, "-m", "perf.source_jobs", "serve", str(folder)]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


@contextmanager
def as_an_engine(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of jobs whose engine is this process."""
    params = folder / PARAMS.format(num_threads=THREADS[0])
    plan = Plan(project_params(params, folder), folder)
    lock = RunLock(plan.layout.run_lock, plan.layout.dvc)
    lock.take_for_engine()
    try:
        yield {**environment(), TOKEN_VARIABLE: lock.token}
    finally:
        lock.release()


def measure(folder: Path, layouts: Sequence[str], num_pictures: int, num_turns: int) -> list[str]:
    """The report's lines. The current folder must be ``folder``, with all layouts and parameters in it."""
    loops = {LOOP: [["loop", FILES]], DIGESTS: [["digests", FILES]]}
    jobs = {name: commands for layout in layouts for name, commands in jobs_of(layout).items()}
    taken: dict[str, list[Taken]] = {name: [] for name in [*loops, *jobs]}
    small: dict[str, int] = {}
    one = PARAMS.format(num_threads=1)
    with as_an_engine(folder) as environ:
        for layout in layouts:
            for row in (layout, f"{layout}-halves", f"{layout}-tenth"):
                run_at_once([["download", one, row, INDEX]], environ, None)
            (small[layout],) = run_at_once([["download", one, f"{layout}-tenth", "0"]], environ, None).peaks
        run_at_once(loops[LOOP], environ, num_pictures)
        for turn in range(num_turns):
            for name in list(taken)[:: 1 if turn % 2 == 0 else -1]:
                forget_shards(folder)
                taken[name].append(run_at_once((loops | jobs)[name], environ, num_pictures))
    rates = [line(name, num_pictures, taken) for name in taken]
    return [*rates, *(memory_line(layout, small[layout], taken[f"{layout}, a job"]) for layout in layouts)]


def line(name: str, num_pictures: int, taken: dict[str, list[Taken]]) -> str:
    """Pictures a second, and the ratios with both loops within a turn: median, least and greatest."""
    parts = [f"{name}: {num_pictures / statistics.median(one.seconds for one in taken[name]):.0f} pictures/s"]
    for loop in (LOOP, DIGESTS):
        ratios = [theirs.seconds / ours.seconds for ours, theirs in zip(taken[name], taken[loop], strict=True)]
        parts.append(f"{statistics.median(ratios):.2f} of the {loop} ({min(ratios):.2f} to {max(ratios):.2f})")
    cpu_seconds = statistics.median(one.cpu_seconds for one in taken[name])
    return ", ".join([*parts, f"{cpu_seconds / num_pictures * 1e3:.2f} ms of a processor a picture"])


def memory_line(layout: str, small: int, taken: list[Taken]) -> str:
    """The peak of a job's memory, of a tenth of the pictures and of all."""
    large = statistics.median(one.peaks[0] for one in taken)
    return f"{layout}: peak {small / 1e6:.0f} MB, of ten times the pictures {large / 1e6:.0f} ({large / small:.3f})"


def report(pictures: Path, folder: Path, num_copies: int, num_turns: int, layouts: list[str]) -> None:
    """Write all layouts, measure, and print."""
    classes = pictures_of(pictures.resolve(), num_copies)
    num_pictures = sum(map(len, classes.values()))
    folder.mkdir(parents=True)
    os.chdir(folder)
    folder = Path.cwd()
    for layout in {FILES: None, **dict.fromkeys(layouts)}:
        LAYOUTS[layout].write(classes, folder / layout)
    del classes
    write_project(folder, layouts, num_pictures, THREADS)
    with served(folder / FILES) as address:
        if SERVED in layouts:
            give_addresses(folder / SERVED, address)
        print("\n".join(measure(folder, layouts, num_pictures, num_turns)))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.source_speed", description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path, help="a folder of JPEGs")
    parser.add_argument("folder", type=Path, help="is made, and kept: 15 MB for each JPEG at 20 copies")
    parser.add_argument("--copies", type=int, default=20, help="of each picture (20)")
    parser.add_argument("--turns", type=int, default=5, help="times that each is run (5)")
    parser.add_argument("--sources", nargs="+", choices=LAYOUTS, default=list(LAYOUTS), help="layouts (all)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: report(asked.pictures, asked.folder, asked.copies, asked.turns, asked.sources))


if __name__ == "__main__":
    sys.exit(main())
