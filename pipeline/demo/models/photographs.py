"""Photographs that packages of Debian ship under free licences, for the demo's autoencoder of photographs.

The packages are downloaded and unpacked into a folder of the caller's, and never installed. What is taken from each,
and its licence as its ``debian/copyright`` states it, stands in ``PACKAGES``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import Refusal

MAX_SHORT_SIDE_PX = 1024  # a photograph is kept no larger: memory, and what lies beyond is lens blur
STAMP = "stamp"
PHOTOGRAPH = "photograph"
DOWNLOAD_SECONDS = 900
_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)


@dataclass(frozen=True, slots=True)
class Package:
    """What is taken from a package of Debian.

    Attributes:
        name: of the package.
        licence: of these files.
        folder: below which they lie, in the unpacked package.
        patterns: of their paths below that folder.
        kind: ``photograph``, or ``stamp``: an object cut out, with an alpha channel.
    """

    name: str
    licence: str
    folder: str
    patterns: tuple[str, ...]
    kind: str = PHOTOGRAPH


_PLASMA = "Autumn BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path"
_STAMPS = "animals plants food household hobbies medical vehicles sports clothes naturalforces"

PACKAGES = (
    Package(
        "lomiri-wallpapers-16.04",
        "CC-BY-4.0, CC-BY-SA-4.0 and CC0-1.0, by file; the photographers' names are in the files' names",
        "usr/share/backgrounds",
        ("*_by_*.jpg",),
    ),
    Package("lomiri-wallpapers-20.04", "CC-BY-SA-3.0, Lukas Baubkus", "usr/share/backgrounds", ("Kleiber_by_*.jpg",)),
    Package(
        "mate-backgrounds",
        "GPL-2+; photographers by file in debian/copyright and AUTHORS",
        "usr/share/backgrounds/mate/nature",
        ("*.jpg",),
    ),
    Package(
        "plasma-workspace-wallpapers",
        "GPL-2+, KDE Visual Design Group",
        "usr/share/wallpapers",
        (
            *(f"{name}/contents/images/2560x1600.jpg" for name in _PLASMA.split()),
            "summer_1am/contents/images/2560x1600.jpg",
        ),
    ),
    Package(
        "python3-skimage",
        "BSD-3-Clause and public domain (scikit-image)",
        "usr/lib/python3/dist-packages/skimage/data",
        tuple(
            f"{name}.*g"
            for name in ["astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "motorcycle_left", "rocket"]
        ),
    ),
    Package(
        "python3-sklearn",
        "CC-BY-2.0, danielbuechele (china.jpg) and vultilion (flower.jpg)",
        "usr/lib/python3/dist-packages/sklearn/datasets/images",
        ("*.jpg",),
    ),
    Package(
        "tuxpaint-stamps-default",
        "GPL-2, Bill Kendrick and contributors",
        "usr/share/tuxpaint/stamps",
        tuple(f"{name}/**/*.png" for name in _STAMPS.split()),
        STAMP,
    ),
)


@dataclass(frozen=True, slots=True)
class Photograph:
    """One picture and where it is from.

    Attributes:
        image: RGB, or RGBA of a stamp.
        package: its package, as ``name version``.
        path: in the package.
        licence: of its package's files.
        kind: as in Package.
    """

    image: Image.Image
    package: str
    path: str
    licence: str
    kind: str

    def pixel_hash(self) -> str:
        """SHA-256 of size and RGB values."""
        return pixel_hash(self.image)


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of a picture's size and RGB values, whatever its file."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}".encode() + rgb.tobytes()).hexdigest()


def fetch(folder: Path, packages: Sequence[Package] = PACKAGES) -> list[Photograph]:
    """Download and unpack the packages below folder, and read their photographs, in a fixed order.

    Raises:
        Refusal: no Debian or Ubuntu, a package that cannot be had, or one without the files that are looked for.
    """
    for tool in ("apt-get", "dpkg", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Refusal(
                f"{tool}: not here; photographs come from packages of Debian: run this on Debian or Ubuntu, or make "
                "the other models with --only"
            )
    found = []
    for package in packages:
        place = folder / package.name
        place.mkdir(parents=True)
        _run(["apt-get", "download", package.name], place, f"package {package.name}: apt-get update may help")
        archive = next(place.glob("*.deb"))
        _run(["dpkg", "-x", archive.name, "unpacked"], place, f"{archive.name}: cannot be unpacked")
        version = _run(["dpkg-deb", "--field", archive.name, "Version"], place, f"{archive.name}: no package").strip()
        found += read(package, place / "unpacked", version)
    return found


def read(package: Package, unpacked: Path, version: str) -> list[Photograph]:
    """The photographs of an unpacked package, by path.

    Raises:
        Refusal: a pattern that no file of the package has.
    """
    root = unpacked / package.folder
    paths: set[Path] = set()
    for pattern in package.patterns:
        matches = {path for path in root.glob(pattern) if path.is_file() and "cartoon" not in path.parts}
        if not matches:
            raise Refusal(f"package {package.name} {version}: has no {package.folder}/{pattern}; Debian 12's has")
        paths |= matches
    return [
        Photograph(
            image=_opened(path, package.kind),
            package=f"{package.name} {version}",
            path=str(path.relative_to(unpacked)),
            licence=package.licence,
            kind=package.kind,
        )
        for path in sorted(paths)
    ]


def _opened(path: Path, kind: str) -> Image.Image:
    with Image.open(path) as image:
        opened = image.convert("RGBA" if kind == STAMP else "RGB")
    shrink = MAX_SHORT_SIDE_PX / min(opened.size)
    if shrink < 1:
        opened = opened.resize((round(opened.width * shrink), round(opened.height * shrink)), Image.Resampling.LANCZOS)
    return opened


def _run(command: list[str], folder: Path, what: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False, errors="replace"
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise Refusal(f"{what} ({said})")
    return done.stdout


class Crops:
    """Random crops of photographs at random scales, some with cut-out objects on them, some in other colours.

    Args:
        photographs: at least one of the kind photograph.
        stamp_share, recolored_share: as in the recipe.
        full_px: the side that a whole photograph's shorter side may be shrunk to, not further.
    """

    def __init__(
        self, photographs: Sequence[Photograph], *, stamp_share: float, recolored_share: float, full_px: int
    ) -> None:
        self._photographs = [photograph.image for photograph in photographs if photograph.kind == PHOTOGRAPH]
        self._stamps = [photograph.image for photograph in photographs if photograph.kind == STAMP]
        self._stamp_share = stamp_share if self._stamps else 0.0
        self._recolored_share = recolored_share
        self._full_px = full_px

    def draw(self, draws: np.random.Generator, side_px: int) -> np.ndarray:
        """(side_px, side_px, 3) uint8."""
        crop = self._crop(self._photographs[int(draws.integers(len(self._photographs)))], draws, side_px)
        if draws.random() < self._stamp_share:
            for _ in range(int(draws.integers(1, 4))):
                self._paste(crop, draws)
        pixels = np.asarray(crop)
        if draws.random() < self._recolored_share:
            pixels = _recolored(pixels, draws)
        return pixels

    def _crop(self, image: Image.Image, draws: np.random.Generator, side_px: int) -> Image.Image:
        largest = min(image.size) / self._full_px  # source pixels per pixel
        zoom = float(np.exp(draws.uniform(0.0, np.log(max(largest, 1.0)))))
        stretch = float(np.exp(draws.uniform(-0.15, 0.15)))
        width = min(side_px * zoom * stretch, image.width)
        height = min(side_px * zoom / stretch, image.height)
        left, top = draws.uniform(0, image.width - width), draws.uniform(0, image.height - height)
        crop = image.resize(
            (side_px, side_px),
            _FILTERS[int(draws.integers(len(_FILTERS)))],
            box=(left, top, left + width, top + height),
            reducing_gap=2.0,
        )
        return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws.random() < 0.5 else crop

    def _paste(self, crop: Image.Image, draws: np.random.Generator) -> None:
        stamp = self._stamps[int(draws.integers(len(self._stamps)))]
        longest = crop.width * draws.uniform(0.3, 1.2)
        scale = min(longest / max(stamp.size), 1.0)
        size = (max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale)))
        small = stamp.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        if draws.random() < 0.5:
            small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, top = (int(draws.integers(-length // 3, crop.width - length // 3)) for length in small.size)
        crop.paste(small.convert("RGB"), (left, top), small.getchannel("A"))


def _recolored(pixels: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Other contrast and brightness, and half the time the channels in another order."""
    if draws.random() < 0.5:
        pixels = pixels[:, :, draws.permutation(3)]
    gain, shift = draws.uniform(0.7, 1.4), draws.uniform(-25.0, 25.0)
    mean = pixels.mean()
    changed: np.ndarray = np.clip((pixels - mean) * gain + mean + shift, 0, 255).astype(np.uint8)
    return changed
