"""Captions of mixed lengths through a text encoder, sorted by length as encode_text has it, beside their own order.

``python -m perf.text_speed``: a T5 of random weights, and the demo's, encode a run of captions whose lengths in tokens
are those of long and of short captions, mixed. Both ways run in this process in turns, with the same batch size;
seconds of the processor in user code are compared, and embeddings must be equal but for rounding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from perf.turns import in_turns, rates, user_seconds
from pipeline.data.randomness import generator, torch_generator
from pipeline.encoders.base import TextEmbedding
from pipeline.encoders.loading import quiet
from pipeline.encoders.text import TextEncoder, load_tokenizer
from pipeline.errors import Refusal, exit_status
from pipeline.params.encoders import TextEncoder as TextEncoderParams
from pipeline.params.load import BASE_PRESET, load

SORTED, ARRIVAL = "sorted", "as they come"
SHARE_LONG = 0.7  # as in mixes that train well; their lengths in words, and the spread of them
LONG, SHORT = (75.0, 25.0), (10.0, 4.0)
MAX_TEXT_TOKENS, RELATIVE_ROUNDING = 256, 1e-4
WIDTH = {"d_model": 512, "d_ff": 1024, "d_kv": 64, "num_heads": 8, "num_layers": 4}


def captions(number: int, words: list[str]) -> list[str]:
    """Texts of drawn lengths, the same each time."""
    draws = generator("perf", "text_speed", number)
    texts = []
    for is_long in draws.random(number) < SHARE_LONG:
        mean, spread = LONG if is_long else SHORT
        length = int(np.clip(round(draws.normal(mean, spread)), 2, 200))
        texts.append(" ".join(words[index] for index in draws.integers(0, len(words), length)))
    return texts


def encoders(batch_size: int) -> Iterator[tuple[str, TextEncoder]]:
    """The demo's encoder, and a wider one of random weights with its tokenizer."""
    import torch
    import transformers

    quiet(transformers)
    project = Path.cwd()
    params = load(project / BASE_PRESET, project)
    torch.set_num_threads(params.execution.num_threads)
    folder = Path(params.sections["encode_text"].tables["encoders"]["demo"].model)
    tokenizer = load_tokenizer(folder)
    entry = TextEncoderParams(model=str(folder), max_text_tokens=MAX_TEXT_TOKENS)
    config = transformers.T5Config(vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", **WIDTH)
    with torch.random.fork_rng():  # its own first weights are drawn from global state, and are not used
        wide = transformers.T5EncoderModel(config)
    weights = torch_generator("perf", "text_speed")
    for weight in wide.parameters():
        if weight.ndim == 2:  # all but the norms, which begin at 1
            weight.data.normal_(0.0, weight.shape[1] ** -0.5, generator=weights)
    models: dict[str, Any] = {
        "demo": transformers.T5EncoderModel.from_pretrained(folder, dtype=torch.float32),
        f"width {WIDTH['d_model']}": wide,
    }
    for name, model in models.items():
        yield name, TextEncoder(model.eval(), tokenizer, entry, batch_size=batch_size, where=name)


def as_they_come(encoder: TextEncoder, texts: list[str], batch_size: int) -> list[Any]:
    """Embeddings, a batch of texts in their order at a time."""
    rows: list[Any] = []
    for start in range(0, len(texts), batch_size):
        rows += encoder.encode(texts[start : start + batch_size])
    return rows


def refuse_other(ours: list[Any], theirs: list[Any], name: str) -> None:
    """Raise Refusal where the two ways gave other embeddings."""
    for mine, other in zip(ours, theirs, strict=True):
        if not isinstance(mine, TextEmbedding) or not isinstance(other, TextEmbedding):
            raise Refusal(f"{name}: rejects a caption ({mine}, {other}), so that less work was done")
        most = RELATIVE_ROUNDING * float(np.abs(other.embedding).max())
        if mine.embedding.shape != other.embedding.shape or np.abs(mine.embedding - other.embedding).max() > most:
            raise Refusal(f"{name}: embeds a caption otherwise among others of its length; they cannot be compared")


def report(num_texts: int, batch_size: int, num_turns: int) -> None:
    """Print a line for each encoder and way."""
    for name, encoder in encoders(batch_size):
        words = [text for text in encoder._tokenizer.get_vocab() if text.strip("▁Ġ").isalpha()]
        texts = captions(num_texts, sorted(word.strip("▁Ġ") for word in words))
        ways = {
            SORTED: partial(encoder.encode, texts),
            ARRIVAL: partial(as_they_come, encoder, texts, batch_size),
        }
        embedded = ways[SORTED]()
        refuse_other(embedded, ways[ARRIVAL](), name)
        lengths = [len(one.embedding) for one in embedded if isinstance(one, TextEmbedding)]
        print(
            f"{name}: {num_texts} captions of {np.mean(lengths):.0f} tokens ({min(lengths)} to {max(lengths)}), "
            f"batches of {batch_size}"
        )
        seconds = in_turns(ways, num_turns, user_seconds)
        print("\n".join(f"  {line}" for line in rates(num_texts, "captions", seconds, ARRIVAL)))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.text_speed", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--captions", type=int, default=256, help="at hand together (256: what encode_text has of a T5-XL)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="encoded together (64)")
    parser.add_argument("--turns", type=int, default=5, help="times that each way is run (5)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: report(asked.captions, asked.batch_size, asked.turns))


if __name__ == "__main__":
    sys.exit(main())
