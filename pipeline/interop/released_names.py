"""The released weights' names and layout, and ours, as one list of pairs.

Theirs fuse q, k, v (or k, v) and both halves of a SwiGLU into one matrix by rows; ours keep them apart (see
``rin_parts.Mlp``). CAD-I cuts patches with a convolution, ours is the same as a matrix over row, column, channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.errors import Refusal
from pipeline.models.rin import NUM_TEXT_BLOCKS, RIN

Layout = Literal["cad_i", "miro"]

MIRO_PREFIX = "network."
# Masks of ones that a compiler of theirs needed, and what MIRO's training and pipeline keep beside the network.
_CARRY_NOTHING = ("attention_mask_dummy", "cond_mask", "registers_coherence_mask")
_BESIDE_THE_NETWORK = ("preconditioning.", "data_preprocessing.", "postprocessing.")


@dataclass(frozen=True)
class Pair:
    """A released tensor and those of ours that it is made of, joined by rows.

    Attributes:
        theirs: its name, without MIRO's prefix.
        ours: our names, in the order of the rows.
        form: ``rows``: joined as they are; ``convolution``: [D, C, p, p] for our [D, p p C]; ``vector``: [E] for our
            [1, E].
    """

    theirs: str
    ours: tuple[str, ...]
    form: Literal["rows", "convolution", "vector"] = "rows"


def from_released(model: RIN, layout: Layout, released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released weights under our names.

    Args:
        model: a network of the right size, whose weights are not read.
        layout: whose names.
        released: name to tensor.

    Raises:
        Refusal: a weight is missing, unknown, of another shape, or holds no finite numbers.
    """
    where = "CAD-I weights" if layout == "cad_i" else "MIRO weights"
    prefix = MIRO_PREFIX if layout == "miro" else ""
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    wanted = {prefix + pair.theirs: pair for pair in pairs(model, layout)}
    missing = sorted(set(wanted) - set(released))
    if missing:
        raise Refusal(f"{where}: {missing[0]} is missing (of {len(missing)}); config and weights do not match")
    unknown = sorted(name for name in released if name not in wanted and not _may_be_left(name, layout))
    if unknown:
        raise Refusal(f"{where}: {unknown[0]} is unknown (of {len(unknown)}); config and weights do not match")
    weights: dict[str, Tensor] = {}
    for name, pair in wanted.items():
        weights |= _split(pair, released[name], [shapes[our] for our in pair.ours], model, f"{where}: {name}")
    return weights


def pairs(model: RIN, layout: Layout) -> Iterator[Pair]:
    """All released tensors of a network of this size."""
    names = _Cad(model.config) if layout == "cad_i" else _Miro(model.config)
    yield from names.all()


class _Cad:
    """CAD-I's names."""

    has_norm_bias = True
    has_projection_bias = True
    inner_norm, outer_norm = "linear_previous.0", "ln_previous"
    previous_mlp = ("linear_previous.1.0", "linear_previous.1.3")
    text_mlp = ("ffn.0", "ffn.3")
    number_layers = ("map_time.0", "map_time.2")

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def all(self) -> Iterator[Pair]:
        """The whole network."""
        for theirs, ours in (("data_pos_embedding", "positions"), ("latents", "latent_table")):
            yield Pair(theirs, (ours,))
        yield Pair("text_registers", ("registers",))
        yield from self.patches()
        yield from self.norm("data_ln", "patch_norm", self.has_norm_bias)
        yield from _linear(self.inner_norm, ("previous.inner_norm",))
        yield from _linear(self.previous_mlp[0], ("previous.mlp.enter",))
        yield from _linear(self.previous_mlp[1], ("previous.mlp.leave",))
        yield from _linear(self.outer_norm, ("previous.outer_norm",))
        yield from _linear("map_text_tokens", ("text_in",))
        yield from self.number("time_embedder", "time")
        yield from self.scores()
        for number in range(NUM_TEXT_BLOCKS):
            yield from self.text_block(f"transformers_blocks.{number}", f"text_blocks.{number}")
        for number in range(self.config["num_blocks"]):
            theirs, ours = f"rin_blocks.{number}", f"blocks.{number}"
            yield from self.cross(f"{theirs}.retrieve_cond", f"{ours}.read_condition")
            yield from self.cross(f"{theirs}.retriever_ca", f"{ours}.read")
            for layer in range(self.config["num_layers"]):
                yield from self.own(f"{theirs}.processer_sa.{layer}", f"{ours}.process.{layer}")
            yield from self.cross(f"{theirs}.writer_ca", f"{ours}.write")
        yield from self.norm("map_tokens_to_patches.0", "head_norm", self.has_norm_bias)
        yield from _linear("map_tokens_to_patches.1", ("head",))

    def patches(self) -> Iterator[Pair]:
        yield Pair("patch_extractor.weight", ("patch_in.weight",), "convolution")
        yield Pair("patch_extractor.bias", ("patch_in.bias",))

    def scores(self) -> Iterator[Pair]:
        if self.config["scores"]:
            yield from self.number("coherence_embedder", "score_embedders.0")
            yield Pair("coherence_positional_embedding", ("score_table",), "vector")

    def number(self, theirs: str, ours: str) -> Iterator[Pair]:
        yield Pair(f"{theirs}.encode_time.freqs", (f"{ours}.frequencies",))
        yield from _linear(f"{theirs}.{self.number_layers[0]}", (f"{ours}.enter",))
        yield from _linear(f"{theirs}.{self.number_layers[1]}", (f"{ours}.leave",))

    def norm(self, theirs: str, ours: str, bias: bool) -> Iterator[Pair]:
        yield from _linear(theirs, (ours,), bias)

    def text_block(self, theirs: str, ours: str) -> Iterator[Pair]:
        yield from self.self_attention(theirs, ours, bias=True)
        yield from self.norm(f"{theirs}.initial_ln", f"{ours}.norm_attention", bias=True)
        yield from self.norm(f"{theirs}.middle_ln", f"{ours}.norm_mlp", bias=True)
        yield from _linear(f"{theirs}.{self.text_mlp[0]}", (f"{ours}.mlp.enter",))
        yield from _linear(f"{theirs}.{self.text_mlp[1]}", (f"{ours}.mlp.leave",))
        yield Pair(f"{theirs}.layer_scale_1", (f"{ours}.scale_attention",))
        yield Pair(f"{theirs}.layer_scale_2", (f"{ours}.scale_mlp",))

    def self_attention(self, theirs: str, ours: str, bias: bool) -> Iterator[Pair]:
        attention = f"{ours}.attention"
        fused = tuple(f"{attention}.to_{part}" for part in ("query", "key", "value"))
        yield from _linear(f"{theirs}.sa.qkv", fused, bias)
        yield from _linear(f"{theirs}.sa.out", (f"{attention}.to_out",))

    def own(self, theirs: str, ours: str) -> Iterator[Pair]:
        """A self-attention layer of a round."""
        yield from self.self_attention(theirs, ours, self.has_projection_bias)
        yield from self.query_key_norms(f"{theirs}.sa", f"{ours}.attention")
        yield from self.norm(f"{theirs}.initial_ln", f"{ours}.norm_attention", self.has_norm_bias)
        yield from self.second_half(theirs, ours)

    def cross(self, theirs: str, ours: str) -> Iterator[Pair]:
        """A cross-attention layer of a round."""
        attention = f"{ours}.attention"
        yield from _linear(f"{theirs}.ca.q", (f"{attention}.to_query",), self.has_projection_bias)
        yield from _linear(
            f"{theirs}.ca.kv", (f"{attention}.to_key", f"{attention}.to_value"), self.has_projection_bias
        )
        yield from _linear(f"{theirs}.ca.out", (f"{attention}.to_out",))
        yield from self.query_key_norms(f"{theirs}.ca", attention)
        yield from self.norm(f"{theirs}.initial_to_ln", f"{ours}.norm_attention", self.has_norm_bias)
        yield from self.second_half(theirs, ours)

    def query_key_norms(self, theirs: str, ours: str) -> Iterator[Pair]:
        yield from ()

    def second_half(self, theirs: str, ours: str) -> Iterator[Pair]:
        """The perceptron of a round's layer and the norm before it."""
        yield from self.norm(f"{theirs}.middle_ln", f"{ours}.norm_mlp", self.has_norm_bias)
        yield from _linear(f"{theirs}.ffn.0", (f"{ours}.mlp.enter",))
        yield from _linear(f"{theirs}.ffn.3", (f"{ours}.mlp.leave",))


class _Miro(_Cad):
    """MIRO's names, where they differ from CAD-I's."""

    has_norm_bias = False
    has_projection_bias = False
    inner_norm, outer_norm = "ln_previous_1", "ln_previous_2"
    previous_mlp = ("linear_previous.linear_1", "linear_previous.linear_2")
    text_mlp = ("ffn.linear_1", "ffn.linear_2")
    number_layers = ("map_time_input", "map_time_output")

    def patches(self) -> Iterator[Pair]:
        yield from _linear("patch_extractor", ("patch_in",))

    def scores(self) -> Iterator[Pair]:
        for number, key in enumerate(self.config["scores"]):
            yield from self.number(f"coherence_embedder.{key}_coherence", f"score_embedders.{number}")
        yield Pair("coherence_positional_embedding", ("score_table",))

    def number(self, theirs: str, ours: str) -> Iterator[Pair]:
        yield from super().number(theirs, ours)
        yield Pair(f"{theirs}.encode_time.phases", (f"{ours}.phases",))

    def query_key_norms(self, theirs: str, ours: str) -> Iterator[Pair]:
        yield from self.norm(f"{theirs}.q_norm", f"{ours}.query_norm", bias=True)
        yield from self.norm(f"{theirs}.k_norm", f"{ours}.key_norm", bias=True)

    def second_half(self, theirs: str, ours: str) -> Iterator[Pair]:
        yield from self.norm(f"{theirs}.middle_ln", f"{ours}.norm_mlp", self.has_norm_bias)
        yield from _linear(f"{theirs}.ffn.linear_packed", (f"{ours}.mlp.enter", f"{ours}.mlp.gate"))
        yield from _linear(f"{theirs}.ffn.linear_out", (f"{ours}.mlp.leave",))


def _linear(theirs: str, ours: tuple[str, ...], bias: bool = True) -> Iterator[Pair]:
    yield Pair(f"{theirs}.weight", tuple(f"{name}.weight" for name in ours))
    if bias:
        yield Pair(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours))


def _may_be_left(name: str, layout: Layout) -> bool:
    if name.rpartition(".")[2] in _CARRY_NOTHING:
        return True
    return layout == "miro" and name.startswith(_BESIDE_THE_NETWORK)


def _split(pair: Pair, theirs: Tensor, shapes: list[torch.Size], model: RIN, where: str) -> dict[str, Tensor]:
    rows = [shape[0] for shape in shapes]
    expected: tuple[int, ...] = (sum(rows), *shapes[0][1:])
    if pair.form == "convolution":
        patch = model.config["patch_size"]
        expected = (rows[0], shapes[0][1] // patch**2, patch, patch)
    elif pair.form == "vector":
        expected = tuple(shapes[0][1:])
    if not isinstance(theirs, Tensor) or not theirs.is_floating_point():
        kind = theirs.dtype if isinstance(theirs, Tensor) else type(theirs).__name__
        raise Refusal(f"{where} is of {kind}; floating-point tensors are needed")
    if not theirs.isfinite().all():
        raise Refusal(f"{where} has values that are not finite; download the weights anew")
    if tuple(theirs.shape) != expected:
        raise Refusal(f"{where} is of shape {tuple(theirs.shape)}, the config asks for {expected}")
    if pair.form == "convolution":
        theirs = theirs.permute(0, 2, 3, 1).reshape(shapes[0])
    elif pair.form == "vector":
        theirs = theirs[None]
    return dict(zip(pair.ours, torch.split(theirs, rows), strict=True))
