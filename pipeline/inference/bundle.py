"""A model as a folder to hand on, and as a pipeline of diffusers: ``TextToImagePipeline.from_pretrained(folder)``.

The folder (a bundle) has the layout of diffusers: ``model_index.json`` and a sub-folder per component. ``network`` is
the model's own folder as the stages write it, ``references.json`` included. Beside them lie ``usage.json`` (how
pictures are drawn unless asked otherwise), ``provenance.json`` and the card made from it, ``README.md``. Components
that ``model_index.json`` names as absent are those that ``references.json`` names, wherever they are.

Pictures are those of the stage generate: the same loop draws them, in batches of the same size.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from msgspec import UNSET
from PIL import Image

from pipeline.dag.identities import Digests
from pipeline.data.files import WEIGHTS_FILE
from pipeline.diffusion.path import draw_noise
from pipeline.digest import sha256_of_file
from pipeline.encoders import wanted
from pipeline.encoders.autoencoder import LoadedAutoencoder, load_autoencoder
from pipeline.encoders.loading import resolve_model
from pipeline.encoders.text import LoadedTextEncoder, load_tokenizer, tokenizer_folder
from pipeline.errors import Refusal, Reject
from pipeline.inference.card import PROVENANCE_VERSION, USAGE_VERSION, Provenance, Usage, card
from pipeline.inference.text_to_image import LoadedTextToImage, check_encoders, own_unconditional
from pipeline.interop import references
from pipeline.interop.diffusers_folder import BUNDLE_CLASS, INDEX, read_index
from pipeline.interop.records import Identify, Kind, read_record
from pipeline.interop.references import References
from pipeline.models.inputs import checked_count
from pipeline.models.networks import load_network, rebuilt
from pipeline.params.fits import changed
from pipeline.params.kinds import TEXT_ENCODERS
from pipeline.store.modes import follow_umask

NETWORK, AUTOENCODER, TEXT_ENCODER, TOKENIZER = "network", "autoencoder", "text_encoder", "tokenizer"
ENCODERS = (AUTOENCODER, TEXT_ENCODER, TOKENIZER)
USAGE_JSON, PROVENANCE_JSON, CARD = "usage.json", "provenance.json", "README.md"


@dataclass(frozen=True)
class About:
    """What belongs to a model beside its components.

    Attributes:
        references: what the model says of itself.
        usage: how pictures are drawn unless asked otherwise.
        provenance: where it comes from, for its card.
        unconditional: float32 [T, dim], its own embedding of the empty caption; None: the text encoder's.
        where: what it was loaded from, for messages.
    """

    references: References
    usage: Usage
    provenance: Provenance
    unconditional: np.ndarray | None
    where: str


class TextToImagePipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is not typed
    """A model of this project with its text encoder and autoencoder.

    Args:
        network: predicts.
        autoencoder: of diffusers.
        text_encoder: of transformers, of the class that its kind is loaded as.
        tokenizer: its tokenizer.
        about: see there; ``from_pretrained`` reads it.
    """

    model_cpu_offload_seq = "text_encoder->network->autoencoder"

    def __init__(
        self, network: Any, autoencoder: Any, text_encoder: Any, tokenizer: Any, about: About | None = None
    ) -> None:
        super().__init__()
        if about is None:
            raise Refusal(f"{BUNDLE_CLASS} is made from a folder: call from_pretrained")
        self.register_modules(network=network, autoencoder=autoencoder, text_encoder=text_encoder, tokenizer=tokenizer)
        self.about = about

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TextToImagePipeline:
        """Load a bundle on the CPU, in float32; nothing is downloaded unless it names encoders on the Hub.

        Args:
            folder: what ``save_pretrained`` or ``make bundle`` wrote.

        Raises:
            Refusal: a file is missing, damaged or of another version, or weights do not match.
        """
        top = Path(folder)
        index = read_index(top)
        if index.get("_class_name") != BUNDLE_CLASS:
            raise Refusal(f"{top}: its {INDEX} names the class {index.get('_class_name')!r}, not {BUNDLE_CLASS}")
        usage = _read(top / USAGE_JSON, Usage, USAGE_VERSION)
        provenance = _read(top / PROVENANCE_JSON, Provenance, PROVENANCE_VERSION)
        _check_weights(top / NETWORK, provenance, str(top / NETWORK / WEIGHTS_FILE), "export the bundle anew")
        missing = [name for name in ENCODERS if index.get(name, [None])[0] is None]
        if not missing:
            folders = {name: top / name for name in ENCODERS}
            return cls._loaded(top / NETWORK, folders, usage, provenance, str(top))
        if missing != list(ENCODERS):
            raise Refusal(f"{top / INDEX}: names {missing[0]} as absent but not all encoders; export the bundle anew")
        digests = Digests.of_project(Path.cwd())
        digests.remember = False
        return cls.of_model(top / NETWORK, usage, provenance, digests.model, str(top))

    @classmethod
    def of_model(
        cls, model: Path, usage: Usage, provenance: Provenance, identify: Identify, where: str
    ) -> TextToImagePipeline:
        """A model's own folder with the encoders that it refers to, which must be those that it was trained with.

        Args:
            model: configuration, weights, ``references.json``.
            usage: how pictures are drawn unless asked otherwise.
            provenance: where it comes from.
            identify: (model, revision, where) -> the identity of the weights there.
            where: for messages.

        Raises:
            Refusal: a part is missing, or is another one than the model was trained with.
        """
        refers = references.read(model)
        check_encoders(refers, identify, where)
        image, text = refers.autoencoder, refers.text_encoder
        _kind_of_text_encoder(refers, where)
        text_folder = resolve_model(text.model, text.revision, text.subfolder or None, wanted.TEXT_ENCODER)
        folders = {
            AUTOENCODER: resolve_model(image.model, image.revision, image.subfolder, wanted.AUTOENCODER),
            TEXT_ENCODER: text_folder,
            TOKENIZER: tokenizer_folder(text_folder, text.subfolder or None),
        }
        return cls._loaded(model, folders, usage, provenance, where)

    @classmethod
    def _loaded(
        cls, model: Path, folders: Mapping[str, Path], usage: Usage, provenance: Provenance, where: str
    ) -> TextToImagePipeline:
        refers = references.read(model)
        network = load_network(model).eval()
        network.set_attention(usage.attention)
        tokenizer = load_tokenizer(folders[TOKENIZER])
        return cls(
            network,
            load_autoencoder(folders[AUTOENCODER]),
            _kind_of_text_encoder(refers, where).load_model(
                folders[TEXT_ENCODER], tokenizer, refers.text_encoder, usage.attention
            ),
            tokenizer,
            About(refers, usage, provenance, own_unconditional(model, refers, network), where),
        )

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> ImagePipelineOutput:
        """Draw pictures; what is left out is as ``usage.json`` says.

        Args:
            prompt: a text or several.
            height: in pixels; pictures are square.
            width: the same.
            num_inference_steps: sampling steps.
            guidance_scale: classifier-free guidance; 1: none.
            num_images_per_prompt: pictures of each text, one after the other.
            generator: draws the noise: one for all pictures, or one for each.
            seed: instead of a generator: whole numbers, one for each picture, as the column ``seed`` of generated
                pictures has them. Where neither is given: 0, 1, 2, ...
            scores: what the pictures shall score, of a model that knows scores.

        Returns:
            ``images``: a list, all pictures of the first text first. A text that is longer than the model reads is
            cut, with a warning.

        Raises:
            Refusal: a value does not fit the model, or a picture could not be drawn.
        """
        prompts = _prompts(prompt, num_images_per_prompt)
        side_px = self._side_px(height, width)
        sampler = changed(self.about.usage.sampler, num_inference_steps, guidance_scale)
        model = self.text_to_image()
        model.choose_scores(scores or {})
        noise = _noise(model.latent_shape(side_px), len(prompts), generator, seed)
        images: list[Image.Image] = []
        for text, picture in zip(prompts, model(prompts, noise, sampler), strict=True):
            if isinstance(picture, Reject):
                raise Refusal(f"{text!r}: {picture}")
            images.append(picture)
        for note in model.cut_notes():
            warnings.warn(note, stacklevel=2)
        return ImagePipelineOutput(images=images)

    def text_to_image(self) -> LoadedTextToImage:
        """The components as what draws in the stage generate."""
        about, batch_size = self.about, self.about.usage.inference_batch_size
        return LoadedTextToImage(
            self.network,
            LoadedAutoencoder(self.autoencoder, batch_size=batch_size, where=about.where),
            _kind_of_text_encoder(about.references, about.where)(
                self.text_encoder,
                self.tokenizer,
                about.references.text_encoder,
                batch_size=batch_size,
                where=about.where,
            ),
            about.references,
            about.unconditional,
            batch_size=batch_size,
            where=about.where,
        )

    def save_pretrained(self, save_directory: str | Path, *, with_encoders: bool = True) -> None:
        """Write the pipeline as a folder of safetensors and JSON files, with its card.

        Args:
            save_directory: made where it is not there.
            with_encoders: write autoencoder, text encoder and tokenizer too; else the folder only refers to them, and
                loads where they are at hand.

        Raises:
            Refusal: the network's weights are no longer those that the card tells of; nothing of the folder is changed.
        """
        top = Path(save_directory)
        self._write_network(top / NETWORK)
        references.write(top / NETWORK, self.about.references)
        if self.about.references.unconditional is not UNSET and self.about.unconditional is not None:
            np.save(top / NETWORK / self.about.references.unconditional, self.about.unconditional, allow_pickle=False)
        if with_encoders:
            self.autoencoder.save_pretrained(top / AUTOENCODER, safe_serialization=True)
            _forget_origin(top / AUTOENCODER / "config.json")
            self.text_encoder.save_pretrained(top / TEXT_ENCODER)
            self.tokenizer.save_pretrained(top / TOKENIZER)
            for name in ENCODERS:
                follow_umask(top / name)
        index = json.loads(self.to_json_string())
        index |= {} if with_encoders else {name: [None, None] for name in ENCODERS}
        _write(top / INDEX, index)
        _write(top / USAGE_JSON, msgspec.to_builtins(self.about.usage))
        _write(top / PROVENANCE_JSON, msgspec.to_builtins(self.about.provenance))
        (top / CARD).write_text(card(self.about.provenance, self.about.references, self.about.usage), encoding="utf-8")

    def _write_network(self, folder: Path) -> None:
        """Configuration and weights; what lies in the folder stays as it is unless they are those of the card."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as written:
            rebuilt(self.network).save_pretrained(written, safe_serialization=True)
            remedy = "its card tells of other weights: write these alone, with network.save_pretrained"
            _check_weights(Path(written), self.about.provenance, f"{self.about.where}: the network", remedy)
            follow_umask(Path(written))
            for file in Path(written).iterdir():
                file.replace(folder / file.name)

    def _side_px(self, height: int | None, width: int | None) -> int:
        sides = {side for side in (height, width) if side is not None}
        if len(sides) > 1:
            raise Refusal(f"height = {height}, width = {width}: this model draws square pictures; give one side")
        return sides.pop() if sides else self.about.usage.side_px


def _kind_of_text_encoder(refers: References, where: str) -> type[LoadedTextEncoder]:
    """The class of a model's text encoder, which must be one of transformers' to be part of a pipeline."""
    kind = TEXT_ENCODERS.class_of(refers.text_encoder)
    if not issubclass(kind, LoadedTextEncoder):
        raise Refusal(f"{where}: its text encoder ({kind.__name__}) is none of transformers'; draw with it by generate")
    return cast(type[LoadedTextEncoder], kind)


def _prompts(prompt: str | Sequence[str], num_images_per_prompt: int) -> list[str]:
    """Each text as often as it is to be drawn."""
    number = checked_count("num_images_per_prompt", num_images_per_prompt)
    if not isinstance(prompt, str | list | tuple):
        raise Refusal(f"prompt: is a {type(prompt).__name__}; give a text or a list of texts")
    texts = _listed(prompt)
    for text in texts:
        if not isinstance(text, str):
            raise Refusal(f"prompt: holds a {type(text).__name__}; give a text or a list of texts")
    if not texts or not all(text.strip() for text in texts):
        raise Refusal("prompt: is empty; say what to draw")
    return [text for text in texts for _ in range(number)]


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str | int | torch.Generator) else list(value)


def _noise(
    shape: tuple[int, int, int],
    num_pictures: int,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seed: int | Sequence[int] | None,
) -> np.ndarray:
    """[B, C, H, W], from one source."""
    if generator is not None and seed is not None:
        raise Refusal("generator and seed: both draw the noise; give one of them")
    if isinstance(generator, torch.Generator):
        generators = [generator] * num_pictures
    elif generator is not None:
        generators = list(generator)
    else:
        seeds = list(range(num_pictures)) if seed is None else _listed(seed)
        _check_number("seed", len(seeds), num_pictures)
        return np.stack([draw_noise(shape, picture_seed) for picture_seed in seeds])
    _check_number("generator", len(generators), num_pictures)
    return np.stack(
        [torch.randn(shape, generator=of_picture, device=of_picture.device).cpu().numpy() for of_picture in generators]
    )


def _check_number(what: str, number: int, num_pictures: int) -> None:
    if number != num_pictures:
        raise Refusal(f"{what}: there are {number} for {num_pictures} pictures; give one for each")


def _read(path: Path, kind: type[Kind], version: int) -> Kind:
    return read_record(path, kind, version, absent="a bundle of this project has it", remedy="export the bundle anew")


def _check_weights(folder: Path, provenance: Provenance, where: str, remedy: str) -> None:
    """Refuse a network's file that is absent, or not the one whose scores and data the provenance tells."""
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise Refusal(f"{where}: not there; {remedy}")
    sha256 = sha256_of_file(file)
    if sha256 != provenance.weights_sha256:
        raise Refusal(f"{where}: sha256 {sha256}, {PROVENANCE_JSON} names {provenance.weights_sha256}; {remedy}")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _forget_origin(path: Path) -> None:
    """A loaded model of diffusers remembers the folder that it came from, which concerns nobody else."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    _write(path, config)
