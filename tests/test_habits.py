"""The developer's loop says what it does: one list of checks, hooks that catch, pages that name what exists."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from pipeline.data.schema import TABLES, Answered, Augmentation, Detected, FinishReason, Meta
from pipeline.params.load import TOP_LEVEL_KEYS
from pipeline.params.schema import STAGE_NAMES

PROJECT = Path(__file__).resolve().parents[1]
MAKEFILE = (PROJECT / "Makefile").read_text()
CONFIG: dict[str, Any] = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())
HOOKS: dict[str, dict[str, Any]] = {hook["id"]: hook for repo in CONFIG["repos"] for hook in repo["hooks"]}
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/parameters.md",
    "docs/architecture.md",
    "docs/data-contract.md",
    "docs/models.md",
    "docs/use.md",
    "docs/demo.md",
    "docs/judge.md",
    "docs/performance.md",
)
EXPECTED_HOOKS = {
    *("ruff-check", "ruff-format", "snakefmt", "mypy", "codespell", "check-yaml", "check-merge-conflict"),
    *("check-added-large-files", "secrets", "conventional-commit"),
}
NOT_LOCKED = {"torch", "pip", "setuptools"}  # torch is installed in a step of its own and brings setuptools along


def _recipe(target: str) -> list[str]:
    found = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE)
    assert found, f"no recipe for {target}"
    return [line.strip() for line in found[1].splitlines()]


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


# --- checks


def test_lint_and_the_commit_hook_are_one_list() -> None:
    recipe = _recipe("lint")
    assert len(recipe) == 1
    assert recipe[0].endswith("pre-commit run --all-files")
    assert set(HOOKS) == EXPECTED_HOOKS
    assert {repo["repo"] for repo in CONFIG["repos"]} == {"local"}  # nothing is fetched, versions are the lock's
    assert "SKIP" not in MAKEFILE


def test_continuous_integration_types_what_a_person_types() -> None:
    lines = [line for line in (PROJECT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "make test"
    assert re.search(r"^test:.*\blint\b", MAKEFILE, re.MULTILINE)


def test_every_hook_runs_a_program_of_the_environment() -> None:
    for hook in HOOKS.values():
        if hook["language"] == "system":
            program = hook["entry"].split()[0]
            assert program.startswith(".venv/bin/")
            assert (Path(sys.executable).parent / Path(program).name).is_file(), program


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """An empty repository with our hooks and our environment."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".gitignore").write_text(".venv\n.home\n")
    return tmp_path


def _run_hook(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    subprocess.run(["git", "add", "--all"], cwd=clone, check=True)
    command = [str(Path(sys.executable).parent / "pre-commit"), "run", *arguments]
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "PRE_COMMIT_HOME": str(clone / ".home"), "HOME": str(clone)}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)


# Written in pieces, so that this file itself passes.
CAUGHT = [
    ("ruff-check", "a.py", '"""A."""\nimport os\n'),
    ("ruff-format", "a.py", 'x = {  "a":1}\n'),
    ("snakefmt", "Snakefile", 'rule a:\n  output: "b"\n'),
    ("codespell", "a.md", "rec" + "ieve it\n"),
    ("check-yaml", "a.yaml", "a: [1\n"),
    ("check-merge-conflict", "a.md", "<" * 7 + " HEAD\n"),
    ("check-added-large-files", "a.bin", "x" * (1 << 21)),
    ("secrets", "a.md", "hf" + "_" + "aB3" * 12),
    ("secrets", "a.pem", "-----BEGIN RSA " + "PRIVATE KEY-----\n"),
]


@pytest.mark.parametrize(("hook", "name", "content"), CAUGHT, ids=[f"{case[0]}-{case[1]}" for case in CAUGHT])
def test_a_hook_catches_what_it_is_for(clone: Path, hook: str, name: str, content: str) -> None:
    (clone / "pipeline/rules").mkdir(parents=True)  # snakefmt is told this folder
    (clone / "pipeline/rules/a.smk").write_text("")
    (clone / "Snakefile").write_text("")
    good = _run_hook(clone, hook, "--all-files")
    assert good.returncode == 0, good.stdout
    (clone / name).write_text(content)
    done = _run_hook(clone, hook, "--all-files")
    assert done.returncode == 1, done.stdout
    assert "Failed" in done.stdout


def test_the_demo_models_may_be_large(clone: Path) -> None:
    weights = clone / "data/demo_models/vlm/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"x" * (1 << 21))
    assert _run_hook(clone, "check-added-large-files", "--all-files").returncode == 0


@pytest.mark.parametrize(
    ("message", "is_taken"),
    [("feat: a new captioner", True), ("fix(store): a lock", True), ("added stuff", False), ("feature: x", False)],
)
def test_commit_messages_are_conventional(clone: Path, message: str, is_taken: bool) -> None:
    (clone / "message").write_text(f"{message}\n")
    done = _run_hook(clone, "--hook-stage", "commit-msg", "--commit-msg-filename", "message")
    assert (done.returncode == 0) == is_taken, done.stdout


# --- packages


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(name: str) -> list[str]:
    lines = (PROJECT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _needed(requirements: list[Requirement]) -> set[str]:
    """Names of these packages and of all that they need here."""
    todo, seen = list(requirements), set()
    while todo:
        requirement = todo.pop()
        mark = (_canonical(requirement.name), frozenset(requirement.extras))
        if mark in seen:
            continue
        seen.add(mark)
        for text in metadata.requires(requirement.name) or []:
            need = Requirement(text)
            extras = ("", *requirement.extras)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(need)
    return {name for name, _ in seen}


def test_the_lock_holds_what_is_needed_and_nothing_else() -> None:
    locked = {_canonical(line.split("==")[0]): line.split("==")[1] for line in _lines("requirements.lock")}
    wanted = [Requirement(line) for line in _lines("requirements.in")]
    assert set(locked) == _needed(wanted) - NOT_LOCKED
    for requirement in wanted:
        assert requirement.specifier.contains(locked[_canonical(requirement.name)])


def test_no_build_for_one_kind_of_machine_is_locked() -> None:
    named = [_canonical(line.split("==")[0]) for line in _lines("requirements.lock")]
    assert not [name for name in named if re.match(r"(torch|triton|nvidia-(?!ml-py$)|cuda)", name)]


def test_what_the_code_imports_is_a_requirement() -> None:
    owners = metadata.packages_distributions()
    wanted = {_canonical(Requirement(line).name) for line in _lines("requirements.in")} | {"torch"}
    unnamed = {}
    for path in [*PROJECT.glob("pipeline/**/*.py"), *PROJECT.glob("stages/*.py")]:
        for name in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE):
            if name in owners and not wanted & {_canonical(owner) for owner in owners[name]}:
                unnamed[name] = str(path)
    # Snakemake's own plug-in interfaces come with it, in versions that fit it.
    assert {name for name in unnamed if not name.startswith("snakemake_interface")} == set()


def test_every_requirement_of_a_run_is_used() -> None:
    run_time = (PROJECT / "requirements.in").read_text().split("# for developers")[0].splitlines()
    text = "\n".join(path.read_text() for folder in ("pipeline", "stages") for path in (PROJECT / folder).rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    owners = metadata.packages_distributions()
    used = {_canonical(owner) for name in imported & set(owners) for owner in owners[name]} | {"dvc", "snakemake"}
    assert {_canonical(Requirement(line).name) for line in run_time if line and line[0] != "#"} - used == set()


# --- pages


def _text(page: str) -> str:
    return (PROJECT / page).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", _text(page)):
        if not target.startswith("http"):
            assert (PROJECT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_pages_exist(page: str) -> None:
    text = _text(page)
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)(?=[\s`,.;|)])", _code_of(text))) <= _targets()
    for name in re.findall(r"python -m ([\w.]+)", text):
        assert callable(importlib.import_module(name).main)
    for preset in re.findall(r"(?:P=|params/)([a-z0-9]+)(?:\.yaml)?`", text):
        assert (PROJECT / f"params/{preset}.yaml").is_file(), preset


def _code_of(text: str) -> str:
    """Code spans and blocks."""
    return "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_files_named_on_pages_exist(page: str) -> None:
    named = re.findall(r"`((?:pipeline|stages|tests|params|docs)/[\w./-]+\.\w+|[A-Z]\w*(?:\.md|file))`", _text(page))
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_the_readme_names_every_stage_and_is_one_page() -> None:
    text = _text("README.md")
    drawing = text.split("```mermaid")[1].split("```")[0]
    assert set(re.findall(r"\b[a-z]+(?:_[a-z]+)?\b", drawing)) - {"flowchart"} == set(STAGE_NAMES)
    assert {"make demo", "make test"} <= set(re.findall(r"make [a-z]+", text))
    assert len(text.splitlines()) <= 100


def test_the_readme_explains_every_target_that_a_user_types() -> None:
    text = _text("README.md") + _text("CONTRIBUTING.md")
    unexplained = {target for target in _targets() if f"make {target}" not in text}
    assert unexplained == {"setup", "lock", "clean", "help"}  # `make help` lists them


def test_the_contract_page_names_every_table_column_and_metadata_key() -> None:
    text = _text("docs/data-contract.md")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", text, re.MULTILINE))
    assert set(rows) == set(TABLES)
    for table in TABLES.values():
        bold = set(re.findall(r"\*\*`(\w+)`\*\*", rows[table.name]))
        named = (
            set(re.findall(r"`(\w+)`", rows[table.name]))
            - set(Augmentation)
            - set(FinishReason)
            - set(Detected)
            - set(Answered)
        )
        assert named == set(table.schema.names), table.name
        assert bold == {str(column) for column in table.payload}, table.name
    assert set(re.findall(r"`(t2i\.\w+)`", text)) == set(Meta)
    assert all(f"`{word}`" in text for word in [*Augmentation, *Detected, *Answered, *FinishReason])


def test_the_parameters_page_names_every_section() -> None:
    text = _text("docs/parameters.md")
    assert [key for key in TOP_LEVEL_KEYS if f"`{key}`" not in text] == []


def test_licence_and_version_agree() -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    assert project["license"]["text"] == "MIT"
    assert _text("LICENSE").startswith("MIT License")
    released = re.findall(r"^## \[(.+?)\]", _text("CHANGELOG.md"), re.MULTILINE)
    assert released[0] == "Unreleased"
    assert released[1:2] in ([], [project["version"]])


def _iter_tracked() -> Iterator[Path]:
    done = subprocess.run(["git", "ls-files", "-z", "data"], cwd=PROJECT, capture_output=True, text=True, check=False)
    yield from (PROJECT / name for name in done.stdout.split("\0") if name)


def test_the_demo_models_stay_small_and_are_all_the_data_there_is() -> None:
    paths = list(_iter_tracked())
    if not paths:
        pytest.skip("needs a git checkout")
    assert {path.relative_to(PROJECT).parts[:2] for path in paths} == {("data", "demo_models")}
    assert sum(path.stat().st_size for path in paths) <= 12_100_000  # weights 11.9 MB


def test_no_two_files_of_tests_have_one_name() -> None:
    """Modules of tests are imported by their bare names: of two of one name, pytest runs the first it meets alone."""
    names = [path.name for path in (PROJECT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert names
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
