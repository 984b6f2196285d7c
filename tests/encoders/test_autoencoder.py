"""Pictures to latents and back through a tiny random AutoencoderKL."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cpu_execution import cpu_execution
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import SCALING_FACTOR, SIDE_PX, make_tiny_autoencoder

from pipeline.data.randomness import generator
from pipeline.encoders.autoencoder import ImageAutoencoder, Latent, LoadedAutoencoder, load_autoencoder
from pipeline.encoders.scaling import LatentScaling
from pipeline.errors import Refusal, Reject
from pipeline.params.encoders import Autoencoder

TRAINED = Path(__file__).resolve().parents[2] / "data/demo_models/autoencoder"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_autoencoder(tmp_path_factory.mktemp("autoencoder"))


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "autoencoder"))


def load(folder: Path, *, batch_size: int = 2, **changes: Any) -> ImageAutoencoder:
    values = {"model": str(folder), "scale": SCALING_FACTOR, "source": "its card", **changes}
    execution = cpu_execution(inference_batch_size=batch_size)
    return ImageAutoencoder(Autoencoder(**values), execution)


def pictures(num_images: int) -> list[Image.Image]:
    pixels = generator(0, "pictures").integers(0, 256, (num_images, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return [Image.fromarray(array) for array in pixels]


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not ...}))


def whole(rows: list[Latent | Reject]) -> list[Latent]:
    assert all(isinstance(row, Latent) for row in rows)
    return [row for row in rows if isinstance(row, Latent)]


def test_latents_are_the_models_own_raw_mean_and_std(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from diffusers import AutoencoderKL

    images = pictures(3)
    autoencoder = load(folder)
    rows = whole(autoencoder.encode(images))
    pixels = np.stack([np.asarray(image) for image in images]).astype(np.float32) / 127.5 - 1  # 0 -> -1, 255 -> 1
    with torch.no_grad():
        dist = AutoencoderKL.from_pretrained(folder).encode(torch.from_numpy(pixels.transpose(0, 3, 1, 2))).latent_dist
    np.testing.assert_allclose(np.stack([row.mean for row in rows]), dist.mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.stack([row.std for row in rows if row.std is not None]), dist.std.numpy(), atol=1e-5)
    assert (autoencoder.num_channels, autoencoder.downsampling_factor) == (4, 8)
    assert rows[0].mean.shape == (4, SIDE_PX // 8, SIDE_PX // 8)
    assert rows[0].mean.dtype == np.float32


def test_latents_do_not_depend_on_the_batch(folder: Path) -> None:
    images = pictures(5)
    together = whole(load(folder, batch_size=4).encode(images))
    alone = whole(load(folder, batch_size=1).encode(images))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-5)
    assert load(folder).encode([]) == []


def test_decoding_rounds_and_clips(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    autoencoder = load(folder)
    levels = np.arange(256, dtype=np.float32)
    # a decoder that gives back grey levels half a step off, and values outside [-1, 1]
    pixels = np.concatenate([(levels + 0.4) / 127.5 - 1, (levels - 0.4) / 127.5 - 1, [-7.0, 7.0]]).astype(np.float32)
    sample = torch.from_numpy(pixels).expand(1, 3, 1, -1)
    monkeypatch.setattr(autoencoder._model, "decode", lambda _: type("Output", (), {"sample": sample}))
    (image,) = autoencoder.decode(np.zeros((1, 4, 1, 1), np.float32))
    assert isinstance(image, Image.Image)
    expected = np.concatenate([levels, levels, [0, 255]]).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(image)[0, :, 0], expected)


def test_decoding_takes_batches_of_raw_latents(folder: Path) -> None:
    autoencoder = load(folder)
    latents = np.stack([row.mean for row in whole(autoencoder.encode(pictures(3)))])
    images = [image for image in autoencoder.decode(latents) if isinstance(image, Image.Image)]
    assert [(image.size, image.mode) for image in images] == [((SIDE_PX, SIDE_PX), "RGB")] * 3
    broken = latents.copy()
    broken[1, 0, 0, 0] = np.nan
    reasons = [row.reason if isinstance(row, Reject) else "" for row in autoencoder.decode(broken)]
    assert reasons == ["", "not_finite", ""]
    with pytest.raises(ValueError, match="latents of shape"):
        autoencoder.decode(latents[:, :3])


def test_latents_that_are_no_numbers_are_one_rows_reject(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    autoencoder = load(folder)
    encode = autoencoder._model.encode

    def overflowing(pixels: Any) -> Any:
        bright = pixels.mean(dim=(1, 2, 3), keepdim=True) > 0.9
        return encode(torch.where(bright, torch.inf, pixels))

    monkeypatch.setattr(autoencoder._model, "encode", overflowing)
    dark, white = pictures(1)[0], Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    rows = autoencoder.encode([dark, white, dark])
    assert [row.reason if isinstance(row, Reject) else "" for row in rows] == ["", "not_finite", ""]


def test_the_scale_is_the_files_or_the_parameters_never_the_librarys(folder: Path, own_folder: Path) -> None:
    assert load(folder).scaling.source == "config.json"
    with pytest.raises(Refusal, match=r"states the scale 0\.18, the parameters say 0\.18215"):
        load(folder, scale=0.18215)
    change_config(own_folder, scaling_factor=...)  # diffusers would fill in 0.18215 now
    assert load(own_folder, scale=0.5).scaling.source == "its card"
    with pytest.raises(Refusal, match="3 values for latents of 4 channels"):
        load(own_folder, scale=[0.5, 0.5, 0.5])


def test_wrong_pictures_are_refused(folder: Path) -> None:
    autoencoder = load(folder)
    with pytest.raises(Refusal, match="60 x 60 px; sides must be multiples of 8"):
        autoencoder.encode([Image.new("RGB", (60, 60))])
    with pytest.raises(ValueError, match="one size and RGB"):
        autoencoder.encode([Image.new("RGB", (64, 64)), Image.new("RGB", (32, 32))])
    with pytest.raises(ValueError, match="one size and RGB"):
        autoencoder.encode([Image.new("L", (64, 64))])


def test_weights_that_do_not_match_are_refused(own_folder: Path) -> None:
    weights = load_file(own_folder / WEIGHTS)
    save_file({n: v for n, v in weights.items() if n != "encoder.conv_in.bias"}, own_folder / WEIGHTS)
    with pytest.raises(Refusal, match=r"1 missing weights, first encoder\.conv_in\.bias"):
        load(own_folder)
    save_file({**weights, "extra": weights["encoder.conv_in.bias"].clone()}, own_folder / WEIGHTS)
    with pytest.raises(Refusal, match="1 unexpected weights, first extra"):
        load(own_folder)


def test_other_models_are_refused(own_folder: Path) -> None:
    for name in ("UNet2DModel", "AutoencoderOfMine", None):
        change_config(own_folder, _class_name=name)
        with pytest.raises(Refusal, match="an image autoencoder of diffusers is needed"):
            load(own_folder)


def test_an_autoencoder_without_a_distribution_has_no_std(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        scaling_factor=1.0,
    ).save_pretrained(tmp_path)
    autoencoder = load(tmp_path, scale=1.0)
    assert (autoencoder.num_channels, autoencoder.downsampling_factor) == (4, 4)
    (row,) = whole(autoencoder.encode(pictures(1)))
    assert row.std is None
    assert row.mean.shape == (4, 16, 16)


def test_an_autoencoder_for_videos_takes_a_picture_as_one_frame(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    AutoencoderKLWan(
        base_dim=4, z_dim=4, num_res_blocks=1, latents_mean=[0.5, 0.0, 0.0, 0.0], latents_std=[2.0, 1.0, 1.0, 4.0]
    ).save_pretrained(tmp_path)
    autoencoder = load(tmp_path, scale=None, source=None)
    assert (autoencoder.num_channels, autoencoder.downsampling_factor) == (4, 8)
    assert autoencoder.scaling == LatentScaling([0.5, 1.0, 1.0, 0.25], [0.5, 0.0, 0.0, 0.0], "config.json")
    (row,) = whole(autoencoder.encode(pictures(1)))
    pixels = torch.from_numpy(np.asarray(pictures(1)[0]).copy()).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
    with torch.no_grad():
        expected = AutoencoderKLWan.from_pretrained(tmp_path).encode(pixels).latent_dist.mean[0, :, 0].numpy()
    np.testing.assert_allclose(row.mean, expected, atol=1e-5)
    (image,) = autoencoder.decode(row.mean[None])
    assert isinstance(image, Image.Image)
    assert image.size == (SIDE_PX, SIDE_PX)


def test_a_scale_that_nobody_states_is_refused(own_folder: Path) -> None:
    assert load(own_folder, scale=None, source=None).scaling == LatentScaling(SCALING_FACTOR, None, "config.json")
    change_config(own_folder, scaling_factor=..., shift_factor=...)
    with pytest.raises(
        Refusal, match=r"config\.json: states no scaling_factor and no latents_std.*give scale and source"
    ):
        load(own_folder, scale=None, source=None)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_and_says_how_near(folder: Path, dtype: str) -> None:
    exact, half = load(folder), load(folder, dtype=dtype)
    images = pictures(3)
    pairs = list(zip(whole(exact.encode(images)), whole(half.encode(images)), strict=True))
    ours, theirs = (np.stack([pair[i].mean for pair in pairs]) for i in (0, 1))
    assert theirs.dtype == np.float32
    said = half.difference(images)
    assert said is not None
    assert said.rms == pytest.approx(float(np.sqrt(np.mean((ours - theirs) ** 2)) / ours.std()), rel=1e-4)
    assert 0.0 < said.rms < 0.02
    assert said.in_words().startswith(f"{dtype} beside float32, 3 pictures: latents differ by ")
    assert exact.difference(images) is None
    for one, other in zip(exact.decode(ours), half.decode(ours), strict=True):  # float32, both
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_pictures_that_overflow_in_half_precision_are_named(own_folder: Path) -> None:
    weights = load_file(own_folder / WEIGHTS)
    weights["quant_conv.weight"] *= 1e6  # beyond the range of float16, which ends at 65,504
    weights["quant_conv.bias"] *= 1e6
    save_file(weights, own_folder / WEIGHTS)
    assert all(isinstance(row, Reject) for row in load(own_folder, dtype="float16").encode(pictures(2)))
    said = load(own_folder, dtype="float16").difference(pictures(2))
    assert said is not None
    assert (said.num_not_finite, said.rms) == (2, None)
    assert "of 2 the latents are no numbers in float16" in said.in_words()
    said = load(own_folder, dtype="bfloat16").difference(pictures(2))
    assert said is not None
    assert said.num_not_finite == 0


def test_weights_under_the_old_names_of_attention_load(tmp_path: Path) -> None:
    """The paper's autoencoder was published before diffusers renamed its attention."""
    torch = pytest.importorskip("torch")
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    model = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, scaling_factor=SCALING_FACTOR)
    model.save_pretrained(tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in load_file(tmp_path / WEIGHTS).items():
        part = next((part for part in old if f"attentions.0.{part}." in name), None)
        weights[name.replace(part, old[part]) if part else name] = value
    assert any("proj_attn" in name for name in weights)
    save_file(weights, tmp_path / WEIGHTS)
    image = pictures(1)[0]
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = model.eval().encode(pixels).latent_dist.mean[0].numpy()
    (row,) = whole(load(tmp_path).encode([image]))
    np.testing.assert_allclose(row.mean, expected, atol=1e-5)


GROUPS = {"norm_num_groups": 4, "block_out_channels": (8, 8)}
KL_BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
TINY = {
    "encoder_block_out_channels": (8, 8),
    "decoder_block_out_channels": (8, 8),
    "num_encoder_blocks": (1, 1),
    "num_decoder_blocks": (1, 1),
}
DC = {
    **{f"{part}_block_out_channels": (8, 8) for part in ("encoder", "decoder")},
    **{f"{part}_layers_per_block": (1, 1) for part in ("encoder", "decoder")},
    **{f"{part}_qkv_multiscales": ((), ()) for part in ("encoder", "decoder")},
    **{f"{part}_block_types": ("ResBlock", "ResBlock") for part in ("encoder", "decoder")},
    "latent_channels": 4,
    "attention_head_dim": 8,
    "upsample_block_type": "interpolate",
}
RAE = {
    "encoder_hidden_size": 64,
    "encoder_patch_size": 4,
    "encoder_num_hidden_layers": 1,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
    "patch_size": 4,
    "encoder_input_size": SIDE_PX,
    "image_size": SIDE_PX,
}


def make(folder: Path, class_name: str, **config: Any) -> Path:
    """A random autoencoder of an official class."""
    torch = pytest.importorskip("torch")
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(diffusers, class_name)(**config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("class_name", "config", "channels", "factor"),
    [
        ("AutoencoderKL", {**GROUPS, **KL_BLOCKS}, 4, 2),
        ("AutoencoderKLFlux2", {**GROUPS, **KL_BLOCKS, "latent_channels": 8}, 32, 4),
        ("VQModel", {"block_out_channels": (8,), "norm_num_groups": 4, "num_vq_embeddings": 16}, 3, 1),
        ("AutoencoderDC", DC, 4, 2),
        ("AutoencoderTiny", TINY, 4, 2),
    ],
)
def test_untrained_autoencoders_of_the_usual_convention_pass(
    tmp_path: Path, class_name: str, config: dict[str, Any], channels: int, factor: int
) -> None:
    make(tmp_path, class_name, **config)
    autoencoder = load(tmp_path, scale=json.loads((tmp_path / "config.json").read_text()).get("scaling_factor", 1.0))
    assert (autoencoder.num_channels, autoencoder.downsampling_factor) == (channels, factor)
    rows = whole(autoencoder.encode(pictures(2)))
    images = [
        image for image in autoencoder.decode(np.stack([row.mean for row in rows])) if isinstance(image, Image.Image)
    ]
    assert [image.size for image in images] == [(SIDE_PX, SIDE_PX)] * 2


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        (
            "AutoencoderRAE",
            RAE,
            "encodes pictures of 64 px to 16 x 16 and 128 px to 16 x 16 latents, so it resizes them",
        ),
        ("AutoencoderKLTemporalDecoder", {"block_out_channels": (32,)}, r"cannot decode single pictures.*num_frames"),
        (
            "AutoencoderTiny",
            {**TINY, "upsampling_scaling_factor": 4},
            "decodes the latents of a picture of 3 x 64 x 64 values to 3 x 128 x 128",
        ),
        ("AutoencoderKL", {**GROUPS, **KL_BLOCKS, "out_channels": 1}, "of 3 x 64 x 64 values to 1 x 64 x 64"),
    ],
)
def test_an_autoencoder_of_another_convention_is_refused_when_it_is_loaded(
    tmp_path: Path, class_name: str, config: dict[str, Any], message: str
) -> None:
    make(tmp_path / class_name, class_name, **config)
    scale = json.loads((tmp_path / class_name / "config.json").read_text()).get("scaling_factor", 1.0)
    with pytest.raises(Refusal, match=message) as refused:
        load(tmp_path / class_name, scale=scale)
    assert str(refused.value).startswith(str(tmp_path / class_name))
    assert "\n" not in str(refused.value)


def test_an_autoencoder_that_normalises_pictures_itself_is_refused(folder: Path) -> None:
    model = load_autoencoder(folder)
    model.register_to_config(encoder_norm_mean=[0.5, 0.5, 0.5])
    with pytest.raises(Refusal, match=r"m: its class normalises pictures itself.*takes them in \[0, 1\]"):
        LoadedAutoencoder(model, batch_size=1, where="m")


class InUnitRange:
    """A trained autoencoder that takes and gives pictures in [0, 1], and says so nowhere."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.device = model.device

    def encode(self, pixels: Any) -> Any:
        return self._model.encode(pixels * 2 - 1)

    def decode(self, latents: Any) -> Any:
        return SimpleNamespace(sample=(self._model.decode(latents).sample + 1) / 2)


def test_the_range_of_pixels_is_measured_where_the_model_is_trained() -> None:
    model = load_autoencoder(TRAINED)
    assert LoadedAutoencoder(model, batch_size=2, where="m").downsampling_factor == 8
    with pytest.raises(
        Refusal, match=r"^m: gives back greys in \[0, 1\] \(15 of 255 levels .* \[-1, 1\] \(53 levels\)"
    ):
        LoadedAutoencoder(InUnitRange(model), batch_size=2, where="m")


@pytest.mark.parametrize("part", ["encode", "decode"])
def test_an_autoencoder_that_gives_no_numbers_is_refused(folder: Path, part: str) -> None:
    torch = pytest.importorskip("torch")
    model = load_autoencoder(folder)
    with torch.no_grad():
        getattr(model, f"{part}r").conv_out.weight.fill_(torch.nan)
    with pytest.raises(Refusal, match="that are no numbers"):
        LoadedAutoencoder(model, batch_size=1, where="m")


def test_an_encoder_that_sees_no_pictures_is_refused(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    model = load_autoencoder(folder)
    with torch.no_grad():
        model.encoder.conv_in.weight.zero_()
    with pytest.raises(Refusal, match=r"the same latents for pictures of the greys \(40, 200\)"):
        LoadedAutoencoder(model, batch_size=1, where="m")


def test_want_of_memory_says_nothing_of_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    model = load_autoencoder(folder)

    def full(_: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(model, "encode", full)
    with pytest.raises(torch.OutOfMemoryError):
        LoadedAutoencoder(model, batch_size=1, where="m")
