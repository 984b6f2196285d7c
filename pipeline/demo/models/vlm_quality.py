"""How often the demo VLM is right: greedy captions of held-out pictures against what is visible in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from pipeline.demo.models.pictures import Picture, heldout
from pipeline.demo.world.describe import COUNT_WORDS, grouped
from pipeline.demo.world.world import COLORS, SHAPES, STYLES

MAX_NEW_TOKENS = 48
BATCH = 50
NUMBERS = {words: number for number, words in COUNT_WORDS.items()}
COLORED_SHAPES = re.compile(rf"\b({'|'.join(NUMBERS)}) (?:small )?({'|'.join(COLORS)}) ({'|'.join(SHAPES)})(s?)\b")

ColoredShapes = frozenset[tuple[int, str, str]]
"""How many objects of which colour and shape."""


def colored_shapes(caption: str) -> ColoredShapes:
    """The (number, colour, shape) that a caption names; ``the red ring`` and ``two red ring`` name nothing."""
    return frozenset(
        (NUMBERS[number], color, shape)
        for number, color, shape, plural in COLORED_SHAPES.findall(caption)
        if bool(plural) == (NUMBERS[number] > 1)
    )


def visible_shapes(picture: Picture) -> ColoredShapes:
    """The (number, colour, shape) that can be seen."""
    return frozenset((group.num, group.thing.color, group.thing.shape) for group in grouped(picture.visible))


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
    """The share of captions that name exactly the visible coloured shapes and how many."""
    pairs = zip(pictures, captions, strict=True)
    return sum(colored_shapes(caption) == visible_shapes(picture) for picture, caption in pairs) / len(captions)


def quality_of(folder: Path, num_each: int) -> dict[str, float]:
    """Shares of captions with exactly the right coloured shapes and numbers, by kind of picture; pairs by pattern."""
    quality: dict[str, float] = {}
    for kind, pictures in heldout(num_each, mixed_styles=STYLES).items():
        captions = captions_of(folder, pictures, "full")
        quality[f"{kind}, full"] = share_right(pictures, captions)
        if kind == "plain singles":
            quality["plain singles, full, scored against the next picture"] = share_right(
                pictures, [*captions[1:], captions[0]]
            )
            quality[f"{kind}, brief"] = share_right(pictures, captions_of(folder, pictures, "brief"))
        if "pairs" in kind:
            quality |= _by_pattern(kind, pictures, captions)
    return quality


def _by_pattern(kind: str, pictures: Sequence[Picture], captions: Sequence[str]) -> dict[str, float]:
    """The shares of each pattern alone, and those of pictures in which no object is in doubt."""
    chosen = {
        pattern: [number for number, picture in enumerate(pictures) if picture.kind == pattern]
        for pattern in sorted({picture.kind for picture in pictures})
    }
    clear = [number for number, picture in enumerate(pictures) if not picture.in_doubt]
    chosen[f"no object in doubt ({len(clear)} of {len(pictures)} pictures)"] = clear
    return {
        f"{kind}, full, {name}": share_right(
            [pictures[number] for number in numbers], [captions[number] for number in numbers]
        )
        for name, numbers in chosen.items()
    }
