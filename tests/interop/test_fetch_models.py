"""Models before jobs: what is fetched of a repository and what is not, kills, and stages that run without a network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import served_project
import small_project
from fake_hub import COMMIT, Hub, serving
from huggingface_hub import constants
from test_diffusers_folder import make_stable_diffusion
from tiny_models import make_tiny_autoencoder, make_tiny_text_encoder, make_tiny_vlm

from pipeline.errors import Refusal
from pipeline.hub import files as hub_files
from pipeline.interop import fetch_models, references
from pipeline.params.check import project_params
from pipeline.params.encoders import Autoencoder, TextEncoder
from pipeline.params.load import read_yaml

VLM, AUTOENCODER, T5 = "maker/vlm", "maker/stable", "maker/t5"
# What real repositories hold beside the weights that are loaded: other frameworks, precisions, programs, and shards of
# the same weights. The names of the second are those in which two libraries differ about whole files and shards.
JUNK = (
    *("pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "rust_model.msgpack", "model.fp16.safetensors"),
    *("consolidated.safetensors", "consolidated.00.pth", "onnx/model.onnx", "onnx/config.json", "README.md"),
    *("pytorch_model.bin.index.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"),
    *("original/model.safetensors", "modeling_own.py", "model.bf16.safetensors", "pytorch_model-00001-of-00002.bin"),
)
JUNK_OF_PIPELINE = (
    *("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "sd-v1.safetensors"),
    *("text_encoder/config.json", "text_encoder/model.safetensors", "vae/diffusion_pytorch_model.bin"),
    *("vae/diffusion_pytorch_model.fp16.safetensors", "vae/old/diffusion_pytorch_model.safetensors"),
    *("vae/diffusion_pytorch_model.non_ema.safetensors", "safety_checker/model.safetensors"),
)
JUNK_OF_T5 = ("generation_config.json", "spiece.vocab.txt", "decoder/model.safetensors", "eval_results.json")


def files_below(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """What is loaded of each of three repositories."""
    folder = tmp_path_factory.mktemp("models")
    vlm = files_below(make_tiny_vlm(folder / "vlm"))
    image = files_below(make_tiny_autoencoder(folder / "autoencoder"), "vae/")
    text = files_below(make_tiny_text_encoder(folder / "text_encoder"))
    text = {name: content for name, content in text.items() if name not in JUNK_OF_T5}
    return {VLM: vlm, AUTOENCODER: image, T5: text}


@pytest.fixture
def hub(wanted: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that this process asks, with an empty cache and without a token; the current folder is a small project."""
    junk = {VLM: JUNK, AUTOENCODER: JUNK_OF_PIPELINE, T5: (*JUNK, *JUNK_OF_T5)}
    models = {
        name: {**dict.fromkeys((".gitattributes", *junk[name]), b"x" * 1500), **files} for name, files in wanted.items()
    }
    small_project.write_parameters(tmp_path / "params.yaml", parameters())
    (tmp_path / "params").mkdir()
    small_project.write_parameters(tmp_path / "params/mine.yaml", {**parameters(), "run": "mine"})
    monkeypatch.chdir(tmp_path)
    with serving(Hub({}, models=models)) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(hub_files, "_WAITS_SECONDS", (0.0, 0.0))
        huggingface_hub.close_session()
        yield served


def parameters() -> dict[str, Any]:
    captioner = {
        **{"kind": "local", "model": VLM, "revision": COMMIT, "side_px": 64, "instructions": {"describe": 1.0}},
        **{"max_new_tokens": 4, "cut_at_full_stop": False, "loop_ngram_words": 6, "loop_max_repeats": 3},
        "dtype": "float32",
    }
    of_demo = small_project.small_parameters()["recaption"]["captioners"]
    known = {**read_yaml(small_project.PROJECT / "params/demo.yaml")["recaption"]["captioners"]["vlm"]}
    label = {"label": of_demo["label"], "vlm": {**known, **captioner}}
    raw = small_project.small_parameters(
        recaption={
            "captioners": label,
            "max_reject_fraction": 1.0,
            "rows": {
                "pictures-label": {"images": "download/pictures", "captioner": "label"},
                "pictures-vlm": {"images": "download/pictures", "captioner": "vlm"},
            },
        },
        encode_images={"rows": {"pictures": {"images": "download/pictures"}}},
        encode_text={"rows": {"pictures-label": {"captions": "recaption/pictures-label"}}},
    )
    raw["execution"].update(device="cpu", inference_batch_size=4)
    raw["encode_images"]["autoencoders"]["demo"] = {
        **{"kind": "diffusers", "model": AUTOENCODER, "revision": COMMIT, "subfolder": "vae"},
        **{"scale": 0.18, "source": "test"},
    }
    raw["encode_text"]["encoders"]["demo"] = {
        **{"kind": "t5", "model": T5, "revision": COMMIT, "max_text_tokens": 32},
    }
    # A shape of the demo's that no row here asks for; its folder is not there.
    raw["score"]["rows"] = {}
    return raw


COMMAND = [sys.executable, "-m", "pipeline.interop.fetch_models"]


def environment_of(hub: Hub, folder: Path) -> dict[str, str]:
    """Of a process of its own, with a cache of its own."""
    return {
        **os.environ,
        **{"PYTHONPATH": str(small_project.PROJECT), "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1"},
        **{"HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    }


def run_in(hub: Hub, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND, env=environment_of(hub, folder) | more, capture_output=True, text=True, check=False)


def fetched(*arguments: str) -> int:
    return fetch_models.main(list(arguments))


def test_what_is_loaded_is_fetched_and_nothing_else(
    hub: Hub, wanted: dict[str, dict[str, bytes]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert fetched() == 0
    said = capsys.readouterr().out
    for name, files in wanted.items():
        snapshot = tmp_path / "cache" / f"models--{name.replace('/', '--')}" / "snapshots" / COMMIT
        assert files_below(snapshot).keys() - {".gitattributes"} == files.keys(), name
    attributes = 3 * 1500  # a file of each repository comes with the list
    loaded = sum(len(content) for files in wanted.values() for content in files.values())
    assert hub.num_sent() == loaded + attributes
    assert sum(len(content) for files in hub.models.values() for content in files.values()) > hub.num_sent() + 40_000
    assert f"{VLM} at {COMMIT[:12]} for recaption/pictures-vlm: " in said
    assert said.splitlines()[-1].startswith("all 3 models of the Hub that params.yaml names: ")
    hub.asked.clear()
    assert fetched() == 0
    assert hub.asked == []  # equal when run again
    assert capsys.readouterr().out.count("all there already") == 3


def test_after_it_every_stage_runs_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched() == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    for stage, row in (
        *(("download", "heldout"), ("download", "pictures"), ("recaption", "pictures-label")),
        *(("recaption", "pictures-vlm"), ("encode_images", "pictures"), ("encode_text", "pictures-label")),
    ):
        assert small_project.run_stage(stage, row) == 0, (stage, row)
    assert hub.asked == []


@pytest.mark.parametrize(("params", "command"), [("params.yaml", ""), ("params/mine.yaml", " P=mine")])
def test_a_stage_that_finds_a_model_missing_says_how_it_is_fetched(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], params: str, command: str
) -> None:
    for row in ("heldout", "pictures"):
        assert small_project.run_stage("download", row, params) == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    capsys.readouterr()
    assert small_project.run_stage("encode_images", "pictures", params, "0") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    line = f"run `make fetch-models{command}` where there is a network"
    assert f"{AUTOENCODER} at {COMMIT}: not whole in the cache" in lines[0]
    assert line in lines[0]


def test_a_job_of_an_engine_names_the_preset_too(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its parameters are a frozen copy, which lies elsewhere."""
    frozen = tmp_path / ".work/params/0123.yaml"
    small_project.write_parameters(frozen, {**parameters(), "run": "mine"})
    for row in ("heldout", "pictures"):
        assert small_project.run_stage("download", row, ".work/params/0123.yaml") == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert small_project.run_stage("encode_images", "pictures", ".work/params/0123.yaml", "0") == 1
    assert "run `make fetch-models P=mine` where there is a network" in capsys.readouterr().err


def test_what_was_cut_short_is_missing(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder that is there counts for nothing while weights of it are not."""
    assert fetched() == 0
    weights = next((tmp_path / "cache").glob("*stable/snapshots/*/vae/*.safetensors"))
    weights.resolve().unlink()
    weights.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    from pipeline.encoders.loading import resolve_model
    from pipeline.encoders.wanted import AUTOENCODER as PARTS

    with pytest.raises(Refusal, match="not whole in the cache"):
        resolve_model(AUTOENCODER, COMMIT, "vae", PARTS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.asked.clear()
    assert fetched() == 0
    assert hub.num_sent() == len(hub.models[AUTOENCODER]["vae/diffusion_pytorch_model.safetensors"])


def test_a_killed_fetch_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    """Killed hard within a large file: of that, one piece of 10 MB at most comes again."""
    name, large = "model.safetensors", os.urandom(13_000_000)
    hub.models[VLM][name] = large
    hub.faults[f"{VLM}/resolve/{COMMIT}/{name}"] = [("hang", 11_000_000)]
    process = subprocess.Popen(
        COMMAND, env=environment_of(hub, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert hub.hanging.wait(120)
    pieces = tmp_path / "home/hub/models--maker--vlm/blobs"
    for _ in range(600):
        if any(path.stat().st_size >= 10_000_000 for path in pieces.glob("*.piece")):
            break
        hub.released.wait(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.released.set()
    hub.asked.clear()
    done = run_in(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert hub.sent(f"{VLM}/resolve/{COMMIT}/{name}") == [(10 * 1024 * 1024, len(large) - 10 * 1024 * 1024)]
    assert next((tmp_path / "home").rglob("vlm/snapshots/*/model.safetensors"), None) is None
    assert next((tmp_path / "home").rglob("models--maker--vlm/snapshots/*/model.safetensors")).read_bytes() == large


# --- what is refused


def refused(hub: Hub, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """(what was said, the one line of the refusal)."""
    del hub
    assert fetched() == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == 1, lines
    return said.out, lines[0]


def test_a_gated_model_is_explained_and_the_others_come(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token, hub.gated = "right", True
    _, line = refused(hub, capsys)
    page = f"{hub.address}/{VLM}"
    assert line == (
        f"hub model {VLM}: gated, and there is no token (401); ask for access at {page}, then set HF_TOKEN or run hf "
        "auth login (2 more could not be had: see above)"
    )
    monkeypatch.setenv("HF_TOKEN", "right")
    assert fetched() == 0


def test_a_model_that_is_not_there_keeps_no_other_away(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    del hub.models[VLM]
    said, line = refused(hub, capsys)
    assert line.startswith(f"hub model {VLM}: there is none (401), or it is private and needs a token")
    assert said.count(" fetched") == 2 + 1  # "not fetched"


def test_a_repository_without_weights_that_are_loaded(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.models[T5] = dict.fromkeys((*JUNK[:4], "config.json"), b"x")
    _, line = refused(hub, capsys)
    assert f"hub model {T5} at {COMMIT}: no model*.safetensors, and nothing else is loaded" in line


def test_a_hub_that_does_not_answer(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    _, line = refused(hub, capsys)
    assert "http://127.0.0.1:1 does not answer" in line


def test_too_little_room(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_models, "SPARE_BYTES", 10**18)
    said, line = refused(hub, capsys)
    assert " to fetch, and " in line
    assert hub.num_sent() == 3 * 1500
    assert "not fetched" in said


def test_rows_of_the_hub_are_left_to_their_indexes(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    raw, row = parameters(), read_yaml(small_project.PROJECT / "params/hub.yaml")["download"]["rows"]["heldout"]
    raw["download"]["rows"]["more"] = row
    small_project.write_parameters(Path("params.yaml"), raw)
    assert fetched() == 0
    assert (
        "data set uoft-cs/cifar10 for download/more: its index fetches it: python -m stages.download --params "
        "params.yaml --row more --part index\n"
    ) in capsys.readouterr().out


def test_models_that_servers_run_are_left_to_them(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    raw = served_project.parameters(["http://127.0.0.1:9/v1"])
    captioner = raw["recaption"]["captioners"]["servers"]
    told = {one: {"instructions": {one: 1.0}} for one in ("full", "brief")}
    captioner = {key: value for key, value in captioner.items() if key != "instructions"}
    raw["recaption"]["captioners"]["servers"] = {**captioner, "sets": told, "revision": COMMIT}
    small_project.write_parameters(Path("params.yaml"), raw)
    assert fetched() == 0
    assert capsys.readouterr().out == (
        f"some/vlm at {COMMIT[:12]} for recaption/served.brief, recaption/served.full: left to the servers that "
        "run it\n"
        "params.yaml names no model of the Hub that is loaded here\n"
    )
    assert hub.asked == []


def test_folders_are_no_business_of_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    raw = parameters()
    raw["recaption"]["rows"].pop("pictures-vlm")
    for section in ("encode_images", "encode_text"):
        raw[section]["rows"] = {}
    small_project.write_parameters(Path("params.yaml"), raw)
    assert fetched() == 0
    assert capsys.readouterr().out == "params.yaml names no model of the Hub that is loaded here\n"
    assert hub.asked == []
    assert project_params(Path("params.yaml"), Path()).run == "small"


# --- what is taken in


def with_imports(**rows: dict[str, Any]) -> None:
    """Parameters whose models are taken in from the Hub, and nothing else of it."""
    raw = parameters()
    for section in ("recaption", "encode_images", "encode_text"):
        raw[section]["rows"] = {}
    raw["train"]["rows"] = rows
    small_project.write_parameters(Path("params.yaml"), raw)


def test_a_network_brings_the_encoders_that_it_refers_to(hub: Hub, tmp_path: Path) -> None:
    refers = references.References(
        schema=references.VERSION,
        arm="ta",
        seed=0,
        autoencoder=Autoencoder(model=AUTOENCODER, revision=COMMIT, subfolder="vae", scale=0.18, source="its file"),
        autoencoder_identity="x",
        text_encoder=TextEncoder(model=T5, revision=COMMIT, max_text_tokens=8),
        text_encoder_identity="y",
        shift=1.0,
    )
    references.write(tmp_path, refers)
    hub.models["maker/network"] = {
        **{".gitattributes": b"x", "config.json": b"{}", "diffusion_pytorch_model.safetensors": b"w" * 2000},
        "references.json": (tmp_path / "references.json").read_bytes(),
    }
    with_imports(theirs={"import": "maker/network", "revision": COMMIT, "arm": "theirs", "seed": 0})
    assert fetched() == 0
    there = {path.name for path in (tmp_path / "cache").glob("models--*")}
    assert there == {"models--maker--network", "models--maker--stable", "models--maker--t5"}


def test_a_pipeline_comes_whole_and_is_opened_without_a_network(hub: Hub, tmp_path: Path) -> None:
    """In processes of their own: diffusers keeps the Hub's address from when it was imported."""
    make_stable_diffusion(tmp_path / "made")
    loaded = files_below(tmp_path / "made")
    junk = (
        *("unet/diffusion_pytorch_model.bin", "v1.ckpt", "v1.safetensors"),
        "vae/diffusion_pytorch_model.fp16.safetensors",
    )
    hub.models["maker/pipeline"] = {**loaded, **dict.fromkeys(junk, b"x" * 3000), ".gitattributes": b"x"}
    row = {"import": "maker/pipeline", "revision": COMMIT, "kind": "diffusers", "arm": "sd", "seed": 0}
    with_imports(sd={**row, "dtype": "float32"})
    done = run_in(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "maker/pipeline at 0123456789ab for train/sd: " in done.stdout
    names = " ".join(path for _, path, _, size in hub.asked if size)
    assert not [name for name in junk if name in names]
    hub.asked.clear()
    again = run_in(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert "all there already" in again.stdout
    assert hub.asked == []
    snapshot = next((tmp_path / "home").glob("hub/models--maker--pipeline/snapshots/*"))
    assert files_below(snapshot).keys() >= loaded.keys() - {"README.md"}


def test_a_pipeline_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    row = {"import": "maker/none", "revision": COMMIT, "kind": "diffusers", "arm": "sd", "seed": 0}
    with_imports(sd={**row, "dtype": "float32"})
    done = run_in(hub, tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "cannot be had from the Hub (hub model maker/none: there is none (401), or it is private" in last
