"""The public package beside our MIRO: the same network is asked of both, and nothing is timed that does not agree."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from perf import public_miro, timing_miro
from perf.timing import main
from pipeline.errors import Refusal
from pipeline.interop.released_config import miro_config
from pipeline.models.sizes import RIN_SIZES

pytestmark = pytest.mark.models


def test_the_public_configuration_is_that_of_the_released_size() -> None:
    read = miro_config(timing_miro.public_config(RIN_SIZES["MIRO"]))
    wide = {"in_channels": timing_miro.IN_CHANNELS, "text_dim": timing_miro.TEXT_DIM}
    assert read == RIN_SIZES["MIRO"] | wide


def test_answers_that_differ_are_refused() -> None:
    velocity, latents = torch.ones(2, 4), torch.ones(2, 8)
    theirs = {"velocity": velocity + 1e-6, "latents": latents}
    assert "velocity 9.5e-07 apart" in timing_miro._agreement((velocity, latents), theirs)
    with pytest.raises(Refusal, match=r"latents: 1\.00e-02 apart from the public package's"):
        timing_miro._agreement((velocity, latents), theirs | {"latents": latents - 0.01})
    with pytest.raises(Refusal, match="velocity: nan apart"):
        timing_miro._agreement((velocity * torch.nan, latents), theirs)


def test_an_environment_without_the_package_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["miro"]) == 1
    assert "needs --public-python" in capsys.readouterr().err
    assert main(["miro", "--public-python", "/nowhere/python"]) == 1
    assert "/nowhere/python" in capsys.readouterr().err
    assert main(["miro", "--public-python", sys.executable, "--batch-size", "1"]) == 1
    assert "No module named 'miro'" in capsys.readouterr().err


STAND_IN = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    print("done", flush=True)
    break
"""


def test_a_process_that_ends_early_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(public_miro, "__file__", str(script))
    with timing_miro.PublicNetwork(Path(sys.executable), tmp_path, 1) as public:
        public.forward()
        with pytest.raises(Refusal, match="process ended: no word"):
            public.forward()
