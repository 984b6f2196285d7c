"""Vision tower features against the tower's own outputs, on a tiny random LLaVA model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.randomness import generator
from pipeline.errors import Refusal
from pipeline.evaluation.features import VisionTowerFeatures

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIDE_PX, PATCH_PX, DIM = 32, 8, 24


def tiny_llava(vision_feature_layer: int | list[int]) -> transformers.LlavaForConditionalGeneration:
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(
        hidden_size=DIM,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE_PX,
        patch_size=PATCH_PX,
        projection_dim=DIM,
    )
    text = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=16
    )
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=5,
        vision_feature_layer=vision_feature_layer,
        vision_feature_select_strategy="full",
    )
    return transformers.LlavaForConditionalGeneration(config).eval()


def save(model: transformers.LlavaForConditionalGeneration, folder: Path) -> None:
    from transformers import CLIPImageProcessorPil

    model.save_pretrained(folder)
    side = {"height": SIDE_PX, "width": SIDE_PX}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE_PX}, crop_size=side).save_pretrained(folder)


def pictures(num_images: int) -> list[Image.Image]:
    pixels = generator(0, "pictures").integers(0, 256, (num_images, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return [Image.fromarray(array) for array in pixels]


def test_features_are_the_mean_of_the_patch_tokens(tmp_path: Path) -> None:
    model = tiny_llava(vision_feature_layer=-2)
    save(model, tmp_path)
    images = pictures(3)
    features = VisionTowerFeatures(tmp_path, "cpu")(images)

    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = (np.stack([np.asarray(image) for image in images]) / 255 - mean) / std
    with torch.inference_mode():
        states = model.model.vision_tower(
            torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float(), output_hidden_states=True
        ).hidden_states
    num_patches = (SIDE_PX // PATCH_PX) ** 2
    assert states[-2].shape[1] == num_patches + 1
    np.testing.assert_allclose(features, states[-2][:, 1:].mean(dim=1).numpy(), atol=1e-5)
    assert features.shape == (3, DIM)
    assert features.dtype == np.float32


def test_features_do_not_depend_on_the_batch_or_the_mode(tmp_path: Path) -> None:
    save(tiny_llava(vision_feature_layer=-1), tmp_path)
    extract = VisionTowerFeatures(tmp_path, "cpu")
    images = pictures(3)
    alone = np.concatenate([extract([image.convert("RGBA")]) for image in images])
    np.testing.assert_allclose(extract(images), alone, atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"no config\.json"):
        VisionTowerFeatures(tmp_path, "cpu")


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    transformers.T5Config().save_pretrained(tmp_path)
    with pytest.raises(Refusal, match="type t5"):
        VisionTowerFeatures(tmp_path, "cpu")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save(tiny_llava(vision_feature_layer=-1), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    removed = next(name for name in weights if "vision" in name and "layers.1" in name)
    save_file({name: value for name, value in weights.items() if name != removed}, tmp_path / "model.safetensors")
    with pytest.raises(Refusal, match="1 weights are missing"):
        VisionTowerFeatures(tmp_path, "cpu")


def test_several_feature_layers_are_refused(tmp_path: Path) -> None:
    save(tiny_llava(vision_feature_layer=[-1, -2]), tmp_path)
    with pytest.raises(Refusal, match="must be one layer"):
        VisionTowerFeatures(tmp_path, "cpu")
