"""A vision-language model that computes a batch's pictures once and goes on from there for several instructions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from PIL import Image

from pipeline.captioners.local import LocalVlm
from pipeline.captioners.prefix import PicturePrefix, goes_on_alike, prefix_of
from pipeline.captioners.prompts import Asked
from pipeline.params.captioners import LocalCaptioner as LocalParams


class SharingVlm(LocalVlm):
    """As ``LocalVlm``; prompts may begin with what it computed before."""

    def told_by(self, params: LocalParams) -> Self:
        """The same model, told something else."""
        other = copy.copy(self)
        other._params = params
        return other

    def prefix(self, images: Sequence[Image.Image]) -> PicturePrefix | None:
        """What prompts about these pictures begin with, computed; None where they do not begin alike."""
        import torch

        instruction = next(iter(self._params.instructions or {}))  # any: what lies behind the pictures is left out
        with torch.inference_mode():
            return prefix_of(self._model, self._inputs(images, [instruction] * len(images)))

    def prompts_behind(self, prefix: PicturePrefix, asked: Sequence[Asked], *, last: bool) -> Any | None:
        """Inputs of prompts that begin with the prefix, which its own tokenizer says; None where some do not.

        Args:
            prefix: of these pictures.
            asked: what is asked about each.
            last: as of ``PicturePrefix.prompts``.
        """
        instructions = {one.instruction for one in asked}
        endings = {instruction: self._ending(prefix, asked[0].image, instruction) for instruction in instructions}
        rows = [ending for one in asked if (ending := endings[one.instruction]) is not None]
        if len(rows) < len(asked):
            return None
        return prefix.prompts(rows, self._tokenizer.pad_token_id, last=last)

    def why_not_shared(self, prefix: PicturePrefix | None, asked: Sequence[Asked]) -> str | None:
        """Why these pictures are to be computed for each instruction anew; None where the model says the same.

        Args:
            prefix: of these pictures; it is used up.
            asked: what is asked about each.
        """
        import torch

        continued = None if prefix is None else self.prompts_behind(prefix, asked, last=True)
        if continued is None:
            return "prompts do not begin alike"
        with torch.inference_mode():
            whole = self._inputs([one.image for one in asked], [one.instruction for one in asked])
            if goes_on_alike(self._model, whole, continued):
                return None
        return "the model goes on from them otherwise than from a whole prompt"

    def _inputs(self, images: Sequence[Image.Image], instructions: Sequence[str]) -> Any:
        return self._prompts(images, instructions).to(self._device, self._dtype)

    def _ending(self, prefix: PicturePrefix, image: Image.Image, instruction: str) -> list[int] | None:
        """The tokens of a prompt behind the prefix; None where it does not begin so."""
        token_ids: list[int] = self._prompts([image], [instruction])["input_ids"][0].tolist()
        return token_ids[prefix.num_tokens :] if prefix.begins(token_ids) else None
