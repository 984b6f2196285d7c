"""Every preset on both engines: all of it is planned, or whatever it names that is not there is named in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkout import PROJECT, Checkout, Ended
from expect import planned

from pipeline.dag.plan import Plan
from pipeline.params.load import Params, load
from pipeline.params.schema import STAGE_NAMES
from pipeline.params.use import presets, use

pytestmark = pytest.mark.slow

PRESETS = presets(PROJECT)
WITHOUT_DATA = {"folder"}  # presets that name data which nobody has before bringing it here


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with the demo's models and no pictures; nothing is made in it."""
    checkout = Checkout.new(tmp_path_factory.mktemp("bare") / "project")
    checkout.take_demo_models()
    return checkout


def missing_paths(checkout: Checkout, params: Params) -> set[str]:
    """The paths of sources that the rows of download name and that are not there."""
    rows = [params.row("download", row) for row in params.rows("download")]
    named = {str(getattr(row, field)) for row in rows for field in row.path_fields}
    return {path for path in named if not (checkout.folder / path).exists()}


def assert_each_has_its_line(ended: Ended, paths: set[str]) -> None:
    assert ended.status != 0
    assert "Traceback" not in ended.text
    for path in paths:
        (line,) = ended.lines_with(repr(path))
        assert "nothing is there" in line


def test_those_without_data_are_the_known_ones(bare: Checkout) -> None:
    found = {name for name in PRESETS if missing_paths(bare, load(bare.folder / f"params/{name}.yaml", bare.folder))}
    assert found == WITHOUT_DATA


@pytest.mark.parametrize("name", PRESETS)
def test_snakemake_plans_the_whole_preset_or_names_what_is_missing(
    bare: Checkout, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bare.folder)
    look = bare.snakemake("--dry-run", "--configfile", f"params/{name}.yaml")
    params = load(Path(f"params/{name}.yaml"), bare.folder)
    if name in WITHOUT_DATA:
        assert_each_has_its_line(look, missing_paths(bare, params))
    else:
        assert look.status == 0, look.text
        assert planned(look) == len(list(Plan(params, bare.folder).unit_ids()))


@pytest.mark.parametrize("name", PRESETS)
def test_dvc_has_a_step_for_each_row_of_the_preset_or_names_what_is_missing(bare: Checkout, name: str) -> None:
    use(name, bare.folder)
    params = load(bare.folder / "params.yaml", bare.folder)
    listed = bare.dvc("stage", "list", "--all", "--name-only")
    assert listed.status == 0, listed.text
    rows = {f"{stage}@{row}" for stage in STAGE_NAMES for row in params.rows(stage)}
    assert set(listed.text.split()) == rows
    if name in WITHOUT_DATA:
        assert_each_has_its_line(bare.dvc("repro"), missing_paths(bare, params))
