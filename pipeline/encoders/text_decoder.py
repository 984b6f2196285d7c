"""Captions to hidden states of a language model that reads from left to right: Qwen, Llama, Gemma and their like.

What stands before the caption (the start token, the template's first part) is the same for every caption, and so are
its hidden states, as no token sees those behind it: they are cut, as Qwen-Image cuts its template by a fixed number of
tokens. What stands behind the caption is kept: its tokens are the only ones that have read all of it. Where nothing is
left (an empty caption without a template), the last token before the caption stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.encoders.text import (
    PROBE_TOKENS,
    AttentionName,
    LoadedTextEncoder,
    Tokens,
    check_vocabulary,
    load_part,
    read_model_config,
)
from pipeline.errors import Refusal
from pipeline.params.encoders import CAPTION
from pipeline.params.encoders import DecoderTextEncoder as DecoderParams

if TYPE_CHECKING:
    import torch


class DecoderTextEncoder(LoadedTextEncoder):
    """A layer of a language model's hidden states over a caption in its template."""

    _remedy: ClassVar[str] = "give the entry a template, whose end then stands for it"

    def __init__(self, model: Any, tokenizer: Any, params: DecoderParams, *, batch_size: int, where: str) -> None:
        self._prefix, self._suffix = (params.template or CAPTION).split(CAPTION)
        super().__init__(model, tokenizer, params, batch_size=batch_size, where=where)

    @classmethod
    def load_model(cls, folder: Path, tokenizer: Any, params: DecoderParams, attention: AttentionName) -> Any:
        """As ``LoadedTextEncoder.load_model``."""
        import transformers

        config = read_model_config(folder)
        if not _reads_text_from_left_to_right(config):
            raise Refusal(
                f"{folder}: holds a model of type {config.model_type}; kind decoder takes language models of "
                "text alone (qwen3, llama, gemma2, ...)"
            )
        if not tokenizer.is_fast:
            raise Refusal(f"{folder}: its tokenizer does not tell where tokens lie; save one with tokenizer.json")
        check_vocabulary(folder, tokenizer, config.vocab_size)
        num_states = config.num_hidden_layers + 1
        if -params.layer > num_states:
            raise Refusal(f"{folder}: has {num_states} hidden states, embeddings included; layer = {params.layer}")
        model = load_part(transformers.MODEL_MAPPING[type(config)], folder, params, attention, not_wanted=("lm_head.",))
        cls(model, tokenizer, params, batch_size=1, where=str(folder)).prove()
        return model

    def _check_limit(self) -> None:
        (empty,) = self._tokenize([""], self._max_text_tokens)
        if not empty.ids:
            raise Refusal(f"{self._where}: reads an empty caption as no token at all; {self._remedy}")
        if (num_behind := self._num_behind()) >= self._max_text_tokens:
            raise Refusal(
                f"{self._where}: the template has {num_behind} tokens behind the caption, which are stored too; "
                f"max_text_tokens = {self._max_text_tokens} must be more"
            )
        super()._check_limit()

    def _num_positions(self) -> int | None:
        known = getattr(self._model.config, "max_position_embeddings", None)
        (probe,) = self._split([PROBE_TEXT])
        return None if known is None else int(known) - probe[1]

    def _num_behind(self) -> int:
        """Tokens behind the caption."""
        (probe,) = self._split([PROBE_TEXT])
        return len(probe[0]) - probe[2]

    def _probe_limit(self) -> int:
        return PROBE_TOKENS + self._num_behind()

    def _tokenize(self, texts: Sequence[str], limit: int) -> list[Tokens]:
        """Tokens of some texts in the template; a caption is cut so that what stands behind it is still read."""
        tokens = []
        for ids, first, last in self._split(texts):
            room = max(0, limit - (len(ids) - last))
            truncated = last - first > room
            kept = ids[: first + room] + ids[last:] if truncated else ids
            tokens.append(Tokens(kept, min(first, max(0, len(kept) - 1)), truncated))
        return tokens

    def _split(self, texts: Sequence[str]) -> list[tuple[list[int], int, int]]:
        """(ids, first of the caption, first behind it) of each text; a token on a border is the caption's."""
        encoded = self._tokenizer(
            [self._prefix + text + self._suffix for text in texts],
            truncation=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        rows = []
        for i, text in enumerate(texts):
            ids, places, special = (encoded[name][i] for name in ("input_ids", "offset_mapping", "special_tokens_mask"))
            first = 0
            while first < len(ids) and places[first][1] <= len(self._prefix):
                first += 1
            last, end = len(ids), len(self._prefix) + len(text)
            while last > first and (
                (self._suffix and places[last - 1][0] >= end)  # the template's
                or (special[last - 1] and places[last - 1][0] == places[last - 1][1])  # the tokenizer's own
            ):
                last -= 1
            rows.append((ids, first, last))
        return rows

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        import torch

        # Padding on the right is harmless as long as words are counted from the left, whatever class counts them.
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        states = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, output_hidden_states=True
        )
        return states.hidden_states[self._params.layer], None


PROBE_TEXT = "dog"


def _reads_text_from_left_to_right(config: Any) -> bool:
    from transformers.models.auto import modeling_auto

    return (
        config.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and config.model_type not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and not getattr(config, "is_encoder_decoder", False)
        and config.get_text_config() is config
    )
