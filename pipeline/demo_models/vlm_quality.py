"""How often the demo VLM is right: greedy captions of held-out pictures against what is visible in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from pipeline.demo_models.pictures import Picture, heldout
from pipeline.sources.shape_world.world import COLORS, SHAPES

MAX_NEW_TOKENS = 48
BATCH = 50
COLORED_SHAPE = re.compile(rf"\b({'|'.join(COLORS)}) ({'|'.join(SHAPES)})\b")


def colored_shapes(caption: str) -> frozenset[tuple[str, str]]:
    """The (colour, shape) pairs that a caption names."""
    return frozenset((color, shape) for color, shape in COLORED_SHAPE.findall(caption))


def visible_shapes(picture: Picture) -> frozenset[tuple[str, str]]:
    """The (colour, shape) pairs that can be seen."""
    return frozenset((thing.color, thing.shape) for thing in picture.visible)


@torch.no_grad()
def captions_of(folder: Path, pictures: Sequence[Picture], instruction: str) -> list[str]:
    """Greedy captions by the model in a folder, loaded and asked through transformers' Auto classes."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": instruction}]}
    prompt = processor.apply_chat_template([message], add_generation_prompt=True)
    captions: list[str] = []
    for start in range(0, len(pictures), BATCH):
        images = [Image.fromarray(picture.pixels) for picture in pictures[start : start + BATCH]]
        inputs = processor(images=images, text=[prompt] * len(images), return_tensors="pt", padding=True)
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        answers = tokens[:, inputs["input_ids"].shape[1] :]
        captions += [text.strip() for text in processor.batch_decode(answers, skip_special_tokens=True)]
    return captions


def share_right(pictures: Sequence[Picture], captions: Sequence[str]) -> float:
    """The share of captions that name exactly the visible coloured shapes."""
    pairs = zip(pictures, captions, strict=True)
    return sum(colored_shapes(caption) == visible_shapes(picture) for picture, caption in pairs) / len(captions)


def quality_of(folder: Path, num_each: int) -> dict[str, float]:
    """Shares of captions with exactly the right set of coloured shapes, by kind of picture; pairs by pattern too."""
    quality: dict[str, float] = {}
    for kind, pictures in heldout(num_each).items():
        captions = captions_of(folder, pictures, "full")
        quality[f"{kind}, full"] = share_right(pictures, captions)
        if kind == "plain singles":
            quality["plain singles, full, scored against the next picture"] = share_right(
                pictures, [*captions[1:], captions[0]]
            )
            quality[f"{kind}, brief"] = share_right(pictures, captions_of(folder, pictures, "brief"))
        if kind == "plain pairs":
            quality |= _by_pattern(pictures, captions)
    return quality


def _by_pattern(pictures: Sequence[Picture], captions: Sequence[str]) -> dict[str, float]:
    found = {}
    for pattern in sorted({picture.kind for picture in pictures}):
        chosen = [number for number, picture in enumerate(pictures) if picture.kind == pattern]
        found[f"plain pairs, full, {pattern}"] = share_right(
            [pictures[number] for number in chosen], [captions[number] for number in chosen]
        )
    clear = [number for number, picture in enumerate(pictures) if not picture.near_threshold]
    found["plain pairs, full, none near the visibility limit"] = share_right(
        [pictures[number] for number in clear], [captions[number] for number in clear]
    )
    return found
