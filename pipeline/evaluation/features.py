"""Feature vectors of images, for distances between sets of images and for style probes.

Those of a captioner's vision tower stand in where no larger network is at hand: a distance in them is a metric of its
own, and no FID.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from PIL import Image

from pipeline.data.images import square_view
from pipeline.encoders.loading import choose_device, loaded_or_refused, resolve_model
from pipeline.encoders.parts import check_image_processor_files
from pipeline.errors import Refusal
from pipeline.evaluation.benchmark import in_batches
from pipeline.params import kinds, scoring
from pipeline.params.schema import Execution
from pipeline.runner.job import Job


class FeatureExtractor(Protocol):
    """An image encoder."""

    @classmethod
    def open(cls, params: Any, execution: Execution) -> Self:
        """The encoder that an entry of ``score.feature_extractors`` describes. Raises Refusal where it is not there."""

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of the images, float [n, dim]. One call is one forward pass: the caller chooses n."""


class RowFeatures:
    """The features that a row of score measures on.

    Args:
        job: a unit of score.

    Attributes:
        name: of the entry.
        params: the entry.
    """

    def __init__(self, job: Job) -> None:
        import torch

        self.name: str = job.row_params.features
        self.params: scoring.Features = job.table_entry("feature_extractors", self.name)
        execution = job.plan.params.execution
        torch.set_num_threads(execution.num_threads)
        self._batch_size = execution.inference_batch_size
        self._extract: FeatureExtractor = kinds.FEATURES.class_of(self.params).open(self.params, execution)

    def __call__(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Features [n, dim] of pictures, each seen as a square view."""
        views = (square_view(picture, self.params.side_px) for picture in pictures)
        return np.concatenate([self._extract(batch) for batch in in_batches(views, self._batch_size)])


class VisionTowerFeatures:
    """Mean of the patch tokens that the vision tower of a LLaVA model hands to its language model.

    The layer is the model's own ``vision_feature_layer`` (layers behind it are not trained with the captioner), before
    the projection to the language model; a class token in front is left out of the mean. float32 throughout.

    Args:
        model_folder: a LLaVA model with its image processor, as ``save_pretrained`` writes it.
        device: a torch device name, such as ``cpu`` or ``cuda``.

    Raises:
        Refusal: the folder holds no such model, or weights or the image processor's file are missing.
    """

    def __init__(self, model_folder: Path, device: str) -> None:
        """Load the tower onto the device."""
        import torch
        from transformers import AutoConfig, AutoImageProcessor, LlavaConfig, LlavaForConditionalGeneration

        if not (model_folder / "config.json").is_file():
            raise Refusal(f"{model_folder}: no config.json; name a folder with a LLaVA model")
        config: Any = loaded_or_refused(
            lambda: AutoConfig.from_pretrained(model_folder, local_files_only=True), model_folder
        )
        if not isinstance(config, LlavaConfig):
            raise Refusal(f"{model_folder}: holds a model of type {config.model_type}; a LLaVA model is needed")
        if not isinstance(config.vision_feature_layer, int):
            raise Refusal(f"{model_folder}: vision_feature_layer {config.vision_feature_layer} must be one layer")
        # typed Any: the stubs know nothing of the pair that output_loading_info gives
        loaded: Any = loaded_or_refused(
            lambda: LlavaForConditionalGeneration.from_pretrained(
                model_folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
            ),
            model_folder,
        )
        model, loading = loaded
        absent = sorted(str(name) for name in (*loading["missing_keys"], *loading["mismatched_keys"]))
        if absent:
            raise Refusal(f"{model_folder}: {len(absent)} weights are missing, first {absent[0]}; save the model anew")
        self._layer = config.vision_feature_layer
        self._tower = model.model.vision_tower.to(device).eval()
        check_image_processor_files(model_folder)
        image_processor: Any = AutoImageProcessor
        self._processor = loaded_or_refused(
            lambda: image_processor.from_pretrained(model_folder, local_files_only=True), model_folder
        )
        self._device = device

    @classmethod
    def open(cls, params: scoring.VisionTower, execution: Execution) -> Self:
        """The tower that an entry describes."""
        return cls(resolve_model(params.model, params.revision), str(choose_device(execution)))

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of the images, float32 [n, dim]. One call is one forward pass: the caller chooses n."""
        import torch

        pixels = self._processor(images=[image.convert("RGB") for image in images], return_tensors="pt").pixel_values
        with torch.inference_mode():
            outputs = self._tower(pixels.to(self._device), output_hidden_states=True)
        tokens = outputs.hidden_states[self._layer]  # [n, tokens, dim]
        config = self._tower.config
        num_patches = (config.image_size // config.patch_size) ** 2
        features: np.ndarray = tokens[:, -num_patches:].mean(dim=1).cpu().numpy()
        return features
