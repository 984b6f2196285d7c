"""Commits that are not written yet: every command refuses them, and they are written in place, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import sandbox
import small_project
from fake_hub import COMMIT, Hub, serving
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Refusal
from pipeline.hub import files as hub_files
from pipeline.interop import fetch_models
from pipeline.params import use, yaml12
from pipeline.params.check import project_params
from pipeline.params.pinning import places_in, write_commits
from pipeline.params.unpinned import Repository, Unpinned, with_preset
from pipeline.runner import gc

MODEL, OTHER, DATA = Repository("model", "a/b"), Repository("model", "c/d"), Repository("dataset", "e/f")
COMMITS = {MODEL: "a" * 40, OTHER: "b" * 40, DATA: "c" * 40}
A, B, C = COMMITS.values()


def written(text: str, tmp_path: Path, commits: dict[Repository, str] | None = None) -> str:
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode())
    write_commits(path, COMMITS if commits is None else commits)
    assert os.listdir(tmp_path) == ["params.yaml"]
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x: {model: a/b, revision: unpinned}  # unpinned\n", f"x: {{model: a/b, revision: {A}}}  # unpinned\n"),
        ("x:\r\n  revision: unpinned # why\r\n  model: a/b\r\n", f"x:\r\n  revision: {A} # why\r\n  model: a/b\r\n"),
        ("x: {import: 'c/d', revision: 'unpinned'}", f"x: {{import: 'c/d', revision: '{B}'}}"),
        (
            'x: {repository: e/f,\n  commit: "unpinned", revision: 1}',
            f'x: {{repository: e/f,\n  commit: "{C}", revision: 1}}',
        ),
        ("x: {model: a/b, revision: &r unpinned}\ny: {model: a/b, revision: *r}", None),
        ("x: &m {model: a/b, revision: unpinned, k: 1}\ny: {<<: *m, k: 2}\nz: *m\n", None),
        ("\u00e9\u4e2d: \U0001f600\nx: [{model: a/b, revision: unpinned}, {model: c/d, revision: unpinned}]", None),
        (
            "note: unpinned\nx: {model: unpinned, revision: b}\n# revision: unpinned\n"
            "y: {model: a/b, revision: unpinned}",
            None,
        ),
        ("x: {model: c/d, revision: 'none'}\n", "x: {model: c/d, revision: 'none'}\n"),
    ],
)
def test_commits_take_the_places_of_the_word_and_nothing_else_changes(
    text: str, expected: str | None, tmp_path: Path
) -> None:
    new = written(text, tmp_path)
    if expected is not None:
        assert new == expected
    there = new.replace(A, "unpinned").replace(B, "unpinned").replace(C, "unpinned")
    assert there == text
    assert "unpinned" not in str(places_in(new, "f"))


def test_a_commit_that_yaml_takes_for_a_number_is_quoted(tmp_path: Path) -> None:
    for commit in ("1" * 40, "12e" + "3" * 37, "0" * 40):
        new = written("x: {model: a/b, revision: unpinned}", tmp_path, {MODEL: commit})
        assert yaml12.read(new) == {"x": {"model": "a/b", "revision": commit}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "x: &m {model: a/b, revision: unpinned}\ny: {<<: *m, model: c/d}",
            "line 1: this 'unpinned' is the revision of a/b and of c/d",
        ),
        ("x: {revision: unpinned, k: 1}", "does not stand beside the id that it is of; write the commit by hand"),
        ("x:\n  model: a/b\n  revision: >-\n    unpinned\n", "line 3: revision: unpinned is not written as a plain"),
    ],
)
def test_a_place_that_is_not_clear_is_refused_and_the_file_stays(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as caught:
        written(text, tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "params.yaml").read_text() == text
    assert os.listdir(tmp_path) == ["params.yaml"]


def test_rights_and_links_of_the_file_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("x: {model: a/b, revision: unpinned}")
    real.chmod(0o640)
    link.symlink_to("real.yaml")
    write_commits(link, COMMITS)
    assert link.is_symlink()
    assert real.read_text() == f"x: {{model: a/b, revision: {A}}}"
    assert real.stat().st_mode & 0o777 == 0o640


SCALARS = st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.none(), st.just("unpinned"))


@given(
    extra=st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    flow=st.booleans(),
    order=st.booleans(),
)
def test_any_file_reads_the_same_but_for_its_commits(
    extra: Any, flow: bool, order: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    named = {"model": "a/b", "revision": "unpinned"} if order else {"revision": "unpinned", "model": "a/b"}
    value = {"first": extra, "x": {**named, "more": extra}, "last": extra}
    path = tmp_path_factory.mktemp("any") / "p.yaml"
    path.write_text(yaml12.write(value, default_flow_style=flow), encoding="utf-8", newline="")
    before = path.read_bytes().decode()
    places = write_commits(path, COMMITS)
    assert len(places) == 1
    start = places[0].start
    assert path.read_bytes().decode() == before[:start] + A + before[start + len("unpinned") :]
    assert yaml12.read(path.read_bytes().decode())["x"]["revision"] == A


# --- commands


PRESET = """# A preset of one's own.
run: mine
recaption:
  captioners:
    label: {kind: label, template: "an image of a {class_name}"}
    vlm:   {kind: label, template: "a {class_name}"}   # revision: unpinned
  rows: {}
encode_images:
  autoencoders:
    demo: {kind: diffusers, model: maker/vae, revision: unpinned, scale: 0.18, source: test}  # its card
  rows: {}
augment: {rows: {}}
encode_text: {rows: {}}
train: {rows: {}}
finetune: {rows: {}}
generate: {rows: {}, benchmarks: {}}
score: {rows: {}}
report: {rows: {main: {scores: []}}}
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the small run, whose own parameters and a preset name a model without a commit."""
    raw = sandbox.small()
    raw["encode_images"]["autoencoders"]["demo"] |= {"model": "maker/vae", "revision": "unpinned"}
    made = sandbox.make(tmp_path / "checkout", raw)
    (made / "params").mkdir(exist_ok=True)
    (made / "params/mine.yaml").write_text(PRESET)
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that has that model."""
    with serving(Hub({}, models={"maker/vae": {"config.json": b"{}"}})) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(hub_files, "_WAITS_SECONDS", (0.0, 0.0))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        huggingface_hub.close_session()
        yield served


LINE = (
    "params.yaml: encode_images.autoencoders.demo.revision = 'unpinned': no commit of maker/vae is written yet; "
    "`make fetch-models PIN=1` looks it up and writes it there"
)
SNAKEFILE = str(small_project.PROJECT / "Snakefile")
COMMANDS = {
    "stage": ["-m", "stages.recaption", "--row", "imagenet-label"],
    "dry run": ["-m", "stages.recaption", "--row", "imagenet-label", "--dry-run"],
    "snakemake": ["-m", "snakemake", "--snakefile", SNAKEFILE, "--cores", "1"],
    "snakemake -n": ["-m", "snakemake", "--snakefile", SNAKEFILE, "-n"],
    "status": ["-m", "pipeline.runner.status"],
    "fetch": ["-m", "pipeline.interop.fetch_models"],
    "headline": ["-m", "pipeline.reporting.headline"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_in_one_line(checkout: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, *COMMANDS[command]],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(small_project.PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == LINE
    assert "Traceback" not in done.stderr
    assert not (checkout / "data/small").exists()


def test_dvc_refuses_too(checkout: Path) -> None:
    """Its stages are commands as a person types them."""
    text = (small_project.PROJECT / "dvc.yaml").read_text()
    assert text.count("python -m stages.") == text.count("cmd:")


def test_a_preset_is_named_in_the_command(checkout: Path) -> None:
    with pytest.raises(Unpinned, match=r"`make fetch-models PIN=1 P=mine` looks it up"):
        project_params(Path("params/mine.yaml"), checkout)
    with pytest.raises(Unpinned):
        use.use("mine", checkout)
    assert with_preset("make fetch-models PIN=1", "own/a.yaml") == (
        "`python -m pipeline.interop.fetch_models --params own/a.yaml --pin`"
    )


def test_pin_writes_the_commit_of_the_hub(checkout: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_models.main(["--pin", "--params", "params/mine.yaml"]) in (0, 1)
    said = capsys.readouterr()
    assert f"params/mine.yaml: line 10: revision of maker/vae is now {COMMIT}\n" in said.out
    assert Path("params/mine.yaml").read_text() == PRESET.replace(
        "revision: unpinned, scale", f"revision: {COMMIT}, scale"
    )
    project_params(Path("params/mine.yaml"), checkout)
    before = Path("params.yaml").read_text()
    assert fetch_models.main(["--pin"]) == 0  # no row of these parameters asks for the model
    assert Path("params.yaml").read_text() == before.replace("unpinned", COMMIT)
    assert capsys.readouterr().out.splitlines()[-1] == "params.yaml names no model of the Hub that is loaded here"
    assert fetch_models.main(["--pin"]) == 0
    assert capsys.readouterr().out.startswith("params.yaml: nothing is unpinned\n")


def test_pin_of_a_model_that_is_not_there(checkout: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.models.clear()
    assert fetch_models.main(["--pin", "--params", "params/mine.yaml"]) == 1
    assert "hub model maker/vae: there is none (401)" in capsys.readouterr().err
    assert Path("params/mine.yaml").read_text() == PRESET


def test_what_a_preset_takes_from_the_demo_is_pinned_there(
    checkout: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    base = (small_project.PROJECT / "params/demo.yaml").read_text()
    demo = base.replace("model: data/demo_models/autoencoder", "model: maker/vae, revision: unpinned")
    (checkout / "params/demo.yaml").write_text(demo)
    (checkout / "params/mine.yaml").write_text("run: mine\n")
    assert fetch_models.main(["--pin", "--params", "params/mine.yaml"]) == 1
    assert "which params/demo.yaml says; `make fetch-models PIN=1 P=demo`" in capsys.readouterr().err


def test_a_preset_that_is_not_pinned_keeps_nothing_from_being_cleaned(checkout: Path) -> None:
    """No run starts with it, so that it wants nothing; where one was made before, its results are not surplus."""
    files = [Path("params/mine.yaml")]
    assert gc.wants_of(files, checkout).unknown == []
    (checkout / "data/mine").mkdir(parents=True)
    assert [line[:16] for line in gc.wants_of(files, checkout).unknown] == ["params/mine.yaml"]


def test_make_says_what_it_does() -> None:
    done = subprocess.run(
        ["make", "-n", "fetch-models", "P=mine", "PIN=1"],
        cwd=small_project.PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-m pipeline.interop.fetch_models --params params/mine.yaml --pin" in done.stdout
