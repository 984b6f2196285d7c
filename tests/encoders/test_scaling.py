"""Scaling of latents against the formula by hand, and the check against what a model's file states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.randomness import generator
from pipeline.encoders import scaling
from pipeline.errors import Refusal
from pipeline.params.encoders import Autoencoder
from pipeline.params.types import PerChannel

RAW = generator(0, "latents").normal(size=(2, 3, 4, 5)).astype(np.float32)


def autoencoder(scale: PerChannel, shift: PerChannel | None = None) -> Autoencoder:
    return Autoencoder(model="vae", scale=scale, shift=shift, source="its card")


def test_each_channel_has_its_own_scale_and_shift() -> None:
    scaled = scaling.apply(RAW, [2.0, 1.0, 0.5], [1.0, 0.0, -1.0])
    np.testing.assert_allclose(scaled[:, 0], (RAW[:, 0] - 1.0) * 2.0, rtol=1e-6)
    np.testing.assert_allclose(scaled[:, 1], RAW[:, 1])
    np.testing.assert_allclose(scaled[:, 2], (RAW[:, 2] + 1.0) * 0.5, rtol=1e-6)
    np.testing.assert_allclose(scaling.apply(RAW[0], 0.18215, None), RAW[0] * 0.18215, rtol=1e-6)


@given(
    scale=st.one_of(st.floats(0.01, 10), st.lists(st.floats(0.01, 10), min_size=3, max_size=3)),
    shift=st.one_of(st.none(), st.floats(-3, 3), st.lists(st.floats(-3, 3), min_size=3, max_size=3)),
)
def test_inverting_gives_the_raw_latents_back(scale: PerChannel, shift: PerChannel | None) -> None:
    scaled = scaling.apply(RAW, scale, shift)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaling.invert(scaled, scale, shift), RAW, atol=1e-5)


def test_torch_and_numpy_agree_and_half_precision_is_widened_first() -> None:
    torch = pytest.importorskip("torch")
    half = RAW.astype(np.float16)
    ours = scaling.apply(half, [0.18215, 2.0, 3.0], 0.1)
    theirs = scaling.apply(torch.from_numpy(half), [0.18215, 2.0, 3.0], 0.1)
    assert theirs.dtype == torch.float32
    np.testing.assert_array_equal(ours, theirs.numpy())
    np.testing.assert_array_equal(ours[:, 1], (half[:, 1].astype(np.float32) - np.float32(0.1)) * 2)


@pytest.mark.parametrize(
    ("scale", "shift", "message"),
    [
        ([1.0, 2.0], None, "2 values for latents of 3 channels"),
        ([1.0], None, "1 values for latents of 3 channels"),
        (1.0, [0.0] * 4, "4 values for latents of 3 channels"),
        (0.0, None, "must not be 0"),
        ([1.0, float("nan"), 1.0], None, "not finite"),
    ],
)
def test_scales_that_do_not_fit_are_refused(scale: PerChannel, shift: PerChannel | None, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        scaling.apply(RAW, scale, shift)
    with pytest.raises(Refusal, match=message):
        scaling.invert(RAW, scale, shift)


def test_a_silent_file_leaves_the_scale_to_the_parameters() -> None:
    assert scaling.resolved(autoencoder(0.5), {}, "f").source == "its card"
    assert scaling.resolved(autoencoder([0.5, 1.0], 0.3), {"scaling_factor": None}, "f").source == "its card"


def test_a_file_that_agrees_is_the_source() -> None:
    assert scaling.resolved(autoencoder(0.1821), {"scaling_factor": 0.18215}, "f").source == "config.json"
    stated = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
    assert scaling.resolved(autoencoder(0.3611, 0.1159), stated, "f").source == "config.json"
    spread = {"scaling_factor": 0.5, "latents_std": [2.0, 4.0], "latents_mean": [1.0, -1.0]}
    assert scaling.resolved(autoencoder([0.25, 0.125], [1.0, -1.0]), spread, "f").source == "config.json"


def test_one_number_for_all_channels_says_nothing_against_a_mean_and_spread_of_each() -> None:
    own = autoencoder([0.064, 0.086], [-0.35, 2.4])
    assert scaling.resolved(own, {"scaling_factor": 0.13025}, "f").source == "its card"
    assert scaling.resolved(own, {"scaling_factor": 0.13025, "shift_factor": 0.1}, "f").source == "its card"


@pytest.mark.parametrize(
    ("params", "config", "message"),
    [
        (autoencoder(0.18), {"scaling_factor": 0.18215}, r"vae\.json: states the scale 0\.18215, .* say 0\.18;"),
        (autoencoder([0.18215, 0.2]), {"scaling_factor": 0.18215}, "states the scale"),
        (autoencoder([0.18215, 0.2], 0.0), {"scaling_factor": 0.18215}, "states the scale"),
        (autoencoder([0.5, 0.2], [0.0, 1.0]), {"latents_std": [2.0, 4.0]}, "states the scale"),
        (autoencoder([0.5, 0.25], [0.0, 1.0]), {"latents_std": [2.0, 4.0], "latents_mean": [0.0, 2.0]}, "the shift"),
        (autoencoder(0.3611), {"scaling_factor": 0.3611, "shift_factor": 0.1159}, "states the shift 0.1159"),
        (autoencoder(0.5), {"latents_std": [2.0, 4.0]}, "states the scale"),
        (autoencoder([0.5, 0.25, 1.0]), {"latents_std": [2.0, 4.0]}, "states the scale"),
        (autoencoder(0.5, 1.0), {"latents_mean": [1.0, -1.0], "shift_factor": 1.0}, "states the shift"),
    ],
)
def test_a_file_that_states_otherwise_is_refused(params: Autoencoder, config: dict[str, object], message: str) -> None:
    with pytest.raises(Refusal, match=message):
        scaling.resolved(params, config, "vae.json")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"latents_std": [[[1.5]], [[2.0]]]}, "states latents_std as list that is not one number per channel"),
        ({"latents_mean": [[0.1], [0.2]]}, "states latents_mean as list that is not one number per channel"),
        ({"scaling_factor": [0.5, 0.5]}, "states scaling_factor as list that is not one number, "),
        ({"shift_factor": "auto"}, "states shift_factor as str that is not one number, "),
        ({"latents_std": [1.0, 0.0]}, "latents_std holds 0"),
    ],
)
def test_what_is_stated_in_another_form_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(Refusal, match=f"vae.json: .*{message}") as refused:
        scaling.resolved(autoencoder(0.5), config, "vae.json")
    assert "\n" not in str(refused.value)


def test_a_scale_that_is_left_out_is_what_the_file_states() -> None:
    silent = Autoencoder(model="m")
    found = scaling.resolved(silent, {"scaling_factor": 0.3611, "shift_factor": 0.1159}, "f")
    assert found == scaling.LatentScaling(0.3611, 0.1159, "config.json")
    assert scaling.LatentScaling.from_json(found.to_json()) == found
    assert scaling.given(scaling.with_scaling(silent, found)) == found
    per_channel = scaling.resolved(silent, {"latents_std": [2.0, 4.0], "latents_mean": [1.0, -1.0]}, "f")
    assert per_channel == scaling.LatentScaling([0.5, 0.25], [1.0, -1.0], "config.json")
    with pytest.raises(Refusal, match="f: states no scaling_factor and no latents_std, and the parameters leave"):
        scaling.resolved(silent, {"shift_factor": 1.0}, "f")


@pytest.mark.parametrize(
    ("values", "key"), [({"shift": 1.0}, "shift"), ({"source": "its card"}, "source"), ({"scale": 0.5}, "source")]
)
def test_scale_shift_and_source_are_given_together(values: dict[str, Any], key: str) -> None:
    fault = Autoencoder(model="m", **values).fault()
    assert fault is not None
    assert fault.key == key
    assert Autoencoder(model="m").fault() is None
