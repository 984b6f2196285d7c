"""Captions to text embeddings: what all kinds of encoders share, and the encoder of a T5.

Shapes: an embedding is (num_text_tokens, dim), float32, as long as its text: padding is never stored, and no row
depends on which others it was encoded with. Padding is put behind the text, whatever a tokenizer's file says: where
positions are counted from the left (CLIP, BERT, decoders), padding in front would move every word.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from pipeline.encoders.base import TextEmbedding
from pipeline.encoders.loading import ATTENTION, choose_device, load_strictly, loaded_or_refused, quiet, resolve_model
from pipeline.encoders.parts import PROBE_WORDS, check_tokenizer_files, prove_embeddings, prove_tokenizer
from pipeline.encoders.wanted import TEXT_ENCODER, beside, holds_vocabulary
from pipeline.errors import Refusal, Reject
from pipeline.params.encoders import LocalTextEncoderParams
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    import torch

AttentionName = Literal["matmul", "sdpa"]
PROBE_TOKENS = 16  # the longest that a probe word is in tokens


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as its model reads it.

    Attributes:
        ids: of all tokens.
        first: the first one that is stored; those before it are the same for every text.
        truncated: the text was longer than the limit, and its end is not among them.
    """

    ids: list[int]
    first: int
    truncated: bool


class LoadedTextEncoder(ABC):
    """A text encoder of transformers with its tokenizer, both in memory.

    Args:
        model: what ``load_model`` gave, on the device that it shall compute on.
        tokenizer: its tokenizer.
        params: the entry that they were loaded by.
        batch_size: texts that are encoded together.
        where: what they were loaded from, for messages.

    Attributes:
        dim: width of the embeddings.
        pooled_dim: width of the pooled vectors; None: there are none.

    Raises:
        Refusal: the limit of tokens does not fit the model.
    """

    dim: int
    pooled_dim: int | None = None

    def __init__(self, model: Any, tokenizer: Any, params: Any, *, batch_size: int, where: str) -> None:
        self._model: Any = model
        self._tokenizer: Any = tokenizer
        self._params: Any = params
        self._max_text_tokens: int = params.max_text_tokens
        self._batch_size = batch_size
        self._where = where
        self.dim = int(self._width())
        self._check_limit()

    @classmethod
    @abstractmethod
    def load_model(cls, folder: Path, tokenizer: Any, params: Any, attention: AttentionName) -> Any:
        """The model of a folder, loaded strictly, on the CPU.

        Raises:
            Refusal: another kind of model, weights that do not match, a tokenizer of another model, or words that are
                embedded alike.
        """

    @classmethod
    def open(cls, params: LocalTextEncoderParams, execution: Execution) -> Self:
        """As ``TextEncoderKind.open``.

        Raises:
            Refusal: no such model, or as ``load_model``.
        """
        folder = resolve_model(params.model, params.revision, params.subfolder or None, TEXT_ENCODER)
        tokenizer = load_tokenizer(tokenizer_folder(folder, params.subfolder or None))
        model = cls.load_model(folder, tokenizer, params, execution.attention).to(choose_device(execution))
        return cls(model, tokenizer, params, batch_size=execution.inference_batch_size, where=str(folder))

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding | Reject]:
        """One embedding per text, in order.

        ``Reject("no_tokens")`` for a text that the tokenizer turns into nothing, ``Reject("not_finite")`` for one
        whose embedding holds a value that is no number.
        """
        rows = dict(self.encode_each(texts))
        return [rows[row] for row in range(len(texts))]

    def encode_each(self, texts: Sequence[str]) -> Iterator[tuple[int, TextEmbedding | Reject]]:
        """As ``EncodesEach.encode_each``: shortest first, a batch at a time."""
        return self._each(texts, self._tokenize(texts, self._max_text_tokens) if texts else [], self._batch_size)

    def unconditional(self) -> np.ndarray:
        """The embedding that stands for no caption, the empty text's, float32 (num_text_tokens, dim).

        Raises:
            Refusal: the empty text has no token, or its embedding is not finite.
        """
        return self.empty().embedding

    def empty(self) -> TextEmbedding:
        """The empty text. Raises as ``unconditional``."""
        encoded = self.encode([""])[0]
        if isinstance(encoded, Reject):
            raise Refusal(f"{self._where}: the empty text has no embedding ({encoded}); {self._remedy}")
        return encoded

    def prove(self) -> None:
        """Refuse an encoder that does not tell plain words apart."""
        tokens = self._tokenize(PROBE_WORDS, self._probe_limit())
        vectors = [
            np.full(self.dim, np.nan) if isinstance(row, Reject) else row.embedding.mean(axis=0)
            for _, row in sorted(self._each(PROBE_WORDS, tokens, 1), key=lambda one: one[0])
        ]
        prove_embeddings(vectors, Path(self._where))

    _remedy: ClassVar[str] = "another encoder is needed"

    def _width(self) -> int:
        return int(self._model.config.hidden_size)

    def _probe_limit(self) -> int:
        return PROBE_TOKENS

    def _num_positions(self) -> int | None:
        """The longest text that the model has positions for; None: any."""
        return None

    def _check_limit(self) -> None:
        known = self._num_positions()
        if known is not None and self._max_text_tokens > known:
            raise Refusal(
                f"{self._where}: has positions for {known} tokens; max_text_tokens = {self._max_text_tokens} is more"
            )

    def _tokenize(self, texts: Sequence[str], limit: int) -> list[Tokens]:
        """Tokens of some texts, cut at the limit; the tokenizer keeps its end token."""
        whole = self._tokenizer(list(texts), truncation=False)["input_ids"]
        long = [row for row, ids in enumerate(whole) if len(ids) > limit]
        cut = (
            self._tokenizer([texts[row] for row in long], truncation=True, max_length=limit)["input_ids"]
            if long
            else []
        )
        tokens = [Tokens(ids, 0, truncated=False) for ids in whole]
        for row, ids in zip(long, cut, strict=True):
            tokens[row] = Tokens(ids, 0, truncated=True)
        return tokens

    def _each(
        self, texts: Sequence[str], tokens: Sequence[Tokens], batch_size: int
    ) -> Iterator[tuple[int, TextEmbedding | Reject]]:
        # Texts of like length share a batch, so that little padding is computed.
        order = sorted(range(len(texts)), key=lambda row: len(tokens[row].ids))
        for row in order:
            if not tokens[row].ids:
                yield row, Reject("no_tokens", f"the tokenizer turns {texts[row]!r} into no tokens")
        order = [row for row in order if tokens[row].ids]
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            yield from zip(batch, self._embed([tokens[row] for row in batch]), strict=True)

    def _embed(self, batch: Sequence[Tokens]) -> list[TextEmbedding | Reject]:
        """Embeddings of one batch, without the rows of padding; the mask keeps padding out of every attention."""
        import torch

        lengths = [len(one.ids) for one in batch]
        padded = torch.full((len(batch), max(lengths)), self._pad_id(), dtype=torch.long)
        mask = torch.zeros_like(padded)
        for row, one in enumerate(batch):
            padded[row, : lengths[row]] = torch.tensor(one.ids)
            mask[row, : lengths[row]] = 1
        with torch.inference_mode():
            device = self._model.device
            states, pooled = self._states(padded.to(device), mask.to(device))
        hidden = states.float().cpu().numpy()
        vectors = None if pooled is None else pooled.float().cpu().numpy()
        return [
            _checked(
                hidden[row, one.first : lengths[row]].copy(),
                None if vectors is None else vectors[row].copy(),
                one.truncated,
            )
            for row, one in enumerate(batch)
        ]

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states [B, T, dim] and pooled vectors [B, pooled_dim] or None of texts padded on the right.

        Args:
            ids: [B, T].
            mask: [B, T], 1 for a token and 0 for padding.
        """
        return self._model(input_ids=ids, attention_mask=mask).last_hidden_state, None

    def _pad_id(self) -> int:
        """What stands where the mask is 0. Some models count their positions by it, so that it must be their own."""
        for known in (self._model.config.pad_token_id, self._tokenizer.pad_token_id):
            if known is not None and known >= 0:
                return int(known)
        return 0


class TextEncoder(LoadedTextEncoder):
    """The encoder of a T5: T5 v1.1, flan-T5, mT5, UMT5.

    In float32 or bfloat16: float16 overflows in their perceptrons.
    """

    @classmethod
    def load_model(cls, folder: Path, tokenizer: Any, params: LocalTextEncoderParams, attention: AttentionName) -> Any:
        """As ``LoadedTextEncoder.load_model``."""
        import transformers

        classes = {
            "t5": transformers.T5EncoderModel,
            "mt5": transformers.MT5EncoderModel,
            "umt5": transformers.UMT5EncoderModel,
        }
        config = read_model_config(folder)
        if config.model_type not in classes:
            raise Refusal(f"{folder}: holds a model of type {config.model_type}; kind t5 takes {', '.join(classes)}")
        check_vocabulary(folder, tokenizer, config.vocab_size)
        # It is published whole; its encoder is all that is wanted here.
        model = load_part(classes[config.model_type], folder, params, attention, not_wanted=("decoder.", "lm_head."))
        cls(model, tokenizer, params, batch_size=1, where=str(folder)).prove()
        return model

    def unconditional(self) -> np.ndarray:
        """The empty text's embedding, reduced to its first token; float32 (1, dim).

        As in the paper, whose dropped captions keep one token of the empty caption (arXiv 2502.21318).

        Raises:
            Refusal: as ``LoadedTextEncoder.unconditional``.
        """
        return super().unconditional()[:1]

    def _width(self) -> int:
        return int(self._model.config.d_model)


def tokenizer_folder(folder: Path, subfolder: str | None) -> Path:
    """Where an encoder's tokenizer lies: beside its weights, or in the folder that its pipeline has for it.

    Only where the entry names a subfolder: then both are parts of the model that it names, whose identity counts.

    Args:
        folder: of the encoder.
        subfolder: its end, as the entry names it.
    """
    other = beside(subfolder) if subfolder else None
    if other is None or holds_vocabulary([path.name for path in folder.iterdir()]):
        return folder
    return Path(str(folder).removesuffix(str(subfolder))) / other


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


def read_model_config(folder: Path) -> Any:
    """The configuration of a folder's model, by transformers; code of its repository is not run."""
    import transformers

    quiet(transformers)
    return loaded_or_refused(
        lambda: transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False), folder
    )


def check_vocabulary(folder: Path, tokenizer: Any, vocab_size: int) -> None:
    """Refuse a tokenizer of more tokens than its model has."""
    if len(tokenizer) > vocab_size:
        raise Refusal(
            f"{folder}: tokenizer of {len(tokenizer)} tokens for a model of {vocab_size}; they do not belong together"
        )


def load_part(
    model_class: Any,
    folder: Path,
    params: LocalTextEncoderParams,
    attention: AttentionName,
    *,
    not_wanted: Sequence[str],
    **options: Any,
) -> Any:
    """A model of a class of transformers, loaded strictly in the entry's dtype, on the CPU.

    Args:
        model_class: that has ``from_pretrained``.
        folder: of the model.
        params: its entry.
        attention: how attention is computed.
        not_wanted: prefixes of weights of the parts that are left out.
        options: handed on.

    Raises:
        Refusal: as ``load_strictly``.
    """
    import torch

    dtype = getattr(torch, params.dtype or "float32")
    if not getattr(model_class, "_supports_sdpa", True):  # Gemma 2, MPNet: their own way is the only one
        attention = "matmul"
    return load_strictly(
        model_class.from_pretrained,
        folder,
        not_wanted=not_wanted,
        dtype=dtype,
        attn_implementation=ATTENTION[attention],
        **options,
    ).eval()


def _checked(embedding: np.ndarray, pooled: np.ndarray | None, truncated: bool) -> TextEmbedding | Reject:
    for what, values in (("embedding", embedding), ("pooled", pooled)):
        if values is not None and not np.isfinite(values).all():
            return Reject("not_finite", f"{int((~np.isfinite(values)).sum())} of {values.size} {what} values")
    return TextEmbedding(embedding, truncated, pooled)
