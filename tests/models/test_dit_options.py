"""Options of the diffusion transformer: off they change nothing, on they start as nothing, each does what it says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import dit_inputs
import pytest
import torch
from dit_inputs import inputs
from tiny_networks import DIT_OFF, TINY_DIT
from tiny_rin import inputs as rin_inputs
from tiny_rin import random_rin
from torch import Tensor

from pipeline.errors import Refusal
from pipeline.models import dit, dit_parts
from pipeline.models.networks import load_network, new_network, rebuilt
from pipeline.models.sizes import NAMED_DITS, dit_arguments
from pipeline.params import network_sizes, schema

pytestmark = pytest.mark.models

# Without SwiGLU, which has no weights in common with the network that it is an option of.
ADDED: dict[str, dict[str, Any]] = {
    "text_blocks_1": {"text_blocks": 1},
    "text_blocks_2": {"text_blocks": 2},
    "pooled_text": {"pooled_text": True},
    "long_skips": {"long_skips": True},
    "added": {"text_blocks": 2, "pooled_text": True, "long_skips": True},
}
ALL = {"text_blocks": 2, "pooled_text": True, "long_skips": True, "mlp": "swiglu"}
FIRST_WEIGHTS = {
    "patch_in.weight": [-0.00152824, 0.10950109],
    "text_in.weight": [-0.03446552, 0.14276636],
    "blocks.0.attention.to_query.weight": [0.02380575, -0.13760731],
    "blocks.3.mlp_out.weight": [-0.02002442, -0.09097377],
    "time_in.weight": [0.090931, -0.01322944],
}
OPTIONS = {"off": {}, **ADDED, "swiglu": {"mlp": "swiglu"}, "all": ALL}
DEPTH = 6


def params(option: dict[str, Any], patch_size: Any = 2) -> schema.DiTI:
    return schema.DiTI(**{**TINY_DIT, "depth": DEPTH, "patch_size": patch_size, **option})


def new(option: dict[str, Any], patch_size: int = 2) -> dit.DiTI:
    generator = torch.Generator().manual_seed(1)
    return dit.new_dit(params(option, patch_size), in_channels=3, text_dim=6, generator=generator)


def moved(model: dit.DiTI, seed: int = 5) -> dit.DiTI:
    """The same with noise on all weights, so that everything takes part."""
    return dit_inputs.moved(model, torch.Generator().manual_seed(seed))


# --- each alone and all together


@pytest.mark.parametrize("patch_size", [1, 2, 4])
@pytest.mark.parametrize("name", OPTIONS)
def test_shapes_at_two_aspect_ratios(name: str, patch_size: int) -> None:
    model = moved(new(OPTIONS[name], patch_size))
    for height, width in ((8, 8), (4, 12)):
        outputs = []
        for kind in ("matmul", "sdpa"):
            model.set_attention(kind)  # type: ignore[arg-type]
            outputs.append(model(*inputs(height, width)))
        assert outputs[0].shape == (2, 3, height, width)
        assert outputs[0].isfinite().all()
        assert outputs[0].abs().max() > 0.1
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OPTIONS)
def test_masked_tokens_have_no_influence_and_others_have(name: str) -> None:
    model = moved(new(OPTIONS[name]))
    latents, t, text, mask = inputs()
    before = model(latents, t, text, mask)
    torch.testing.assert_close(model(latents, t, torch.where(mask[..., None], text, 7.0), mask), before)
    alone = model(latents[1:], t[1:], text[1:, :1], mask[1:, :1])  # also without the padding
    torch.testing.assert_close(before[1:], alone, rtol=1e-4, atol=1e-4)
    assert (model(latents, t, text + 1.0, mask) - before).abs().amax(dim=(1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("name", OPTIONS)
def test_a_new_network_is_zero_and_every_weight_learns(name: str) -> None:
    model = new(OPTIONS[name])
    assert model(*inputs()).abs().max() == 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(6):  # zero parts pass gradients on only once they have moved
        optimizer.zero_grad()
        (model(*inputs()) - 1).square().mean().backward()
        optimizer.step()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert still == []


@pytest.mark.parametrize("name", ADDED)
def test_an_option_starts_as_nothing_beside_the_same_weights(name: str) -> None:
    """Its first weights are those of the network without it, to the bit, and so is what it gives at first."""
    plain, optional = new({}), new(ADDED[name])
    for key, value in plain.state_dict().items():
        assert torch.equal(value, optional.state_dict()[key]), key
    missing = optional.load_state_dict(moved(plain).state_dict(), strict=False)
    assert len(missing.missing_keys) > 0
    assert missing.unexpected_keys == []
    assert torch.equal(plain(*inputs()), optional(*inputs()))
    assert (moved(optional, 6)(*inputs()) - moved(plain, 6)(*inputs())).abs().max() > 1e-3


def test_the_order_of_first_weights_is_kept() -> None:
    """Values drawn for the demo's network when there were no options yet."""
    network = schema.DiTI(**{**DIT_OFF, "width": 128, "depth": 4, "num_heads": 4, "mlp_ratio": 4.0, "patch_size": 2})
    generator = torch.Generator().manual_seed(0)
    weights = dit.new_dit(network, in_channels=4, text_dim=64, generator=generator).state_dict()
    drawn = {name: weights[name].flatten()[:2] for name in FIRST_WEIGHTS}
    for name, values in FIRST_WEIGHTS.items():
        torch.testing.assert_close(drawn[name], torch.tensor(values), rtol=0, atol=1e-7)


# --- what each does


def test_swiglu_is_the_formula() -> None:
    block = moved(new({"mlp": "swiglu"})).blocks[0]
    assert isinstance(block, dit_parts.Block)
    assert block.mlp_gate is not None
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(3))
    gate = block.mlp_gate(x)
    expected = block.mlp_out(block.mlp_in(x) * gate / (1 + torch.exp(-gate)))
    torch.testing.assert_close(block._perceive(x), expected)
    assert block.mlp_in.out_features == 48  # two thirds of 64, rounded up to a multiple of 8


def test_pooled_text_is_the_mean_of_what_may_be_seen() -> None:
    tokens = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [100.0], [100.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert dit.masked_mean(tokens, mask).tolist() == [[2.0], [5.0]]


def test_text_blocks_look_both_ways() -> None:
    """The first token as it leaves the blocks knows the second, and the second the first."""
    model = moved(new({"text_blocks": 1}))
    _, _, text, mask = inputs()
    bias = dit.mask_bias(mask)
    before = model._context(text, bias)
    for changed, other in ((0, 1), (1, 0)):
        touched = text.clone()
        touched[:, changed] = -touched[:, changed]
        assert (model._context(touched, bias) - before)[0, other].abs().max() > 1e-3


@pytest.mark.parametrize(("depth", "pairs"), [(3, {2: 0}), (4, {3: 0}), (5, {3: 1, 4: 0}), (6, {4: 1, 5: 0})])
def test_long_skips_pair_shallow_and_deep_blocks(depth: int, pairs: dict[int, int]) -> None:
    model = moved(new({"long_skips": True, "depth": depth}))
    outputs: list[Tensor] = []
    found: dict[int, int] = {}

    def seen(module: Any, given: tuple[Tensor, Tensor], output: Tensor) -> None:
        found[len(outputs)] = next(i for i, earlier in enumerate(outputs) if earlier is given[1])
        assert given[0] is outputs[-1]

    for block in model.blocks:
        block.register_forward_hook(lambda module, given, output: outputs.append(output))
    for skip in model.skips:
        skip.register_forward_hook(seen)
    model(*inputs())
    assert found == pairs
    assert dit_parts.num_long_skips(depth) == len(pairs)


def test_the_least_depth_of_long_skips_is_the_one_that_parameters_name() -> None:
    counts = [dit_parts.num_long_skips(network_sizes.MIN_SKIPPED_DEPTH - less) for less in (1, 0)]
    assert counts == [0, 1]


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (4, 12), (16, 6)])
def test_rotary_positions_carry_over_to_other_sizes(rows: int, columns: int) -> None:
    """A patch turns by the same angles in every grid that has its place, so scores between patches stay the same."""
    small = dit_parts.rotation_of_grid(4, 6, 16, torch.device("cpu"))
    large = dit_parts.rotation_of_grid(rows, columns, 16, torch.device("cpu"))
    for few, many in zip(small, large, strict=True):
        assert torch.equal(many.reshape(rows, columns, -1)[:4, :6], few.reshape(4, 6, -1))


# --- kept, cut, compiled


@pytest.mark.parametrize("name", OPTIONS)
def test_saved_and_loaded_with_its_options(name: str, tmp_path: Path) -> None:
    model = moved(new(OPTIONS[name]))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert {key: config[key] for key in DIT_OFF} == {**DIT_OFF, **OPTIONS[name]}
    loaded = load_network(tmp_path)
    assert torch.equal(loaded(*inputs()), model(*inputs()))
    assert torch.equal(rebuilt(loaded)(*inputs()), model(*inputs()))


def test_a_configuration_from_before_there_were_options_loads(tmp_path: Path) -> None:
    model = moved(new({}))
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in DIT_OFF}))
    assert torch.equal(load_network(tmp_path)(*inputs()), model(*inputs()))


def gradients(model: Any, given: Any) -> tuple[dict[str, Tensor], int]:
    """Gradients of a loss by the weights' names, and how many values were kept for them."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(**given) if isinstance(given, dict) else model(*given)
        loss = (output[0] if isinstance(output, tuple) else output).square().mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, kept


@pytest.mark.parametrize("name", [*OPTIONS, "rin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_checkpointing_gives_equal_gradients(name: str, dtype: torch.dtype) -> None:
    model, given = (random_rin("text"), rin_inputs("text")) if name == "rin" else (moved(new(OPTIONS[name])), inputs())
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        plain, kept = gradients(model, given)
        model.enable_gradient_checkpointing()
        again, kept_then = gradients(model, given)
    assert plain.keys() == again.keys()
    assert len(plain) > 20
    for key, value in plain.items():
        assert torch.equal(value, again[key]), key
    assert kept_then < kept / 2
    model.disable_gradient_checkpointing()
    assert not model.is_gradient_checkpointing


def needs_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"torch.compile on a CPU needs a C++ compiler; there is no {compiler}")


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("name", ["off", "all"])
def test_one_graph_without_breaks(name: str, checkpointed: bool) -> None:
    """Traced whole, forwards and backwards; code is generated below, for one block, since that takes long."""
    model = moved(new({**OPTIONS[name], "depth": 3}))
    plain, _ = gradients(model, inputs())
    if checkpointed:
        model.enable_gradient_checkpointing()
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(*inputs()).square().mean().backward()
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[key], rtol=1e-3, atol=1e-4)


def test_compiled_whole() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"torch.compile on a CPU needs a C++ compiler; there is no {compiler}")
    model = moved(new({"pooled_text": True, "text_blocks": 1, "mlp": "swiglu", "depth": 1}))
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True)
        torch.testing.assert_close(compiled(*inputs()), model(*inputs()), rtol=1e-4, atol=1e-4)


# --- named, and refused


@pytest.mark.parametrize("size", ["s", "b", "l", "xl"])
def test_a_named_size_is_the_same_as_its_numbers(size: Any) -> None:
    named = schema.DiTI(size=size, patch_size=4, **DIT_OFF)
    spelt = schema.DiTI(**{**NAMED_DITS[size], "patch_size": 4, **DIT_OFF})
    assert dit_arguments(named) == dit_arguments(spelt)
    with torch.device("meta"):
        model = dit.DiTI(in_channels=4, text_dim=8, **dit_arguments(named))
    assert len(model.blocks) == NAMED_DITS[size]["depth"]
    assert model.config["width"] == NAMED_DITS[size]["width"]


def test_new_network_takes_options() -> None:
    model = new_network(params(ALL), in_channels=3, text_dim=6, generator=torch.Generator().manual_seed(1))
    names = model.block_matrices()
    added = [name for name in names if name.startswith(("text_stack.", "skips."))]
    assert len(added) == 2 * (4 + 3) + 2 * 2  # two text blocks of four and three matrices, two skips of two
    assert not any(name.startswith("pooled") for name in names)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"text_blocks": 3}, "text_blocks = 3: must be one of 0, 1, 2"),
        ({"long_skips": True, "depth": 2}, "long_skips = True: needs a depth of 3 or more, not 2"),
        ({"mlp": "relu"}, "mlp = relu: must be one of gelu, swiglu"),
    ],
)
def test_refusals(option: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        dit.DiTI(in_channels=3, text_dim=6, **{**dit_arguments(params({})), **option})
