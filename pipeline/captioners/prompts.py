"""What a vision-language model is given: pictures and instructions through its processor's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline.errors import Refusal

if TYPE_CHECKING:
    import torch


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
