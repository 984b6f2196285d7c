"""Where models come from, and what is refused about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cpu_execution import cpu_execution
from tiny_models import make_tiny_autoencoder, make_tiny_text_encoder, make_tiny_vlm

from pipeline.digest import sha256_of_file
from pipeline.encoders import loading
from pipeline.encoders.wanted import ANY_MODEL, AUTOENCODER, TEXT_ENCODER, wanted_files
from pipeline.errors import Refusal
from pipeline.params.schema import Execution

COMMIT = "0123456789" * 4


def execution(device: Any) -> Execution:
    return cpu_execution(device=device)


def test_a_folder_is_itself_and_a_subfolder_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    assert loading.resolve_model(str(tmp_path / "vae"), None) == tmp_path / "vae"
    assert loading.resolve_model(str(tmp_path), None, "vae") == tmp_path / "vae"
    with pytest.raises(Refusal, match=r"no config\.json"):
        loading.resolve_model(str(tmp_path), None)


@pytest.mark.parametrize(
    ("revision", "message"),
    [(None, "no folder some/model; a Hub id needs a pinned revision"), ("main", "revision 'main' can move")],
)
def test_a_hub_id_without_a_commit_is_refused(revision: str | None, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        loading.resolve_model("some/model", revision)


def test_a_folder_with_a_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is a folder here and has a revision too"):
        loading.resolve_model(str(tmp_path), COMMIT)


def test_a_hub_id_without_a_network_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Refusal, match=f"some/model at {COMMIT}: not whole in the cache") as refused:
        loading.resolve_model("some/model", COMMIT)
    line = "HF_HUB_OFFLINE forbids to fetch it; run `make fetch-models` where there is a network"
    assert str(refused.value).endswith(line)


NUMBERED = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]


@pytest.mark.parametrize(
    ("parts", "listed", "wanted"),
    [
        (ANY_MODEL, ["config.json", "model.safetensors", *NUMBERED], ["config.json", "model.safetensors"]),
        (ANY_MODEL, ["config.json", "model.fp16.safetensors", *NUMBERED], ["config.json", *NUMBERED]),
        (ANY_MODEL, ["a.jinja", "model.safetensors", "a/model.safetensors", "a.py"], ["a.jinja", "model.safetensors"]),
        (
            AUTOENCODER,
            ["config.json", "diffusion_pytorch_model.safetensors", "model.safetensors", "model_index.json"],
            ["config.json", "diffusion_pytorch_model.safetensors"],
        ),
        (
            TEXT_ENCODER,
            ["config.json", "spiece.model", "model.safetensors", "generation_config.json"],
            ["config.json", "spiece.model", "model.safetensors"],
        ),
        (TEXT_ENCODER, ["config.json", "pytorch_model.bin", "flax_model.msgpack"], []),
    ],
)
def test_one_set_of_weights_is_wanted(parts: Any, listed: list[str], wanted: list[str]) -> None:
    assert wanted_files(listed, parts, None) == sorted(wanted)
    below = [f"part/{name}" for name in listed]
    assert wanted_files([*below, *listed], parts, "part") == sorted(f"part/{name}" for name in wanted)


def test_of_whole_and_sharded_weights_the_library_decides() -> None:
    stem = "diffusion_pytorch_model"
    shards = [f"{stem}-00001-of-00001.safetensors", f"{stem}.safetensors.index.json"]
    assert wanted_files([f"{stem}.safetensors", *shards], AUTOENCODER, None) == shards


def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path) -> None:
    for text in ("[]", "{", ""):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(Refusal, match=r"config\.json"):
            loading.read_config(tmp_path)


def test_a_loading_report_with_a_fault_is_refused() -> None:
    clean: dict[str, list[Any]] = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
    loading.check_loading_report(
        {**clean, "unexpected_keys": ["decoder.a", "lm_head.b"]}, "m", ("decoder.", "lm_head.")
    )
    for fault, entry, message in (
        ("missing_keys", "a.weight", "m: 1 missing weights, first a.weight"),
        ("unexpected_keys", "b.weight", "m: 1 unexpected weights, first b.weight"),
        ("mismatched_keys", ("c.weight", (1,), (2,)), "m: 1 misshapen weights, first c.weight"),
        ("error_msgs", "first\nsecond", "m: first;"),
    ):
        with pytest.raises(Refusal, match=message):
            loading.check_loading_report({**clean, fault: [entry]}, "m", ("decoder.",))


def test_the_device_asked_for_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    assert loading.choose_device(execution("cpu")).type == "cpu"
    for available, chosen in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert loading.choose_device(execution("auto")).type == chosen
    with pytest.raises(Refusal, match="torch sees no GPU"):
        loading.choose_device(execution("cuda"))


@pytest.mark.parametrize("make", [make_tiny_vlm, make_tiny_autoencoder, make_tiny_text_encoder])
def test_tiny_models_are_the_same_every_time(make: Any, tmp_path: Path) -> None:
    def weights(name: str) -> list[str]:
        return [sha256_of_file(path) for path in sorted(make(tmp_path / name).glob("*.safetensors"))]

    torch = pytest.importorskip("torch")
    first = weights("first")
    torch.rand(3)
    assert len(first) == 1
    assert weights("second") == first
