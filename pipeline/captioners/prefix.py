"""The tokens of pictures computed once for several instructions.

A chat template mostly puts the picture in front of the text. Then all prompts about a picture begin alike, and what the
model computes of that beginning (vision tower, keys and values of every layer) is the same for all of them: it is done
once, and each instruction goes on from a copy. A set's captions are computed in the same steps, of the same shapes,
whether others are made beside it or not.

Where prompts do not begin alike, or a model does not go on from there as it would from a whole prompt, nothing is
shared and every instruction gets a whole pass of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Of the range of a step's numbers: how far those after a shared beginning may be from those after a whole prompt. Order
# of summation moves them by 1e-6 in float32, by some 1e-2 in half precision; a wrong place or mask by some tenths.
TOLERANCES = {"torch.float32": 1e-3, "torch.float16": 0.05, "torch.bfloat16": 0.05}
NUM_COMPARED_STEPS = 2  # the first follows from the beginning, the second from how places are counted on


class PicturePrefix:
    """What a model computed of pictures and of what its template says before them.

    Args:
        model: of transformers.
        token_ids: (batch, prefix tokens), with those of the pictures at the end.
        inputs: all else that the model was given with them, such as pixels, on its device.
    """

    def __init__(self, model: Any, token_ids: torch.Tensor, inputs: dict[str, Any]) -> None:
        import torch

        self._token_ids = token_ids
        mask = torch.ones_like(token_ids)
        # Without the head: its numbers for every token of a picture would fill memory, and nobody reads them.
        outputs = model.base_model(input_ids=token_ids, attention_mask=mask, use_cache=True, **inputs)
        self._cache = outputs.past_key_values
        if self._cache is None or self._cache.get_seq_length() != token_ids.shape[1]:
            raise ValueError("the model keeps no keys and values of what it has read")

    @property
    def num_tokens(self) -> int:
        """Tokens of each row."""
        return int(self._token_ids.shape[1])

    def begins(self, token_ids: Sequence[int]) -> bool:
        """Does a prompt begin with the tokens of the first row?"""
        return list(token_ids[: self.num_tokens]) == self._token_ids[0].tolist()

    def prompts(self, endings: Sequence[Sequence[int]], pad_token_id: int, *, last: bool) -> Any:
        """Inputs for ``generate``: each row's prompt, with what is known of its beginning.

        Args:
            endings: per row the tokens behind the prefix; shorter ones are padded on the left, behind the prefix.
            pad_token_id: what they are padded with.
            last: nobody goes on from here after this, so that no copy is needed.
        """
        import torch
        from transformers import BatchFeature

        longest = max(len(ending) for ending in endings)
        padded = [[pad_token_id] * (longest - len(ending)) + list(ending) for ending in endings]
        masks = [[0] * (longest - len(ending)) + [1] * len(ending) for ending in endings]
        known, device = self._token_ids, self._token_ids.device
        return BatchFeature(
            {
                "input_ids": torch.cat([known, torch.tensor(padded, device=device)], dim=1),
                "attention_mask": torch.cat([torch.ones_like(known), torch.tensor(masks, device=device)], dim=1),
                "past_key_values": self._cache if last else copy.deepcopy(self._cache),
            }
        )


def prefix_of(model: Any, inputs: Any) -> PicturePrefix | None:
    """What all prompts about these pictures begin with, computed; None where there is no such beginning.

    Args:
        model: of transformers.
        inputs: a batch of prompts that differ in their pictures alone, on the model's device.
    """
    token_ids, mask = inputs["input_ids"], inputs["attention_mask"]
    number = num_prefix_tokens(token_ids, mask, getattr(model.config, "image_token_id", None))
    if number is None:
        return None
    others = {
        name: value[:, :number] if _has_shape_of(value, token_ids) else value
        for name, value in inputs.items()
        if name not in ("input_ids", "attention_mask")
    }
    return PicturePrefix(model, token_ids[:, :number], others)


def num_prefix_tokens(token_ids: torch.Tensor, mask: torch.Tensor, image_token_id: int | None) -> int | None:
    """Tokens up to the last one of the pictures; None where rows are padded, or differ in them, or have none.

    Args:
        token_ids: (batch, tokens).
        mask: (batch, tokens), 1 where a token is.
        image_token_id: what stands for a part of a picture.
    """
    if image_token_id is None or not bool(mask.all()):
        return None
    places = (token_ids == image_token_id).any(dim=0).nonzero()
    if not len(places):
        return None
    number = int(places[-1]) + 1
    alike = bool((token_ids[:, :number] == token_ids[:1, :number]).all())
    return number if alike and number < token_ids.shape[1] else None


def _has_shape_of(value: Any, token_ids: torch.Tensor) -> bool:
    """Is this one value per token, such as its type?"""
    return getattr(value, "shape", None) == token_ids.shape


def goes_on_alike(model: Any, whole: Any, continued: Any) -> bool:
    """Does a model say the same behind a shared beginning as behind whole prompts, but for the order of sums?

    Args:
        model: of transformers.
        whole: a batch of prompts.
        continued: the same as ``PicturePrefix.prompts`` gives it.
    """
    options = {"max_new_tokens": NUM_COMPARED_STEPS, "return_dict_in_generate": True, "output_logits": True}
    wanted, found = (model.generate(**inputs, **options).logits for inputs in (whole, continued))
    for one, other in zip(wanted, found, strict=True):
        apart = (one.float() - other.float()).abs().amax()
        room = (one.float().amax() - one.float().amin()) * TOLERANCES[str(model.dtype)]
        if not bool(apart <= room):  # also where either is no number
            return False
        if not bool((one.argmax(dim=-1) == other.argmax(dim=-1)).all()):
            return True  # two tokens are as likely; what follows them differs for that reason
    return True
