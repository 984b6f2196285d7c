"""DiT-I: a diffusion transformer that reads text by cross-attention and predicts a velocity.

Per block: self-attention over the patches with root-mean-square normalised queries and keys and 2-D rotary positions,
cross-attention to the text tokens, a perceptron. Time enters by adaptive layer norm; its projection is shared by all
blocks, each of which adds offsets of its own (PixArt-alpha, arXiv 2310.00426, section 2.3), so that few parameters go
there. The output head starts at zero. Options, all off unless the configuration names them: blocks on the text, pooled
text beside the time, long skips, SwiGLU.

Shapes: B batch, C channels, H and W latent height and width, N patches, T text tokens, D text width, E model width.
Weights are float32; bfloat16 comes from the caller's autocast. No global random state is changed: a model is built with
zeros and gets its weights from ``initialise`` (a generator) or from a file.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import Refusal
from pipeline.models.dit_parts import (
    NUM_MODULATIONS,
    NUM_POSITION_FREQUENCIES,
    NUM_TIME_FREQUENCIES,
    Attention,
    Block,
    LongSkip,
    TextBlock,
    modulate,
    num_long_skips,
    position_features,
    rotation_of_grid,
    time_features,
)
from pipeline.models.inputs import check_shapes
from pipeline.models.layers import NORM_EPS, AttentionKind, Linear, MlpKind, mask_bias, patchify, run_block, unpatchify
from pipeline.models.networks import Network
from pipeline.models.sizes import dit_arguments
from pipeline.params.network_sizes import dit_fault, refuse


class DiTI(Network, ModelMixin):  # type: ignore[misc]  # diffusers looks for that name in this module
    """The diffusion transformer.

    The last four arguments are options. A configuration that lacks one was exported before it existed: absent is off.

    Args:
        in_channels: channels of the latents, in and out.
        text_dim: width of a text embedding.
        width: width of a token; a multiple of 4 times ``num_heads`` (rotary positions turn four parts of a head).
        depth: number of blocks.
        num_heads: heads of self- and cross-attention.
        patch_size: side of a patch in latent pixels.
        mlp_ratio: hidden width of the perceptron relative to ``width``.
        text_blocks: transformer blocks on the text before it is read, 0 to 2.
        pooled_text: the mean of the text's tokens joins the time.
        long_skips: shallow blocks' outputs reach the deep blocks (see ``dit_parts.LongSkip``); a depth of 3 or more.
        mlp: perceptron of all blocks; SwiGLU with two thirds of the hidden width.

    Raises:
        Refusal: sizes that do not fit each other, or an option's value that there is not.
    """

    _supports_gradient_checkpointing = True
    _repeated_blocks = ("Block", "TextBlock", "LongSkip")
    arguments_of = staticmethod(dit_arguments)

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
        text_blocks: int = 0,
        pooled_text: bool = False,
        long_skips: bool = False,
        mlp: MlpKind = "gelu",
    ) -> None:
        super().__init__()
        refuse(dit_fault(self.config))
        self.gradient_checkpointing = False
        self.patch_in = Linear(in_channels * patch_size**2, width)
        self.position_in = Linear(4 * NUM_POSITION_FREQUENCIES, width, bias=False)
        self.time_in = Linear(2 * NUM_TIME_FREQUENCIES, width)
        self.time_out = Linear(width, width)
        self.modulation = Linear(width, NUM_MODULATIONS * width)
        self.text_norm = nn.RMSNorm(text_dim, eps=NORM_EPS)
        self.text_in = Linear(text_dim, width)
        self.blocks = nn.ModuleList(Block(width, num_heads, mlp_ratio, mlp) for _ in range(depth))
        self.head_norm = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.head_offsets = nn.Parameter(torch.zeros(2, width))
        self.head = Linear(width, in_channels * patch_size**2)
        # Options come last: what they add draws no weight of the parts above from another place of the generator.
        self.text_stack = nn.ModuleList(TextBlock(width, num_heads, mlp_ratio, mlp) for _ in range(text_blocks))
        self.pooled_in = Linear(width, width, bias=False) if pooled_text else None
        self.skips = nn.ModuleList(LongSkip(width) for _ in range(num_long_skips(depth) if long_skips else 0))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from ``generator`` (on the CPU, as the weights must be).

        Xavier-uniform matrices; zero for biases, the head, the time's modulation, the cross-attention's output, and
        what leads out of each option, so that a new network is the zero function with every block an identity
        (adaLN-zero, arXiv 2212.09748).
        """
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()
                nn.init.xavier_uniform_(module.weight, generator=generator)
        for zero in self._zero_at_first():
            zero.reset_parameters()

    def set_attention(self, kind: AttentionKind) -> None:
        """Choose how attention is computed; an execution value, no part of the configuration."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.kind = kind

    def block_matrices(self) -> list[str]:
        """Names of the blocks' matrices, sorted: what a matrix optimiser such as Muon is for."""
        names = (name for name, module in self.named_modules() if isinstance(module, Linear))
        return sorted(f"{name}.weight" for name in names if name.startswith(("blocks.", "text_stack.", "skips.")))

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
            Refusal: the latents cannot be cut into patches, or an input is of another shape or kind.
        """
        self._check_inputs(latents, t, text, text_mask)
        patch_size = int(self.config["patch_size"])
        height, width = latents.shape[-2:]
        if height % patch_size or width % patch_size:
            raise Refusal(f"latents of {height} x {width} cannot be cut into patches of {patch_size}; change side_px")
        rows, columns = height // patch_size, width // patch_size
        bias = mask_bias(text_mask)
        context = self._context(text, bias)
        time = self.time_out(functional.silu(self.time_in(time_features(t)))).float()
        if self.pooled_in is not None:
            time = time + self.pooled_in(masked_mean(context, text_mask)).float()
        x = self.patch_in(patchify(latents.float(), patch_size)).float()
        x = x + self.position_in(position_features(rows, columns, latents.device)).float()
        x = self._through_blocks(x, time, context, bias, rows, columns)
        shift, scale = (time[:, None] + self.head_offsets).unsqueeze(2).unbind(1)
        velocity = self.head(modulate(self.head_norm(x), shift, scale)).float()
        return unpatchify(velocity, patch_size, rows, columns)

    def _check_inputs(self, latents: Tensor, t: Tensor, text: Tensor, text_mask: Tensor) -> None:
        num_samples, num_tokens = (len(latents) if latents.ndim else 0), (text.shape[1] if text.ndim == 3 else 0)
        expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
            "latents": (latents, (num_samples, self.config["in_channels"], *latents.shape[-2:])),
            "t": (t, (num_samples,)),
            "text": (text, (num_samples, num_tokens, self.config["text_dim"])),
            "text_mask": (text_mask, (num_samples, num_tokens)),
        }
        check_shapes(expected, text_mask)

    def _context(self, text: Tensor, bias: Tensor) -> Tensor:
        """What the blocks read, [B, T, E]."""
        context: Tensor = self.text_in(self.text_norm(text.float()))
        if self.text_stack:
            context = context.float()  # a residual stream is summed up in float32
        for block in self.text_stack:
            context = run_block(self, block, context, bias)
        return context

    def _through_blocks(
        self, x: Tensor, time: Tensor, context: Tensor, bias: Tensor, rows: int, columns: int
    ) -> Tensor:
        """Patches [B, N, E] after all blocks, long skips among them."""
        head_dim = int(self.config["width"]) // int(self.config["num_heads"])
        rotation = rotation_of_grid(rows, columns, head_dim, x.device)
        shared = self.modulation(functional.silu(time)).float().reshape(len(time), NUM_MODULATIONS, -1)
        num_skips, first_deep = len(self.skips), len(self.blocks) - len(self.skips)
        shallow: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if i >= first_deep:
                x = self.skips[i - first_deep](x, shallow.pop())
            x = run_block(self, block, x, shared, context, bias, rotation)
            if i < num_skips:
                shallow.append(x)
        return x

    def _zero_at_first(self) -> Iterator[Linear]:
        """The linear layers that start at zero."""
        yield from (self.head, self.modulation)
        if self.pooled_in is not None:
            yield self.pooled_in
        for module in self.modules():
            if isinstance(module, Block):
                yield module.cross.to_out
            elif isinstance(module, TextBlock):
                yield from (module.attention.to_out, module.mlp_out)
            elif isinstance(module, LongSkip):
                yield from (module.from_deep, module.from_shallow)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the tokens [B, T, E] that may be seen, mask [B, T] bool, at least one per row -> [B, E] float32."""
    seen = tokens.float().masked_fill(~mask[..., None], 0)
    return seen.sum(dim=1) / mask.sum(dim=1, keepdim=True)


new_dit = DiTI.new
