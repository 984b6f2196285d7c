"""What voids what: each parameter changes exactly the results that are made from it, and those after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sandbox
from voided import Keys, downstream, readers, voided

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.params.load import convert
from pipeline.params.schema import STAGE_NAMES


def other_value(keys: Keys, value: Any) -> Any:
    """Another value that converts; what it means together with others is not looked at."""
    words = {
        "device": "cpu",
        "style": {"plain": "aesthetic", "aesthetic": "plain"}.get(str(value)),
        "layout": {"grid": "corners", "corners": "grid"}.get(str(value)),
        "attention": "sdpa",
        "mlp": "swiglu",
        "view": "square",
        "dtype": {"float16": "float32", "float32": "float16"}.get(str(value)),
        "latent_draw": "mean",
        "precision": "float32",
        "patch_size": 4,
        "guidance_interval": [0.0, 0.5],
        "near_duplicates": "reject",
    }
    key = keys[-1]
    if key in words and value is not None:
        return words[key]
    if isinstance(value, list):
        return value[:-1] if len(value) > 1 else [*value, "heldout_captions"]
    others = {
        "bool": lambda: not value,
        "int": lambda: value + 1,
        "float": lambda: value / 2 or 0.5,
        "dict": lambda: {"train/ta_ia": 2},
        "str": lambda: f"{value}x",
    }
    return others[type(value).__name__]()


# Kinds (another kind has other keys), references and names of entries, and the one view there is.
NOT_CHANGED_HERE = {"kind", "source", "view"} | {
    "images",
    "captions",
    "latents",
    "model",
    "heldout",
    "real",
    "captioner",
    "autoencoder",
    "encoder",
    "features",
    "detector",
    "answerer",
    "benchmark",
    "plain",
    "aesthetic",
    "heldout_plain",
    "heldout_aesthetic",
}


def is_reference_or_kind(keys: Keys) -> bool:
    if keys[-1] == "source":
        return "autoencoders" not in keys
    if keys[-1] == "features" or (keys[0], keys[-1]) == ("score", "style"):
        return True
    return keys[-1] in NOT_CHANGED_HERE


LEAVES = [keys for keys, _ in sandbox.leaves(sandbox.demo()) if not is_reference_or_kind(keys)]


def test_the_leaves_of_the_demo_are_all_there() -> None:
    assert len(LEAVES) > 120
    assert {keys[0] for keys in LEAVES} == {"run", "seeds", "execution", *STAGE_NAMES}


@pytest.mark.parametrize("keys", LEAVES, ids=lambda keys: ".".join(map(str, keys)))
def test_a_changed_value_changes_what_reads_it_and_what_comes_after(
    keys: Keys, before: dict[UnitId, str], checkout: Path
) -> None:
    raw = sandbox.demo()
    old = raw
    for key in keys:
        old = old[key]
    changed = sandbox.changed(raw, keys, other_value(keys, old))
    plan = Plan(convert(changed, "demo.yaml"), checkout)
    after = sandbox.fingerprints(plan)
    wanted = voided(plan, keys, readers(changed, keys, list(after)))
    if keys[-1] in ("num_shards", "benchmarks"):  # parts come or go: so does what is made from all of them
        assert set(before) != set(after)
        demo = Plan(convert(raw, "demo.yaml"), checkout)
        with_other_inputs = {
            unit_id
            for unit_id in after
            if unit_id not in before or set(plan.unit(unit_id).needs) != set(demo.unit(unit_id).needs)
        }
        wanted |= downstream(plan, with_other_inputs)
    else:
        assert set(before) == set(after)
    differs = {unit_id for unit_id in after if before.get(unit_id) != after[unit_id]}
    assert differs == wanted, sorted(differs ^ wanted)[:5]


@pytest.mark.parametrize(
    ("keys", "value", "changed_rows"),
    [
        (("train", "optimizer", "kind"), None, {"train/aio", "train/ta_ia"}),
        (("recaption", "rows", "cutmix-vlm", "captioner"), "other", {"recaption/cutmix-vlm"}),
        (("score", "rows", "aio", "real"), "download/aesthetic", {"score/aio"}),
        (("train", "rows", "ta_ia", "texts"), {"encode_text/imagenet-vlm": 1.0}, {"train/ta_ia"}),
        (("train", "rows", "ta_ia", "swap"), None, {"train/ta_ia"}),
        (("generate", "rows", "aio", "model"), "train/ta_ia", {"generate/aio"}),
        (("finetune", "rows", "ta_ia+aesthetic", "model"), "train/aio", {"finetune/ta_ia+aesthetic"}),
    ],
)
def test_a_changed_reference_or_kind_does_too(
    keys: Keys, value: Any, changed_rows: set[str], before: dict[UnitId, str], checkout: Path
) -> None:
    raw = sandbox.demo()
    vlm = raw["recaption"]["captioners"]["vlm"]
    raw["recaption"]["captioners"]["other"] = {**vlm, "max_new_tokens": 7}  # an entry that nobody names: no change
    muon = {**raw["train"]["optimizer"], "kind": "muon", "momentum": 0.9, "adamw_learning_rate": 0.1}
    if keys[-1] == "kind":
        raw["train"]["optimizer"] = muon
    else:
        raw = sandbox.changed(raw, keys, value)
    plan = Plan(convert(raw, "demo.yaml"), checkout)
    after = sandbox.fingerprints(plan)
    first = {unit_id for unit_id in after if unit_id.reference in changed_rows}
    if keys[-1] == "real":  # the prompts of the others have no real pictures
        first = {unit_id for unit_id in first if unit_id.part == "heldout_captions"}
    assert {unit_id for unit_id in after if before[unit_id] != after[unit_id]} == downstream(plan, first)


def test_the_pictures_shard_is_all_that_a_shard_of_captions_takes_from_the_images(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    assert plan.unit(UnitId("recaption", "imagenet-vlm", "2")).needs == (UnitId("download", "imagenet", "2"),)
