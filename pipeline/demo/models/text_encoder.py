"""The demo's text encoder: a small T5 trained by span denoising on the demo's sentences, standing where flan-t5-xl
stands at full size.

Runs of words are hidden behind sentinel tokens and written out by a decoder that is thrown away (T5, arXiv 1910.10683,
section 3.1.4). What stays is the encoder with its tokenizer, loaded by ``T5EncoderModel`` and ``AutoTokenizer``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel, T5ForConditionalGeneration

from pipeline.data.randomness import generator, torch_generator
from pipeline.demo.models.recipes import HELDOUT_SEED, SEVERAL, SIDE_PX, TRAIN_SEED, TextEncoderRecipe
from pipeline.demo.models.training import TrainingLog, halve_weights, rate_at, set_rate, write_card
from pipeline.demo.models.words import corpus, train_tokenizer

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
NUM_SENTINELS = 16
NUM_HELDOUT = 512
WEIGHTS_FILE = "model.safetensors"
IGNORED = -100


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the demo's language with T5's special tokens; every text ends with the end token."""
    sentinels = [f"<extra_id_{number}>" for number in range(NUM_SENTINELS)]
    tokenizer = train_tokenizer((PAD, END, UNKNOWN, *sentinels), ends_with=END, seed=TRAIN_SEED, side_px=SIDE_PX)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=sentinels,
        model_max_length=512,
    )


def build_model(recipe: TextEncoderRecipe, tokenizer: PreTrainedTokenizerFast) -> T5ForConditionalGeneration:
    """Encoder and decoder with fresh weights from a fixed seed."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=recipe.width,
        d_kv=recipe.width // recipe.num_heads,
        d_ff=recipe.mlp_width,
        num_layers=recipe.num_layers,
        num_decoder_layers=recipe.num_decoder_layers,
        num_heads=recipe.num_heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(torch_generator("demo_models", "text_encoder").initial_seed() % 2**31)
        return T5ForConditionalGeneration(config)


def hide_spans(
    ids: list[int], draws: np.random.Generator, recipe: TextEncoderRecipe, sentinels: list[int]
) -> tuple[list[int], list[int]]:
    """A text with runs of tokens hidden, and what was hidden: each run behind a sentinel of its own.

    Args:
        ids: tokens of the text, the end token last; it is never hidden.
        draws: where the runs are.
        recipe: share and mean length of the runs.
        sentinels: token numbers of the sentinels.

    Returns:
        (what the encoder reads, what the decoder writes), each ending with the end token.
    """
    body, end = ids[:-1], ids[-1]
    hidden = np.zeros(len(body), dtype=bool)
    wanted = max(1, round(recipe.hidden_share * len(body)))
    while hidden.sum() < wanted:
        length = 1 + int(draws.poisson(recipe.mean_run_tokens - 1))
        start = int(draws.integers(len(body)))
        hidden[start : start + length] = True
    read: list[int] = []
    written: list[int] = []
    num_runs = 0
    for position, token in enumerate(body):
        if not hidden[position]:
            read.append(token)
            continue
        if position == 0 or not hidden[position - 1]:
            sentinel = sentinels[min(num_runs, len(sentinels) - 1)]
            num_runs += 1
            read.append(sentinel)
            written.append(sentinel)
        written.append(token)
    return [*read, end], [*written, end]


def batch_of(texts: list[list[int]], pad: int) -> torch.Tensor:
    """Token numbers of several texts, padded on the right: int64 [batch, longest]."""
    longest = max(len(text) for text in texts)
    return torch.tensor([text + [pad] * (longest - len(text)) for text in texts])


def loss_of(
    model: T5ForConditionalGeneration, texts: list[list[int]], draws: np.random.Generator, recipe: TextEncoderRecipe
) -> tuple[torch.Tensor, float]:
    """(mean cross-entropy per written token, share of hidden tokens guessed right) of one batch."""
    sentinels = list(range(3, 3 + NUM_SENTINELS))
    pairs = [hide_spans(text, draws, recipe, sentinels) for text in texts]
    pad = int(model.config.pad_token_id)  # type: ignore[arg-type]
    read = batch_of([pair[0] for pair in pairs], pad)
    written = batch_of([pair[1] for pair in pairs], pad)
    labels = written.masked_fill(written == pad, IGNORED)
    outputs: Any = model(input_ids=read, attention_mask=(read != pad).long(), labels=labels)
    is_hidden = (labels != IGNORED) & ~torch.isin(labels, torch.tensor([*sentinels, int(model.config.eos_token_id)]))  # type: ignore[arg-type]
    right = (outputs.logits.argmax(-1) == labels)[is_hidden].float().mean().item()
    return outputs.loss, right


def train(folder: Path, recipe: TextEncoderRecipe) -> None:
    """Train, measure and write the encoder's folder."""
    log = TrainingLog(folder / "log.tsv", ("loss", "right", "rate"))
    tokenizer = build_tokenizer()
    model = build_model(recipe, tokenizer)
    texts = [tokenizer(text)["input_ids"] for text in corpus(recipe.num_sentences, TRAIN_SEED, SIDE_PX)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.peak_rate, weight_decay=recipe.weight_decay)
    for step in range(recipe.num_steps):
        share = rate_at(
            step, num_steps=recipe.num_steps, warmup_steps=recipe.warmup_steps, final_share=recipe.final_rate_share
        )
        set_rate(optimizer, recipe.peak_rate * share)
        draws = generator("demo_models", "text_encoder", TRAIN_SEED, step)
        batch = [texts[int(number)] for number in draws.integers(len(texts), size=recipe.batch)]
        loss, right = loss_of(model, batch, draws, recipe)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        log.add("denoising", step, loss=loss.item(), right=right, rate=recipe.peak_rate * share)
    save(folder, model, tokenizer)
    facts = dataclasses.asdict(recipe) | {
        "share of sentences of several objects alike, of each kind": SEVERAL,
        "seeds of the sentences": f"training {TRAIN_SEED}, held-out {HELDOUT_SEED}",
        "minutes": f"{log.minutes():.1f} on one thread of a shared CPU",
    }
    write_card(
        folder,
        title="Text encoder of the demo",
        purpose="transformers `T5EncoderModel` with its tokenizer for the sentences of shape world, standing where "
        "flan-t5-xl stands at full size. Byte-level: any text can be encoded, words of the demo are one token each.",
        recipe=facts,
        quality=quality_of(model, tokenizer, recipe),
        weights=folder / WEIGHTS_FILE,
    )


def save(folder: Path, model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the encoder alone, in half precision, with the tokenizer."""
    with torch.random.fork_rng():
        encoder = T5EncoderModel(model.config)
    encoder.load_state_dict(
        {name: value for name, value in model.state_dict().items() if name.startswith(("shared.", "encoder."))}
    )
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    halve_weights(folder / WEIGHTS_FILE)


@torch.inference_mode()
def quality_of(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, recipe: TextEncoderRecipe
) -> dict[str, float]:
    """How well hidden words of sentences never seen are guessed."""
    model.eval()
    texts = [tokenizer(text)["input_ids"] for text in list(corpus(NUM_HELDOUT, HELDOUT_SEED, SIDE_PX))[:NUM_HELDOUT]]
    loss, right = loss_of(model, texts, generator("demo_models", "text_encoder", HELDOUT_SEED), recipe)
    return {"cross-entropy per hidden token, nats": loss.item(), "hidden tokens guessed right": right}
