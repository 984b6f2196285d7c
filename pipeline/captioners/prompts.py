"""What a vision-language model is given: pictures and instructions through its processor's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from pipeline.data.randomness import Coordinates
from pipeline.errors import Refusal

if TYPE_CHECKING:
    import torch


class Asked(NamedTuple):
    """A picture, what a model is told about it, and the coordinates of what is drawn for it."""

    image: Image.Image
    instruction: str
    coordinates: Coordinates


def prompts(processor: Any, images: Sequence[Image.Image], instructions: Sequence[str]) -> Any:
    """A batch of a model's inputs, padded.

    Args:
        processor: with a chat template; its tokenizer pads on the left.
        images: RGB.
        instructions: what the model is told about each.
    """
    conversations = [
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": instruction}]}]
        for image, instruction in zip(images, instructions, strict=True)
    ]
    return processor.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )


def check_left_padding(attention_mask: torch.Tensor) -> None:
    """Refuse a batch whose prompts do not all end in its last column: a model would go on from padding.

    Args:
        attention_mask: (batch, tokens), 1 where a token is.
    """
    if not bool(attention_mask[:, -1].all()):
        raise Refusal("prompts are padded on the right, which gives wrong captions; the tokenizer must pad on the left")


def tokenizer_of(processor: Any, folder: object) -> Any:
    """The processor's tokenizer, made to pad on the left.

    Raises:
        Refusal: it reads no pictures or no text, or has no chat template.
    """
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise Refusal(f"{folder}: its processor reads no pictures or no text; a vision-language model is needed")
    if processor.chat_template is None:
        raise Refusal(f"{folder}: its processor has no chat template; prompts are written through nothing else")
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def end_tokens_of(model: Any, tokenizer: Any, folder: object) -> frozenset[int]:
    """The tokens that end an answer. Raises Refusal where neither model nor tokenizer names one."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    if ends is None:
        raise Refusal(f"{folder}: names no end token; a caption could not be told from a cut one")
    return frozenset(ends if isinstance(ends, list) else [ends])
