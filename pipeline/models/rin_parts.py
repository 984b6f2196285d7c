"""The layers of a recurrent-interface network (arXiv 2212.11972): attention with a perceptron, embedders of numbers.

Shapes: B batch, N tokens that ask, M tokens that are asked, E and F their widths. Every part is built at zero or one
and is given its weights by the network's ``initialise`` or from a file.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.layers import NORM_EPS, AttentionKind, Linear, MlpKind, attend, hidden_width

NormKind = Literal["layer", "rms"]
NumberKind = Literal["sinusoid", "fourier"]

MAX_PERIOD = 10000.0
SWIGLU_MULTIPLE = 256


class RmsNorm(nn.RMSNorm):
    """Root-mean-square norm in float32 at least, whatever the precision around it."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return super().forward(at_least_float32(x))


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened, anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def make_norm(kind: NormKind, width: int) -> nn.Module:
    """A norm with learned weights; only the layer norm has biases."""
    return nn.LayerNorm(width, eps=NORM_EPS) if kind == "layer" else RmsNorm(width, eps=NORM_EPS)


class Mlp(nn.Module):
    """A perceptron of one hidden layer: GELU (by erf), or SwiGLU (a SiLU(b), arXiv 2002.05202).

    The two halves of a SwiGLU are matrices of their own: an optimiser that orthogonalises must not see them fused.
    """

    def __init__(self, width: int, ratio: float, kind: MlpKind) -> None:
        super().__init__()
        hidden = hidden_width(kind, width, ratio, SWIGLU_MULTIPLE)
        self.enter = Linear(width, hidden)
        self.gate = Linear(width, hidden) if kind == "swiglu" else None
        self.leave = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., E] -> [..., E]."""
        hidden = self.enter(x)
        hidden = functional.gelu(hidden) if self.gate is None else hidden * functional.silu(self.gate(x))
        out: Tensor = self.leave(hidden)
        return out


class Attention(nn.Module):
    """Multi-head attention of the smaller of both widths, on request with layer-normalised queries and keys.

    Query, key and value are matrices of their own (see ``Mlp``).
    """

    def __init__(self, width: int, other_width: int, num_heads: int, query_key_norm: bool) -> None:
        super().__init__()
        inner = min(width, other_width)
        self.num_heads = num_heads
        self.to_query = Linear(width, inner, bias=not query_key_norm)
        self.to_key = Linear(other_width, inner, bias=not query_key_norm)
        self.to_value = Linear(other_width, inner, bias=not query_key_norm)
        self.query_norm = nn.LayerNorm(inner // num_heads, eps=NORM_EPS) if query_key_norm else None
        self.key_norm = nn.LayerNorm(inner // num_heads, eps=NORM_EPS) if query_key_norm else None
        self.to_out = Linear(inner, width)
        self.kind: AttentionKind = "sdpa"

    def forward(self, x: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
        """x [B, N, E] asks other [B, M, F], bias [B, 1, 1, M] or None -> [B, N, E]."""
        value = self._heads(self.to_value(other))
        query = self._normed(self.to_query(x), self.query_norm).to(value.dtype)
        key = self._normed(self.to_key(other), self.key_norm).to(value.dtype)
        mixed = attend(query, key, value, None if bias is None else bias.to(value.dtype), self.kind)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _normed(self, x: Tensor, norm: nn.LayerNorm | None) -> Tensor:
        heads = self._heads(x)
        return heads if norm is None else norm(at_least_float32(heads))


class Layer(nn.Module):
    """Attention and a perceptron, both residual, both with a norm before them on the asking side alone.

    In self-attention query, key and value all come from the normed tokens; in cross-attention key and value come from
    the other side as it is.

    Args:
        width: E, of the tokens that ask.
        other_width: F, of the tokens that are asked; None: the same tokens (self-attention).
        num_heads: of the attention.
        mlp_ratio: see ``layers.hidden_width``.
        norm, mlp, query_key_norm: the kinds of parts.
        layer_scale: learned factors on both branches.
    """

    def __init__(
        self,
        *,
        width: int,
        other_width: int | None,
        num_heads: int,
        mlp_ratio: float,
        norm: NormKind,
        mlp: MlpKind,
        query_key_norm: bool,
        layer_scale: bool,
    ) -> None:
        super().__init__()
        self.is_self_attention = other_width is None
        self.norm_attention = make_norm(norm, width)
        self.attention = Attention(width, other_width or width, num_heads, query_key_norm)
        self.norm_mlp = make_norm(norm, width)
        self.mlp = Mlp(width, mlp_ratio, mlp)
        self.scale_attention = nn.Parameter(torch.zeros(width)) if layer_scale else None
        self.scale_mlp = nn.Parameter(torch.zeros(width)) if layer_scale else None

    def forward(self, x: Tensor, other: Tensor | None, bias: Tensor | None) -> Tensor:
        """x [B, N, E], other [B, M, F] (None: x itself), bias [B, 1, 1, M] or None -> [B, N, E]."""
        normed = self.norm_attention(x)
        x = x + _scaled(self.attention(normed, normed if other is None else other, bias), self.scale_attention)
        return x + _scaled(self.mlp(self.norm_mlp(x)), self.scale_mlp)


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale


class NumberEmbedder(nn.Module):
    """A number (the noise level, a score) as a token: waves, standardised per sample, then two linear layers.

    ``sinusoid``: cosines then sines of 1000 x at the frequencies 10000^(-2i/d). ``fourier``: cosines at frequencies and
    phases that are drawn once and kept (the factor sqrt(2) of arXiv 2312.02696 cancels in the standardising).
    """

    def __init__(self, width: int, kind: NumberKind, scale: float) -> None:
        super().__init__()
        num_features = width // 4
        self.scale = scale
        self.enter = Linear(num_features, width)
        self.leave = Linear(width, width)
        self.phases: Tensor | None
        if kind == "sinusoid":
            exponents = torch.arange(num_features // 2, dtype=torch.float32) * 2 / num_features
            self.register_buffer("frequencies", MAX_PERIOD**-exponents)
            self.phases = None
        else:
            self.register_buffer("frequencies", torch.zeros(num_features))
            self.register_buffer("phases", torch.zeros(num_features))

    def initialise_waves(self, generator: torch.Generator) -> None:
        """Draw frequencies (normal) and phases (uniform), both times 2 pi, where they are drawn at all."""
        if self.phases is not None:
            self.get_buffer("frequencies").normal_(generator=generator).mul_(2 * math.pi)
            self.phases.uniform_(generator=generator).mul_(2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        """[B] -> [B, E]."""
        frequencies = self.get_buffer("frequencies")
        angles = x.to(frequencies.dtype)[:, None] * self.scale * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], -1) if self.phases is None else (angles + self.phases).cos()
        waves = (waves - waves.mean(dim=-1, keepdim=True)) / waves.std(dim=-1, keepdim=True)
        out: Tensor = self.leave(functional.silu(self.enter(waves)))
        return at_least_float32(out)


class PreviousLatents(nn.Module):
    """What the latents of the pass before add to this pass's: LN(p + MLP(LN(p))), the outer norm starting at zero."""

    def __init__(self, width: int, mlp_ratio: float) -> None:
        super().__init__()
        self.inner_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, mlp_ratio, "gelu")
        self.outer_norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, previous: Tensor) -> Tensor:
        """[B, L, E] -> [B, L, E]."""
        out: Tensor = self.outer_norm(previous + self.mlp(self.inner_norm(previous)))
        return out


class Block(nn.Module):
    """One round: read the condition, read the patches, process, write."""

    def __init__(
        self,
        *,
        width: int,
        data_width: int,
        num_layers: int,
        read_write_heads: int,
        compute_heads: int,
        mlp_ratio: float,
        data_mlp_ratio: float,
        norm: NormKind,
        mlp: MlpKind,
        query_key_norm: bool,
    ) -> None:
        super().__init__()

        def layer(own: int, other: int | None, ratio: float) -> Layer:
            return Layer(
                width=own,
                other_width=other,
                num_heads=compute_heads if other is None else read_write_heads,
                mlp_ratio=ratio,
                norm=norm,
                mlp=mlp,
                query_key_norm=query_key_norm,
                layer_scale=False,
            )

        self.read_condition = layer(width, width, mlp_ratio)
        self.read = layer(width, data_width, mlp_ratio)
        self.process = nn.ModuleList(layer(width, None, mlp_ratio) for _ in range(num_layers))
        self.write = layer(data_width, width, data_mlp_ratio)

    def think(self, patches: Tensor, latents: Tensor, condition: Tensor, bias: Tensor) -> Tensor:
        """Latents after reading and processing: all of a round but the write."""
        latents = self.read_condition(latents, condition, bias)
        latents = self.read(latents, patches, None)
        for layer in self.process:
            latents = layer(latents, None, None)
        return latents

    def forward(self, patches: Tensor, latents: Tensor, condition: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """patches [B, N, D], latents [B, L, E], condition [B, M, E], bias [B, 1, 1, M] -> (patches, latents)."""
        latents = self.think(patches, latents, condition, bias)
        return self.write(patches, latents, None), latents
