"""Captions of several sets by one vision-language model run here, which looks at each picture once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from pipeline.captioners.base import Caption, Picture, Provenance, Setting, SharesPictures, told
from pipeline.captioners.local import LocalCaptioner
from pipeline.captioners.prefix import PicturePrefix
from pipeline.captioners.prompts import Asked
from pipeline.captioners.sharing import SharingVlm
from pipeline.errors import Reject
from pipeline.params.captioners import LocalCaptioner as LocalParams

# What a family's code says to a call that it was not made for.
UNFIT = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
NUM_PROBED = 2  # pictures by which a model proves that it goes on from a shared beginning


class LocalSetsCaptioner(LocalCaptioner, SharesPictures):
    """A vision-language model run here, that may write several sets; see ``SharesPictures``."""

    @classmethod
    def open_sets(cls, captioners: Mapping[str, Any], setting: Setting) -> LocalSets:
        """As ``SharesPictures.open_sets``."""
        return LocalSets(captioners, setting)


class LocalSets:
    """One model for all sets of a row; see ``SetsCaptioner``.

    Args:
        captioners: parameters by the set's name; they differ in instructions and token limits alone.
        setting: see ``Setting``.

    Attributes:
        shares: per set that was captioned, whether it goes on from what the model computed of the pictures.
    """

    def __init__(self, captioners: Mapping[str, LocalParams], setting: Setting) -> None:
        self._captioners, self._setting = captioners, setting
        self._models: dict[str, SharingVlm] = {}
        self.num_in_flight = setting.execution.inference_batch_size
        self.shares: dict[str, bool] = {}

    def caption_sets(self, pictures: Sequence[Picture], names: Sequence[str]) -> list[list[Caption | Reject]]:
        """As ``SetsCaptioner.caption_sets``."""
        rows: dict[str, list[Caption | Reject]] = {name: [] for name in names}
        for start in range(0, len(pictures), self.num_in_flight):
            for name, batch in self._caption_batch(pictures[start : start + self.num_in_flight], names).items():
                rows[name] += batch
        return list(rows.values())

    def provenance(self, name: str) -> Provenance:
        """As ``SetsCaptioner.provenance``."""
        return replace(self._model_of(name).provenance(), model=self._setting.model)

    def _caption_batch(self, pictures: Sequence[Picture], names: Sequence[str]) -> dict[str, list[Caption | Reject]]:
        views = [picture.view(self._captioners[names[0]].side_px) for picture in pictures]
        asked = {name: self._asked(name, pictures, views) for name in names}
        for name in names:
            if name not in self.shares:
                self.shares[name] = self._can_share(name, asked[name][:NUM_PROBED])
        sharing = [name for name in names if self.shares[name]]
        prefix = self._prefix(views) if sharing else None
        rows = {}
        for name in names:
            model, inputs = self._model_of(name), None
            if prefix is not None and name in sharing:
                inputs = model.prompts_behind(prefix, asked[name], last=name == sharing[-1])
            rows[name] = model.caption_batch(asked[name], inputs)
        return rows

    def _asked(self, name: str, pictures: Sequence[Picture], views: Sequence[Image.Image]) -> list[Asked]:
        instructions, coordinates = told(self._captioners[name].instructions or {}, self._setting.seed, pictures)
        return [Asked(*one) for one in zip(views, instructions, coordinates, strict=True)]

    def _can_share(self, name: str, probed: Sequence[Asked]) -> bool:
        """Does the model say of these pictures the same behind a shared beginning? Not all families can go on so."""
        import torch

        try:
            prefix = self._prefix([one.image for one in probed])
            why = self._model_of(name).why_not_shared(prefix, probed)
        except torch.OutOfMemoryError:
            raise
        except UNFIT as error:
            why = f"{type(error).__name__}: {error}"
        if why:
            print(f"{name}: pictures are computed for this set alone: {why}", flush=True)  # into the job's log
        return why is None

    def _prefix(self, images: Sequence[Image.Image]) -> PicturePrefix | None:
        """Of all sets the same, whichever are asked for."""
        return self._model_of(next(iter(self._captioners))).prefix(images)

    def _model_of(self, name: str) -> SharingVlm:
        """The model as it is told for a set; loaded once for all."""
        if name not in self._models:
            loaded = next(iter(self._models.values()), None)
            params = self._captioners[name]
            self._models[name] = loaded.told_by(params) if loaded else SharingVlm(params, self._setting.execution)
        return self._models[name]
