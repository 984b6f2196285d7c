"""Every preset on both engines: all of it is planned, or whatever it names that is not there is named in a line.

One whose commits nobody has looked up yet is refused by both until they are written.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from checkout import PROJECT, Checkout, Ended
from expect import planned

from pipeline.dag.plan import Plan
from pipeline.params.check import project_params
from pipeline.params.load import Params, load
from pipeline.params.pinning import write_commits
from pipeline.params.references import side_table
from pipeline.params.schema import STAGE_NAMES
from pipeline.params.unpinned import Unpinned, repository_of, unpinned_in
from pipeline.params.use import presets, use

pytestmark = [pytest.mark.slow, pytest.mark.presets]

PRESETS = presets(PROJECT)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with the demo's models and no pictures; nothing is made in it."""
    checkout = Checkout.new(tmp_path_factory.mktemp("bare") / "project")
    checkout.take_demo_models()
    return checkout


def missing_paths(checkout: Checkout, params: Params) -> set[str]:
    """The places that rows of download and captioners name and at which nothing is."""
    captioners = side_table(params, "recaption", "captioners")
    holders = [params.row("download", row) for row in params.rows("download")]
    holders += [captioners[params.row("recaption", row).captioner] for row in params.rows("recaption")]
    named = {path for holder in holders for path in holder.places().values()}
    return {path for path in named if not (checkout.folder / path).exists()}


def pin(checkout: Checkout, name: str) -> None:
    """Write commits where the preset has none yet, as ``make fetch-models PIN=1`` does where there is a network."""
    path = checkout.folder / f"params/{name}.yaml"
    unpinned = [repository_of(beside) for _, beside in unpinned_in(load(path, checkout.folder).resolved)]
    write_commits(path, {repository: COMMIT for repository in unpinned if repository is not None})


def test_presets_without_all_commits_are_refused_and_told_how_to_have_them(
    bare: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bare.folder)
    refused = set()
    for name in PRESETS:
        if unpinned := list(unpinned_in(load(Path(f"params/{name}.yaml"), bare.folder).resolved)):
            refused.add(name)
            with pytest.raises(Unpinned) as caught:
                project_params(Path(f"params/{name}.yaml"), bare.folder)
            assert unpinned[0][0] in str(caught.value)
            assert f"`make fetch-models PIN=1 P={name}`" in str(caught.value)
    assert {"paper_captions", "published_captions", "paper_weights", "fast256"} <= refused
    look = bare.snakemake("--dry-run", "--configfile", "params/paper_captions.yaml")
    assert look.status != 0
    assert "Traceback" not in look.text
    words = "recaption.captioners.paper.commit = 'unpinned': no commit of Lucasdegeorge/ImageNet_TA_IA is written yet"
    assert len(look.lines_with(words)) == 1


def test_the_demo_needs_no_data_and_a_folder_of_ones_own_does(bare: Checkout) -> None:
    missing = {
        name: missing_paths(bare, load(bare.folder / f"params/{name}.yaml", bare.folder)) for name in ("demo", "folder")
    }
    assert missing == {"demo": set(), "folder": {"data/pictures"}}


@pytest.mark.parametrize("name", PRESETS)
def test_snakemake_plans_the_whole_preset_or_names_all_that_is_missing(
    bare: Checkout, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bare.folder)
    pin(bare, name)
    look = bare.snakemake("--dry-run", "--configfile", f"params/{name}.yaml")
    params = load(Path(f"params/{name}.yaml"), bare.folder)
    missing = missing_paths(bare, params)
    assert "Traceback" not in look.text
    if missing:
        assert look.status != 0
        assert named_as_missing(look, missing) == missing
    else:
        assert look.status == 0, look.text
        assert planned(look) == len(list(Plan(params, bare.folder).unit_ids()))


@pytest.mark.parametrize("name", PRESETS)
def test_dvc_has_a_step_for_each_row_of_the_preset_and_its_first_one_names_what_is_missing(
    bare: Checkout, name: str
) -> None:
    pin(bare, name)
    use(name, bare.folder)
    params = load(bare.folder / "params.yaml", bare.folder)
    listed = bare.dvc("stage", "list", "--all", "--name-only")
    assert listed.status == 0, listed.text
    # A row of several caption sets is one step.
    assert set(listed.text.split()) == {
        f"{stage}@{row}" for stage in STAGE_NAMES for row in params.resolved[stage]["rows"]
    }
    if missing := missing_paths(bare, params):
        ended = bare.dvc("repro")  # stops at the first source that is missing
        assert "Traceback" not in ended.text
        assert ended.status != 0
        assert named_as_missing(ended, missing)


def named_as_missing(ended: Ended, paths: set[str]) -> set[str]:
    """Those of these paths that one line each says of that nothing is there."""
    return {path for path in paths if len(ended.lines_with(f"{path!r}")) == 1 and "nothing is there" in ended.text}
