"""MIRO's network beside that of its public inference package, each in its own environment, in turns.

The package (``miro-t2i``) asks for more than this project installs, so it is timed in a process of another interpreter,
which waits while ours runs. Its random weights are read by ``paper.load_miro``: the two answers are compared before
anything is timed.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from perf import public_miro
from perf.turns import OURS, in_turns, lines
from pipeline.data.randomness import torch_generator
from pipeline.errors import Refusal
from pipeline.interop import paper
from pipeline.interop.released_config import public_miro_config
from pipeline.models.sizes import MIRO_SCORES, RIN_SIZES

TEXT_DIM, NUM_TOKENS, IN_CHANNELS = 2048, 77, 4  # flan-t5-xl's, and the longest text of MIRO's training
TOLERANCE = 1e-4  # of the answers' greatest value
SUFFIX = "_coherence"  # which the package's batches add to the names of the scores


def public_config(size: dict[str, Any]) -> dict[str, Any]:
    """A size of ``sizes.RIN_SIZES`` in the public package's keys, with the count of tokens that its class asks for."""
    config = public_miro_config({**size, "in_channels": IN_CHANNELS, "text_dim": TEXT_DIM})
    config["network"]["num_cond_tokens"] = NUM_TOKENS
    return config


def inputs(size: dict[str, Any], batch_size: int) -> dict[str, Tensor]:
    """A batch under the package's names; all text tokens may be seen."""
    generator = torch_generator(0, "timing", "miro")
    side = size["latent_side"]
    return {
        "y": torch.randn((batch_size, IN_CHANNELS, side, side), generator=generator),
        "gamma": torch.rand(batch_size, generator=generator),
        "text_tokens_embeddings": torch.randn((batch_size, NUM_TOKENS, TEXT_DIM), generator=generator),
        "text_tokens_mask": torch.ones((batch_size, NUM_TOKENS), dtype=torch.bool),
        "previous_latents": torch.randn((batch_size, size["num_latents"], size["width"]), generator=generator),
        **{key + SUFFIX: torch.rand(batch_size, generator=generator) for key in size["scores"]},
    }


class PublicNetwork:
    """The package's network in its own process; use it as a context.

    Raises:
        Refusal: it does not start; the message has its last line.
    """

    def __init__(self, python: Path, folder: Path, num_threads: int) -> None:
        command = [str(python), public_miro.__file__, str(folder), str(num_threads)]
        self._errors = folder / "errors.txt"
        try:
            with self._errors.open("w") as errors:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
                )
        except OSError as error:
            raise Refusal(
                f"--public-python {python}: {error}; give the python of an environment with miro-t2i"
            ) from error
        self._expect("ready")

    def __enter__(self) -> PublicNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != word:
            self._process.wait()
            last_line = (self._errors.read_text().strip().splitlines() or ["no word"])[-1]
            raise Refusal(
                f"the public package's process ended: {last_line}; its environment needs torch, einops, miro-t2i"
            )

    def forward(self) -> None:
        """A forward pass there; returns when it is done."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # told of below, with the reason
            self._process.stdin.write("forward\n")
            self._process.stdin.flush()
        self._expect("done")


def time_miro(python: Path, batch_size: int, num_turns: int, num_threads: int) -> list[str]:
    """Lines of the comparison at the released size: how far the answers are apart, then a forward pass of each.

    Raises:
        Refusal: the package does not start, or its answers are not ours: nothing is timed then.
    """
    size = RIN_SIZES["MIRO"]
    config, given = public_config(size), inputs(size, batch_size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(config))
        save_file(given, folder / "inputs.safetensors")
        with PublicNetwork(python, folder, num_threads) as public:
            model = paper.load_miro(config, load_file(folder / "model.safetensors"))
            rewards = {key: given[key + SUFFIX] for key in MIRO_SCORES}

            @torch.inference_mode()
            def forward() -> tuple[Tensor, Tensor]:
                given_text = given["text_tokens_embeddings"], given["text_tokens_mask"]
                answer: tuple[Tensor, Tensor] = model(
                    given["y"], given["gamma"], *given_text, given["previous_latents"], rewards=rewards
                )
                return answer

            report = [_agreement(forward(), load_file(folder / "answer.safetensors"))]
            seconds = in_turns({OURS: forward, "miro-t2i": public.forward}, num_turns)
    return report + lines(f"forward pass of MIRO, batch of {batch_size}", seconds)


def _agreement(ours: tuple[Tensor, Tensor], theirs: dict[str, Tensor]) -> str:
    parts = []
    for name, mine in zip(("velocity", "latents"), ours, strict=True):
        apart, greatest = float((mine - theirs[name]).abs().max()), float(theirs[name].abs().max())
        if not apart <= TOLERANCE * greatest:
            raise Refusal(f"{name}: {apart:.2e} apart from the public package's, of values up to {greatest:.2g}")
        parts.append(f"{name} {apart:.1e} apart, of values up to {greatest:.2g}")
    return "the two answers: " + ", ".join(parts)
