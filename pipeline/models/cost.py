"""What a network costs: parameters, and floating-point operations of one pass for one picture, from its sizes alone.

Counted are matrix products, a multiplication and an addition each one operation, as torch's own counter does; norms,
activations and softmax add about a percent of time and are left out. ``python -m pipeline.models.cost`` prints the
tables of ``docs/models.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pipeline.models import dit_parts, rin_parts
from pipeline.models.dit import DiTI
from pipeline.models.dit_parts import NUM_MODULATIONS, NUM_POSITION_FREQUENCIES, NUM_TIME_FREQUENCIES
from pipeline.models.layers import MlpKind, hidden_width
from pipeline.models.rin import NUM_TEXT_BLOCKS, RIN, TEXT_MLP_RATIO
from pipeline.models.sizes import DIT_SIZES, NAMED_DITS, RIN_SIZES

# The setting of the table: 256 px through an 8x autoencoder of 4 channels, a T5-XL's embeddings.
TABLE_LATENT_SIDE, TABLE_IN_CHANNELS, TABLE_TEXT_DIM, TABLE_TEXT_TOKENS = 32, 4, 2048, 128
PATCH_SIZES = (1, 2, 4)
OFF: dict[str, Any] = {"text_blocks": 0, "pooled_text": False, "long_skips": False, "mlp": "gelu"}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "text_blocks: 1": {"text_blocks": 1},
    "text_blocks: 2": {"text_blocks": 2},
    "pooled_text: true": {"pooled_text": True},
    "long_skips: true": {"long_skips": True},
    "mlp: swiglu": {"mlp": "swiglu"},
    "all": {"text_blocks": 2, "pooled_text": True, "long_skips": True, "mlp": "swiglu"},
}


def num_parameters(make: Callable[[], torch.nn.Module]) -> int:
    """Weights of the network that ``make`` builds; no memory is taken for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make().parameters())


def dit_flops(config: Mapping[str, Any], *, latent_side: int, num_text_tokens: int) -> int:
    """Operations of one pass of a DiT-I for one square picture.

    Args:
        config: all arguments of ``dit.DiTI``, options too.
        latent_side: side of the latent picture.
        num_text_tokens: T, padding included.
    """
    width, patch_values = config["width"], config["in_channels"] * config["patch_size"] ** 2
    patches = (latent_side // config["patch_size"]) ** 2
    outside = (
        2 * _matrix(patches, patch_values, width)
        + _matrix(patches, 4 * NUM_POSITION_FREQUENCIES, width)
        + _matrix(1, 2 * NUM_TIME_FREQUENCIES, width)
        + _matrix(1, width, width)
        + _matrix(1, width, NUM_MODULATIONS * width)
        + _matrix(num_text_tokens, config["text_dim"], width)
        + config["pooled_text"] * _matrix(1, width, width)
    )
    mlp = config["mlp"], hidden_width(config["mlp"], width, config["mlp_ratio"], dit_parts.SWIGLU_MULTIPLE)
    text_block = _attention(num_text_tokens, num_text_tokens, width, width) + _mlp(num_text_tokens, width, *mlp)
    block = (
        _attention(patches, patches, width, width)
        + _attention(patches, num_text_tokens, width, width)
        + _mlp(patches, width, *mlp)
    )
    num_skips = config["long_skips"] * dit_parts.num_long_skips(config["depth"])
    skips = num_skips * 2 * _matrix(patches, width, width)
    return int(outside + config["text_blocks"] * text_block + config["depth"] * block + skips)


def rin_flops(config: Mapping[str, Any], *, num_text_tokens: int) -> int:
    """Operations of one pass of a recurrent-interface network for one picture, all scores given.

    Args:
        config: arguments of ``rin.RIN``.
        num_text_tokens: T, padding included.
    """
    width, data_width, latents = config["width"], config["data_width"], config["num_latents"]
    patch_values = config["in_channels"] * config["patch_size"] ** 2
    patches = (config["latent_side"] // config["patch_size"]) ** 2
    own_tokens = len(config["scores"]) + config["num_registers"]
    text_tokens = own_tokens + num_text_tokens
    number = _matrix(1, width // 4, width) + _matrix(1, width, width)

    def mlp(rows: int, width: int, ratio: float, kind: MlpKind) -> int:
        return _mlp(rows, width, kind, hidden_width(kind, width, ratio, rin_parts.SWIGLU_MULTIPLE))

    text_block = _attention(text_tokens, text_tokens, width, width) + mlp(text_tokens, width, TEXT_MLP_RATIO, "gelu")
    outside = (
        2 * _matrix(patches, patch_values, data_width)
        + (1 + len(config["scores"])) * number
        + mlp(latents, width, config["mlp_ratio"], "gelu")
        + _matrix(num_text_tokens, config["text_dim"], width)
        + NUM_TEXT_BLOCKS * text_block
    )
    latent_mlp = mlp(latents, width, config["mlp_ratio"], config["mlp"])
    block = (
        _attention(latents, 1 + text_tokens, width, width)
        + latent_mlp
        + _attention(latents, patches, width, data_width)
        + latent_mlp
        + config["num_layers"] * (_attention(latents, latents, width, width) + latent_mlp)
        + _attention(patches, latents, data_width, width)
        + mlp(patches, data_width, config["data_mlp_ratio"], config["mlp"])
    )
    return int(outside + config["num_blocks"] * block)


def _matrix(rows: int, width_in: int, width_out: int) -> int:
    return 2 * rows * width_in * width_out


def _attention(num_queries: int, num_keys: int, width: int, other_width: int) -> int:
    """Projections and both products of attention of the smaller width."""
    inner = min(width, other_width)
    projections = 2 * _matrix(num_queries, width, inner) + 2 * _matrix(num_keys, other_width, inner)
    return projections + 2 * _matrix(num_queries, inner, num_keys)


def _mlp(rows: int, width: int, kind: MlpKind, hidden: int) -> int:
    return (3 if kind == "swiglu" else 2) * _matrix(rows, width, hidden)


def table() -> str:
    """The costs of all named sizes as a Markdown table."""
    head = "| network | parameters, M | GFLOP a pass | patches | latents | condition tokens |"
    lines = [head, "|---|---:|---:|---:|---:|---:|"]
    common = {"in_channels": TABLE_IN_CHANNELS, "text_dim": TABLE_TEXT_DIM}
    for name, size in DIT_SIZES.items():
        patches = (TABLE_LATENT_SIDE // size["patch_size"]) ** 2
        lines.append(_line(name, *_dit_cost({**OFF, **size}), patches, "none", TABLE_TEXT_TOKENS))
    for name, size in RIN_SIZES.items():
        arguments = {**common, **size}
        flops = rin_flops(arguments, num_text_tokens=TABLE_TEXT_TOKENS)
        patches = (size["latent_side"] // size["patch_size"]) ** 2
        tokens = 1 + len(size["scores"]) + size["num_registers"] + TABLE_TEXT_TOKENS
        parameters = num_parameters(lambda arguments=arguments: RIN(**arguments))  # type: ignore[misc]
        lines.append(_line(name, parameters, flops, patches, str(size["num_latents"]), tokens))
    return "\n".join(lines)


def size_table() -> str:
    """The diffusion transformer's named sizes, and their costs by patch size, as a Markdown table."""
    columns = [f"GFLOP, patch {patch_size}" for patch_size in PATCH_SIZES]
    head = ["size", "blocks", "width", "heads x width", "hidden, GELU", "hidden, SwiGLU", "parameters, M", *columns]
    lines = [_cells(head), "|---|" + "---:|" * (len(head) - 1)]
    for name, size in NAMED_DITS.items():
        width, ratio = size["width"], size["mlp_ratio"]
        costs = [_dit_cost({**OFF, **size, "patch_size": patch_size}) for patch_size in PATCH_SIZES]
        parameters = costs[PATCH_SIZES.index(2)][0]
        hidden = [hidden_width(kind, width, ratio, dit_parts.SWIGLU_MULTIPLE) for kind in ("gelu", "swiglu")]
        heads = f"{size['num_heads']} x {width // size['num_heads']}"
        flops = [f"{cost[1] / 1e9:.1f}" for cost in costs]
        lines.append(_cells([name, size["depth"], width, heads, *hidden, f"{parameters / 1e6:.1f}", *flops]))
    return "\n".join(lines)


def rin_table() -> str:
    """The recurrent-interface networks' named sizes as a Markdown table."""
    heads = ["heads of reads and writes", "heads of rounds", "heads of text"]
    head = ["network", "rounds x layers", "latents x width", "width of patches", *heads, "registers", "scores"]
    lines = [_cells(head), "|---|" + "---:|" * (len(head) - 1)]
    for name, size in RIN_SIZES.items():
        shape = f"{size['num_blocks']} x {size['num_layers']}", f"{size['num_latents']} x {size['width']}"
        counts = [size[f"{part}_heads"] for part in ("read_write", "compute", "text")]
        lines.append(_cells([name, *shape, size["data_width"], *counts, size["num_registers"], len(size["scores"])]))
    return "\n".join(lines)


def option_table() -> str:
    """What each option costs with size l and patches of 2, as a Markdown table."""
    lines = [_cells(["option", "parameters, M", "GFLOP a pass"]), "|---|---:|---:|"]
    for name, option in OPTIONS.items():
        parameters, flops = _dit_cost({**DIT_SIZES["DiT-I L"], **OFF, **option})
        lines.append(_cells([f"`{name}`" if ":" in name else name, f"{parameters / 1e6:.1f}", f"{flops / 1e9:.1f}"]))
    return "\n".join(lines)


def _dit_cost(arguments: dict[str, Any]) -> tuple[int, int]:
    """(parameters, operations) in the setting of the tables."""
    full = {"in_channels": TABLE_IN_CHANNELS, "text_dim": TABLE_TEXT_DIM, **arguments}
    flops = dit_flops(full, latent_side=TABLE_LATENT_SIDE, num_text_tokens=TABLE_TEXT_TOKENS)
    return num_parameters(lambda: DiTI(**full)), flops


def _line(name: str, parameters: int, flops: int, patches: int, latents: str, tokens: int) -> str:
    return _cells([name, f"{parameters / 1e6:.1f}", f"{flops / 1e9:.1f}", patches, latents, tokens])


def _cells(values: list[Any]) -> str:
    return f"| {' | '.join(map(str, values))} |"


def main() -> int:
    """Print the tables."""
    print(table(), size_table(), option_table(), rin_table(), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
