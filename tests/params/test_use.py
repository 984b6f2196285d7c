"""``make use``: a preset written into params.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.errors import Refusal
from pipeline.params.check import check
from pipeline.params.load import TOP_LEVEL_KEYS, load
from pipeline.params.pinning import write_commits
from pipeline.params.unpinned import repository_of, unpinned_in
from pipeline.params.use import main, presets, use

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = presets(PROJECT)
DEMO_MODELS = ("autoencoder", "photo_autoencoder", "text_encoder", "vlm")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped presets beside stand-ins for the demo's models, which ``use`` does not open."""
    shutil.copytree(PROJECT / "params", tmp_path / "params")
    for name in DEMO_MODELS:
        (tmp_path / "data/demo_models" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_presets_are_the_files_in_the_folder() -> None:
    assert {"demo", "folder"} <= set(SHIPPED)


@pytest.mark.presets
@pytest.mark.parametrize("name", SHIPPED)
def test_a_preset_and_what_use_wrote_of_it_are_the_same_parameters(project: Path, name: str) -> None:
    preset = project / f"params/{name}.yaml"
    unpinned = [repository_of(beside) for _, beside in unpinned_in(load(preset, project).resolved)]
    write_commits(preset, {repository: "1" * 39 + "a" for repository in unpinned if repository is not None})
    use(name, project)
    written = load(project / "params.yaml", project)
    check(written)
    assert written.resolved == load(project / f"params/{name}.yaml", project).resolved
    assert not list(project.glob(".params.yaml*"))


def test_the_demo_keeps_its_comments(project: Path) -> None:
    use("demo", project)
    assert (project / "params.yaml").read_bytes() == (project / "params/demo.yaml").read_bytes()


def test_a_resolved_preset_names_itself_and_keeps_the_order_of_the_stages(project: Path) -> None:
    use("folder", project)
    text = (project / "params.yaml").read_text()
    assert "preset folder" in text.splitlines()[0]
    assert "params/demo.yaml explains" in text.splitlines()[0]
    read = yaml.safe_load(text)
    assert list(read) == list(TOP_LEVEL_KEYS)
    assert all(list(read[key])[-1] == "rows" for key in TOP_LEVEL_KEYS if "rows" in (read[key] or {}))


def test_a_small_rate_is_read_back_as_a_number(project: Path) -> None:
    delta = {"run": "slow", "train": {"optimizer": {**_demo(project)["train"]["optimizer"], "learning_rate": 0.00001}}}
    (project / "params/slow.yaml").write_text(yaml.safe_dump(delta))
    use("slow", project)
    assert load(project / "params.yaml", project).row("train", "aio").optimizer.learning_rate == 1e-5


def test_an_edited_file_is_kept(project: Path) -> None:
    edited = b"# my own\nrun: mine\n"
    (project / "params.yaml").write_bytes(edited)
    said = use("demo", project)
    kept = project / said.rsplit(" is ", 1)[1]
    assert kept.read_bytes() == edited
    assert "replaced" not in use("demo", project)  # nothing new, nothing kept


def test_an_unknown_preset_is_refused_with_those_there_are(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("foldre", "../params/demo", ""):
        with pytest.raises(Refusal, match=r"demo, .*folder"):
            use(name, project)
    assert main(["foldre"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (project / "params.yaml").exists()


def test_without_a_preset_it_says_how_it_is_typed_and_which_there_are(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 1
    assert capsys.readouterr().err == f"name a preset: make use P=<preset>; there are {', '.join(SHIPPED)}\n"
    assert not (project / "params.yaml").exists()


def test_a_preset_that_does_not_load_or_conflicts_is_not_written(project: Path) -> None:
    (project / "params.yaml").write_text("run: before\n")
    (project / "params/misspelt.yaml").write_text("trian: {num_steps: 3}\n")
    (project / "params/conflict.yaml").write_text("run: conflict\ntrain: {num_steps: 3}\n")
    with pytest.raises(Refusal, match="did you mean 'train'"):
        use("misspelt", project)
    with pytest.raises(Refusal, match="warm-up and decay alone take"):
        use("conflict", project)
    assert (project / "params.yaml").read_text() == "run: before\n"


def _demo(project: Path) -> dict[str, dict[str, dict[str, object]]]:
    read: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((project / "params/demo.yaml").read_text())
    return read
