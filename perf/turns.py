"""Actions timed side by side: run in turns, and compared within each turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

OURS = "ours"


def in_turns(actions: Mapping[str, Callable[[], object]], num_turns: int) -> dict[str, list[float]]:
    """Seconds of each action in each turn; all run once before, untimed, and every other turn runs them backwards."""
    for action in actions.values():
        action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(num_turns):
        for name in list(actions)[:: 1 if turn % 2 == 0 else -1]:
            start = time.perf_counter()
            actions[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def lines(what: str, seconds: Mapping[str, list[float]]) -> list[str]:
    """One line per action: its median, and how the first one compares with it."""
    (first, own), *_ = seconds.items()
    report = []
    for name, other in seconds.items():
        text = f"{what}: {name}: median {statistics.median(other):.4f} s of {len(other)} turns"
        if name != first:
            ratios = sorted(mine / theirs for mine, theirs in zip(own, other, strict=True))
            text += f"; {first} takes {statistics.median(ratios):.3f} of it ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        report.append(text)
    return report
