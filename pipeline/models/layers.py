"""What the networks have in common: linear layers that start at zero, attention in two ways, patches, recomputing.

Shapes: B batch, C channels, H and W latent height and width, N and M tokens, patches are row by row and inside one
row, column, channel.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

AttentionKind = Literal["matmul", "sdpa"]
MlpKind = Literal["gelu", "swiglu"]

NORM_EPS = 1e-6
MASKED = -1e9  # finite, so that it survives bfloat16; real scores stay far above it


class Linear(nn.Linear):
    """A linear layer that starts at zero instead of drawing from the global random state."""

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def patchify(latents: Tensor, patch_size: int) -> Tensor:
    """[B, C, H, W] -> [B, N, patch_size^2 C]: patches row by row; inside one row, column, channel."""
    batch, channels, height, width = latents.shape
    rows, columns = height // patch_size, width // patch_size
    cut = latents.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def unpatchify(patches: Tensor, patch_size: int, rows: int, columns: int) -> Tensor:
    """The inverse of ``patchify`` for a grid of rows x columns patches."""
    batch = patches.shape[0]
    cut = patches.reshape(batch, rows, columns, patch_size, patch_size, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, rows * patch_size, columns * patch_size)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, kind: AttentionKind) -> Tensor:
    """softmax(q k / sqrt(head_dim) + bias) v over [B, heads, N, head_dim]; both kinds agree but for rounding."""
    if kind == "sdpa":
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    mixed: Tensor = scores.softmax(dim=-1) @ value
    return mixed


def mask_bias(mask: Tensor) -> Tensor:
    """[B, M] bool, True is a token that may be seen -> [B, 1, 1, M], what is added to attention scores."""
    return mask.new_zeros(mask.shape, dtype=torch.float32).masked_fill(~mask, MASKED)[:, None, None, :]


def hidden_width(kind: MlpKind, width: int, ratio: float, swiglu_multiple: int) -> int:
    """Hidden width of a perceptron: ``ratio`` times its width; for SwiGLU two thirds of that, as a whole multiple.

    SwiGLU has three matrices where GELU has two (arXiv 2002.05202, section 2): two thirds keep the weights as many.
    """
    if kind == "gelu":
        return int(width * ratio)
    return math.ceil(int(width * ratio * 2 / 3) / swiglu_multiple) * swiglu_multiple


def run_block(network: ModelMixin, block: nn.Module, *arguments: Any) -> Any:
    """What a block gives; where the network checkpoints gradients, its activations are computed again when needed.

    Gradient checkpointing (arXiv 1604.06174) is switched by diffusers' ``enable_gradient_checkpointing``: an execution
    value, no part of the configuration.
    """
    if network.gradient_checkpointing and torch.is_grad_enabled():
        return network._gradient_checkpointing_func(block, *arguments)
    return block(*arguments)
