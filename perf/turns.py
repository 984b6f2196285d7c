"""Actions timed side by side: run in turns, and compared within each turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping

OURS = "ours"


def in_turns(
    actions: Mapping[str, Callable[[], object]], num_turns: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each action in each turn; all run once before, untimed, and every other turn runs them backwards."""
    for action in actions.values():
        action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(num_turns):
        for name in list(actions)[:: 1 if turn % 2 == 0 else -1]:
            start = clock()
            actions[name]()
            seconds[name].append(clock() - start)
    return seconds


def user_seconds() -> float:
    """Seconds that this process's threads have spent in user code: other programs and the disk count little there."""
    return os.times().user


def rates(num_items: int, what: str, seconds: Mapping[str, list[float]], beside: str) -> list[str]:
    """One line per action: items in a second of user code, and the median of its ratios with one action."""
    report = []
    for name, own in seconds.items():
        ratios = [other / mine for other, mine in zip(seconds[beside], own, strict=True)]
        report.append(
            f"{name}: {num_items / statistics.median(own):.0f} {what} a user second, "
            f"{statistics.median(ratios):.3f} of the {beside} ({min(ratios):.3f} to {max(ratios):.3f})"
        )
    return report


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
