"""The networks that a model may be trained as, their sizes, and what they can take."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from pipeline.params.network_sizes import dit_fault, rin_fault
from pipeline.params.objectives import RectifiedFlow, TrainingObjective
from pipeline.params.types import Count, Fault, Fraction, Positive, Strict

NAMED_LATENT_SIDE = 32  # of the named sizes of a recurrent-interface network: 256 px through an 8x autoencoder


class NetworkParams(Strict, tag_field="kind", frozen=True, kw_only=True):
    """What the parameters of every network tell; faults are named by the key below ``network``.

    Attributes:
        draws_one_side: it learns its places one by one, and draws pictures of the side that it is trained on alone.
    """

    draws_one_side: ClassVar[bool] = False

    def size_fault(self) -> Fault | None:
        """What no network can be; None where the sizes fit each other."""
        return None

    def latents_fault(self, side_px: int, factor: int | None) -> Fault | None:
        """Why it cannot take the latents of square pictures.

        Args:
            side_px: side of the pictures.
            factor: pixels per latent along a side; None where the parameters do not tell: less is then seen.
        """
        del side_px, factor
        return None

    def objective_fault(self, objective: TrainingObjective) -> Fault | None:
        """Why it cannot be trained with an objective."""
        del objective
        return None

    def optimizer_fault(self, kind: str) -> Fault | None:
        """Why it cannot be trained from its first weights by a kind of optimiser."""
        del kind
        return None

    def first_pass_share(self) -> float | None:
        """Share of training samples that are given latents of a first pass; None: it takes none."""
        return None


class DiTI(NetworkParams, tag="dit_i", frozen=True, kw_only=True):
    """The diffusion transformer: a size by name or by its numbers (never both, see ``size_fault``), and options."""

    size: Literal["s", "b", "l", "xl"] | None = None
    width: Count | None = None
    depth: Count | None = None
    num_heads: Count | None = None
    mlp_ratio: Positive | None = None
    patch_size: Literal[1, 2, 4]
    text_blocks: Literal[0, 1, 2]
    pooled_text: bool
    long_skips: bool
    mlp: Literal["gelu", "swiglu"]

    def size_fault(self) -> Fault | None:
        """A size that is not a name or all of its numbers, or numbers that do not fit each other."""
        numbers = {key: getattr(self, key) for key in ("width", "depth", "num_heads", "mlp_ratio")}
        for key, value in numbers.items():
            if self.size is None and value is None:
                return Fault(key, None, f"without a size all of {', '.join(numbers)} are needed")
            if self.size is not None and value is not None:
                return Fault(key, value, f"size {self.size} says it already; leave one of them out")
        return None if self.size else dit_fault(msgspec.structs.asdict(self))

    def optimizer_fault(self, kind: str) -> Fault | None:
        """LAMB's steps are as long as a share of the weight; a new network is the zero function."""
        if kind != "lamb":
            return None
        return Fault("kind", "dit_i", "its head and gates begin at zero, where lamb hardly moves; take adamw or muon")

    def latents_fault(self, side_px: int, factor: int | None) -> Fault | None:
        """Latents that cannot be cut into patches."""
        if factor is None or not side_px % (factor * self.patch_size):
            return None
        why = f"latents of {side_px} px pictures, {factor} px each, cannot be cut into such patches"
        return Fault("patch_size", self.patch_size, why)


class RINSize(Strict, frozen=True, kw_only=True):
    """Sizes of a recurrent-interface network, and whether it is built as CAD-I or as MIRO."""

    like: Literal["cad_i", "miro"]
    latent_side: Count
    patch_size: Literal[1, 2, 4]
    data_width: Count
    num_latents: Count
    width: Count
    num_blocks: Count
    num_layers: Count
    read_write_heads: Count
    compute_heads: Count
    text_heads: Count
    mlp_ratio: Positive
    data_mlp_ratio: Positive
    num_registers: Count


class RIN(NetworkParams, tag="rin", frozen=True, kw_only=True):
    """The recurrent-interface network, conditioned on text alone."""

    draws_one_side: ClassVar[bool] = True

    size: Literal["cad_i_base", "cad_i_l", "miro"] | RINSize
    self_conditioning: Fraction

    def size_fault(self) -> Fault | None:
        """Numbers that do not fit each other; named sizes do."""
        fault = None if isinstance(self.size, str) else rin_fault(msgspec.structs.asdict(self.size))
        return None if fault is None else fault._replace(key=f"size.{fault.key}")

    def latents_fault(self, side_px: int, factor: int | None) -> Fault | None:
        """Latents of another side than its own."""
        side = NAMED_LATENT_SIDE if isinstance(self.size, str) else self.size.latent_side
        if side_px == side * factor if factor else not side_px % side:
            return None
        sides = f"are {side_px // factor} x {side_px // factor}" if factor else f"cannot be {side} x {side}"
        why = f"latents of {side_px} px pictures {sides}, and its places are learned one by one"
        if isinstance(self.size, str):
            return Fault("size", self.size, f"is for latents of {side} x {side}: {why}; state sizes of your own")
        return Fault("size.latent_side", side, why)

    def objective_fault(self, objective: TrainingObjective) -> Fault | None:
        """MIRO knows the straight path alone."""
        like = self.size if isinstance(self.size, str) else self.size.like
        if like != "miro" or isinstance(objective, RectifiedFlow):
            return None
        return Fault("size", "miro", "is scaled for the straight path: its objective must be rectified_flow")

    def first_pass_share(self) -> float | None:
        """The share that the parameters state."""
        return self.self_conditioning
