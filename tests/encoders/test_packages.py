"""Packages that are missing: the line names folder, package and command, however the library says it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.encoders import packages
from pipeline.encoders.loading import load_strictly, loaded_or_refused
from pipeline.errors import Refusal

TORCHVISION = (
    "\nQwen2VLVideoProcessor requires the Torchvision library but it was not found in your environment. Check out the "
    "instructions on the\ninstallation page: https://pytorch.org/get-started/locally/\n"
)
SENTENCEPIECE = (
    "\nT5Tokenizer requires the SentencePiece library but it was not found in your environment. Check out the\n"
    "installation page of its repo: https://github.com/google/sentencepiece#installation\n"
)


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment without any of the packages, whatever is installed here."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)


def failing(error: Exception) -> Callable[..., Any]:
    def load(*_: Any, **__: Any) -> Any:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ImportError(TORCHVISION), "torchvision"),
        (
            ValueError("m requires `torchvision` to be installed. Please install `torchvision` and try again."),
            "torchvision",
        ),
        (ValueError("Could not load any image processor class: torchvision: Llama4ImageProcessor"), "torchvision"),
        (RuntimeError("operator torchvision::nms does not exist"), "torchvision"),
        (ImportError(SENTENCEPIECE), "sentencepiece"),
        (ImportError("\nTimmWrapperModel requires the timm library but it was not found. `pip install timm`."), "timm"),
        (ImportError("A requires the protobuf library but it was not found in your environment."), "protobuf"),
        (ModuleNotFoundError("No module named 'google'", name="google.protobuf"), "protobuf"),
        (ValueError("`tiktoken` is required to read a `tiktoken` file."), "tiktoken"),
        (ImportError("Package `num2words` is required to run SmolVLM processor."), "num2words"),
        (ImportError("X requires the Beautiful Soup library. `pip install beautifulsoup4`."), "beautifulsoup4"),
        (ImportError("X requires the flurble library but it was not found in your environment."), "flurble"),
        (ModuleNotFoundError("No module named 'flurble'", name="flurble.nn"), "flurble"),
    ],
)
def test_a_missing_package_is_named_with_its_command(tmp_path: Path, error: Exception, package: str) -> None:
    for load in (
        lambda: loaded_or_refused(failing(error), tmp_path),
        lambda: load_strictly(failing(error), tmp_path),
    ):
        with pytest.raises(Refusal, match=f"{tmp_path}: needs {package}, .*run `pip install {package}") as refused:
            load()
        assert "\n" not in str(refused.value)
        assert ("must fit torch" in str(refused.value)) == (package == "torchvision")


def test_a_cause_behind_the_error_counts(tmp_path: Path) -> None:
    error = ValueError("cannot be made")
    error.__cause__ = ModuleNotFoundError("No module named 'timm'", name="timm")
    with pytest.raises(Refusal, match="pip install timm"):
        packages.refuse_missing_packages(error, tmp_path)


def test_sentencepiece_is_named_where_its_file_lies(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(Refusal, match="run `pip install protobuf sentencepiece`"):
        packages.refuse_missing_packages(ValueError("`tiktoken` is required to read a `tiktoken` file"), tmp_path)


def test_the_torchvision_beside_a_cpu_torch_comes_from_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    for version, command in (
        ("2.13.0+cpu", "pip install torchvision --extra-index-url https://download.pytorch.org/whl/cpu`"),
        ("2.13.0", "pip install torchvision`"),
    ):
        monkeypatch.setattr(torch, "__version__", version)
        message = rf"run `{command}; torchvision's version must fit torch {re.escape(version)}"
        with pytest.raises(Refusal, match=message):
            packages.refuse_missing_packages(ImportError(TORCHVISION), tmp_path)


def test_errors_about_something_else_are_refused_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "timm"  # the folder's name is no package that is missing
    with pytest.raises(Refusal, match=r"cannot be loaded.*save or download the model anew"):
        loaded_or_refused(failing(OSError(f"{folder} has no file named model.safetensors")), folder)
    with pytest.raises(Refusal, match=r"cannot be loaded.*install what it asks for"):
        loaded_or_refused(failing(ImportError("cannot import name 'A' from 'transformers'")), folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # all is there
    with pytest.raises(Refusal, match="save or download the model anew"):
        loaded_or_refused(failing(ValueError("timm_model is no model")), folder)
