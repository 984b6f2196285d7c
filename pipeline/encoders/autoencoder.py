"""Pictures to raw latents and back, through any image autoencoder of diffusers.

Shapes: pictures RGB, all of one size in a call; latents (channels, height, width), float32, raw: neither scaled nor
sampled (pipeline.encoders.scaling and the training loader do that when they are read).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from msgspec import UNSET
from PIL import Image

from pipeline.encoders import scaling
from pipeline.encoders.base import Latent, PrecisionDifference
from pipeline.encoders.forms import STATISTICS, Form, own_statistics
from pipeline.encoders.loading import choose_device, load_strictly, one_line, quiet, read_config, resolve_model
from pipeline.encoders.scaling import LatentScaling
from pipeline.encoders.wanted import AUTOENCODER
from pipeline.errors import Refusal, Reject
from pipeline.params.encoders import Autoencoder, ComputeDtype
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    import torch

# Sides that are multiples of the factor of every autoencoder in use, and the greys of 255 that are encoded at each: the
# larger one costs four times as much.
PROBE_GREYS = {64: (40, 200), 128: (200,)}
# A trained autoencoder gives a grey back within a few of 255 levels (that of the demo, 15). One that does so in [0, 1],
# and here misses it by more than the second figure, is of that range; an untrained one misses it in both, and passes.
RIGHT_LEVELS, WRONG_LEVELS = 20.0, 40.0
# What an autoencoder's configuration has where its class normalises pictures itself, and so takes them in [0, 1].
_OWN_RANGE = ("encoder_norm_mean", "encoder_norm_std")


class LoadedAutoencoder:
    """An autoencoder of diffusers in memory.

    One that is made for videos takes a picture as one frame. Of one that keeps statistics of patches of its latents
    (AutoencoderKLFlux2), patches are what is given and taken here: four times the channels, half the height and width.

    Args:
        model: on the device that it shall compute on, in float32.
        batch_size: pictures that are encoded or decoded together.
        where: what it was loaded from, for messages.
        dtype: what pictures are encoded in. They are decoded in float32 whatever it says: the decoder of a widely used
            model (SDXL's) overflows in float16, what is drawn and scored should not hang on how latents were once made,
            and beside dozens of passes of a diffusion model decoding costs little.

    Attributes:
        num_channels: channels of the latents.
        downsampling_factor: pixels per latent, along a side.
        dtype: what pictures are encoded in.
        class_name: of diffusers.

    Raises:
        Refusal: it is no image autoencoder, or one of another convention: see ``_probe``.
    """

    num_channels: int
    downsampling_factor: int
    dtype: ComputeDtype
    class_name: str

    def __init__(self, model: Any, *, batch_size: int, where: str, dtype: ComputeDtype = "float32") -> None:
        """Measure its latents, in float32: what another dtype does to them, ``difference`` says."""
        import torch

        self._model: Any = model
        self._encoder: Any = model
        self._batch_size = batch_size
        self._where = where
        self.class_name = type(model).__name__
        self.dtype = "float32"
        self._statistics = own_statistics(model, where)
        self._form = self._measured_form()
        self.num_channels, self.downsampling_factor = self._probe()
        if dtype != "float32":
            self.dtype = dtype
            self._encoder = copy.deepcopy(model).to(getattr(torch, dtype))

    def encode(self, images: Sequence[Image.Image]) -> list[Latent | Reject]:
        """Raw latents per picture, in order; ``Reject("not_finite")`` for a picture whose latents are not numbers.

        Args:
            images: RGB, of one size, its sides multiples of the downsampling factor.

        Raises:
            Refusal: the size does not fit the autoencoder.
            ValueError: pictures of several sizes, or not RGB.
        """
        return self._encoded(images, self._encoder)

    def difference(self, images: Sequence[Image.Image]) -> PrecisionDifference | None:
        """How the latents of these pictures differ from those in float32; None where that is what is computed in.

        Args:
            images: as of ``encode``.
        """
        if self.dtype == "float32" or not images:
            return None
        exact, ours = self._encoded(images, self._model), self._encoded(images, self._encoder)
        both = [
            (a.mean, b.mean)
            for a, b in zip(exact, ours, strict=True)
            if isinstance(a, Latent) and isinstance(b, Latent)
        ]
        lost = sum(isinstance(b, Reject) and not isinstance(a, Reject) for a, b in zip(exact, ours, strict=True))
        return PrecisionDifference.of(self.dtype, both, num_pictures=len(images), num_not_finite=lost)

    def _encoded(self, images: Sequence[Image.Image], model: Any) -> list[Latent | Reject]:
        import torch

        self._check_pictures(images)
        rows: list[Latent | Reject] = []
        for start in range(0, len(images), self._batch_size):
            batch = np.stack([np.asarray(image) for image in images[start : start + self._batch_size]])
            pixels = torch.from_numpy(batch).to(self._model.device).permute(0, 3, 1, 2).float() / 127.5 - 1.0  # [-1, 1]
            mean, std = self._raw(pixels, model)
            rows.extend(_checked(*arrays) for arrays in _rows(mean, std))
        return rows

    def decode(self, latents: np.ndarray | torch.Tensor) -> list[Image.Image | Reject]:
        """Pictures from raw latents (``scaling.invert`` first); ``Reject("not_finite")`` where a pixel is no number.

        Args:
            latents: (batch, channels, height, width), raw, in any dtype.

        Raises:
            ValueError: the latents have another number of channels or axes.
        """
        import torch

        raw = torch.as_tensor(latents).float()
        if raw.ndim != 4 or raw.shape[1] != self.num_channels:
            raise ValueError(f"latents of shape {tuple(raw.shape)}, wanted (batch, {self.num_channels}, height, width)")
        images: list[Image.Image | Reject] = []
        with torch.inference_mode():
            for start in range(0, len(raw), self._batch_size):
                pixels = self._pixels(raw[start : start + self._batch_size]).permute(0, 2, 3, 1)
                images.extend(_to_image(picture) for picture in pixels.numpy())
        return images

    def _pixels(self, raw: torch.Tensor) -> torch.Tensor:
        """What the decoder gives for raw latents, on the CPU."""
        pixels: torch.Tensor = self._model.decode(self._form.latents_in(raw.to(self._model.device))).sample
        return self._form.pixels_out(pixels).float().cpu()

    def _raw(self, pixels: torch.Tensor, model: Any = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mean and std (None where there is none) of the latents of one forward pass, float32, on the CPU."""
        import torch

        model = self._model if model is None else model
        with torch.inference_mode():
            output = model.encode(self._form.pixels_in(pixels).to(getattr(model, "dtype", torch.float32)))
        if "latent_dist" in output:
            return self._given(output.latent_dist.mean), self._given(output.latent_dist.std)
        name = next((name for name in ("latent", "latents") if name in output), None)
        if name is None:
            raise Refusal(f"{self._where}: its encoder gives {sorted(output)}; an image autoencoder is needed")
        return self._given(output[name]), None

    def _given(self, latents: torch.Tensor) -> torch.Tensor:
        return self._form.latents_out(latents.float()).cpu()

    def _measured_form(self) -> Form:
        """That of a video's autoencoder where pictures are not taken and single frames are; else the usual one."""
        import torch

        usual = Form() if self._statistics is None else Form(patch=self._statistics[0])
        side_px = min(PROBE_GREYS)
        grey = torch.zeros(1, 3, side_px, side_px, device=self._model.device)
        for form in (usual, Form(has_frames=True, patch=usual.patch)):
            self._form = form
            try:
                self._tried("encode", side_px, lambda: self._raw(grey)[0])
            except Refusal:
                continue
            return form
        return usual  # refused by the probe, in the words of the usual form

    def _probe(self) -> tuple[int, int]:
        """Channels and downsampling factor, measured: the classes name them differently in their configurations.

        Two greys of two sides go through encoder and decoder. Measured: single pictures can be encoded and decoded,
        with no arguments but these; the factor is the same at both sides; a decoded picture is as large as the encoded
        one, RGB, and of numbers; two greys do not get one latent; the range of pixels, where the model is trained so
        far that it gives greys back. Not measured: whether the class normalises its latents itself. That a class
        normalises pictures is read from its configuration too, for models that are not trained.
        """
        latents = {side_px: self._probe_encoder(side_px) for side_px in PROBE_GREYS}
        factors = {side_px / means.shape[2] for side_px, means in latents.items()}
        if len(factors) > 1:
            seen = " and ".join(
                f"{side_px} px to {means.shape[2]} x {means.shape[3]}" for side_px, means in latents.items()
            )
            raise Refusal(
                f"{self._where}: encodes pictures of {seen} latents, so it resizes them; name an autoencoder whose "
                "latents grow with the picture"
            )
        for side_px, means in latents.items():
            self._probe_decoder(side_px, means)
        self._probe_range()
        if stated := [name for name in _OWN_RANGE if name in getattr(self._model, "config", {})]:
            raise Refusal(
                f"{self._where}: its class normalises pictures itself ({stated[0]} in its configuration) and takes "
                "them in [0, 1]; name an autoencoder that takes pictures in [-1, 1]"
            )
        return next(iter(latents.values())).shape[1], int(factors.pop())

    def _probe_encoder(self, side_px: int) -> torch.Tensor:
        """The latents [greys, channels, height, height] of the greys of this side."""
        import torch

        greys = torch.tensor(PROBE_GREYS[side_px], device=self._model.device).float() / 127.5 - 1.0
        pixels = greys.view(-1, 1, 1, 1).expand(-1, 3, side_px, side_px).contiguous()
        means = self._tried("encode", side_px, lambda: self._raw(pixels)[0])
        shape = tuple(means.shape)
        if len(shape) != 4 or shape[2] != shape[3] or not shape[2] or side_px % shape[2]:
            raise Refusal(f"{self._where}: latents of shape {shape}; an image autoencoder is needed")
        is_finite = bool(torch.isfinite(means).all())
        if not is_finite or (len(means) > 1 and torch.equal(means[0], means[1])):
            what = "the same latents" if is_finite else "latents that are no numbers"
            raise Refusal(
                f"{self._where}: gives {what} for pictures of the greys {PROBE_GREYS[side_px]}; save or download the "
                "model anew"
            )
        return means

    def _probe_decoder(self, side_px: int, means: torch.Tensor) -> None:
        """Refuse a decoder that does not give back pictures of this side from their latents."""
        import torch

        pixels = self._tried("decode", side_px, lambda: self._pixels(means))
        if pixels.shape != (len(means), 3, side_px, side_px):
            raise Refusal(
                f"{self._where}: decodes the latents of a picture of 3 x {side_px} x {side_px} values to "
                f"{' x '.join(str(length) for length in pixels.shape[1:])}; name an autoencoder that gives back RGB "
                "pictures of the size that it was given"
            )
        if not bool(torch.isfinite(pixels).all()):
            raise Refusal(
                f"{self._where}: decodes pictures of the greys {PROBE_GREYS[side_px]} to values that are no numbers; "
                "save or download the model anew"
            )

    def _probe_range(self) -> None:
        """Refuse an autoencoder that gives greys back when they are in [0, 1], and others when they are in [-1, 1]."""
        import torch

        side_px, greys = next(iter(PROBE_GREYS.items()))
        levels = torch.tensor(greys).float().view(-1, 1, 1, 1)

        def missed_by(low: float) -> float:
            step = (1.0 - low) / 255
            pixels = (low + levels * step).expand(-1, 3, side_px, side_px).contiguous().to(self._model.device)
            given = self._tried("decode", side_px, lambda: self._pixels(self._raw(pixels)[0]))
            return float(((given - low) / step - levels).abs().mean())

        ours, other = missed_by(-1.0), missed_by(0.0)
        if other <= RIGHT_LEVELS and ours > max(WRONG_LEVELS, 2 * other):
            raise Refusal(
                f"{self._where}: gives back greys in [0, 1] ({other:.0f} of 255 levels beside them) and not in [-1, 1] "
                f"({ours:.0f} levels); name an autoencoder that takes pictures in [-1, 1]"
            )

    def _tried(self, what: str, side_px: int, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What the work gives; its failure as a refusal, except for want of memory, which says nothing of the model."""
        import torch

        try:
            with torch.inference_mode():
                return work()
        except torch.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError, AttributeError, TypeError, LookupError, ArithmeticError) as error:
            raise Refusal(
                f"{self._where}: cannot {what} single pictures of {side_px} px ({one_line(error)}); an image "
                "autoencoder is needed"
            ) from error

    def _check_pictures(self, images: Sequence[Image.Image]) -> None:
        sizes, modes = {image.size for image in images}, {image.mode for image in images}
        if len(sizes) > 1 or modes - {"RGB"}:
            raise ValueError(f"pictures of sizes {sorted(sizes)} and modes {sorted(modes)}; one size and RGB wanted")
        for width_px, height_px in sizes:
            if width_px % self.downsampling_factor or height_px % self.downsampling_factor:
                raise Refusal(
                    f"{self._where}: pictures of {width_px} x {height_px} px; sides must be multiples of "
                    f"{self.downsampling_factor}, set side_px so"
                )


class ImageAutoencoder(LoadedAutoencoder):
    """An autoencoder of diffusers, loaded strictly.

    Args:
        params: the model, the scale and shift that its latents are used with, and what it encodes in.
        execution: device and batch size.
        is_scale_known: scale and shift are those of the diffusion model that is used with it, whatever the
            autoencoder's own file says: the released MIRO scales by channel where its autoencoder states one number.

    Attributes:
        scaling: scale and shift of its latents, and who states them: the model's own file, or the parameters' source
            where that is silent.

    Raises:
        Refusal: no such model, no image autoencoder, weights that do not match, a scale other than the file states, or
            none in the file where the parameters leave it out.
    """

    scaling: LatentScaling

    @classmethod
    def open(cls, params: Autoencoder, execution: Execution, *, is_scale_known: bool = False) -> Self:
        """As ``AutoencoderKind.open``."""
        return cls(params, execution, is_scale_known=is_scale_known)

    def __init__(self, params: Autoencoder, execution: Execution, *, is_scale_known: bool = False) -> None:
        """Load the model, measure its latents and check the scale."""
        folder = resolve_model(params.model, params.revision, params.subfolder, AUTOENCODER)
        model = load_autoencoder(folder).to(choose_device(execution))
        dtype = "float32" if params.dtype is UNSET else params.dtype
        super().__init__(model, batch_size=execution.inference_batch_size, where=str(folder), dtype=dtype)
        if is_scale_known:
            self.scaling = scaling.given(params)
        elif self._statistics is None:
            self.scaling = scaling.resolved(params, read_config(folder), str(folder / "config.json"))
        else:
            stated, where = self._statistics[1], f"{folder}, {STATISTICS}"
            self.scaling = scaling.resolved(params, stated, where, file=STATISTICS)
        scaling.check_channels(self.num_channels, self.scaling.scale, self.scaling.shift)


def load_autoencoder(folder: Path) -> Any:
    """The autoencoder of a folder, loaded strictly, in float32, on the CPU.

    Raises:
        Refusal: no image autoencoder of diffusers, or weights that do not match.
    """
    import torch

    model = load_strictly(_class_of(read_config(folder), folder).from_pretrained, folder, dtype=torch.float32)
    return model.eval()


def _class_of(config: dict[str, Any], folder: Path) -> Any:
    """The official class that the configuration names; code of the repository's own is never run."""
    import diffusers

    quiet(diffusers)
    name = str(config.get("_class_name"))
    if not name.startswith(("Autoencoder", "VQModel")) or not hasattr(diffusers, name):
        raise Refusal(f"{folder}: _class_name {name} in config.json; an image autoencoder of diffusers is needed")
    return getattr(diffusers, name)


def _rows(mean: torch.Tensor, std: torch.Tensor | None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    stds = [None] * len(mean) if std is None else list(std.numpy())
    yield from zip(mean.numpy(), stds, strict=True)


def _checked(mean: np.ndarray, std: np.ndarray | None) -> Latent | Reject:
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and not np.isfinite(values).all():
            return Reject("not_finite", f"{int((~np.isfinite(values)).sum())} of {values.size} values of the {name}")
    return Latent(mean, std)


def _to_image(pixels: np.ndarray) -> Image.Image | Reject:
    """(height, width, 3) in [-1, 1] to 8 bits, rounded: truncation would darken every picture by half a step."""
    if not np.isfinite(pixels).all():
        return Reject("not_finite", f"{int((~np.isfinite(pixels)).sum())} of {pixels.size} decoded values")
    return Image.fromarray(np.rint((np.clip(pixels, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8))
