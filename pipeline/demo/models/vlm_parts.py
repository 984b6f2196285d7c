"""The demo VLM's parts: LLaVA's official classes at toy size, its processor, and the heads of the vision stage.

Shapes: B pictures, P = (side / patch)^2 patches, T = P + 1 vision tokens (the class token first), L caption tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pipeline.demo.models.pictures import Picture
from pipeline.demo.models.recipes import SIDE_PX, TRAIN_SEED, VlmRecipe
from pipeline.demo.models.words import train_tokenizer
from pipeline.demo.world.world import COLORS, SHAPES

PAD, BEGIN, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
MIN_PATCH_COVER = 0.15  # of a patch that an object must cover to be the patch's object in the vision stage
IGNORED = -100  # label of tokens that bear no loss
MAX_TEXT_TOKENS = 40  # of prompt and caption together, the picture's left out
PIXEL_MEAN = PIXEL_SD = 0.5
# A message's content is a list of parts, or plain text, as OpenAI-compatible servers may send it.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:"
    "{% if message['content'] is string %} {{ message['content'] | trim }}"
    "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %} {{ part['text'] | trim }}{% endif %}"
    "{% endfor %}{% endif %} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def build_processor(recipe: VlmRecipe) -> LlavaProcessor:
    """Tokenizer, Pillow image processor and chat template in one, as AutoProcessor loads it again."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer((PAD, BEGIN, END, IMAGE), ends_with=None, seed=TRAIN_SEED, side_px=SIDE_PX),
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        model_max_length=256,
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE_PX},
        crop_size={"height": SIDE_PX, "width": SIDE_PX},
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_SD] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=recipe.patch_px,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
    )


def build_model(recipe: VlmRecipe, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """An untrained LLaVA; weights from the training seed."""
    vision = CLIPVisionConfig(
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp_width,
        num_hidden_layers=recipe.vision_layers,
        num_attention_heads=recipe.num_heads,
        image_size=SIDE_PX,
        patch_size=recipe.patch_px,
    )
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp_width,
        num_hidden_layers=recipe.language_layers,
        num_attention_heads=recipe.num_heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(SIDE_PX // recipe.patch_px) ** 2 + 1,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    # Plain matmul and softmax: twice as fast as fused attention on CPUs in bfloat16, whose backward pass is slow.
    config._attn_implementation = "eager"
    torch.manual_seed(TRAIN_SEED)
    return LlavaForConditionalGeneration(config)


class SightHeads(nn.Module):
    """Heads that teach the vision tower to see, thrown away after training: what lies in each patch, what is shown."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shape = nn.Linear(width, len(SHAPES) + 1)
        self.color = nn.Linear(width, len(COLORS) + 1)
        self.shown = nn.Linear(width, 1)
        self.present = nn.Linear(width, len(SHAPES) * len(COLORS))

    def loss(self, features: torch.Tensor, truth: SightTruth) -> torch.Tensor:
        """Cross-entropies of patch shape, colour and visibility, and of the set of coloured shapes; a scalar.

        Args:
            features: (B, T, width) of the vision tower.
            truth: the batch's truth.
        """
        patches = features[:, 1:].float()
        shape = functional.cross_entropy(self.shape(patches).flatten(0, 1), truth.shape.flatten())
        color = functional.cross_entropy(self.color(patches).flatten(0, 1), truth.color.flatten())
        shown = functional.binary_cross_entropy_with_logits(self.shown(patches).squeeze(-1), truth.shown)
        present = functional.binary_cross_entropy_with_logits(self.present(features[:, 0].float()), truth.present)
        return shape + color + shown + 10.0 * present  # 36 answers of which one or two are yes: small on average


@dataclass(frozen=True, slots=True)
class SightTruth:
    """What the heads should say. shape, color: (B, P) int64, 0 for none; shown: (B, P); present: (B, 36) float32."""

    shape: torch.Tensor
    color: torch.Tensor
    shown: torch.Tensor
    present: torch.Tensor


def sight_truth(pictures: Sequence[Picture], patch_px: int) -> SightTruth:
    """The truth of a batch, from the pictures' owner maps."""
    colors = tuple(COLORS)
    num_patches = (SIDE_PX // patch_px) ** 2
    shape = np.zeros((len(pictures), num_patches), np.int64)
    color = np.zeros_like(shape)
    shown = np.zeros((len(pictures), num_patches), np.float32)
    present = np.zeros((len(pictures), len(SHAPES) * len(colors)), np.float32)
    for number, picture in enumerate(pictures):
        for index, thing in enumerate(picture.things):
            mine = (picture.owners == index + 1).reshape(SIDE_PX // patch_px, patch_px, -1, patch_px)
            patches = mine.mean(axis=(1, 3)).flatten() >= MIN_PATCH_COVER
            shape[number, patches] = SHAPES.index(thing.shape) + 1
            color[number, patches] = colors.index(thing.color) + 1
            shown[number, patches] = float(thing in picture.visible)
        for thing in picture.visible:
            present[number, SHAPES.index(thing.shape) * len(colors) + colors.index(thing.color)] = 1.0
    return SightTruth(*(torch.from_numpy(array) for array in (shape, color, shown, present)))


def pixel_values(pictures: Sequence[Picture]) -> torch.Tensor:
    """(B, 3, side, side) float32 as the image processor makes them."""
    pixels = np.stack([picture.pixels for picture in pictures])
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0 - PIXEL_MEAN) / PIXEL_SD


class Wording:
    """Prompts and captions as token numbers, exactly as the processor's chat template makes them.

    Args:
        processor: of build_processor.
        named_weight: weight of colour words, and of shape words in the singular, in the loss.
    """

    def __init__(self, processor: LlavaProcessor, num_image_tokens: int, named_weight: float) -> None:
        self.tokenizer = processor.tokenizer
        # one length for all batches: on a CPU every new shape costs the preparation of new kernels
        self.length = num_image_tokens + MAX_TEXT_TOKENS
        self.answer_start = num_image_tokens
        self._image = [self.tokenizer.convert_tokens_to_ids(IMAGE)] * num_image_tokens
        self._before = self._ids("user:")
        self._weights = torch.ones(len(self.tokenizer))
        for word in (*SHAPES, *COLORS):
            self._weights[self._ids(word)] = named_weight
        self._cache: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _cached(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self._ids(text)
        return self._cache[text]

    def batch(
        self, instructions: Sequence[str], captions: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Token numbers, attention mask, labels (IGNORED outside captions) and loss weights, (B, length) each."""
        rows = []
        for instruction, caption in zip(instructions, captions, strict=True):
            prompt = self._before + self._image + self._cached(f" {instruction} assistant:")
            rows.append((prompt, [*self._cached(f" {caption}"), self.tokenizer.eos_token_id]))
        length = self.length
        if max(len(prompt) + len(answer) for prompt, answer in rows) > length:
            raise ValueError(f"a caption is longer than {length} tokens with its prompt: raise MAX_TEXT_TOKENS")
        tokens = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(rows), length), IGNORED)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for number, (prompt, answer) in enumerate(rows):
            whole = len(prompt) + len(answer)
            tokens[number, :whole] = torch.tensor(prompt + answer)
            labels[number, len(prompt) : whole] = torch.tensor(answer)
            mask[number, :whole] = 1
        weights = torch.where(labels == IGNORED, 0.0, self._weights[labels.clamp(min=0)])
        return tokens, mask, labels, weights
