"""Packages that a part of a model needs and that are not installed: which ones, however a library says so.

The libraries state it in an ImportError of several lines, in a ValueError in passing, or in torch's own words where
torchvision is there but belongs to another torch.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import Refusal

# What pip calls a package: what is imported, where that differs, and what messages call it.
_MODULES = {
    "accelerate": "accelerate",
    "av": "av",
    "beautifulsoup4": "bs4",
    "bitsandbytes": "bitsandbytes",
    "decord": "decord",
    "einops": "einops",
    "ftfy": "ftfy",
    "mistral-common": "mistral_common",
    "num2words": "num2words",
    "opencv-python": "cv2",
    "protobuf": "google.protobuf",
    "scipy": "scipy",
    "sentencepiece": "sentencepiece",
    "tiktoken": "tiktoken",
    "timm": "timm",
    "torchaudio": "torchaudio",
    "torchvision": "torchvision",
}
_ALIASES = {
    "beautiful soup": "beautifulsoup4",
    "opencv": "opencv-python",
    "pyav": "av",
    "mistral_common": "mistral-common",
}
_PIP_OF = {module: package for package, module in _MODULES.items()} | {"google": "protobuf", "PIL": "pillow"}
_COMMAND = re.compile(r"pip install (?:-U |--upgrade )?([A-Za-z][\w.\[\]-]*)")
_NAMED = re.compile(r"requires the ([\w-]+) library")
_SENTENCEPIECE = ("*.model", "*/*.model")  # of a model's part, or of a whole pipeline
_OF_ANOTHER_TORCH = "operator torchvision::"


def refuse_missing_packages(error: BaseException, folder: Path) -> None:
    """Refuse with the packages that an error is about; nothing where it is about something else.

    Args:
        error: what loading a part raised.
        folder: of the part; its name may hold that of a package.

    Raises:
        Refusal: packages are missing; the line names folder, packages and command.
    """
    packages = sorted({package for cause in _causes(error) for package in _packages(cause, folder)})
    if "tiktoken" in packages and any(any(folder.glob(pattern)) for pattern in _SENTENCEPIECE):
        # transformers tries tiktoken last, and names that alone.
        packages = missing(("protobuf", "sentencepiece")) or packages
    if packages:
        raise Refusal(
            f"{folder}: needs {' and '.join(packages)}, which cannot be imported here; run `{_command(packages)}`"
            f"{_torchvision_note(packages)}"
        ) from error


def missing(packages: tuple[str, ...]) -> list[str]:
    """Those of these packages that are not installed, by pip's names."""
    return [package for package in packages if not _is_installed(package)]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        yield cause
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__


def _packages(error: BaseException, folder: Path) -> set[str]:
    """What pip calls the packages that one error says are missing."""
    message = " ".join(str(error).replace(str(folder), "").split())
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.split(".")[0]
        return {_PIP_OF.get(module, module)}
    mentioned = {package for package in _MODULES if _mentions(message, package)}
    mentioned |= {package for alias, package in _ALIASES.items() if _mentions(message, alias)}
    if _OF_ANOTHER_TORCH in message:
        return {"torchvision"}
    # An error that is about something else may mention a package that is there.
    absent = {package for package in mentioned if not _is_installed(package)}
    if absent or not isinstance(error, ImportError):
        return absent
    if mentioned:  # there, but of no use to the library: of another version
        return mentioned
    return set(_COMMAND.findall(message)) or {name.lower() for name in _NAMED.findall(message)}


def _mentions(message: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", message, re.IGNORECASE) is not None


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(_MODULES[package]) is not None
    except (ModuleNotFoundError, ValueError):  # google.protobuf without google; a module that was taken out
        return False


def _command(packages: list[str]) -> str:
    return f"pip install {' '.join(packages)}{_index() if 'torchvision' in packages else ''}"


def _index() -> str:
    """Where torch itself came from: PyPI's torchvision does not import beside a torch of another index."""
    import torch

    _, _, build = torch.__version__.partition("+")
    return f" --extra-index-url https://download.pytorch.org/whl/{build}" if build else ""


def _torchvision_note(packages: list[str]) -> str:
    import torch

    return f"; torchvision's version must fit torch {torch.__version__}" if "torchvision" in packages else ""
