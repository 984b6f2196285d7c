"""DiT-I: a diffusion transformer that reads text by cross-attention and predicts a velocity.

Per block: self-attention over the patches with root-mean-square normalised queries and keys and 2-D rotary positions,
cross-attention to the text tokens, a perceptron. Time enters by adaptive layer norm; its projection is shared by all
blocks, each of which adds offsets of its own (PixArt-alpha, arXiv 2310.00426, section 2.3), so that few parameters go
there. The output head starts at zero.

Shapes: B batch, C channels, H and W latent height and width, N patches, T text tokens, D text width, E model width.
Weights are float32; bfloat16 comes from the caller's autocast. No global random state is read or changed: a model is
built with zeros and gets its weights from ``initialise`` (a generator) or from a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import Refusal
from pipeline.models.layers import NORM_EPS, AttentionKind, Linear, attend, mask_bias, patchify, unpatchify
from pipeline.params import schema
from pipeline.params.network_sizes import dit_fault

Rotation = tuple[Tensor, Tensor]

NUM_MODULATIONS = 6  # shift, scale and gate, for self-attention and for the perceptron
TIME_SCALE = 1000.0  # t in [0, 1] is embedded as DDPM's 1,000 steps were
TIME_MAX_PERIOD = 10000.0
NUM_POSITION_FREQUENCIES = 4  # waves along a side, the finest two periods of it
NUM_TIME_FREQUENCIES = 128
# Axial rotary frequencies for pictures (RoPE-ViT, arXiv 2403.13298): grids are short, so 100 and not text's 10,000.
ROTARY_BASE = 100.0


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


class Block(nn.Module):
    """Self-attention, cross-attention, perceptron; all residual, the first and last gated by time."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.norm_attention = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.attention = Attention(width, num_heads)
        self.norm_cross = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross = Attention(width, num_heads)
        self.norm_mlp = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.mlp_in = Linear(width, hidden)
        self.mlp_out = Linear(hidden, width)
        self.offsets = nn.Parameter(torch.zeros(NUM_MODULATIONS, width))

    def forward(self, x: Tensor, time: Tensor, context: Tensor, bias: Tensor, rotation: Rotation) -> Tensor:
        """x [B, N, E], time [B, NUM_MODULATIONS, E], context [B, T, E], bias [B, 1, 1, T] -> [B, N, E]."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (time + self.offsets).unsqueeze(2).unbind(1)
        normed = modulate(self.norm_attention(x), shift_a, scale_a)
        x = x + gate_a * self.attention(normed, normed, None, rotation)
        x = x + self.cross(self.norm_cross(x), context, bias, None)
        normed = modulate(self.norm_mlp(x), shift_m, scale_m)
        out: Tensor = x + gate_m * self.mlp_out(functional.gelu(self.mlp_in(normed), approximate="tanh"))
        return out


class DiTI(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers declares config_name twice
    """The diffusion transformer.

    Args:
        in_channels: channels of the latents, in and out.
        text_dim: width of a text embedding.
        width: width of a token; a multiple of 4 times ``num_heads`` (rotary positions turn four parts of a head).
        depth: number of blocks.
        num_heads: heads of self- and cross-attention.
        patch_size: side of a patch in latent pixels.
        mlp_ratio: hidden width of the perceptron relative to ``width``.

    Raises:
        Refusal: sizes do not fit each other.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        in_channels: int,
        text_dim: int,
        width: int,
        depth: int,
        num_heads: int,
        patch_size: int,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        fault = dit_fault(self.config)
        if fault is not None:
            raise Refusal(f"network: {fault.key} = {fault.value}: {fault.why}")
        self.patch_in = Linear(in_channels * patch_size**2, width)
        self.position_in = Linear(4 * NUM_POSITION_FREQUENCIES, width, bias=False)
        self.time_in = Linear(2 * NUM_TIME_FREQUENCIES, width)
        self.time_out = Linear(width, width)
        self.modulation = Linear(width, NUM_MODULATIONS * width)
        self.text_norm = nn.RMSNorm(text_dim, eps=NORM_EPS)
        self.text_in = Linear(text_dim, width)
        self.blocks = nn.ModuleList(Block(width, num_heads, mlp_ratio) for _ in range(depth))
        self.head_norm = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.head_offsets = nn.Parameter(torch.zeros(2, width))
        self.head = Linear(width, in_channels * patch_size**2)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from ``generator`` (on the CPU, as the weights must be).

        Xavier-uniform matrices; zero for biases, the head, the time's modulation and the cross-attention's output, so
        that a new network is the zero function with every block an identity (adaLN-zero, arXiv 2212.09748).
        """
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()
                nn.init.xavier_uniform_(module.weight, generator=generator)
        for zero in (self.head, self.modulation, *(block.cross.to_out for block in self._blocks())):
            zero.reset_parameters()

    def set_attention(self, kind: AttentionKind) -> None:
        """Choose how attention is computed; an execution value, no part of the configuration."""
        for block in self._blocks():
            block.attention.kind = block.cross.kind = kind

    def block_matrices(self) -> list[str]:
        """Names of the blocks' matrices, sorted: what a matrix optimiser such as Muon is for."""
        names = (name for name, module in self.named_modules() if isinstance(module, Linear))
        return sorted(f"{name}.weight" for name in names if name.startswith("blocks."))

    def forward(self, latents: Tensor, t: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """Predict the velocity noise - picture.

        Args:
            latents: [B, C, H, W], scaled; H and W are multiples of the patch size.
            t: [B] in [0, 1], 1 is noise.
            text: [B, T, D].
            text_mask: [B, T] bool, True is a token that may be seen; at least one per row.

        Returns:
            [B, C, H, W], float32.

        Raises:
            Refusal: the latents cannot be cut into patches.
        """
        patch_size = int(self.config["patch_size"])
        height, width = latents.shape[-2:]
        if height % patch_size or width % patch_size:
            raise Refusal(f"latents of {height} x {width} cannot be cut into patches of {patch_size}; change side_px")
        rows, columns = height // patch_size, width // patch_size
        head_dim = int(self.config["width"]) // int(self.config["num_heads"])
        rotation = rotation_of_grid(rows, columns, head_dim, latents.device)
        bias = mask_bias(text_mask)
        time = self.time_out(functional.silu(self.time_in(time_features(t)))).float()
        shared = self.modulation(functional.silu(time)).float().reshape(len(t), NUM_MODULATIONS, -1)
        context = self.text_in(self.text_norm(text.float()))
        x = self.patch_in(patchify(latents.float(), patch_size)).float()
        x = x + self.position_in(position_features(rows, columns, latents.device)).float()
        for block in self._blocks():
            x = block(x, shared, context, bias, rotation)
        shift, scale = (time[:, None] + self.head_offsets).unsqueeze(2).unbind(1)
        velocity = self.head(modulate(self.head_norm(x), shift, scale)).float()
        return unpatchify(velocity, patch_size, rows, columns)

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block


def new_dit(network: schema.DiTI, *, in_channels: int, text_dim: int, generator: torch.Generator) -> DiTI:
    """A network of the size that the parameters state, its weights drawn from ``generator``."""
    model: DiTI = DiTI(
        in_channels=in_channels,
        text_dim=text_dim,
        width=network.width,
        depth=network.depth,
        num_heads=network.num_heads,
        patch_size=network.patch_size,
        mlp_ratio=network.mlp_ratio,
    )
    model.initialise(generator)
    return model
