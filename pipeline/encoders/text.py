"""Captions to text embeddings through the encoder of a T5.

Shapes: an embedding is (num_text_tokens, dim), float32, as long as its text: padding is never stored, and no row
depends on which others it was encoded with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from pipeline.encoders.base import TextEmbedding
from pipeline.encoders.loading import ATTENTION, choose_device, load_strictly, loaded_or_refused, quiet, resolve_model
from pipeline.encoders.parts import PROBE_WORDS, check_tokenizer_files, prove_embeddings, prove_tokenizer
from pipeline.encoders.wanted import TEXT_ENCODER
from pipeline.errors import Refusal, Reject
from pipeline.params.encoders import TextEncoder as TextEncoderParams
from pipeline.params.schema import Execution

# A T5 is published whole; its encoder is all that is wanted here.
_DECODER_WEIGHTS = ("decoder.", "lm_head.")


class LoadedTextEncoder:
    """The encoder of a T5 with its tokenizer, both in memory.

    Args:
        model: a ``T5EncoderModel``, on the device that it shall compute on, in float32.
        tokenizer: its tokenizer.
        max_text_tokens: the longest text; longer ones are cut there.
        batch_size: texts that are encoded together.
        where: what they were loaded from, for messages.

    Attributes:
        dim: width of the embeddings.
    """

    dim: int

    def __init__(self, model: Any, tokenizer: Any, *, max_text_tokens: int, batch_size: int, where: str) -> None:
        self._model: Any = model
        self._tokenizer: Any = tokenizer
        self.dim = model.config.d_model
        self._max_text_tokens = max_text_tokens
        self._batch_size = batch_size
        self._where = where

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding | Reject]:
        """One embedding per text, in order.

        ``Reject("no_tokens")`` for a text that the tokenizer turns into nothing, ``Reject("not_finite")`` for one
        whose embedding holds a value that is no number.
        """
        rows: dict[int, TextEmbedding | Reject] = {}
        token_ids, truncated = self._tokenize(texts)
        # Texts of like length share a batch, so that little padding is computed.
        order = sorted(range(len(texts)), key=lambda row: len(token_ids[row]))
        for row in order:
            if not token_ids[row]:
                rows[row] = Reject("no_tokens", f"the tokenizer turns {texts[row]!r} into no tokens")
        order = [row for row in order if row not in rows]
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            for row, embedding in zip(batch, self._embed([token_ids[row] for row in batch]), strict=True):
                rows[row] = _checked(embedding, truncated[row])
        return [rows[row] for row in range(len(texts))]

    def unconditional(self) -> np.ndarray:
        """The embedding that stands for no caption: the empty text's, reduced to its first token; float32 (1, dim).

        As in the paper, whose dropped captions keep one token of the empty caption (arXiv 2502.21318).

        Raises:
            Refusal: the empty text has no token, or its embedding is not finite.
        """
        encoded = self.encode([""])[0]
        if isinstance(encoded, Reject):
            raise Refusal(f"{self._where}: the empty text has no embedding ({encoded}); another encoder is needed")
        return encoded.embedding[:1]

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        if not texts:
            return [], []
        cut = self._tokenizer(list(texts), truncation=True, max_length=self._max_text_tokens)["input_ids"]
        whole = self._tokenizer(list(texts), truncation=False)["input_ids"]
        return cut, [len(short) < len(long) for short, long in zip(cut, whole, strict=True)]

    def _embed(self, token_ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Embeddings of one batch, without the rows of padding; the mask keeps padding out of every attention."""
        import torch

        lengths = [len(ids) for ids in token_ids]
        padded = torch.full((len(token_ids), max(lengths)), self._model.config.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(padded)
        for row, ids in enumerate(token_ids):
            padded[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        with torch.inference_mode():
            device = self._model.device
            states = self._model(input_ids=padded.to(device), attention_mask=mask.to(device))
        hidden = states.last_hidden_state.float().cpu().numpy()
        return [hidden[row, :length].copy() for row, length in enumerate(lengths)]


class TextEncoder(LoadedTextEncoder):
    """The encoder of a T5 with its tokenizer, loaded strictly, in float32: float16 overflows in T5.

    Args:
        params: the model and the longest text in tokens.
        execution: device, batch size and attention.

    Raises:
        Refusal: no such model, no T5, weights that do not match, or a tokenizer of another model.
    """

    @classmethod
    def open(cls, params: TextEncoderParams, execution: Execution) -> Self:
        """As ``TextEncoderKind.open``."""
        return cls(params, execution)

    def __init__(self, params: TextEncoderParams, execution: Execution) -> None:
        folder = resolve_model(params.model, params.revision, parts=TEXT_ENCODER)
        tokenizer = load_tokenizer(folder)
        model = load_t5_encoder(folder, tokenizer, execution.attention)
        super().__init__(
            model.to(choose_device(execution)),
            tokenizer,
            max_text_tokens=params.max_text_tokens,
            batch_size=execution.inference_batch_size,
            where=str(folder),
        )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        Refusal: it has no file there, from which the library would make up one; or it does not tell words apart.
    """
    import transformers

    quiet(transformers)
    check_tokenizer_files(folder)
    auto_tokenizer: Any = transformers.AutoTokenizer
    tokenizer = loaded_or_refused(lambda: auto_tokenizer.from_pretrained(folder, local_files_only=True), folder)
    prove_tokenizer(tokenizer, folder)
    return tokenizer


def load_t5_encoder(folder: Path, tokenizer: Any, attention: Literal["matmul", "sdpa"]) -> Any:
    """The encoder of a T5, loaded strictly, in float32, on the CPU.

    Raises:
        Refusal: no T5, weights that do not match, a tokenizer of another model, or words that are embedded alike.
    """
    import torch
    import transformers

    quiet(transformers)
    config = loaded_or_refused(lambda: transformers.AutoConfig.from_pretrained(folder, local_files_only=True), folder)
    if not isinstance(config, transformers.T5Config):
        raise Refusal(f"{folder}: holds a model of type {config.model_type}; a T5 is needed")
    if len(tokenizer) > config.vocab_size:
        raise Refusal(
            f"{folder}: tokenizer of {len(tokenizer)} tokens for a model of {config.vocab_size}; they do not belong "
            "together"
        )
    model = load_strictly(
        transformers.T5EncoderModel.from_pretrained,
        folder,
        not_wanted=_DECODER_WEIGHTS,
        dtype=torch.float32,
        attn_implementation=ATTENTION[attention],
    ).eval()
    prove_embeddings(_word_vectors(model, tokenizer, folder), folder)
    return model


def _word_vectors(model: Any, tokenizer: Any, folder: Path) -> list[np.ndarray]:
    """The mean of the embeddings of each probe word's tokens, float32 [dim]; a reject's is not finite."""
    encoder = LoadedTextEncoder(model, tokenizer, max_text_tokens=16, batch_size=1, where=str(folder))
    return [
        np.full(encoder.dim, np.nan) if isinstance(row, Reject) else row.embedding.mean(axis=0)
        for row in encoder.encode(PROBE_WORDS)
    ]


def _checked(embedding: np.ndarray, truncated: bool) -> TextEmbedding | Reject:
    if not np.isfinite(embedding).all():
        return Reject("not_finite", f"{int((~np.isfinite(embedding)).sum())} of {embedding.size} embedding values")
    return TextEmbedding(embedding, truncated)
