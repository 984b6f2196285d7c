"""The language of the demo: all its sentences, and byte-level BPE tokenizers whose merges make a token of each word.

Byte-level, so that any text at all can be encoded; the words of captions and prompts are one token each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from pipeline.demo.models.recipes import SEVERAL
from pipeline.demo.world.describe import COUNT_WORDS, INSTRUCTIONS, describe
from pipeline.demo.world.scene import COUNTS, SceneObject
from pipeline.demo.world.world import BACKGROUNDS, COLORS, SHAPES, STYLES

INTRODUCTIONS = ("a photo of", "an image of", "a picture of", "a drawing of", "")
SEVERAL_WORDS = tuple(COUNT_WORDS[count] for count in COUNTS)
RELATIONS = ("left of", "right of", "above", "below", "to the left of", "to the right of", "next to", "under", "over")
CHAT_WORDS = "user: assistant: describe this image full brief name"
EXTRA_WORDS = (
    "the picture shows several large big tiny round bright dark clean simple plain beautiful pretty soft shadow light "
    "gradient aesthetic style high quality colorful scene with and in center corner side upper lower there are is "
    "no one many each other both against its it they lies lie sits floating placed five six seven eight nine ten "
    "orange pink brown black white gray grey beige object objects shape shapes"
)


def _thing(draws: np.random.Generator, side_px: int, *, small: bool) -> SceneObject:
    radius = float(draws.uniform(0.06, 0.17) if small else draws.uniform(0.24, 0.335))
    x, y = (float(number) for number in draws.uniform(radius, 1 - radius, size=2))
    shape, color = SHAPES[int(draws.integers(len(SHAPES)))], tuple(COLORS)[int(draws.integers(len(COLORS)))]
    return SceneObject(shape, color, x * side_px, y * side_px, radius * side_px)


def _alike(draws: np.random.Generator, side_px: int, *, small_share: float) -> list[SceneObject]:
    """An object, or several alike; where there are several, captions name no place, so they may lie on one spot."""
    num = int(draws.choice(COUNTS)) if draws.random() < SEVERAL else 1
    return [_thing(draws, side_px, small=draws.random() < small_share)] * num


def draw_caption(draws: np.random.Generator, side_px: int) -> str:
    """A sentence of the captioner's, of any instruction."""
    style = STYLES[int(draws.integers(len(STYLES)))]
    background = tuple(BACKGROUNDS[style])[int(draws.integers(len(BACKGROUNDS[style])))]
    instruction = INSTRUCTIONS[int(draws.choice(len(INSTRUCTIONS), p=(0.6, 0.25, 0.15)))]
    things = _alike(draws, side_px, small_share=0.3)
    if draws.random() < 0.6:
        others = _alike(draws, side_px, small_share=0.6)
        if others[0].shape != things[0].shape:  # CutMix pairs are of two classes
            things += others
    return describe(things, style=style, background=background, side_px=side_px, instruction=instruction)


def draw_prompt(draws: np.random.Generator) -> str:
    """A sentence as benchmarks ask for pictures: one or two objects, counts, colours, relations, a background."""

    def pick(words: tuple[str, ...]) -> str:
        return words[int(draws.integers(len(words)))]

    def named(*, colored: bool) -> str:
        return f"{pick(tuple(COLORS))} {pick(SHAPES)}" if colored else pick(SHAPES)

    colored = bool(draws.random() < 0.5)
    kind = int(draws.integers(5))
    what = (
        f"a {named(colored=colored)}",
        f"{pick(SEVERAL_WORDS)} {named(colored=colored)}s",
        f"a {named(colored=colored)} and a {named(colored=colored)}",
        f"a {named(colored=colored)} {pick(RELATIONS)} a {named(colored=colored)}",
        f"a {pick(('small', 'large', 'big', 'tiny'))} {named(colored=colored)}",
    )[kind]
    text = f"{pick(INTRODUCTIONS)} {what}".strip()
    if draws.random() < 0.3:
        backgrounds = tuple(BACKGROUNDS[pick(STYLES)])
        text += f" on a {pick(backgrounds)} background"
    return text


def corpus(num_sentences: int, seed: int, side_px: int) -> Iterator[str]:
    """Captions and prompts in turns, and every single word of the demo twice, so that none is missed."""
    from pipeline.data.randomness import generator

    for number in range(num_sentences):
        draws = generator("demo_models", "corpus", seed, number)
        yield draw_caption(draws, side_px) if number % 2 else draw_prompt(draws)
    words = [*SHAPES, *(f"{shape}s" for shape in SHAPES), *COLORS]
    words += [name for style in STYLES for name in BACKGROUNDS[style]]
    words += [*SEVERAL_WORDS, *" ".join(RELATIONS).split(), *CHAT_WORDS.split(), *EXTRA_WORDS.split()]
    yield from (f"{word} {word}" for word in words)


def train_tokenizer(special_tokens: tuple[str, ...], *, ends_with: str | None, seed: int, side_px: int) -> Tokenizer:
    """A lower-casing byte-level BPE tokenizer of the demo's language; ``ends_with`` is put after every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,  # above what merges within words can reach: every word becomes one token
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=list(special_tokens),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(4000, seed, side_px), trainer)
    if ends_with is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {ends_with}", special_tokens=[(ends_with, tokenizer.token_to_id(ends_with))]
        )
    return tokenizer
