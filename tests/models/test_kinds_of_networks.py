"""A network and an objective from outside the package: a line in each table, and they are trained and drawn with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import small_project
import tiny_project
import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from pipeline.diffusion.path import Straight
from pipeline.diffusion.prediction import Velocity
from pipeline.diffusion.process import Process, process_of
from pipeline.errors import Refusal
from pipeline.models.networks import Network, load_network
from pipeline.params import kinds
from pipeline.params.networks import NetworkParams
from pipeline.params.objectives import TrainingObjective, UniformTimesteps
from pipeline.params.types import Count, Fault, Positive

pytestmark = pytest.mark.models


class ToyParams(NetworkParams, tag="toy", frozen=True, kw_only=True):
    """Parameters of ``Toy``."""

    width: Count

    def size_fault(self) -> Fault | None:
        return Fault("width", self.width, "must be even") if self.width % 2 else None


class Toy(Network, ModelMixin):
    """Two convolutions; time and text enter between them."""

    @register_to_config
    def __init__(self, *, in_channels: int, text_dim: int, width: int, patch_size: int = 1) -> None:
        super().__init__()
        del patch_size
        self.enter = nn.Conv2d(in_channels, width, 3, padding=1)
        self.shift = nn.Linear(1 + text_dim, width)
        self.leave = nn.Conv2d(width, in_channels, 3, padding=1)

    def initialise(self, generator: torch.Generator) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)

    def forward(self, x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        mean = (text * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        shift = self.shift(torch.cat([t[:, None], mean], dim=1))
        out: Tensor = self.leave(torch.tanh(self.enter(x) + shift[..., None, None]))
        return out


class PowerParams(TrainingObjective, tag="toy_power", frozen=True, kw_only=True):
    """Parameters of ``Power``."""

    samplers: ClassVar[tuple[str, ...]] = ("heun",)

    power: Positive


class Power(Process):
    """The velocity of the straight path, under another loss."""

    def __init__(self, objective: PowerParams) -> None:
        super().__init__(Straight(), Velocity())
        object.__setattr__(self, "power", objective.power)

    def loss(self, output: Tensor, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        error = (output.float() - self.target(x_0, noise, t).float()).abs()
        return error.pow(self.power).flatten(1).mean(dim=1)  # type: ignore[attr-defined]


def parameters(width: int = 4, sampler: str = "heun") -> dict[str, Any]:
    """The tiny project with the toy in it."""
    raw = tiny_project.parameters()
    raw["train"]["network"] = {"kind": "toy", "width": width}
    raw["train"]["objective"] = {
        **{"kind": "toy_power", "timesteps": {"kind": "uniform"}, "shift": 1.0},
        "power": 1.5,
    }
    raw["generate"]["sampler"] = {**tiny_project.SAMPLER, "kind": sampler}
    return raw


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which the toy was trained; the current folder, and both in their tables, while the tests run."""
    folder = tmp_path_factory.mktemp("toy")
    tiny_project.make_project(folder)
    small_project.write_parameters(folder / "params.yaml", parameters())
    with (
        kinds.NETWORKS.added(ToyParams, f"{__name__}:Toy"),
        kinds.OBJECTIVES.added(PowerParams, f"{__name__}:Power"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(folder)
        tiny_project.run_to_the_model()
        yield folder


def test_it_is_exported_and_loaded_back(project: Path) -> None:
    from pipeline.interop import references

    folder = project / "data/small/train/tiny/model"
    network = load_network(folder)
    assert isinstance(network, Toy)
    assert network.config["width"] == 4
    refers = references.read(folder)
    objective = PowerParams(timesteps=UniformTimesteps(), shift=1.0, power=1.5)
    assert refers.objective == objective
    assert isinstance(process_of(objective), Power)
    assert references.objective_kind(refers) == "toy_power"
    assert references.prediction_of(refers) == "toy_power with power 1.5"
    assert "self_conditioning" not in json.loads((folder / "references.json").read_text())


def test_it_draws_pictures(project: Path) -> None:
    assert small_project.run_stage("generate", "tiny", part=f"{tiny_project.BENCHMARK}.0") == 0
    rows = tiny_project.drawn(project, "tiny")
    assert rows
    assert len({row["image"] for row in rows}) == len(rows)


def test_its_own_checks_are_asked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, raw, refusal in (
        ("odd", parameters(width=3), "train.rows.tiny.network.width = 3: must be even"),
        ("euler", parameters(sampler="euler"), "sampler euler does not fit a model of objective toy_power; take heun"),
    ):
        small_project.write_parameters(project / f"{name}.yaml", raw)
        assert small_project.run_stage("train", "tiny", f"{name}.yaml") == 1
        assert refusal in capsys.readouterr().err


def test_a_kind_that_is_in_no_table_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(kinds.NETWORKS.paths, ToyParams)
    with pytest.raises(Refusal, match="names the class 'Toy'; known are DiTI, RIN"):
        load_network(project / "data/small/train/tiny/model")


def test_what_was_added_is_gone_after() -> None:
    class Other(NetworkParams, tag="other", frozen=True, kw_only=True):
        pass

    before = dict(kinds.NETWORKS.paths)
    with kinds.NETWORKS.added(Other, f"{__name__}:Toy"):
        assert kinds.NETWORKS.paths == {**before, Other: f"{__name__}:Toy"}
    assert kinds.NETWORKS.paths == before
