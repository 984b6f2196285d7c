"""Captions to text embeddings through the text tower of a CLIP, and through encoders in the manner of BERT."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.encoders.text import (
    AttentionName,
    LoadedTextEncoder,
    check_vocabulary,
    load_part,
    read_model_config,
)
from pipeline.errors import Refusal
from pipeline.params.encoders import BertTextEncoder as BertParams
from pipeline.params.encoders import ClipTextEncoder as ClipParams

if TYPE_CHECKING:
    import torch

# A repository of CLIP keeps both towers in one file.
_OTHER_TOWER = ("vision_model.", "visual_projection.", "logit_scale", "logit_bias")
_POSITION_IDS = ("embeddings.position_ids", "text_model.embeddings.position_ids")  # of older files: 0, 1, 2, ...
_LEGACY_END = 2  # the end token by the configuration of the first CLIPs, which is not their tokenizer's

_BERT_TYPES = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert")
_BERT_HEADS = ("pooler.", "cls.", "lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.")
_COUNT_BEHIND_PADDING = ("roberta", "xlm-roberta", "mpnet")  # whose first position is the one after the padding's id


class ClipTextEncoder(LoadedTextEncoder):
    """The text tower of a CLIP: its last hidden states behind the closing norm, start and end token among them.

    The pooled vector is the end token's, projected as pictures are compared where the file has that projection (a
    whole CLIP, ``CLIPTextModelWithProjection``), else as it is (``CLIPTextModel``).
    """

    def __init__(self, model: Any, tokenizer: Any, params: ClipParams, *, batch_size: int, where: str) -> None:
        super().__init__(model, tokenizer, params, batch_size=batch_size, where=where)
        if params.pooled:
            is_projected = hasattr(model, "text_projection")
            self.pooled_dim = int(model.config.projection_dim if is_projected else model.config.hidden_size)

    @classmethod
    def load_model(cls, folder: Path, tokenizer: Any, params: ClipParams, attention: AttentionName) -> Any:
        """As ``LoadedTextEncoder.load_model``; also refuses a tokenizer that ends no text with the end token."""
        import transformers

        config = read_model_config(folder)
        if config.model_type not in ("clip", "clip_text_model"):
            raise Refusal(f"{folder}: holds a model of type {config.model_type}; kind clip takes a CLIP")
        text_config = getattr(config, "text_config", config)
        check_vocabulary(folder, tokenizer, text_config.vocab_size)
        ids = tokenizer("dog")["input_ids"]
        end = max(ids) if text_config.eos_token_id == _LEGACY_END else text_config.eos_token_id
        if ids[-1] != end or ids.count(end) != 1:
            raise Refusal(
                f"{folder}: its tokenizer does not end a text with the model's end token ({end}); save or download the "
                "tokenizer that belongs to the model"
            )
        is_projected = params.pooled and "CLIPTextModel" not in (config.architectures or ())
        model_class = transformers.CLIPTextModelWithProjection if is_projected else transformers.CLIPTextModel
        not_wanted = (*_OTHER_TOWER, *_POSITION_IDS, *(() if is_projected else ("text_projection.",)))
        model = load_part(model_class, folder, params, attention, not_wanted=not_wanted)
        cls(model, tokenizer, params, batch_size=1, where=str(folder)).prove()
        return model

    def _num_positions(self) -> int:
        return int(self._model.config.max_position_embeddings)

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        states = self._model(input_ids=ids, attention_mask=mask)
        if not self._params.pooled:
            return states.last_hidden_state, None
        is_projected = hasattr(self._model, "text_projection")
        return states.last_hidden_state, states.text_embeds if is_projected else states.pooler_output


class BertTextEncoder(LoadedTextEncoder):
    """An encoder in the manner of BERT: its last hidden states, the tokens that open and close a text among them.

    The pooled vector is the mean of the tokens, as most of sentence-transformers take it, not normalised.
    """

    def __init__(self, model: Any, tokenizer: Any, params: BertParams, *, batch_size: int, where: str) -> None:
        super().__init__(model, tokenizer, params, batch_size=batch_size, where=where)
        self.pooled_dim = self.dim if params.pooled else None

    @classmethod
    def load_model(cls, folder: Path, tokenizer: Any, params: BertParams, attention: AttentionName) -> Any:
        """As ``LoadedTextEncoder.load_model``."""
        import transformers

        config = read_model_config(folder)
        if config.model_type not in _BERT_TYPES:
            raise Refusal(
                f"{folder}: holds a model of type {config.model_type}; kind bert takes {', '.join(_BERT_TYPES)}"
            )
        check_vocabulary(folder, tokenizer, config.vocab_size)
        model_class = transformers.MODEL_MAPPING[type(config)]
        has_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
        model = load_part(
            model_class,
            folder,
            params,
            attention,
            not_wanted=(*_BERT_HEADS, *_POSITION_IDS),
            **({"add_pooling_layer": False} if has_pooler else {}),
        )
        cls(model, tokenizer, params, batch_size=1, where=str(folder)).prove()
        return model

    def _num_positions(self) -> int:
        config = self._model.config
        unused = config.pad_token_id + 1 if config.model_type in _COUNT_BEHIND_PADDING else 0
        return int(config.max_position_embeddings) - unused

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        if not self._params.pooled:
            return states, None
        seen = mask[..., None].float()
        return states, (states.float() * seen).sum(dim=1) / seen.sum(dim=1)
