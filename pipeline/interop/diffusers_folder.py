"""A text-to-image pipeline of diffusers as a model: loaded by its own classes, drawn with by its own scheduler.

The folder has ``model_index.json``, which names a class of diffusers and one of diffusers or transformers for each
component; code that lies beside weights is never run. Of such a model a result holds ``pipeline.json`` alone: which
folder or revision it is.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from pipeline.data.files import PIPELINE_JSON
from pipeline.data.randomness import torch_generator
from pipeline.encoders.loading import choose_device, load_strictly, loaded_or_refused, one_line, quiet, resolve_pipeline
from pipeline.encoders.parts import (
    check_configuration,
    check_image_processor_files,
    check_scheduler_file,
    check_tokenizer_files,
    prove_token_embeddings,
    prove_tokenizer,
)
from pipeline.errors import Refusal, Reject, refuse_system_error
from pipeline.interop.records import Identify, read_record, write_record
from pipeline.models.inputs import padded_batches
from pipeline.params.schema import Execution, FolderScheduler
from pipeline.params.types import Strict

INDEX = "model_index.json"
BUNDLE_CLASS = "TextToImagePipeline"  # of a bundle of this project, which is drawn with by ``bundle``
VERSION = 1
# What a call must understand: these are all that the parameters say of drawing.
ASKED = ("prompt", "height", "width", "num_inference_steps", "guidance_scale", "generator", "output_type")
# Where a call knows these, the side is drawn as asked rather than near it, and prompts are read as they are whichever
# packages are installed.
FIXED = {"use_resolution_binning": False, "clean_caption": False}
_ANY_LEFT_OVER = ("",)  # old folders carry buffers that newer classes compute
_NETWORKS = ("transformer", "unet", "prior")


class PipelineRecord(Strict, frozen=True, kw_only=True):
    """The content of ``pipeline.json``.

    Attributes:
        schema: version of this file's form.
        arm: what the model is called on the page.
        seed: what it stands for among models of its arm.
        model: a folder, or an id on the Hub.
        revision: the commit of an id.
        identity: of its files.
        class_name: of the pipeline.
        dtype: in which it computes.
        num_parameters: of the network that is asked at each step.
    """

    schema: int
    arm: str
    seed: int
    model: str
    revision: str | None
    identity: str
    class_name: str
    dtype: Literal["float32", "float16", "bfloat16"]
    num_parameters: int


def write(folder: Path, record: PipelineRecord) -> None:
    """Write ``pipeline.json``."""
    write_record(folder / PIPELINE_JSON, record)


def read(folder: Path) -> PipelineRecord:
    """Read ``pipeline.json``. Raises Refusal when it is absent or not what this code wrote."""
    anew = "take the model in anew"
    return read_record(folder / PIPELINE_JSON, PipelineRecord, VERSION, absent=anew, remedy=anew)


def read_index(folder: Path) -> dict[str, Any]:
    """The content of ``model_index.json``. Raises Refusal when it is absent or no JSON object."""
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refusal(f"{path}: not there; name a folder that a pipeline was saved to") from error
    except (OSError, ValueError) as error:
        refuse_system_error(error, path)
        raise Refusal(f"{path}: cannot be read ({one_line(error)}); save the pipeline anew") from error
    if not isinstance(index, dict):
        raise Refusal(f"{path}: holds no JSON object; save the pipeline anew")
    return index


class DiffusersTextToImage:
    """A loaded pipeline of diffusers that draws pictures from prompts.

    Args:
        folder: with ``model_index.json``.
        dtype: in which it computes.
        execution: device, threads, batch size.

    Attributes:
        class_name: of the pipeline.
        num_parameters: of the network that is asked at each step.

    Raises:
        Refusal: no text-to-image pipeline of diffusers, weights or a part's file that are missing, or a tokenizer or
            text encoder that does not tell words apart.
    """

    def __init__(self, folder: Path, dtype: str, execution: Execution) -> None:
        import diffusers
        import torch
        import transformers

        quiet(diffusers)
        quiet(transformers)
        torch.set_num_threads(execution.num_threads)
        self._folder = folder
        self._batch_size = execution.inference_batch_size
        index = read_index(folder)
        self.class_name = str(index.get("_class_name"))
        self._fixed = _fixed_arguments(_pipeline_class(self.class_name, folder), folder)
        parts = _parts(index, folder)
        _check_files(parts, folder)
        components = _load_networks(parts, folder, getattr(torch, dtype))
        self._pipe: Any = loaded_or_refused(
            lambda: diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True, **components), folder
        )
        _prove_text_encoders(self._pipe.components, folder)
        self._pipe.to(choose_device(execution))
        self._pipe.set_progress_bar_config(disable=True)
        self.num_parameters = _num_parameters(components)

    def __call__(
        self, prompts: Sequence[str], seeds: Sequence[int], side_px: int, sampler: FolderScheduler
    ) -> list[Image.Image | Reject]:
        """One picture per prompt, or a reject where it is not of numbers.

        Every batch has the size that ``execution`` states, smaller ones are filled up. A picture's noise comes from
        its own seed.

        Args:
            prompts: texts.
            seeds: one per prompt.
            side_px: of the pictures.
            sampler: steps and guidance.

        Raises:
            Refusal: the pipeline refuses these values, or draws another size.
        """
        pictures: list[Image.Image | Reject] = []
        for rows, filled in padded_batches(list(range(len(prompts))), self._batch_size):
            drawn = self._draw([prompts[i] for i in filled], [seeds[i] for i in filled], side_px, sampler)
            pictures += [_to_image(pixels) for pixels in drawn[: len(rows)]]
        return pictures

    def _draw(self, prompts: list[str], seeds: list[int], side_px: int, sampler: FolderScheduler) -> np.ndarray:
        """[B, side_px, side_px, 3] in [0, 1]."""
        try:
            drawn = self._pipe(
                prompt=prompts,
                height=side_px,
                width=side_px,
                num_inference_steps=sampler.num_steps,
                guidance_scale=sampler.guidance_scale,
                generator=[torch_generator(seed) for seed in seeds],
                output_type="np",
                **self._fixed,
            )
        except (ValueError, TypeError) as error:
            raise Refusal(f"{self._folder}: {self.class_name} refuses to draw ({one_line(error)})") from error
        pixels = np.asarray(drawn.images)
        if pixels.shape != (len(prompts), side_px, side_px, 3):
            raise Refusal(f"side_px = {side_px}: {self.class_name} draws pictures of shape {pixels.shape[1:]}")
        return pixels


def take_in(
    model: str,
    revision: str | None,
    *,
    arm: str,
    seed: int,
    dtype: Literal["float32", "float16", "bfloat16"],
    execution: Execution,
    identify: Identify,
) -> PipelineRecord:
    """Load a pipeline once, to see that it can be, and say which it is. Raises Refusal as ``DiffusersTextToImage``."""
    loaded = DiffusersTextToImage(resolve_pipeline(model, revision), dtype, execution)
    return PipelineRecord(
        schema=VERSION,
        arm=arm,
        seed=seed,
        model=model,
        revision=revision,
        identity=identify(model, revision, "import"),
        class_name=loaded.class_name,
        dtype=dtype,
        num_parameters=loaded.num_parameters,
    )


def open_record(record: PipelineRecord, execution: Execution, identify: Identify) -> DiffusersTextToImage:
    """The pipeline that a record stands for.

    Raises:
        Refusal: it is not there any more, or is another one now.
    """
    identity = identify(record.model, record.revision, PIPELINE_JSON)
    if identity != record.identity:
        raise Refusal(f"{record.model}: was taken in as {record.identity}, but is now {identity}; take it in anew")
    return DiffusersTextToImage(resolve_pipeline(record.model, record.revision), record.dtype, execution)


def _pipeline_class(name: str, folder: Path) -> Any:
    import diffusers

    if name == BUNDLE_CLASS:
        raise Refusal(f"{folder}: is a bundle of this project; import its folder network, and leave out the kind")
    pipeline_class = getattr(diffusers, name, None)
    if not (isinstance(pipeline_class, type) and issubclass(pipeline_class, diffusers.DiffusionPipeline)):
        raise Refusal(f"{folder}: {INDEX} names the class {name}, which is no pipeline of the installed diffusers")
    return pipeline_class


def _fixed_arguments(pipeline: Any, folder: Path) -> dict[str, bool]:
    """What a call is told beside what is asked. Raises Refusal where it does not draw from text alone."""
    parameters = inspect.signature(pipeline.__call__).parameters
    missing = [name for name in ASKED if name not in parameters]
    if missing or ("image" in parameters and not _is_text_to_image(pipeline)):
        why = f"its call knows no {missing[0]}" if missing else "its call takes a picture"
        raise Refusal(f"{folder}: {pipeline.__name__} does not draw pictures from text alone ({why})")
    return {name: value for name, value in FIXED.items() if name in parameters}


def _is_text_to_image(pipeline: Any) -> bool:
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    return pipeline in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()


def _parts(index: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The class of every component that the index names."""
    import diffusers
    import transformers

    parts = {}
    for name, entry in index.items():
        if not isinstance(entry, list) or len(entry) != 2 or None in entry:
            continue
        home: Any = {"diffusers": diffusers, "transformers": transformers}.get(entry[0])
        home = home or getattr(diffusers.pipelines, str(entry[0]), None)
        parts[name] = getattr(home, str(entry[1]), None)
        if parts[name] is None:
            raise Refusal(f"{folder / INDEX}: {name} is of class {entry}, which diffusers and transformers do not have")
    return parts


def _check_files(parts: dict[str, Any], folder: Path) -> None:
    """Refuse a component without its file: the libraries would give it the values of its class."""
    import diffusers
    import torch
    import transformers
    from transformers.image_processing_utils import ImageProcessingMixin

    for name, kind in parts.items():
        if not isinstance(kind, type):
            continue
        if issubclass(kind, torch.nn.Module):
            check_configuration(folder / name)
        elif issubclass(kind, transformers.PreTrainedTokenizerBase):
            check_tokenizer_files(folder / name, kind)
        elif issubclass(kind, diffusers.SchedulerMixin):
            check_scheduler_file(folder / name)
        elif issubclass(kind, ImageProcessingMixin):
            check_image_processor_files(folder / name)


def _load_networks(parts: dict[str, Any], folder: Path, dtype: Any) -> dict[str, Any]:
    """Every component that has weights, loaded strictly; the others are left to diffusers."""
    import torch

    networks = {}
    for name, kind in parts.items():
        if isinstance(kind, type) and issubclass(kind, torch.nn.Module):
            load: Any = kind
            networks[name] = load_strictly(load.from_pretrained, folder / name, not_wanted=_ANY_LEFT_OVER, dtype=dtype)
    return networks


def _prove_text_encoders(components: dict[str, Any], folder: Path) -> None:
    """Refuse a tokenizer, or a text encoder of the same number, that does not tell words apart."""
    import transformers

    for name, tokenizer in components.items():
        if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
            continue
        prove_tokenizer(tokenizer, folder / name)
        encoder = name.replace("tokenizer", "text_encoder")
        if isinstance(components.get(encoder), transformers.PreTrainedModel):
            prove_token_embeddings(components[encoder], tokenizer, folder / encoder)


def _num_parameters(components: dict[str, Any]) -> int:
    named = next((name for name in _NETWORKS if name in components), None)
    counted = components.values() if named is None else [components[named]]
    return sum(weights.numel() for component in counted for weights in component.parameters())


def _to_image(pixels: np.ndarray) -> Image.Image | Reject:
    if not np.isfinite(pixels).all():
        return Reject("not_finite", f"{int((~np.isfinite(pixels)).sum())} of {pixels.size} values of the picture")
    return Image.fromarray(np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8))
