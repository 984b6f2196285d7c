"""Tiny random models of the families of text encoders, as folders made by transformers' official classes.

Tokenizers are of the kinds that the published models have (Unigram, byte-level BPE, BPE with ends of words, WordPiece),
made here from the letters and a few words. One line of ``FAMILIES`` each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tiny_models import byte_tokenizer

from pipeline.params.encoders import (
    BertTextEncoder,
    ClipTextEncoder,
    DecoderTextEncoder,
    LocalTextEncoderParams,
    TextEncoder,
)

WIDTH = 32
MAX_POSITIONS = 60
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("red", "dog", "house", "a", "on", "the", "of")
PRINTABLE = bytes(range(32, 127)) + b"\n"
CHAT = "<|im_start|>system\nDescribe.<|im_end|>\n<|im_start|>user\n{caption}<|im_end|>\n<|im_start|>assistant\n"
NUM_BEHIND = len("<|im_end|>\n<|im_start|>assistant\n") - len("<|im_end|><|im_start|>") + 2

_SIZE = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
_T5 = {"d_model": WIDTH, "d_kv": 16, "d_ff": 64, "num_layers": 3, "num_heads": 2, "pad_token_id": 0, "eos_token_id": 1}


@dataclass(frozen=True)
class TextFamily:
    """A family of text encoders.

    Attributes:
        name: for people.
        whole: tokenizer -> the whole model as it is published.
        tokenizer: makes its tokenizer.
        kind: type of the entry that names it.
        values: further values of the entry.
        num_empty: tokens of the empty caption.
    """

    name: str
    whole: Callable[[Any], Any]
    tokenizer: Callable[[], Any]
    kind: type[LocalTextEncoderParams]
    num_empty: int
    values: dict[str, Any] = field(default_factory=dict)

    def make(self, folder: Path) -> Path:
        """Write model and tokenizer into a folder."""
        import torch

        tokenizer = self.tokenizer()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.whole(tokenizer).eval()
            with torch.no_grad():  # norms and biases at their first values would hide what reaches them
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    def entry(self, folder: Path, **values: Any) -> Any:
        """The entry of parameters that names a folder."""
        given = {"kind": self.kind.__struct_config__.tag, "model": str(folder), "max_text_tokens": 48}
        return msgspec.convert({**given, **self.values, **values}, self.kind)


def unigram() -> Any:
    """As T5's: pieces with a mark where words begin, and an end token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    pieces += [(f"▁{word}", -1.0) for word in WORDS] + [(letter, -5.0) for letter in ["▁", *ALPHABET]]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def word_pieces() -> Any:
    """As BERT's; padding on the left by its own file, which must not be believed."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *(letter for letter in ALPHABET if letter != "a")]
    tokens += [f"##{letter}" for letter in ALPHABET]
    tokenizer = Tokenizer(models.WordPiece(vocab={token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **names)


def ends_of_words() -> Any:
    """As CLIP's: the end token is the last id, and pads on the left by its own file, which must not be believed."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = [*ALPHABET, *(f"{letter}</w>" for letter in ALPHABET), "<|startoftext|>", "<|endoftext|>"]
    numbers = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=[], unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    start, end = ("<|startoftext|>", numbers["<|startoftext|>"]), ("<|endoftext|>", numbers["<|endoftext|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start[0]} $A {end[0]}", special_tokens=[start, end]
    )
    names = {"bos_token": start[0], "eos_token": end[0], "pad_token": end[0]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **names)


def chat_bytes() -> Any:
    """As Qwen's: byte-level, marks of a chat, no start token."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return byte_tokenizer(tokens, PRINTABLE, add_end=False, pad_token="<|endoftext|>", eos_token="<|im_end|>")


def started_bytes() -> Any:
    """As Llama's: byte-level behind a start token, no padding token."""
    from tokenizers import processors

    tokens = ["<s>", "</s>"]
    tokenizer = byte_tokenizer(tokens, PRINTABLE, add_end=False, bos_token="<s>", eos_token="</s>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return tokenizer


def _t5(name: str, **more: Any) -> Callable[[Any], Any]:
    def whole(tokenizer: Any) -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(
            vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", tie_word_embeddings=False, **_T5, **more
        )
        return getattr(transformers, f"{name}ForConditionalGeneration")(config)

    return whole


def _decoder(name: str, model: str, **more: Any) -> Callable[[Any], Any]:
    def whole(tokenizer: Any) -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(
            vocab_size=len(tokenizer),
            max_position_embeddings=200,
            num_key_value_heads=1,
            pad_token_id=tokenizer.pad_token_id,
            **_SIZE,
            **more,
        )
        return getattr(transformers, f"{model}ForCausalLM")(config)

    return whole


def _clip_text(tokenizer: Any, **more: Any) -> Any:
    import transformers

    ids = {"bos_token_id": len(tokenizer) - 2, "eos_token_id": len(tokenizer) - 1, "pad_token_id": 1}
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": MAX_POSITIONS, "projection_dim": 24}
    return transformers.CLIPTextConfig(**{**_SIZE, **ids, **size, **more})


def _clip(name: str, **more: Any) -> Callable[[Any], Any]:
    def whole(tokenizer: Any) -> Any:
        import transformers

        text = _clip_text(tokenizer, **more)
        if name != "CLIPModel":
            return getattr(transformers, name)(text)
        vision = transformers.CLIPVisionConfig(**_SIZE, image_size=32, patch_size=16)
        return transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
        )

    return whole


def _bert(name: str, model: str, **more: Any) -> Callable[[Any], Any]:
    def whole(tokenizer: Any) -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(
            vocab_size=len(tokenizer),
            max_position_embeddings=MAX_POSITIONS,
            pad_token_id=tokenizer.pad_token_id,
            **{**_SIZE, **more},
        )
        return getattr(transformers, model)(config)

    return whole


_HEAD = {"head_dim": 16}
_DISTIL = {"dim": WIDTH, "hidden_dim": 64, "n_layers": 3, "n_heads": 2}
_POOLED = {"pooled": True}
_LAST, _CHAT = {"layer": -1}, {"layer": -2, "template": CHAT}

FAMILIES = (
    TextFamily("t5", _t5("T5"), unigram, TextEncoder, 1),
    TextFamily("mt5", _t5("MT5"), unigram, TextEncoder, 1),
    TextFamily("umt5", _t5("UMT5"), unigram, TextEncoder, 1),
    TextFamily("qwen3", _decoder("Qwen3", "Qwen3", **_HEAD), chat_bytes, DecoderTextEncoder, NUM_BEHIND, _CHAT),
    TextFamily("llama", _decoder("Llama", "Llama"), started_bytes, DecoderTextEncoder, 1, _LAST),
    TextFamily("gemma2", _decoder("Gemma2", "Gemma2", **_HEAD), started_bytes, DecoderTextEncoder, 1, _LAST),
    TextFamily("gemma3", _decoder("Gemma3Text", "Gemma3", **_HEAD), started_bytes, DecoderTextEncoder, 1, _LAST),
    TextFamily("clip", _clip("CLIPModel"), ends_of_words, ClipTextEncoder, 2, _POOLED),
    TextFamily("clip-text", _clip("CLIPTextModel"), ends_of_words, ClipTextEncoder, 2, _POOLED),
    TextFamily(
        "clip-projected",
        _clip("CLIPTextModelWithProjection", eos_token_id=2),  # as the first CLIPs' files
        ends_of_words,
        ClipTextEncoder,
        2,
        _POOLED,
    ),
    TextFamily("minilm", _bert("Bert", "BertModel"), word_pieces, BertTextEncoder, 2, _POOLED),
    TextFamily("bert", _bert("Bert", "BertForMaskedLM"), word_pieces, BertTextEncoder, 2, _POOLED),
    TextFamily("mpnet", _bert("MPNet", "MPNetModel"), word_pieces, BertTextEncoder, 2, _POOLED),
    TextFamily("xlm-r", _bert("XLMRoberta", "XLMRobertaModel"), word_pieces, BertTextEncoder, 2, _POOLED),
    TextFamily(
        "distilbert", _bert("DistilBert", "DistilBertModel", **_DISTIL), word_pieces, BertTextEncoder, 2, _POOLED
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}
