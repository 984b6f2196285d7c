"""What is measured, as figures that are compared: ours with a peer's, or with a limit.

Times count as ratios alone: both sides were measured in turns, and a ratio is the median of the ratios within a turn.
A ratio is larger when we are better, whatever the unit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
SIGNIFICANT_DIGITS = 4
# Units that a reader is shown; times on the clock are told as ratios alone.
MEGABYTES, CPU_SECONDS = "MB", "CPU s"


@dataclass(frozen=True)
class Measured:
    """Figures of one row.

    Attributes:
        unit: of ours and theirs.
        ours: one value per turn.
        theirs: the peer's value of each turn; or one value, a limit.
        more_is_better: as with samples a second; else as with memory.
        peer_name: who the peer is; None: theirs is a limit.
        peer_version: of the peer.
    """

    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    more_is_better: bool
    peer_name: str | None = None
    peer_version: str | None = None

    def ratios(self) -> list[float]:
        """Ours beside theirs in each turn, larger where ours is better."""
        theirs = self.theirs * len(self.ours) if len(self.theirs) == 1 else self.theirs
        pairs = zip(self.ours, theirs, strict=True)
        return [_divided(mine, other) if self.more_is_better else _divided(other, mine) for mine, other in pairs]


@dataclass(frozen=True)
class Case(Generic[T]):
    """A row of the report: its name, the ratio that it must reach (None: none is asked), and what measures it."""

    name: str
    goal: float | None
    measure: Callable[[T], Measured]


def row_of(name: str, goal: float | None, measured: Measured) -> dict[str, Any]:
    """The row as it stands in ``perf.json``; ``met`` follows from the figures."""
    ratios = sorted(measured.ratios())
    ratio = statistics.median(ratios)
    theirs = _rounded(statistics.median(measured.theirs))
    peer = {"peer": theirs, "peer_name": measured.peer_name, "peer_version": measured.peer_version}
    return {
        "name": name,
        "ours": _rounded(statistics.median(measured.ours)),
        **({"limit": theirs} if measured.peer_name is None else peer),
        "unit": measured.unit,
        "ratio": _rounded(ratio),
        "spread": [_rounded(ratios[0]), _rounded(ratios[-1])],
        "goal": goal,
        "met": None if goal is None else ratio >= goal,
    }


def failed_row(name: str, goal: float | None, reason: str) -> dict[str, Any]:
    """The row of what could not be measured: not met, whatever was asked."""
    nothing = dict.fromkeys(("ours", "limit", "unit", "ratio", "spread"))
    return {"name": name, **nothing, "goal": goal, "met": False, "failed": reason}


def better_peer(measured: list[Measured]) -> Measured:
    """Of comparisons with several peers that with the best one: beside it we look worst."""
    return min(measured, key=lambda one: statistics.median(one.ratios()))


def _divided(number: float, by: float) -> float:
    return number / by if by else math.inf


def _rounded(number: float) -> float:
    return float(f"{number:.{SIGNIFICANT_DIGITS}g}")
