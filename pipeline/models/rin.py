"""The paper's recurrent-interface network: learned latents read patches and text, think, and write back.

One class for CAD-I (arXiv 2502.21318), with and without a coherence score, and for MIRO (arXiv 2510.25897), which
differ in their configuration alone; ``sizes`` lists the published ones. Per block (arXiv 2212.11972): latents ask
the condition tokens, latents ask the patches (read), self-attention among latents, patches ask the latents (write).
The latents of the pass before may be given (latent self-conditioning; see ``previous_latents``).

Shapes: B batch, C channels, S side of the latent picture, N patches, D their width, L latents, E their width, T text
tokens, K scores. Weights are float32; bfloat16 comes from the caller's autocast. No global random state is read or
changed: a network is built with zeros and gets its weights from ``initialise`` (a generator) or from a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from pipeline.diffusion.guidance import Condition, Denoiser
from pipeline.diffusion.process import Process
from pipeline.errors import Refusal
from pipeline.models.layers import AttentionKind, Linear, MlpKind, mask_bias, patchify, run_block, unpatchify
from pipeline.models.networks import Network
from pipeline.models.rin_inputs import Scores, check_inputs, check_sizes, ordered_scores
from pipeline.models.rin_parts import (
    Attention,
    Block,
    Layer,
    Mlp,
    NormKind,
    NumberEmbedder,
    NumberKind,
    PreviousLatents,
    at_least_float32,
    make_norm,
)
from pipeline.models.self_conditioning import previous_latents
from pipeline.models.sizes import rin_arguments

NUM_TEXT_BLOCKS = 2
TEXT_MLP_RATIO = 4
LAYER_SCALE = 0.1
TABLE_STD = 0.02


class RIN(Network, ModelMixin):  # type: ignore[misc]  # diffusers looks for that name in this module
    """The recurrent-interface network.

    Args:
        in_channels: channels of the latent picture, in and out.
        latent_side: S; places are learned one by one, so there is no other size.
        patch_size: side of a patch in latent pixels.
        data_width: D.
        num_latents: L.
        width: E.
        text_dim: width of a text embedding.
        num_blocks: rounds.
        num_layers: self-attention layers of a round.
        read_write_heads: heads of the three cross-attentions.
        compute_heads: heads of the self-attention.
        text_heads: heads of the two blocks on the text.
        mlp_ratio: hidden width of the latents' perceptrons relative to E.
        data_mlp_ratio: the same of the patches' perceptrons, relative to D.
        num_registers: learned tokens beside the text.
        scores: names of the scores that a picture may be conditioned on, in the order of their tokens.
        scores_required: every score must be given; otherwise an absent one is a token without a value.
        norm: of rounds, patches and output.
        mlp: of rounds.
        query_key_norm: layer norm on queries and keys of rounds, and no biases on their projections.
        number_features: how noise level and scores are embedded.
        number_scale: what they are multiplied with before.
        sigma_data: standard deviation of the data, for scaling in- and output as flow matching needs it; None: neither
            is scaled.

    Raises:
        Refusal: sizes do not fit each other.
    """

    _supports_gradient_checkpointing = True
    # Not the rounds: a first pass leaves the last one's write out, and so calls parts of it.
    _repeated_blocks = ("Layer",)
    arguments_of = staticmethod(rin_arguments)

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        in_channels: int,
        latent_side: int,
        patch_size: int,
        data_width: int,
        num_latents: int,
        width: int,
        text_dim: int,
        num_blocks: int,
        num_layers: int,
        read_write_heads: int,
        compute_heads: int,
        text_heads: int,
        mlp_ratio: float,
        data_mlp_ratio: float,
        num_registers: int,
        scores: list[str],
        scores_required: bool,
        norm: NormKind,
        mlp: MlpKind,
        query_key_norm: bool,
        number_features: NumberKind,
        number_scale: float,
        sigma_data: float | None,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.is_compiled = False
        check_sizes(self.config)
        self.patch_in = Linear(in_channels * patch_size**2, data_width)
        self.patch_norm = make_norm(norm, data_width)
        self.positions = nn.Parameter(torch.zeros((latent_side // patch_size) ** 2, data_width))
        self.latent_table = nn.Parameter(torch.zeros(num_latents, width))
        self.time = NumberEmbedder(width, number_features, number_scale)
        self.previous = PreviousLatents(width, mlp_ratio)
        self.text_in = Linear(text_dim, width)
        self.registers = nn.Parameter(torch.zeros(num_registers, width))
        self.score_embedders = nn.ModuleList(NumberEmbedder(width, number_features, number_scale) for _ in scores)
        self.score_table = nn.Parameter(torch.zeros(len(scores), width)) if scores else None
        self.text_blocks = nn.ModuleList(
            Layer(
                width=width,
                other_width=None,
                num_heads=text_heads,
                mlp_ratio=TEXT_MLP_RATIO,
                norm="layer",
                mlp="gelu",
                query_key_norm=False,
                layer_scale=True,
            )
            for _ in range(NUM_TEXT_BLOCKS)
        )
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                data_width=data_width,
                num_layers=num_layers,
                read_write_heads=read_write_heads,
                compute_heads=compute_heads,
                mlp_ratio=mlp_ratio,
                data_mlp_ratio=data_mlp_ratio,
                norm=norm,
                mlp=mlp,
                query_key_norm=query_key_norm,
            )
            for _ in range(num_blocks)
        )
        self.head_norm = make_norm(norm, data_width)
        self.head = Linear(data_width, in_channels * patch_size**2)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from ``generator`` (on the CPU, as the weights must be).

        Matrices Xavier-uniform with the fans of the published layout, in which query, key and value, or both halves of
        a SwiGLU, are one matrix; biases zero; tables truncated normal; the outer norm of the previous latents zero, so
        that self-conditioning starts as none.
        """
        fused = self._fused()
        for module in self.modules():
            if isinstance(module, Linear):
                _xavier(module, fused.get(module, 1), generator)
            if isinstance(module, NumberEmbedder):
                module.initialise_waves(generator)
            if isinstance(module, Layer) and module.scale_attention is not None and module.scale_mlp is not None:
                nn.init.constant_(module.scale_attention, LAYER_SCALE)
                nn.init.constant_(module.scale_mlp, LAYER_SCALE)
        for table in (self.positions, self.latent_table, self.registers, self.score_table):
            if table is not None:
                nn.init.trunc_normal_(table, std=TABLE_STD, a=-2 * TABLE_STD, b=2 * TABLE_STD, generator=generator)
        nn.init.zeros_(self.previous.outer_norm.weight)

    def set_attention(self, kind: AttentionKind) -> None:
        """Choose how attention is computed; an execution value, no part of the configuration."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.kind = kind

    def compile_blocks(self) -> None:
        """See ``Network.compile_blocks``."""
        super().compile_blocks()
        self.is_compiled = True

    def block_matrices(self) -> list[str]:
        """Names of the blocks' matrices, sorted: what a matrix optimiser such as Muon is for."""
        names = (name for name, module in self.named_modules() if isinstance(module, Linear))
        return sorted(f"{name}.weight" for name in names if name.startswith(("blocks.", "text_blocks.")))

    def training_output(
        self,
        called: nn.Module,
        process: Process,
        x_t: Tensor,
        t: Tensor,
        text: Tensor,
        text_mask: Tensor,
        self_conditioned: Tensor,
        scores: Mapping[str, Tensor],
    ) -> Tensor:
        """See ``Network.training_output``: it is told gamma and not t, and given the latents of a first pass."""
        gamma = process.path.gamma(t)
        # Absent, but computed: each weight then has a gradient (of zero), as optimiser and processes expect.
        absent = {name: torch.full_like(gamma, torch.nan) for name in self.config["scores"]}
        rewards: dict[str, Tensor | None] = {**absent, **scores}
        latents = previous_latents(self, self_conditioned, x_t, gamma, text, text_mask, rewards=rewards)
        output: Tensor = called(x_t, gamma, text, text_mask, latents, rewards=rewards)[0]
        return output

    def denoiser(self, process: Process) -> Denoiser:
        """It is told gamma and not t, takes scores, and is given its own latents of the step before."""

        def denoise(
            x: Tensor, t: Tensor, condition: Condition, carried: Tensor | None, /
        ) -> tuple[Tensor, Tensor | None]:
            gamma = process.path.gamma(t)
            output: tuple[Tensor, Tensor] = self(
                x, gamma, condition.text, condition.mask, carried, rewards=condition.values
            )
            return output

        return denoise

    def check_latent_side(self, side: int, side_px: int) -> None:
        """See ``Network.check_latent_side``: its places are learned, for latents of one side."""
        if side != self.config["latent_side"]:
            only = side_px * self.config["latent_side"] // side
            raise Refusal(f"side_px = {side_px}: this model draws pictures of {only} px alone; set side_px to that")

    def forward(
        self,
        y: Tensor,
        gamma: Tensor,
        text_embeddings: Tensor,
        text_mask: Tensor,
        previous_latents: Tensor | None = None,
        coherence: Tensor | Scores | None = None,
        rewards: Scores | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict what the network's objective asks for, and give the latents for the next pass.

        Args:
            y: [B, C, S, S], noised.
            gamma: [B] in [0, 1], the share of the picture in ``y`` (1 is the picture), not the time.
            text_embeddings: [B, T, text_dim].
            text_mask: [B, T] bool, True is a token that may be seen; a row may be all False.
            previous_latents: [B, L, E] of the pass before; None is the same as zeros.
            coherence: [B] in [0, 1], the score of that name; scores by name in this place are ``rewards``.
            rewards: score name to [B]; None, a missing name or a value that is not a number: the score is absent.

        Returns:
            ([B, C, S, S], [B, L, E]): CAD-I's noise or MIRO's velocity (noise - picture); the last latents, un-normed.

        Raises:
            Refusal: an input of another shape or kind, a score that the network does not know or needs and lacks.
        """
        scores = ordered_scores(self.config, coherence, rewards)
        check_inputs(self.config, y, gamma, text_embeddings, text_mask, previous_latents, scores)
        patches, latents, condition, bias = self._begin(y, gamma, text_embeddings, text_mask, previous_latents, scores)
        for block in self.blocks:
            patches, latents = run_block(self, block, patches, latents, condition, bias)
        config = self.config
        rows = config["latent_side"] // config["patch_size"]
        out = unpatchify(at_least_float32(self.head(self.head_norm(patches))), config["patch_size"], rows, rows)
        sigma = config["sigma_data"]
        return out if sigma is None else out * math.sqrt(1 + sigma**2), latents

    def next_latents(
        self,
        y: Tensor,
        gamma: Tensor,
        text_embeddings: Tensor,
        text_mask: Tensor,
        coherence: Tensor | None = None,
        rewards: Scores | None = None,
    ) -> Tensor:
        """The latents that ``forward`` would give without previous ones, [B, L, E]; the last write is not computed."""
        scores = ordered_scores(self.config, coherence, rewards)
        check_inputs(self.config, y, gamma, text_embeddings, text_mask, None, scores)
        patches, latents, condition, bias = self._begin(y, gamma, text_embeddings, text_mask, None, scores)
        blocks = list(self._rounds())
        for block in blocks[:-1]:
            patches, latents = block(patches, latents, condition, bias)
        return blocks[-1].think(patches, latents, condition, bias)

    def _begin(
        self,
        y: Tensor,
        gamma: Tensor,
        text: Tensor,
        mask: Tensor,
        previous: Tensor | None,
        scores: dict[str, Tensor | None],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(patches, latents, condition, bias) as the first round takes them."""
        dtype = self.latent_table.dtype
        y, gamma, text = y.to(dtype), gamma.to(dtype), text.to(dtype)
        sigma = self.config["sigma_data"]
        if sigma is not None:
            y = y / ((sigma * gamma).square() + (1 - gamma).square()).sqrt()[:, None, None, None]
        patches = at_least_float32(self.patch_in(patchify(y, self.config["patch_size"])))
        patches = self.patch_norm(patches) + self.positions
        time = self.time(gamma)
        if previous is None:
            previous = torch.zeros_like(self.latent_table)[None]
        latents = self.latent_table + time[:, None] + self.previous(previous.to(dtype))
        tokens = at_least_float32(self.text_in(text.masked_fill(~mask[..., None], 0)))
        given = [self._score_tokens(scores, len(y)), self.registers.expand(len(y), -1, -1)]
        own = torch.cat([part for part in given if part is not None], dim=1)
        condition = torch.cat([own, tokens], dim=1)
        seen = torch.cat([mask.new_ones(len(y), own.shape[1]), mask], dim=1)
        bias = mask_bias(seen)
        for block in self.text_blocks:
            condition = run_block(self, block, condition, None, bias)
        seen = torch.cat([mask.new_ones(len(y), 1), seen], dim=1)
        return patches, latents, torch.cat([time[:, None], condition], dim=1), mask_bias(seen)

    def _score_tokens(self, scores: dict[str, Tensor | None], num_samples: int) -> Tensor | None:
        """[B, K, E]: each score's embedding (zero where it is absent) and its row of the table."""
        if self.score_table is None:
            return None
        tokens = []
        for row, embedder, value in zip(self.score_table, self.score_embedders, scores.values(), strict=True):
            token = row.expand(num_samples, -1)
            if value is not None:
                embedded = embedder(value.nan_to_num(0.0))
                token = token + embedded.masked_fill(value.isnan()[:, None], 0)
            tokens.append(token)
        return torch.stack(tokens, dim=1)

    def _fused(self) -> dict[nn.Module, int]:
        """Linear layers that the published layout keeps as one with others -> how many those are."""
        fused: dict[nn.Module, int] = {}
        for module in self.modules():
            if isinstance(module, Layer):
                attention = module.attention
                together = 3 if module.is_self_attention else 2
                fused |= {attention.to_key: together, attention.to_value: together}
                fused |= {attention.to_query: 3} if module.is_self_attention else {}
            if isinstance(module, Mlp) and module.gate is not None:
                fused |= {module.enter: 2, module.gate: 2}
        return fused

    def _rounds(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block


def _xavier(linear: Linear, num_fused: int, generator: torch.Generator) -> None:
    """Xavier-uniform as a part of ``num_fused`` equal matrices in one."""
    bound = math.sqrt(6 / (linear.in_features + num_fused * linear.out_features))
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)


def new_rin(arguments: dict[str, Any], *, in_channels: int, text_dim: int, generator: torch.Generator) -> RIN:
    """A network of these arguments (an entry of ``sizes.RIN_SIZES``), its weights from ``generator``."""
    model: RIN = RIN(in_channels=in_channels, text_dim=text_dim, **arguments)
    model.initialise(generator)
    return model
