"""What is timed side by side does the same work, and the ratios are those of the turns."""

from __future__ import annotations

import pytest
import torch

from perf import timing
from perf.timing import SCALES, conditioned_steps, inputs, main, our_rin, peers
from perf.turns import OURS, in_turns, lines

pytestmark = pytest.mark.models


def test_all_ways_of_self_conditioning_have_the_same_loss_and_gradients() -> None:
    scale = SCALES["tiny"]
    model = our_rin(scale).double()
    with torch.no_grad():  # a new network's self-conditioning is none
        model.previous.outer_norm.weight.fill_(0.5)
    given = timing.Inputs(*(t.double() if t.is_floating_point() else t for t in vars(inputs(scale, 4)).values()))
    found = {}
    for name, step in conditioned_steps(model, given, torch.tensor([True, True, False, True])).items():
        loss = step()
        found[name] = {
            "loss": loss,
            **{key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None},
        }
    assert len(found) == 3
    for other in found.values():
        torch.testing.assert_close(other, found[OURS], rtol=0, atol=1e-10)


def test_peers_have_the_size_of_ours_and_predict_the_same_shape() -> None:
    scale = SCALES["tiny"]
    given = inputs(scale, 2)
    condition = timing.Condition(given.text, given.mask, {})
    found = peers(scale)
    sizes = {name: sum(p.numel() for p in model.parameters()) for name, (model, _) in found.items()}
    assert sizes["PixArt"] == pytest.approx(sizes[OURS], rel=0.15)
    for model, denoise in found.values():
        out, _ = denoise(given.x, given.t, condition, None)
        assert out.shape == given.x.shape
        assert len([m for m in model.modules() if isinstance(m, torch.nn.Linear)]) > 4 * scale.dit["depth"]


def test_turns_go_forth_and_back_after_one_untimed() -> None:
    order: list[str] = []
    seconds = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert "".join(order) == "ababba"
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_medians_of_the_turns_ratios() -> None:
    """A machine that is slow in one turn slows both: 0.5 in each turn, whatever the medians are."""
    found = lines("step", {"ours": [1.0, 10.0, 2.0], "other": [2.0, 20.0, 4.0]})
    assert found[0] == "step: ours: median 2.0000 s of 3 turns"
    assert found[1].endswith("ours takes 0.500 of it (0.500 to 0.500)")


def test_passes_run_in_processes_and_name_their_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes", "--batch-size", "1", "--turns", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in said] == ["dit_i", "cad_i"]
    assert all("peak of memory" in line for line in said)


def test_a_pass_that_fails_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing.sys, "executable", "false")
    assert main(["passes"]) == 1
    assert "dit_i: its process ended with 1" in capsys.readouterr().err


def test_each_option_is_timed_beside_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "--batch-size", "1", "--turns", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(timing.OPTIONS)
    assert all("none takes" in line for line in said[1:])
    sizes = {name: timing.our_dit(SCALES["tiny"], **given).num_parameters() for name, given in timing.OPTIONS.items()}
    assert all(size > sizes["none"] for name, size in sizes.items() if name not in {"none", "mlp: swiglu"})
