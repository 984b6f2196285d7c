"""torch.compile of the networks' blocks: the same training but for rounding, the same files, few graphs, no fallback.

torch's compiler is slow to begin with, so it takes one network; graphs are counted with a backend that writes no code.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_rin_training as tiny_rin
import tiny_training as tiny
import torch
import torch._dynamo
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from pipeline.errors import Refusal
from pipeline.models import compiled
from pipeline.models.networks import Network
from pipeline.training import trainer
from pipeline.training.conditioning import Conditioning
from pipeline.training.sets import TrainingData

WEIGHTS = "out/model/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    limit, fails = torch._dynamo.config.recompile_limit, torch._dynamo.config.fail_on_recompile_limit_hit
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit, torch._dynamo.config.fail_on_recompile_limit_hit = limit, fails


@pytest.fixture
def _writes_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def train(
    name: str,
    data: TrainingData,
    attempt: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
    num_steps: int = 8,
    **execution: Any,
) -> None:
    make_model, share = tiny_rin.NETWORKS[name]
    trainer.train(
        tiny.make_row(num_steps=num_steps, batch_size=6, log_every_steps=1, ema_decay=0.0, caption_dropout=0.5),
        data,
        make_model=make_model,
        conditioning=Conditioning(self_conditioning=share),
        seed=0,
        execution=tiny.make_execution(**execution),
        work=attempt / "work",
        out=attempt / "out",
        say=say,
    )


def assert_same_but_for_rounding(one: Path, other: Path) -> None:
    curves = [
        np.loadtxt(attempt / "out/curves/loss.tsv", skiprows=1, dtype=np.float64)[:, 1] for attempt in (one, other)
    ]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)
    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        if not name.endswith("to_key.bias"):  # of no effect: Adam makes steps of its gradient's rounding errors
            torch.testing.assert_close(second[name], weight, rtol=0, atol=1e-3, msg=name)


def files_of_last_checkpoint(attempt: Path) -> dict[str, set[str]]:
    folder = attempt / "work/checkpoints/step_00000008_of_00000008"
    return {path.name: set(load_file(path)) for path in folder.glob("*.safetensors")}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_training_is_the_training(tmp_path: Path, data: TrainingData) -> None:
    """By torch's compiler; checkpoints have the same names, and go on compiled or not."""
    train("dit", data, tmp_path / "eager")
    train("dit", data, tmp_path / "compiled", compile=True)
    assert graphs() == 2  # the probe, and the block in training; validation is the average's, which is not compiled
    assert_same_but_for_rounding(tmp_path / "eager", tmp_path / "compiled")
    assert files_of_last_checkpoint(tmp_path / "compiled") == files_of_last_checkpoint(tmp_path / "eager")
    for first, second in ((True, False), (False, True)):
        attempt = tmp_path / f"both_{first}"
        train("dit", data, attempt, num_steps=4, compile=first)
        train("dit", data, attempt, compile=second)
        assert_same_but_for_rounding(tmp_path / "eager", attempt)


@pytest.mark.usefixtures("_writes_no_code")
@pytest.mark.parametrize("attention", ["matmul", "sdpa"])
@pytest.mark.parametrize("name", tiny_rin.NETWORKS)
def test_no_step_compiles_anew_once_all_kinds_have_been_seen(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch, name: str, attention: str
) -> None:
    """Texts of 1 to 4 tokens, filled up to 2 or 4, first passes of changing samples, last parts that are smaller."""
    monkeypatch.setattr(trainer, "COMPILED_TEXT_MULTIPLE", 2)
    after: list[int] = []

    def note(text: str) -> None:
        if ": loss " in text:
            after.append(graphs())

    compiled_ = tmp_path / "compiled"
    train(name, data, compiled_, say=note, num_steps=24, compile=True, attention=attention, micro_batch_size=4)
    assert len(after) == 24
    assert after[11] == after[-1]
    assert after[-1] <= compiled.MAX_GRAPHS
    train(name, data, tmp_path / "eager", num_steps=24, attention=attention, micro_batch_size=4)
    assert_same_but_for_rounding(tmp_path / "eager", compiled_)


@pytest.mark.usefixtures("_writes_no_code")
def test_too_many_graphs_end_in_one_line_and_not_in_uncompiled_steps(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "MAX_GRAPHS", 1)
    with pytest.raises(
        Refusal, match=r"^execution\.compile: torch\.compile fails here \(FailOnRecompileLimitHit: "
    ) as e:
        train("rin", data, tmp_path, compile=True)
    assert "\n" not in str(e.value)


def test_where_nothing_compiles_that_is_one_line(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    with pytest.raises(Refusal, match=r"torch\.compile fails here \(BackendCompilerFailed.*no compiler") as caught:
        train("dit", data, tmp_path, compile=True)
    assert "\n" not in str(caught.value)
    assert "set compile to false" in str(caught.value)


@pytest.mark.usefixtures("_writes_no_code")
@pytest.mark.parametrize("name", tiny_rin.NETWORKS)
def test_a_compiled_network_draws_the_same(name: str) -> None:
    """As samplers call it; its weights keep their names."""
    from pipeline.diffusion.guidance import Condition
    from pipeline.diffusion.process import RECTIFIED_FLOW

    eager, fast = tiny_rin.NETWORKS[name][0](), tiny_rin.NETWORKS[name][0]()
    assert isinstance(fast, Network)
    compiled.compile_network(fast)
    assert list(fast.state_dict()) == list(eager.state_dict())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, tiny.CHANNELS, tiny.SIDE, tiny.SIDE, generator=generator)
    text = torch.randn(4, 3, tiny.TEXT_DIM, generator=generator)
    condition = Condition(text, torch.ones(4, 3, dtype=torch.bool), {})
    with torch.inference_mode():
        carried = None
        for t in (1.0, 0.5):
            times = torch.full((4,), t)
            one, _ = eager.denoiser(RECTIFIED_FLOW)(x, times, condition, carried)
            other, carried = fast.denoiser(RECTIFIED_FLOW)(x, times, condition, carried)
            if t == 1.0:
                torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    assert graphs() > 1
