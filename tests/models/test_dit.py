"""The diffusion transformer: both attentions agree, masks hide, rotations know distance only, no global randomness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dit_inputs
import pytest
import torch
from dit_inputs import moved
from tiny_networks import TINY_DIT
from torch import Tensor

from pipeline.errors import Refusal
from pipeline.models import dit, dit_parts
from pipeline.params import schema

pytestmark = pytest.mark.models

SIZE = schema.DiTI(**TINY_DIT)


def random_network(seed: int = 1, size: schema.DiTI = SIZE) -> dit.DiTI:
    """A network whose zero-initialised parts are random too, so that everything takes part."""
    generator = torch.Generator().manual_seed(seed)
    return moved(dit.new_dit(size, in_channels=3, text_dim=6, generator=generator), generator)


def inputs(height: int = 4, width: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return dit_inputs.inputs(height, width)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (2, 2), (8, 4)])
def test_both_attentions_agree(height: int, width: int) -> None:
    model = random_network()
    model.set_attention("matmul")
    by_matmul = model(*inputs(height, width))
    model.set_attention("sdpa")
    by_sdpa = model(*inputs(height, width))
    assert by_matmul.shape == (2, 3, height, width)
    assert by_matmul.abs().max() > 0.1
    torch.testing.assert_close(by_matmul, by_sdpa, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["matmul", "sdpa"])
def test_masked_tokens_cannot_be_seen_and_others_can(kind: dit.AttentionKind) -> None:
    model = random_network()
    model.set_attention(kind)
    latents, t, text, mask = inputs()
    before = model(latents, t, text, mask)
    torch.testing.assert_close(model(latents, t, torch.where(mask[..., None], text, 7.0), mask), before)
    assert (model(latents, t, text + 1.0, mask) - before).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_samples_of_a_batch_do_not_meet() -> None:
    model = random_network()
    latents, t, text, mask = inputs()
    alone = model(latents[1:], t[1:], text[1:, :1], mask[1:, :1])  # also without the padding
    torch.testing.assert_close(model(latents, t, text, mask)[1:], alone, rtol=0, atol=1e-5)


def test_time_changes_the_output() -> None:
    model = random_network()
    latents, t, text, mask = inputs()
    assert (model(latents, t, text, mask) - model(latents, 1 - t, text, mask)).abs().max() > 1e-3


def test_patches_are_cut_in_the_order_stated_and_put_back() -> None:
    latents = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    patches = dit.patchify(latents, 2)
    # The second row's first patch: rows 2 and 3, columns 0 and 1; inside one row, column, channel.
    expected = [latents[0, c, r, k] for r in (2, 3) for k in (0, 1) for c in range(3)]
    assert patches[0, 3].tolist() == [float(value) for value in expected]
    assert torch.equal(dit.unpatchify(patches, 2, 2, 3), latents)


def test_rotary_scores_depend_on_the_offset_in_the_grid_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randn(2, 1, 1, 16, generator=generator, dtype=torch.float64).unbind(0)
    cosine, sine = dit.rotation_of_grid(5, 7, 16, torch.device("cpu"))
    rotation = (cosine.double(), sine.double())
    queries = dit_parts.rotate(query.expand(1, 35, 16)[None], rotation)[0, 0]
    keys = dit_parts.rotate(key.expand(1, 35, 16)[None], rotation)[0, 0]
    scores = (queries @ keys.T).reshape(5, 7, 5, 7)
    torch.testing.assert_close(scores[0, 1, 2, 3], scores[2, 4, 4, 6], rtol=0, atol=1e-5)
    assert (scores[0, 1, 2, 3] - scores[0, 1, 3, 2]).abs() > 1e-3  # rows and columns are told apart
    torch.testing.assert_close(scores[1, 1, 1, 1], (query * key).sum(), rtol=0, atol=1e-5)


def test_a_new_network_is_zero_and_every_weight_learns() -> None:
    model = dit.new_dit(SIZE, in_channels=3, text_dim=6, generator=torch.Generator().manual_seed(1))
    assert model(*inputs()).abs().max() == 0
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(4):  # zero parts pass gradients on only once they have moved
        optimizer.zero_grad()
        (model(*inputs()) - 1).square().mean().backward()
        optimizer.step()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert still == []


def test_weights_come_from_the_generator_and_not_from_global_state() -> None:
    state = torch.get_rng_state()
    first, second, other = (
        dit.new_dit(SIZE, in_channels=3, text_dim=6, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.patch_in.weight, other.patch_in.weight)


def test_saved_and_loaded_by_diffusers(tmp_path: Path) -> None:
    model = random_network()
    model.save_pretrained(tmp_path / "a")
    loaded = dit.DiTI.from_pretrained(tmp_path / "a")
    assert dict(loaded.config)["mlp_ratio"] == 2.0
    torch.testing.assert_close(loaded(*inputs()), model(*inputs()), rtol=0, atol=0)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]


def test_bfloat16_is_autocast_over_float32_weights() -> None:
    model = random_network()
    exact = model(*inputs())
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*inputs())
    assert rough.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    error = ((rough - exact).square().mean() / exact.square().mean()).sqrt()
    assert 0 < error < 0.05


def test_block_matrices_are_unfused_and_hold_most_weights() -> None:
    model = random_network()
    names = model.block_matrices()
    parameters = dict(model.named_parameters())
    assert len(names) == 2 * 10  # q, k, v, out twice and two of the perceptron, in two blocks
    assert {parameters[name].ndim for name in names} == {2}
    assert not any("offsets" in name or "norm" in name for name in names)


def test_refusals() -> None:
    with pytest.raises(Refusal, match="num_heads = 2: width 36 must divide into heads of 4n"):
        dit.DiTI(in_channels=3, text_dim=6, width=36, depth=1, num_heads=2, patch_size=2, mlp_ratio=2.0)
    latents, t, text, mask = inputs()
    with pytest.raises(Refusal, match="latents of 3 x 6 cannot be cut into patches of 2"):
        random_network()(latents[:, :, :3], t, text, mask)


def test_places_in_the_picture_are_known_and_mean_the_same_at_another_resolution() -> None:
    """Equal patches at different places get different answers; the corners' features do not depend on the grid."""
    model = random_network()
    latents, t, text, mask = inputs(4, 4)
    velocity = model(torch.ones_like(latents), t, text, mask)
    corner, other = velocity[..., :2, :2], velocity[..., 2:, 2:]
    assert (corner - other).abs().amax(dim=(1, 2, 3)).min() > 1e-2
    coarse = dit.position_features(4, 4, latents.device).reshape(4, 4, -1)
    fine = dit.position_features(12, 20, latents.device).reshape(12, 20, -1)
    torch.testing.assert_close(fine[1::3, 2::5], coarse)  # the centres of the coarse grid's patches
    assert len({tuple(row.tolist()) for row in coarse.flatten(0, 1)}) == 16


def test_patches_that_change_places_do_not_merely_take_their_outputs_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without absolute places only the rotations of queries and keys can tell where a patch is."""
    model = random_network()
    with torch.no_grad():
        model.position_in.weight.zero_()
    latents, t, text, mask = inputs(2, 6)
    swapped = torch.cat([latents[..., 2:4], latents[..., :2], latents[..., 4:]], dim=-1)

    def gap() -> float:
        first, second = model(latents, t, text, mask), model(swapped, t, text, mask)
        return float((second - torch.cat([first[..., 2:4], first[..., :2], first[..., 4:]], dim=-1)).abs().max())

    assert gap() > 1e-3
    real = dit.rotation_of_grid

    def none(*given: Any) -> dit_parts.Rotation:
        return tuple(torch.full_like(table, value) for table, value in zip(real(*given), (1.0, 0.0), strict=True))  # type: ignore[return-value]

    monkeypatch.setattr(dit, "rotation_of_grid", none)
    assert gap() < 1e-5


# Of a network of known weights: what exported models mean must not change.
PINNED = [10.51265, 0.18661, -0.77342, 0.44419, 5.2195, 3.82543, 0.49504, 4.63314]


def test_the_output_of_known_weights_is_pinned() -> None:
    output = random_network()(*inputs())
    assert output.flatten()[::18].tolist() == pytest.approx(PINNED, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"t": torch.zeros(1)}, r"t: is of shape \(1,\), this network takes \(2,\)"),
        ({"text": torch.zeros(2, 4, 5)}, r"text: is of shape \(2, 4, 5\), this network takes \(2, 4, 6\)"),
        ({"text_mask": torch.ones(2, 1, dtype=torch.bool)}, r"text_mask: is of shape \(2, 1\)"),
        ({"text_mask": torch.ones(2, 4)}, "text_mask: is of torch.float32, must be bool"),
        (
            {"latents": torch.zeros(2, 4, 4, 6)},
            r"latents: is of shape \(2, 4, 4, 6\), this network takes \(2, 3, 4, 6\)",
        ),
    ],
)
def test_inputs_of_another_shape_are_refused_not_broadcast(change: dict[str, Tensor], says: str) -> None:
    given = dict(zip(("latents", "t", "text", "text_mask"), inputs(), strict=True))
    with pytest.raises(Refusal, match=says):
        random_network()(**{**given, **change})
