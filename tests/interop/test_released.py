"""Folders in the authors' form: which model they are, how it is sampled, on which latents; damaged ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_paper import released, released_config
from tiny_rin import SCORES, inputs, random_rin
from torch import Tensor

from pipeline.encoders import scaling
from pipeline.errors import Refusal
from pipeline.interop.released import SDXL_SHIFT, SDXL_SPREAD, CadSampling, MiroSampling, is_released, read_released

pytestmark = pytest.mark.paper


def write_cad(folder: Path, kind: str) -> Path:
    """As the authors' class saves itself: arguments and weights, its own name nowhere."""
    _, config, weights = released(kind)
    del config["network"]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    return folder


def write_miro(folder: Path, config: dict[str, Any], extra: dict[str, Tensor]) -> Path:
    _, _, weights = released("miro")
    folder.mkdir()
    sections = {
        **released_config("miro"),
        "coherence_keys": SCORES,
        "data_preprocessing": {"channel_wise_normalisation": True, "model_type": "sdxl"},
        "scheduler": {"start": 1, "end": 0, "clip_min": 1e-9},
        "max_text_len": 9,
    }
    (folder / "config.json").write_text(json.dumps({**sections, **config}))
    save_file({**weights, **extra}, folder / "model.safetensors")
    np.save(folder / "uncond_embedding.npy", np.arange(7, dtype=np.float16)[None])
    return folder


@pytest.mark.parametrize("kind", ["text", "coherence"])
def test_a_cad_i_folder(tmp_path: Path, kind: str) -> None:
    folder = write_cad(tmp_path / "a", kind)
    found = read_released(folder)
    assert is_released(folder)
    assert (found.kind, found.objective) == ("cad_i", "noise")
    assert found.sampling == CadSampling(num_steps=250, cfg_rate=15.0, clamp=1.2, schedule="linear")
    assert (found.scale, found.shift, found.unconditional) == (0.18215, None, None)
    torch.testing.assert_close(found.model(**inputs(kind)), random_rin(kind)(**inputs(kind)), rtol=0, atol=0)


def test_a_miro_folder(tmp_path: Path) -> None:
    found = read_released(write_miro(tmp_path / "a", {}, {}))
    assert (found.kind, found.objective, found.max_text_tokens) == ("miro", "rectified_flow", 9)
    assert found.sampling == MiroSampling(num_steps=50, guidance_scale=7.0)
    assert (found.autoencoder.model, found.text_encoder.model) == ("stabilityai/sdxl-vae", "google/flan-t5-xl")
    assert found.unconditional is not None
    assert found.unconditional.tolist() == [list(range(7))]
    assert found.unconditional.dtype == np.float32
    torch.testing.assert_close(found.model(**inputs("miro")), random_rin("miro")(**inputs("miro")), rtol=0, atol=0)


def test_miros_latents_are_scaled_by_channel_as_told_or_as_stored(tmp_path: Path) -> None:
    raw = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    shift, spread = (torch.tensor(values)[:, None, None] for values in (SDXL_SHIFT, SDXL_SPREAD))
    expected = (raw - shift) * 0.5 / spread
    stored = {"postprocessing.scale": (0.5 / spread)[None], "postprocessing.bias": (-shift * 0.5 / spread)[None]}
    stored |= {name.replace("post", "data_pre"): value.clone() for name, value in stored.items()}
    for name, extra in (("told", {}), ("stored", stored)):
        found = read_released(write_miro(tmp_path / name, {}, extra))
        torch.testing.assert_close(scaling.apply(raw, found.scale, found.shift), expected, rtol=1e-5, atol=1e-6)


def test_our_own_models_are_not_in_the_authors_form(tmp_path: Path) -> None:
    random_rin("text").save_pretrained(tmp_path / "a")
    assert not is_released(tmp_path / "a")


def test_a_taken_in_model_goes_on_as_one_of_ours(tmp_path: Path) -> None:
    read_released(write_miro(tmp_path / "a", {}, {})).model.save_pretrained(tmp_path / "b")
    again = type(random_rin("miro")).from_pretrained(tmp_path / "b")
    torch.testing.assert_close(again(**inputs("miro")), random_rin("miro")(**inputs("miro")), rtol=0, atol=0)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = write_miro(tmp_path / "a", {"data_preprocessing": {"channel_wise_normalisation": False}}, {})
    with pytest.raises(Refusal, match="channel_wise_normalisation = False; only True"):
        read_released(folder)
    with pytest.raises(Refusal, match="postprocessing: model_type = 'sd'"):
        read_released(write_miro(tmp_path / "b", {"postprocessing": {"model_type": "sd"}}, {}))
    folder = write_miro(tmp_path / "c", {}, {})
    np.save(folder / "uncond_embedding.npy", np.zeros((1, 8)))
    with pytest.raises(Refusal, match=r"uncond_embedding.npy: is of shape \(1, 8\); finite rows of 7"):
        read_released(folder)
    (folder / "uncond_embedding.npy").unlink()
    with pytest.raises(Refusal, match=r"uncond_embedding\.npy: cannot be read"):
        read_released(folder)
    folder = write_cad(tmp_path / "d", "text")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(Refusal, match="cannot be loaded"):
        read_released(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(Refusal, match=r"model\.safetensors: not there"):
        read_released(folder)
