"""The demo's captioner: a LLaVA that sees, trained on scenes of both styles and CutMix pairs.

First the vision tower alone with throw-away heads (sight is what costs time), then everything jointly with the heads'
loss kept beside the captions'. Matrices are trained by Muon, the rest by AdamW.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.data.randomness import generator, weighted_choice
from pipeline.demo.models.pictures import Picture, Pool
from pipeline.demo.models.recipes import HELDOUT_SEED, NUM_HELDOUT, SEVERAL, SIDE_PX, TRAIN_SEED, VlmRecipe
from pipeline.demo.models.training import TrainingLog, halve_weights, rate_at, set_rate, write_card
from pipeline.demo.models.vlm_parts import (
    IGNORED,
    SightHeads,
    Wording,
    build_model,
    build_processor,
    pixel_values,
    sight_truth,
)
from pipeline.demo.models.vlm_quality import quality_of
from pipeline.demo.world.describe import describe

WEIGHTS_FILE = "model.safetensors"
SAVE_EVERY_STEPS = 500  # into the partial folder, to look at a long training while it goes on
SAME_AS_FULL = "describe this image"  # the full-size captioner's instruction, understood as ``full``


@dataclass(frozen=True, slots=True)
class Trainee:
    """All that a course of training works on."""

    model: LlavaForConditionalGeneration
    heads: SightHeads
    wording: Wording
    pools: dict[str, Pool]
    recipe: VlmRecipe


def draw_pictures(trainee: Trainee, draws: np.random.Generator) -> list[Picture]:
    """The pictures of one step."""
    recipe, pictures = trainee.recipe, []
    weights = dict(recipe.pair_weights)
    for _ in range(recipe.batch):
        pool = trainee.pools["aesthetic" if draws.random() < recipe.aesthetic_share else "plain"]
        pair = draws.random() < recipe.pair_share
        pictures.append(pool.draw_pair(draws, weights) if pair else pool.draw_single(draws))
    return pictures


def truth_caption(picture: Picture, instruction: str) -> str:
    """The caption that a picture should get."""
    return describe(
        picture.visible,
        style=picture.style,
        background=picture.background,
        side_px=SIDE_PX,
        instruction="full" if instruction == SAME_AS_FULL else instruction,
    )


def vision_features(model: LlavaForConditionalGeneration, pictures: list[Picture]) -> torch.Tensor:
    """(B, T, width) of the vision tower's last layer, as LLaVA uses them."""
    last: torch.Tensor = model.model.vision_tower(pixel_values(pictures), output_hidden_states=True).hidden_states[-1]
    return last


def vision_loss(trainee: Trainee, pictures: list[Picture], draws: np.random.Generator) -> dict[str, torch.Tensor]:
    """The heads' loss alone."""
    with torch.autocast("cpu", torch.bfloat16):
        features = vision_features(trainee.model, pictures)
    sight = trainee.heads.loss(features, sight_truth(pictures, trainee.recipe.patch_px))
    return {"loss": sight, "sight": sight, "words": torch.zeros(())}


def joint_loss(trainee: Trainee, pictures: list[Picture], draws: np.random.Generator) -> dict[str, torch.Tensor]:
    """The captions' cross-entropy per word and the heads' loss beside it."""
    recipe, model = trainee.recipe, trainee.model.model
    shares = dict(recipe.instruction_shares)
    instructions = [weighted_choice(shares, float(draws.random())) for _ in pictures]
    captions = [
        truth_caption(picture, instruction) for picture, instruction in zip(pictures, instructions, strict=True)
    ]
    tokens, mask, labels, weights = trainee.wording.batch(instructions, captions)
    start = trainee.wording.answer_start  # no answer begins before it
    with torch.autocast("cpu", torch.bfloat16):
        features = vision_features(trainee.model, pictures)
        projected = model.multi_modal_projector(features)
        inputs = model.language_model.embed_tokens(tokens)
        is_image = (tokens == trainee.model.config.image_token_id).unsqueeze(-1)
        inputs = inputs.masked_scatter(is_image, projected.to(inputs.dtype))
        hidden = model.language_model(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
        logits = trainee.model.lm_head(hidden[:, start - 1 : -1])
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1), labels[:, start:].flatten(), ignore_index=IGNORED, reduction="none"
    )
    share = weights[:, start:].flatten()
    words = (losses * share).sum() / share.sum()
    sight = trainee.heads.loss(features, sight_truth(pictures, recipe.patch_px))
    return {"loss": words + recipe.head_weight * sight, "sight": sight, "words": words}


def optimizers_of(trainee: Trainee, peak_rate: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the transformers' matrices, AdamW for embeddings, norms, biases and heads; each with its peak rate."""
    recipe = trainee.recipe
    matrices: list[torch.nn.Parameter] = []
    rest = list(trainee.heads.parameters())
    for name, parameter in trainee.model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
    muon = torch.optim.Muon(matrices, lr=peak_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw")
    adamw_rate = peak_rate * recipe.adamw_share
    return [(muon, peak_rate), (torch.optim.AdamW(rest, lr=adamw_rate, weight_decay=recipe.weight_decay), adamw_rate)]


def run_phase(
    trainee: Trainee,
    log: TrainingLog,
    loss_of: Callable[[Trainee, list[Picture], np.random.Generator], dict[str, torch.Tensor]],
    *,
    phase: str,
    num_steps: int,
    peak_rate: float,
    save_now: Callable[[], None],
) -> None:
    """One course of the rate from warm-up to its end; ``save_now`` is called every SAVE_EVERY_STEPS steps."""
    recipe = trainee.recipe
    optimizers = optimizers_of(trainee, peak_rate)
    parameters = [*trainee.model.parameters(), *trainee.heads.parameters()]
    trainee.model.train()
    for step in range(num_steps):
        share = rate_at(
            step, num_steps=num_steps, warmup_steps=recipe.warmup_steps, final_share=recipe.final_rate_share
        )
        draws = generator("demo_models", "vlm", TRAIN_SEED, phase, step)
        losses = loss_of(trainee, draw_pictures(trainee, draws), draws)
        trainee.model.zero_grad(set_to_none=True)
        trainee.heads.zero_grad(set_to_none=True)
        torch.autograd.backward(losses["loss"])
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        for optimizer, rate in optimizers:
            set_rate(optimizer, rate * share)
            optimizer.step()
        if (step + 1) % SAVE_EVERY_STEPS == 0:
            save_now()
            trainee.model.train()
        log.add(phase, step, **{name: value.item() for name, value in losses.items()}, rate=peak_rate * share)


def save(folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> None:
    """Write model, processor and generation defaults as the Auto classes load them; weights in half precision."""
    model.eval()
    model.generation_config.do_sample = False
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.bos_token_id = processor.tokenizer.bos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    halve_weights(folder / WEIGHTS_FILE)


def train(folder: Path, recipe: VlmRecipe) -> None:
    """Train, measure and write the model's folder."""
    log = TrainingLog(folder / "log.tsv", ("loss", "sight", "words", "rate"))
    counts = {"plain": recipe.num_scenes, "aesthetic": recipe.num_aesthetic_scenes}
    processor = build_processor(recipe)
    model = build_model(recipe, processor.tokenizer)
    trainee = Trainee(
        model=model,
        heads=SightHeads(recipe.width),
        wording=Wording(processor, model.config.image_seq_length, recipe.named_weight),
        pools={
            style: Pool(num_scenes=count, style=style, side_px=SIDE_PX, seed=TRAIN_SEED, several=SEVERAL)
            for style, count in counts.items()
        },
        recipe=recipe,
    )
    courses = (
        ("vision", vision_loss, recipe.num_vision_steps, recipe.vision_rate),
        ("joint", joint_loss, recipe.num_joint_steps, recipe.joint_rate),
    )
    for phase, loss_of, num_steps, peak_rate in courses:
        run_phase(
            trainee,
            log,
            loss_of,
            phase=phase,
            num_steps=num_steps,
            peak_rate=peak_rate,
            save_now=lambda: save(folder, model, processor),
        )
    save(folder, model, processor)
    describe_model(folder, recipe, log.minutes())


def describe_model(folder: Path, recipe: VlmRecipe, minutes: float) -> None:
    """Measure the saved model as others will load it, and write its card."""
    facts = dataclasses.asdict(recipe) | {
        "share of scenes of several objects": SEVERAL,
        "seeds of the worlds": f"training {TRAIN_SEED}, held-out {HELDOUT_SEED}",
        "minutes": f"{minutes:.1f} on one thread of a shared CPU",
    }
    write_card(
        folder,
        title="Captioner of the demo",
        purpose="transformers `LlavaForConditionalGeneration` and `LlavaProcessor` for 64 px pictures of shape world, "
        "standing where LLaVA-NeXT stands at full size. The user's text is the instruction: `full`, `brief`, `name` "
        f"(`{SAME_AS_FULL}` means `full`). Captions are greedy; objects less than 60 % visible are not named.",
        recipe=facts,
        quality=quality_of(folder, NUM_HELDOUT),
        weights=folder / WEIGHTS_FILE,
    )
