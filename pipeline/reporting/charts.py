"""Geometry of the page's line charts: paths and ticks in percent of the plot, so that text stays text at any width.

The page draws the paths in an SVG that is stretched to its box, and sets the labels beside it in HTML. Numbers are
rounded, so equal curves give equal bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.reporting.curves import Curve, finite

LOG_RATIO = 5.0  # from this ratio of largest to smallest value on, the axis is logarithmic
MAX_TICKS = 5
DECIMALS = 2
LOSSES = ("loss", "validation_loss")


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent from the left or from the top."""

    percent: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve: an SVG path in a box of 100 x 100, and its last value."""

    model: str
    path: str
    last: str


@dataclass(frozen=True)
class Chart:
    """Curves of one kind over the same steps; ``is_loss``: one that says how well the models do."""

    name: str
    is_loss: bool
    logarithmic: bool
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def charts(curves: list[Curve]) -> list[Chart]:
    """One chart per stage and name of curve; a curve without two points that can be drawn is left out."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in map(finite, curves):
        if len(curve.points) > 1:
            groups.setdefault((curve.model.split("/")[0], curve.name), []).append(curve)
    return [_chart(stage, name, group) for (stage, name), group in groups.items()]


def _chart(stage: str, name: str, curves: list[Curve]) -> Chart:
    values = [value for curve in curves for _, value in curve.points]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= LOG_RATIO
    first = min(curve.points[0][0] for curve in curves)
    last = max(curve.points[-1][0] for curve in curves)
    x = _Axis(min(first, 0), last, logarithmic=False, margin=0.0)
    y = _Axis(low, high, logarithmic=logarithmic, margin=0.05)
    return Chart(
        name=f"{stage}: {name.replace('_', ' ')}",
        is_loss=name in LOSSES,
        logarithmic=logarithmic,
        lines=tuple(
            Line(
                curve.model,
                "M" + "L".join(f"{_number(x.percent(s))} {_number(100 - y.percent(v))}" for s, v in curve.points),
                f"{curve.points[-1][1]:.4g}",
            )
            for curve in curves
        ),
        x_ticks=tuple(Tick(round(x.percent(t), DECIMALS), f"{t:,.0f}") for t in x.ticks()),
        y_ticks=tuple(Tick(round(100 - y.percent(t), DECIMALS), f"{t:g}") for t in y.ticks()),
    )


class _Axis:
    """An axis from the smallest to the largest value, with some room above where it is asked for."""

    def __init__(self, low: float, high: float, *, logarithmic: bool, margin: float) -> None:
        self.logarithmic = logarithmic
        if logarithmic:
            self.low, self.high = low / 1.05, high * 1.05
        elif high > low:
            self.low, self.high = low, high + margin * (high - low)
        else:
            self.low, self.high = low - 0.5, high + 0.5

    def percent(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 100 at the high end."""
        if self.logarithmic:
            return 100 * math.log(value / self.low) / math.log(self.high / self.low)
        return 100 * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values inside the axis, few enough to be read."""
        return _log_ticks(self.low, self.high) if self.logarithmic else _linear_ticks(self.low, self.high)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [
        round(number * step, 12) for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MAX_TICKS + 1:
            break
    return ticks


def _number(value: float) -> str:
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
