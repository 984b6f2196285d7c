"""All ten stages at tiny size on both engines: equal bytes, kills on the way, and exactly the right work anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.params.check import check
from pipeline.params.load import load
from pipeline.params.schema import STAGE_NAMES

if TYPE_CHECKING:
    from checkout import Checkout, Ended
    from whole_run import WholeRuns

pytestmark = pytest.mark.slow


def test_both_engines_end_in_the_same_bytes_though_one_was_killed(whole: WholeRuns) -> None:
    assert whole.kills == ["captions", "a checkpoint", "pictures"]
    first, second = whole.shown["snakemake"], whole.shown["dvc"]
    assert first == second
    stages_seen = {name.split("/")[2] for name in first if name.startswith("data/")}
    assert stages_seen == set(STAGE_NAMES) - {"report"}
    assert "reports/whole/metrics.json" in first


def test_a_killed_training_went_on_from_its_checkpoint(whole: WholeRuns) -> None:
    logs = "".join(path.read_text() for path in (whole.snakemake.folder / "logs/whole").rglob("model.log"))
    assert "going on from step" in logs


def test_nothing_is_left_to_do_for_either_engine(whole: WholeRuns) -> None:
    before = set(whole.snakemake.store_entries())
    again = whole.snakemake.snakemake()
    assert again.status == 0, again.text
    assert "Nothing to be done" in again.text
    other = whole.snakemake.dvc()
    assert other.status == 0, other.text
    assert set(whole.snakemake.store_entries()) == before
    assert "up to date" in whole.snakemake.dvc("status").text


def test_the_page_has_the_scores_of_all_rows(whole: WholeRuns) -> None:
    metrics = json.loads((whole.snakemake.folder / "reports/whole/metrics.json").read_text())
    models = metrics["models"]
    assert set(models) == {"ta_ia", "more", "taken_in", "elsewhere"}
    assert models["more"]["finetuned_on"] == "aesthetic, aesthetic"
    truth = models["elsewhere"]["benchmarks"]["geneval_shapes"]["tasks"]
    assert truth["single_object"] == 1.0
    assert truth["colors"] == 0.5  # every second of its pictures shows another colour than was asked for
    assert models["elsewhere"]["benchmarks"]["dpg_shapes"]["categories"]["entity"] == 1.0
    assert models["taken_in"]["benchmarks"]["geneval_shapes"]["overall"] < 0.2  # random weights


LEAVES: dict[str, tuple[str, Any]] = {
    "download": ("rows.aesthetic.revision", 2),
    "augment": ("rows.crop.max_scale", 0.8),
    "recaption": ("rows.aesthetic-vlm.row_group_rows", 3),
    "encode_images": ("rows.aesthetic.row_group_rows", 3),
    "encode_text": ("rows.aesthetic-vlm.row_group_rows", 3),
    "train": ("rows.aio.clip_norm", 2.0),
    "finetune": ("rows.ta_ia+aesthetic+more.num_steps", 10),
    "generate": ("rows.elsewhere.row_group_rows", 7),
    "score": ("num_bootstrap", 60),
    "report": ("num_pictures", 5),
}


def readers_of_leaf(stage: str) -> Callable[[UnitId], bool]:
    """The units whose own row holds the changed leaf."""
    row = {
        "download": {"aesthetic"},
        "augment": {"crop"},
        "recaption": {"aesthetic-vlm"},
        "encode_images": {"aesthetic"},
        "encode_text": {"aesthetic-vlm"},
        "train": {"aio"},
        "finetune": {"ta_ia+aesthetic+more"},
        "generate": {"elsewhere"},
    }.get(stage)
    judged_only = stage == "score"  # its leaf is read where verdicts are added up
    return lambda unit_id: (
        unit_id.stage == stage and (row is None or unit_id.row in row) and not (judged_only and unit_id.is_shard)
    )


def everything_after(plan: Plan, first: Callable[[UnitId], bool]) -> set[UnitId]:
    """The units that read a leaf, and all that are made from them."""
    changed: set[UnitId] = set()
    for unit_id in plan.unit_ids():
        if first(unit_id) or any(need in changed for need in plan.unit(unit_id).needs):
            changed.add(unit_id)
    return changed


def plan_of(checkout: Checkout) -> Plan:
    params = load(checkout.folder / "params.yaml", checkout.folder)
    return Plan(params, checkout.folder)


def fingerprints_of(checkout: Checkout, unit_ids: set[UnitId]) -> set[str]:
    plan = plan_of(checkout)
    return {str(plan.fingerprints.of(unit_id)) for unit_id in unit_ids}


# Half of the leaves in each checkout, which the engine that did not run there goes on with.
IN_THE_CHECKOUT_OF_SNAKEMAKE = ("augment", "encode_images", "train", "generate", "score", "report")
IN_THE_CHECKOUT_OF_DVC = tuple(stage for stage in LEAVES if stage not in IN_THE_CHECKOUT_OF_SNAKEMAKE)


@pytest.mark.parametrize("stage", IN_THE_CHECKOUT_OF_SNAKEMAKE)
def test_one_leaf_makes_exactly_the_right_results_anew_in_the_checkout_of_snakemake(
    whole: WholeRuns, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.snakemake.folder)
    change_one_leaf_and_back(whole.snakemake, whole.snakemake.dvc, stage)


@pytest.mark.parametrize("stage", IN_THE_CHECKOUT_OF_DVC)
def test_one_leaf_makes_exactly_the_right_results_anew_in_the_checkout_of_dvc(
    whole: WholeRuns, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.dvc.folder)
    change_one_leaf_and_back(whole.dvc, whole.dvc.snakemake, stage)


def change_one_leaf_and_back(checkout: Checkout, run: Callable[[], Ended], stage: str) -> None:
    """Really made, by the other engine than the one whose results lie there."""
    assert set(LEAVES) == set(STAGE_NAMES)
    key, value = LEAVES[stage]
    kept = (checkout.folder / "params.yaml").read_text()
    old = set(checkout.store_entries())
    checkout.set(f"{stage}.{key}", value)
    check(plan_of(checkout).params)
    ended = run()
    assert ended.status == 0, ended.text
    expected = everything_after(plan_of(checkout), readers_of_leaf(stage))
    made = set(checkout.store_entries()) - old
    assert made == fingerprints_of(checkout, expected) - old
    assert made
    (checkout.folder / "params.yaml").write_text(kept)
    back = run()
    assert back.status == 0, back.text
    assert set(checkout.store_entries()) == old | made  # changed back: nothing is made


def test_whole_params_name_every_kind_of_row() -> None:
    from whole_run import whole_params

    rows = yaml.safe_load(yaml.safe_dump(whole_params()))
    assert {row["kind"] for row in rows["augment"]["rows"].values()} == {"cutmix", "crop"}
    assert any("import" in row for row in rows["train"]["rows"].values())
    assert any("import" in row for row in rows["generate"]["rows"].values())
    assert Path(rows["execution"]["store"]) == Path("data/store")
