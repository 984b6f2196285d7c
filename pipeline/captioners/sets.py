"""Captioners of the caption sets of a row: of one, of several one after another, or as a kind of captioner does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.captioners.base import Caption, Captioner, Picture, Provenance, SetsCaptioner, Setting
    from pipeline.errors import Reject


class InTurn:
    """A captioner of its own for each set: pictures are looked at once for each.

    Args:
        captioners: by the set's name.
    """

    def __init__(self, captioners: Mapping[str, Captioner]) -> None:
        self._captioners = captioners
        self.num_in_flight = max(captioner.num_in_flight for captioner in captioners.values())

    def caption_sets(self, pictures: Sequence[Picture], names: Sequence[str]) -> list[list[Caption | Reject]]:
        """As ``SetsCaptioner.caption_sets``."""
        return [self._captioners[name].caption(pictures) for name in names]

    def provenance(self, name: str) -> Provenance:
        """As ``SetsCaptioner.provenance``."""
        return self._captioners[name].provenance()


def open_sets(captioners: Mapping[str, Any], setting: Setting) -> SetsCaptioner:
    """What writes the caption sets of a row.

    Args:
        captioners: parameters of each set's captioner, by the set's name, all of one kind.
        setting: see ``Setting``.
    """
    from pipeline.captioners.base import SharesPictures
    from pipeline.params.kinds import CAPTIONERS

    kind = CAPTIONERS.class_of(next(iter(captioners.values())))
    if len(captioners) > 1 and issubclass(kind, SharesPictures):
        together: SetsCaptioner = kind.open_sets(captioners, setting)
        return together
    return InTurn({name: kind.open(params, setting) for name, params in captioners.items()})
