"""A LLaVA-NeXT that sees a little: made by the official classes, and trained on drawn pictures before it captions.

It names the colour of each quarter of a picture, of photographs as well. So captions of different pictures differ, as a
real captioner's do, and what guards a run against a captioner that says one thing of everything may stay on.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE_PX = 64
PATCH_PX = 16
DIM = 64
NUM_PICTURES = 2048
NUM_STEPS = 400
BATCH_SIZE = 32
PEAK_RATE = 3e-3
INSTRUCTION = "Describe this image"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
COLORS = {
    "black": (20, 20, 20),
    "gray": (128, 128, 128),
    "white": (235, 235, 235),
    "red": (200, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (235, 220, 50),
    "green": (50, 150, 60),
    "blue": (50, 90, 200),
    "purple": (130, 60, 170),
    "pink": (240, 150, 190),
    "brown": (120, 75, 40),
    "beige": (215, 195, 160),
}
NAMES = tuple(COLORS)


def caption_of(names: Sequence[str]) -> str:
    """What is said of a picture whose quarters have these colours, row by row."""
    return f" {names[0]} beside {names[1]} at the top, {names[2]} beside {names[3]} below."


def colors_named(caption: str) -> list[str]:
    """The colours that a caption names, in its order."""
    return re.findall("|".join(NAMES), caption)


def colors_of_quarters(picture: Image.Image) -> list[str]:
    """The name of the colour nearest to the mean of each quarter of a picture of ``SIDE_PX``, row by row."""
    half = SIDE_PX // 2
    means = np.asarray(picture, float).reshape(2, half, 2, half, 3).mean((1, 3)).reshape(4, 3)
    known = np.array(list(COLORS.values()), float)
    return [NAMES[int(np.abs(known - mean).sum(1).argmin())] for mean in means]


def draw_picture(draws: np.random.Generator) -> tuple[Image.Image, str]:
    """Four patches of one colour each, uneven, blurred and noisy, and their caption."""
    names = [NAMES[number] for number in draws.integers(len(NAMES), size=4)]
    colors = np.array([COLORS[name] for name in names], float) + draws.normal(0, 12, (4, 3))
    small = np.repeat(np.repeat(colors.reshape(2, 2, 3), 4, 0), 4, 1) + draws.normal(0, 14, (8, 8, 3))
    picture = Image.fromarray(small.clip(0, 255).astype(np.uint8)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    return picture, caption_of(names)


def build() -> tuple[Any, Any]:
    """The untrained model and its processor."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
        PreTrainedTokenizerFast,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    trainer: Any = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [caption_of(names) for names in itertools.product(NAMES, repeat=4)][::7]
    tokenizer.train_from_iterator([f"user: {INSTRUCTION} assistant:", *texts], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="left",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )
    size = {"hidden_size": DIM, "intermediate_size": 2 * DIM, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**size, image_size=SIDE_PX, patch_size=PATCH_PX, projection_dim=DIM),
        text_config=LlamaConfig(
            **size,
            vocab_size=len(fast),
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
        ),
        image_token_index=fast.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=[[SIDE_PX, SIDE_PX]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaNextForConditionalGeneration(config)
    image_processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE_PX},
        crop_size={"height": SIDE_PX, "width": SIDE_PX},
        image_grid_pinpoints=[[SIDE_PX, SIDE_PX]],
    )
    processor = LlavaNextProcessor(
        image_processor=image_processor,
        tokenizer=fast,
        patch_size=PATCH_PX,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    return model, processor


def prompts_of(processor: Any, pictures: list[Image.Image]) -> Any:
    """The model's inputs for these pictures, up to where a caption begins."""
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": INSTRUCTION}]}]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True)
    return processor(images=pictures, text=[text] * len(pictures), return_tensors="pt")


def train(folder: Path) -> float:
    """Train a model on one thread and write its folder, in half a minute of a processor; the last step's loss."""
    import torch

    torch.set_num_threads(1)
    draws = np.random.default_rng(0)
    model, processor = build()
    drawn = [draw_picture(draws) for _ in range(NUM_PICTURES)]
    prompts = prompts_of(processor, [picture for picture, _ in drawn])
    end = processor.tokenizer.eos_token_id
    answers = [[*processor.tokenizer(caption)["input_ids"], end] for _, caption in drawn]
    length = max(map(len, answers))
    padded = torch.tensor([[*ids, *[-100] * (length - len(ids))] for ids in answers])
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=NUM_STEPS)
    model.train()
    for _ in range(NUM_STEPS):
        rows = torch.from_numpy(draws.integers(NUM_PICTURES, size=BATCH_SIZE))
        prompt, answer = prompts["input_ids"][rows], padded[rows]
        ids = torch.cat([prompt, answer.clamp(min=0)], dim=1)
        labels = torch.cat([torch.full_like(prompt, -100), answer], dim=1)
        loss = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=prompts["pixel_values"][rows],
            image_sizes=prompts["image_sizes"][rows],
            labels=labels,
        ).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return float(loss.detach())


if __name__ == "__main__":
    # A process of its own: its threads and its generator are nobody else's.
    train(Path(sys.argv[1]))
