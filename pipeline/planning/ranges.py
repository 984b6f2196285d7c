"""Numbers that a plan knows within bounds, and where they come from."""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """A quantity within bounds.

    Attributes:
        low: it may be as little.
        middle: taken where one number is wanted.
        high: it may be as much.
        told_by: what says so, for people; "" where it follows from the parameters alone.
    """

    low: float
    middle: float
    high: float
    told_by: str = ""

    def times(self, other: float | Range) -> Range:
        """A product; what told the parts is told of both."""
        if not isinstance(other, Range):
            other = exactly(other)
        parts = dict.fromkeys(told for told in (self.told_by, other.told_by) if told)
        return Range(self.low * other.low, self.middle * other.middle, self.high * other.high, ", ".join(parts))

    def plus(self, other: Range) -> Range:
        """A sum: low ends together, high ends together."""
        parts = dict.fromkeys(told for told in (self.told_by, other.told_by) if told)
        return Range(self.low + other.low, self.middle + other.middle, self.high + other.high, ", ".join(parts))

    @property
    def is_exact(self) -> bool:
        """Are low and high one number?"""
        return self.low == self.high


def exactly(value: float, told_by: str = "") -> Range:
    """A quantity that is known."""
    return Range(value, value, value, told_by)


def total(parts: list[Range]) -> Range:
    """The sum of several."""
    result = exactly(0.0)
    for part in parts:
        result = result.plus(part)
    return result
