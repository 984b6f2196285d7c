"""The layers of the diffusion transformer: features of time and place, rotary attention, blocks, long skips.

Shapes: B batch, N patches, M tokens that are asked, T text tokens, E model width. Every part is built at zero or one
and is given its weights by the network's ``initialise`` or from a file.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.layers import NORM_EPS, AttentionKind, Linear, MlpKind, attend, hidden_width

Rotation = tuple[Tensor, Tensor]

NUM_MODULATIONS = 6  # shift, scale and gate, for self-attention and for the perceptron
TIME_SCALE = 1000.0  # t in [0, 1] is embedded as DDPM's 1,000 steps were
TIME_MAX_PERIOD = 10000.0
NUM_POSITION_FREQUENCIES = 4  # waves along a side, the finest two periods of it
NUM_TIME_FREQUENCIES = 128
# Axial rotary frequencies for pictures (RoPE-ViT, arXiv 2403.13298): grids are short, so 100 and not text's 10,000.
ROTARY_BASE = 100.0
SWIGLU_MULTIPLE = 8  # what tensor cores need of a bfloat16 matrix; more would make small networks unequal


def time_features(t: Tensor) -> Tensor:
    """[B] in [0, 1] -> [B, 2 NUM_TIME_FREQUENCIES], cosines then sines, float32."""
    exponents = torch.arange(NUM_TIME_FREQUENCIES, dtype=torch.float32, device=t.device) / NUM_TIME_FREQUENCIES
    angles = t.float()[:, None] * TIME_SCALE * torch.exp(-math.log(TIME_MAX_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotation_of_grid(rows: int, columns: int, head_dim: int, device: torch.device) -> Rotation:
    """Cosines and sines, [N, head_dim / 2] each, of a grid's rotary angles.

    The first quarter of a head's width turns with the row, the second with the column (arXiv 2403.13298, axial).
    """
    num_frequencies = head_dim // 4
    exponents = torch.arange(num_frequencies, dtype=torch.float32, device=device) / num_frequencies
    frequencies = ROTARY_BASE**-exponents
    row = torch.arange(rows, dtype=torch.float32, device=device)[:, None, None] * frequencies
    column = torch.arange(columns, dtype=torch.float32, device=device)[None, :, None] * frequencies
    shape = (rows, columns, num_frequencies)
    angles = torch.cat([row.expand(shape), column.expand(shape)], dim=-1).flatten(0, 1)
    return angles.cos(), angles.sin()


def position_features(rows: int, columns: int, device: torch.device) -> Tensor:
    """[N, 4 NUM_POSITION_FREQUENCIES]: where each patch of a grid lies in the picture, as waves along both sides.

    Rotary angles tell attention how far apart patches are, never where they are: without this, "in the upper left"
    cannot be learned. Places are shares of the sides, so they mean the same at another resolution or aspect ratio.
    """
    waves = math.pi * torch.arange(1, NUM_POSITION_FREQUENCIES + 1, dtype=torch.float32, device=device)
    row = (torch.arange(rows, dtype=torch.float32, device=device) + 0.5)[:, None, None] / rows * waves
    column = (torch.arange(columns, dtype=torch.float32, device=device) + 0.5)[None, :, None] / columns * waves
    shape = (rows, columns, NUM_POSITION_FREQUENCIES)
    angles = torch.cat([row.expand(shape), column.expand(shape)], dim=-1).flatten(0, 1)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
    """Turn [B, heads, N, head_dim] by a grid's angles; element i is paired with element i + head_dim / 2."""
    cosine, sine = rotation
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class Attention(nn.Module):
    """Multi-head attention with root-mean-square normalised queries and keys (arXiv 2302.05442).

    Query, key and value are matrices of their own: an optimiser that orthogonalises must not see them fused.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_query = Linear(width, width, bias=False)
        self.to_key = Linear(width, width, bias=False)
        self.to_value = Linear(width, width, bias=False)
        self.query_norm = nn.RMSNorm(width // num_heads, eps=NORM_EPS)
        self.key_norm = nn.RMSNorm(width // num_heads, eps=NORM_EPS)
        self.to_out = Linear(width, width)
        self.kind: AttentionKind = "sdpa"

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None, rotation: Rotation | None) -> Tensor:
        """[B, N, E] attending to context [B, M, E] -> [B, N, E]."""
        value = self._heads(self.to_value(context))
        query = self.query_norm(self._heads(self.to_query(x)).float())
        key = self.key_norm(self._heads(self.to_key(context)).float())
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if bias is not None:
            bias = bias.to(value.dtype)
        mixed = attend(query.to(value.dtype), key.to(value.dtype), value, bias, self.kind)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive layer norm's affine part: x [B, N, E], shift and scale [B, 1, E]."""
    return x * (1 + scale) + shift


class Perceptron(nn.Module):
    """What blocks of patches and of text have in common: one hidden layer, GELU (by tanh) or SwiGLU (arXiv 2002.05202).

    The two halves of a SwiGLU are matrices of their own: an optimiser that orthogonalises must not see them fused. Its
    hidden layer has two thirds of the width, so that there are as many weights. All layers are the block's own, under
    the names that exported models have.
    """

    mlp_in: Linear
    mlp_out: Linear
    mlp_gate: Linear | None

    def _build(self, width: int, mlp_ratio: float, mlp: MlpKind) -> None:
        hidden = hidden_width(mlp, width, mlp_ratio, SWIGLU_MULTIPLE)
        self.mlp_in = Linear(width, hidden)
        self.mlp_out = Linear(hidden, width)
        self.mlp_gate = Linear(width, hidden) if mlp == "swiglu" else None

    def _perceive(self, x: Tensor) -> Tensor:
        """[B, N, E] -> [B, N, E]."""
        hidden = self.mlp_in(x)
        if self.mlp_gate is None:
            hidden = functional.gelu(hidden, approximate="tanh")
        else:
            hidden = hidden * functional.silu(self.mlp_gate(x))
        out: Tensor = self.mlp_out(hidden)
        return out


class Block(Perceptron):
    """Self-attention, cross-attention, perceptron; all residual, the first and last gated by time."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, mlp: MlpKind) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.attention = Attention(width, num_heads)
        self.norm_cross = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross = Attention(width, num_heads)
        self.norm_mlp = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self._build(width, mlp_ratio, mlp)
        self.offsets = nn.Parameter(torch.zeros(NUM_MODULATIONS, width))

    def forward(self, x: Tensor, time: Tensor, context: Tensor, bias: Tensor, rotation: Rotation) -> Tensor:
        """x [B, N, E], time [B, NUM_MODULATIONS, E], context [B, T, E], bias [B, 1, 1, T] -> [B, N, E]."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (time + self.offsets).unsqueeze(2).unbind(1)
        normed = modulate(self.norm_attention(x), shift_a, scale_a)
        x = x + gate_a * self.attention(normed, normed, None, rotation)
        x = x + self.cross(self.norm_cross(x), context, bias, None)
        normed = modulate(self.norm_mlp(x), shift_m, scale_m)
        return x + gate_m * self._perceive(normed)


class TextBlock(Perceptron):
    """Self-attention among the text's tokens, both ways, and a perceptron, both residual.

    The tokens know their places from the text encoder, so there are no rotations. Both outputs start at zero: a new
    block is the identity.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, mlp: MlpKind) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = Attention(width, num_heads)
        self.norm_mlp = nn.LayerNorm(width, eps=NORM_EPS)
        self._build(width, mlp_ratio, mlp)

    def forward(self, context: Tensor, bias: Tensor) -> Tensor:
        """context [B, T, E], bias [B, 1, 1, T] -> [B, T, E]."""
        normed = self.norm_attention(context)
        context = context + self.attention(normed, normed, bias, None)
        return context + self._perceive(self.norm_mlp(context))


class LongSkip(nn.Module):
    """Brings a shallow block's output to a deep block's input.

    U-ViT's linear layer over both, side by side (arXiv 2209.12152, section 3.1), written as two matrices beside an
    identity: both start at zero, so a new skip passes the deep stream on as it is, and weight decay leads back there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.from_deep = Linear(width, width)
        self.from_shallow = Linear(width, width, bias=False)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """Both [B, N, E] -> [B, N, E]."""
        out: Tensor = deep + self.from_deep(deep) + self.from_shallow(shallow)
        return out


def num_long_skips(depth: int) -> int:
    """How many there are: from block i to block ``depth`` - 1 - i wherever a block lies between the two."""
    return (depth - 1) // 2
