"""What voids what: each parameter changes exactly the results that are made from it, and those after them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sandbox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dag.identities import Digests
from pipeline.dag.plan import Plan
from pipeline.dag.stages import STAGES
from pipeline.dag.units import INDEX, MANIFEST, MODEL, REPORT, UNCONDITIONAL, UnitId
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET
from pipeline.errors import Refusal
from pipeline.params import schema
from pipeline.params.datasets import AugmentRow
from pipeline.params.kinds import AUGMENTATIONS
from pipeline.params.load import convert, section_types
from pipeline.params.schema import STAGE_NAMES

Keys = tuple[Any, ...]
SEEDED = {
    "data": ("download", "augment", "recaption"),
    "train": ("train", "finetune"),
    "generate": ("generate", "score"),
}


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one's own, which is the current folder."""
    monkeypatch.chdir(sandbox.make(tmp_path, sandbox.demo()))
    return tmp_path


# --- one leaf at a time, all of them


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


def readers(raw: dict[str, Any], keys: Keys, unit_ids: list[UnitId]) -> set[UnitId]:
    """The units whose own recipe holds a leaf, told from the text of the parameters alone."""
    head, *rest = keys
    if head in ("run", "execution", "seeds"):
        told = {"run": (REPORT,), "execution": ()}.get(head) or SEEDED.get(rest[0] if rest else "", ())
        return {unit_id for unit_id in unit_ids if unit_id.stage in told}
    section, tables = raw[head], section_types()[head].tables if head in section_types() else {}
    if rest[-1] == "benchmarks":
        return set()  # names the parts that there are, and is no part of any one of them
    if rest[0] == "rows":
        return {p for p in unit_ids if (p.stage, p.row) == (head, rest[1]) and is_read(raw, p, rest[2])}
    if rest[0] in tables:
        field = {"captioners": "captioner", "autoencoders": "autoencoder", "encoders": "encoder"}.get(rest[0])
        if rest[0] == "benchmarks":
            return {p for p in unit_ids if p.stage == head and p.part.split(".")[0] == rest[1]}
        field = field or {"style_probes": "style", "feature_extractors": "features", "metrics": "metrics"}[rest[0]]
        rows = {row: {**section, **own}.get(field, ()) for row, own in section["rows"].items()}
        named = {row for row, value in rows.items() if rest[1] in (value if isinstance(value, list) else [value])}
        return {p for p in unit_ids if p.stage == head and p.row in named and is_read(raw, p, field)}
    without_own = {row for row, own in section["rows"].items() if rest[0] not in own}
    found = {unit_id for unit_id in unit_ids if unit_id.stage == head and unit_id.row in without_own}
    return {unit_id for unit_id in found if is_read(raw, unit_id, rest[0])} if head == "download" else found


def is_read(raw: dict[str, Any], unit_id: UnitId, field: str) -> bool:
    """Whether a part reads a field of its row: scores differ in what they ask, shards in what they reject."""
    if field in ("near_duplicates", "near_duplicate_bits"):
        return unit_id.part.isdigit() and raw["download"]["near_duplicates"] == "reject"
    if unit_id.stage != "score" or field not in ("style", "features", "metrics", "real"):
        return True
    if unit_id.part in ("style", "heldout_captions"):
        has_real = "real" in raw["score"]["rows"][unit_id.row]
        return field in ("style", "features") if unit_id.part == "style" else has_real and field != "style"
    return False


def downstream(plan: Plan, first: set[UnitId]) -> set[UnitId]:
    """Units and all that is made from them. What is made from an index counts its rows, which stay the same here."""
    found = set(first)
    for unit_id in plan.unit_ids():  # in DAG order
        if any(need in found and need.part != INDEX for need in plan.unit(unit_id).needs):
            found.add(unit_id)
    return found


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[UnitId, str]:
    folder = sandbox.make(tmp_path_factory.mktemp("before"), sandbox.demo())
    return sandbox.fingerprints(Plan(convert(sandbox.demo(), "demo.yaml"), folder))


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
    wanted = downstream(plan, readers(changed, keys, list(after)))
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
        first = {unit_id for unit_id in first if unit_id.part not in ("geneval_shapes", "dpg_shapes")}
    assert {unit_id for unit_id in after if before[unit_id] != after[unit_id]} == downstream(plan, first)


def test_the_pictures_shard_is_all_that_a_shard_of_captions_takes_from_the_images(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    assert plan.unit(UnitId("recaption", "imagenet-vlm", "2")).needs == (UnitId("download", "imagenet", "2"),)


def test_the_distance_of_near_duplicates_voids_shards_that_reject_them_and_nothing_where_they_are_counted(
    checkout: Path,
) -> None:
    def fingerprints(policy: str, bits: int) -> dict[UnitId, str]:
        raw = sandbox.demo()
        raw["download"]["rows"]["imagenet"] |= {"near_duplicates": policy, "near_duplicate_bits": bits}
        return sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))

    assert fingerprints("count", 4) == fingerprints("count", 2)
    four, two = fingerprints("reject", 4), fingerprints("reject", 2)
    changed = {unit_id for unit_id in four if four[unit_id] != two[unit_id]}
    assert UnitId("download", "imagenet", "0") in changed
    assert UnitId("train", "aio", MODEL) in changed
    assert {UnitId("download", "imagenet", INDEX), UnitId("download", "heldout", "0")}.isdisjoint(changed)


# --- what changes nothing


def shuffled(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    keys = list(value)
    rng.shuffle(keys)
    return {key: shuffled(value[key], rng) for key in keys}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_the_order_of_mappings_changes_nothing(seed: int, before: dict[UnitId, str], checkout: Path) -> None:
    raw = shuffled(sandbox.demo(), random.Random(seed))
    assert sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout)) == before


RENAMED_STAGES = [stage.name for stage in STAGES if not stage.key_carries_name and stage.name != REPORT]


@pytest.mark.parametrize("stage", RENAMED_STAGES)
def test_renaming_rows_whose_keys_do_not_carry_names_changes_the_page_alone(
    stage: str, before: dict[UnitId, str], checkout: Path
) -> None:
    raw = sandbox.demo()
    names = {f"{stage}/{row}": f"{stage}/{number}-{row[::-1]}" for number, row in enumerate(sorted(raw[stage]["rows"]))}
    raw[stage]["rows"] = {names[f"{stage}/{row}"].split("/")[1]: own for row, own in raw[stage]["rows"].items()}
    after = sandbox.fingerprints(Plan(convert(renamed(raw, names), "demo.yaml"), checkout))
    back = {new: old for old, new in names.items()}
    as_before = {UnitId(*back.get(p.reference, p.reference).split("/"), p.part): f for p, f in after.items()}
    assert {unit_id for unit_id in before if before[unit_id] != as_before[unit_id]} == {UnitId(REPORT, "main", REPORT)}


def test_two_rows_that_exchange_names_change_the_page(before: dict[UnitId, str], checkout: Path) -> None:
    names = {"train/aio": "train/ta_ia", "train/ta_ia": "train/aio"}
    raw = renamed(sandbox.demo(), names)
    raw["train"]["rows"] = {"aio": raw["train"]["rows"]["ta_ia"], "ta_ia": raw["train"]["rows"]["aio"]}
    after = sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))
    assert {f for p, f in before.items() if p.stage != REPORT} == {f for p, f in after.items() if p.stage != REPORT}
    assert after[UnitId(REPORT, "main", REPORT)] != before[UnitId(REPORT, "main", REPORT)]


def renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def test_renaming_a_dataset_changes_it_since_its_keys_do(before: dict[UnitId, str], checkout: Path) -> None:
    raw = sandbox.demo()
    raw["download"]["rows"]["pretty"] = raw["download"]["rows"].pop("aesthetic")
    raw = renamed(raw, {"download/aesthetic": "download/pretty"})
    after = sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))
    assert not {f for p, f in before.items() if p.reference == "download/aesthetic"} & set(after.values())
    assert after[UnitId("recaption", "aesthetic-vlm", "0")] != before[UnitId("recaption", "aesthetic-vlm", "0")]


def test_two_rows_that_say_the_same_are_one_result_however_they_are_weighed(checkout: Path) -> None:
    """Two text sets of one content behind two names: neither weight is lost, in whichever order they stand."""
    raw = sandbox.demo()
    raw["encode_text"]["rows"]["again"] = raw["encode_text"]["rows"]["imagenet-vlm"]

    def fingerprint(weights: list[tuple[str, float]]) -> str | None:
        changed = sandbox.changed(raw, ("train", "rows", "ta_ia", "texts"), dict(weights))
        plan = sandbox.plan(checkout, changed)
        return sandbox.fingerprints(plan)[UnitId("train", "ta_ia", MODEL)]

    pairs = [("encode_text/imagenet-vlm", 0.9), ("encode_text/again", 0.1)]
    assert fingerprint(pairs) == fingerprint(pairs[::-1])
    assert fingerprint(pairs) == fingerprint([("encode_text/imagenet-vlm", 0.1), ("encode_text/again", 0.9)])
    assert fingerprint(pairs) != fingerprint([("encode_text/imagenet-vlm", 0.5), ("encode_text/again", 0.1)])


def test_benchmarks_are_named_apart(before: dict[UnitId, str], checkout: Path) -> None:
    """One more benchmark leaves the results of the others alone."""
    raw = sandbox.demo()
    raw["generate"]["rows"]["ta_ia+aesthetic"]["benchmarks"].append("heldout_captions")
    after = sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))
    assert {unit_id for unit_id in before if before[unit_id] != after[unit_id]} == {UnitId(REPORT, "main", REPORT)}


# --- unfinished training


@pytest.mark.parametrize(
    ("schedule", "more", "same_work"),
    [
        ({"kind": "constant", "num_warmup_steps": 10}, {"num_steps": 1600}, True),
        ({"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 200}, {"num_steps": 1600}, True),
        (  # its checkpoints are of another schedule
            {"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 200},
            {"schedule": {"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 300}},
            False,
        ),
        ({"kind": "cosine", "num_warmup_steps": 50, "final_fraction": 0.1}, {"num_steps": 1600}, False),
        ({"kind": "constant", "num_warmup_steps": 10}, {"batch_size": 32}, False),
    ],
)
def test_more_steps_go_on_where_the_schedule_is_open(
    schedule: dict[str, Any], more: dict[str, Any], same_work: bool, checkout: Path
) -> None:
    unit_id = UnitId("train", "aio", MODEL)
    raw = sandbox.changed(sandbox.demo(), ("train", "schedule"), schedule)
    first = sandbox.plan(checkout, raw)
    sandbox.fingerprints(first)
    raw["train"].update(more)
    second = sandbox.plan(checkout, raw)
    sandbox.fingerprints(second)
    assert first.fingerprints.of(unit_id) != second.fingerprints.of(unit_id)
    assert (first.fingerprints.work_name(unit_id) == second.fingerprints.work_name(unit_id)) is same_work
    assert first.fingerprints.of(unit_id) == sandbox.plan(checkout, first.params.resolved).fingerprints.of(unit_id)


# --- indexes


def test_nothing_below_an_index_is_known_before_it_is_made(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    known = {unit_id for unit_id in plan.unit_ids() if plan.fingerprints.of(unit_id)}
    # A held-out set's index and those without one can be named at once; so can what is made from no picture.
    assert known == {
        UnitId("download", "heldout", INDEX),
        UnitId("download", "aesthetic", INDEX),
        *(unit_id for unit_id in plan.unit_ids() if unit_id.part == UNCONDITIONAL),
    }
    sandbox.put_index(plan, UnitId("download", "heldout", INDEX), "rows")
    assert plan.fingerprints.of(UnitId("download", "heldout", MANIFEST)) is not None
    assert plan.fingerprints.of(UnitId("download", "imagenet", INDEX)) is not None
    assert plan.fingerprints.of(UnitId("download", "imagenet", "0")) is None


def test_an_index_made_anew_with_the_same_rows_voids_nothing_below(before: dict[UnitId, str], checkout: Path) -> None:
    held = UnitId("download", "heldout", INDEX)
    plan = Plan(convert(sandbox.demo(), "demo.yaml"), checkout)
    entry = sandbox.put_entry(plan, held)
    content = json.loads((plan.store.entry(entry) / INDEX_JSON).read_text())
    assert sandbox.fingerprints(plan) == before
    (plan.store.entry(entry) / INDEX_JSON).write_text(json.dumps({**content, "digest": "other rows"}))
    fresh = Plan(plan.params, checkout)
    changed = {unit_id for unit_id in fresh.unit_ids() if fresh.fingerprints.of(unit_id) not in (before[unit_id], None)}
    assert UnitId("download", "heldout", "0") in changed
    assert UnitId("download", "imagenet", INDEX) in changed
    assert held not in changed
    assert UnitId("download", "aesthetic", "0") not in changed


def test_an_index_that_says_another_fingerprint_is_not_believed(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    unit_id = UnitId("download", "heldout", INDEX)
    sandbox.put_index(plan, unit_id, "rows")
    path = plan.store.entry(str(plan.fingerprints.of(unit_id))) / INDEX_JSON
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "0" * 40}))
    assert Plan(plan.params, checkout).fingerprints.of(UnitId("download", "heldout", "0")) is None


# --- sources


def with_folder(path: str) -> dict[str, Any]:
    raw = sandbox.small()
    own = {"source": "folder", "revision": 1, "path": path, "num_rows": "all", "num_shards": 1}
    raw["download"]["rows"] = {"own": own}
    raw["augment"]["rows"] = {}
    raw["recaption"]["rows"] = {"own": {"images": "download/own", "captioner": "label"}}
    return raw


def pictures(folder: Path, name: str = "pictures") -> Path:
    for label in ("cat", "dog"):
        (folder / name / label).mkdir(parents=True)
        (folder / name / label / "0.png").write_bytes(b"0")
    return folder / name


OWN_INDEX, OWN_SHARD = UnitId("download", "own", INDEX), UnitId("download", "own", "0")


def test_a_source_counts_by_its_stamp_and_shards_by_the_rows(checkout: Path) -> None:
    source = pictures(checkout)
    raw = with_folder("pictures")
    first = sandbox.fingerprints(sandbox.plan(checkout, raw))
    assert sandbox.fingerprints(sandbox.plan(checkout, raw)) == first
    (source / "dog" / "1.png").write_bytes(b"1")  # a new file shows in its folder's time
    os.utime(source / "dog", (1, 1))
    second = sandbox.fingerprints(sandbox.plan(checkout, raw))
    assert {unit_id for unit_id in first if first[unit_id] != second[unit_id]} == {OWN_INDEX}


def index_before_and_after(checkout: Path, change: Any) -> tuple[str | None, str | None]:
    """The index's fingerprint around a change that leaves the times of folders as they were."""
    source = pictures(checkout)
    folders = (source, source / "cat", source / "dog", source / "cat" / "kittens")
    folders[-1].mkdir()
    (folders[-1] / "0.png").write_bytes(b"0")
    for folder in folders:
        os.utime(folder, (1, 1))
    first = sandbox.plan(checkout, with_folder("pictures")).fingerprints.of(OWN_INDEX)
    change(source)
    for folder in folders:
        os.utime(folder, (1, 1))
    return first, sandbox.plan(checkout, with_folder("pictures")).fingerprints.of(OWN_INDEX)


IN_PLACE = {
    "a picture of another size": lambda source: (source / "dog" / "0.png").write_bytes(b"another"),
    "a picture of the same size": lambda source: (source / "dog" / "0.png").write_bytes(b"1"),
    "an older picture": lambda source: os.utime(source / "dog" / "0.png", (1, 1)),
    "another name": lambda source: (source / "dog" / "0.png").rename(source / "dog" / "1.png"),
    "deeper down": lambda source: (source / "cat" / "kittens" / "0.png").write_bytes(b"another"),
}


@pytest.mark.parametrize("what", IN_PLACE)
def test_a_source_that_was_changed_in_place_is_another_one(checkout: Path, what: str) -> None:
    first, second = index_before_and_after(checkout, IN_PLACE[what])
    assert None not in (first, second)
    assert first != second


def test_a_source_of_very_many_files_is_stamped_by_its_folders(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.dag.identities.MAX_STAMPED_FILES", 1)
    first, second = index_before_and_after(checkout, IN_PLACE["a picture of another size"])
    assert first == second
    os.utime(checkout / "pictures" / "dog", (2, 2))
    assert sandbox.plan(checkout, with_folder("pictures")).fingerprints.of(OWN_INDEX) != first


def test_a_stamp_is_taken_once_a_process_and_what_is_missing_is_looked_for_again(checkout: Path) -> None:
    digests = Digests.of_project(checkout)
    assert digests.stamp("pictures") is None
    source = pictures(checkout)
    first = digests.stamp("pictures")
    (source / "dog" / "1.png").write_bytes(b"1")
    assert digests.stamp("pictures") == first is not None
    assert Digests.of_project(checkout).stamp("pictures") != first


def test_links_that_lead_nowhere_do_not_stop_a_stamp(checkout: Path) -> None:
    source = pictures(checkout)
    (source / "cat" / "gone.png").symlink_to(source / "nothing")
    (source / "cat" / "circle.png").symlink_to(source / "cat" / "circle.png")
    assert Digests.of_project(checkout).stamp("pictures") is not None


class FramesRow(AugmentRow, tag="frames", frozen=True, kw_only=True):
    """Pictures in the frames of a folder, and of a second one where there is one."""

    path_fields: ClassVar[tuple[str, ...]] = ("frames", "more_frames")

    frames: str
    more_frames: str | None = None


@pytest.mark.parametrize("field", ["frames", "more_frames"])
def test_a_path_in_a_row_of_another_stage_counts_by_what_lies_there(checkout: Path, field: str) -> None:
    source, other = pictures(checkout, "wood"), pictures(checkout, "gold")
    with AUGMENTATIONS.added(FramesRow, "tests:None"):
        raw = with_folder("wood")
        raw["augment"]["rows"] = {
            "framed": {"kind": "frames", "images": "download/own", "side_px": 16, "frames": "wood", field: "gold"}
        }
        first = sandbox.fingerprints(sandbox.plan(checkout, raw))
        shard, manifest = UnitId("augment", "framed", "0"), UnitId("augment", "framed", MANIFEST)
        assert first[shard] is not None
        other.rename(checkout / "moved")
        moved = sandbox.changed(raw, ("augment", "rows", "framed", field), "moved")
        assert sandbox.fingerprints(sandbox.plan(checkout, moved)) == first
        (checkout / "moved" / "dog" / "0.png").write_bytes(b"another")
        after = sandbox.fingerprints(sandbox.plan(checkout, moved))
        assert {unit_id for unit_id in first if first[unit_id] != after[unit_id]} >= {shard, manifest}
        assert first[OWN_SHARD] == after[OWN_SHARD]
        assert sandbox.plan(checkout, raw).fingerprints.of(shard) is None  # the folder went away
    assert source.is_dir()


@pytest.mark.parametrize("name", ["download/own", "train/pictures"])
def test_a_path_that_reads_like_a_reference_is_a_path(checkout: Path, name: str) -> None:
    source = pictures(checkout, name)
    first = sandbox.plan(checkout, with_folder(name)).fingerprints.of(OWN_INDEX)
    os.utime(source / "dog", (1, 1))
    assert sandbox.plan(checkout, with_folder(name)).fingerprints.of(OWN_INDEX) not in (first, None)


def test_where_a_source_lies_is_no_part_of_the_results(checkout: Path) -> None:
    source = pictures(checkout)
    first = sandbox.fingerprints(sandbox.plan(checkout, with_folder("pictures")))
    source.rename(checkout / "moved")
    assert sandbox.fingerprints(sandbox.plan(checkout, with_folder("moved"))) == first


def test_where_the_source_is_not_at_hand_the_index_that_is_there_counts(checkout: Path) -> None:
    source = pictures(checkout)
    raw = with_folder("pictures")
    plan = sandbox.plan(checkout, raw)
    first = sandbox.fingerprints(plan)
    shown = plan.layout.shown("download", "own")
    shown.mkdir(parents=True)
    entry = plan.store.entry(first[OWN_INDEX])
    for name in (INDEX_JSON, INDEX_PARQUET):
        (shown / name).write_bytes((entry / name).read_bytes())
    source.rename(checkout / "away")
    later = sandbox.plan(checkout, raw)
    assert {unit_id: later.fingerprints.of(unit_id) for unit_id in later.unit_ids()} == first
    # But not under other parameters, which might list other rows.
    other = sandbox.plan(checkout, sandbox.changed(raw, ("download", "rows", "own", "revision"), 2))
    assert other.fingerprints.of(OWN_INDEX) is None
    assert other.fingerprints.of(OWN_SHARD) is None


# --- models


def test_a_models_weights_count_and_its_card_does_not(before: dict[UnitId, str], checkout: Path) -> None:
    folder = checkout / "data" / "demo_models" / "text_encoder"
    (folder / "card.md").write_text("reworded")
    (folder / "training.log").write_text("a log")
    assert sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo())) == before
    (folder / "weights.safetensors").write_text("other weights")
    plan = sandbox.plan(checkout, sandbox.demo())
    after = sandbox.fingerprints(plan)
    encoded = {unit_id for unit_id in after if unit_id.stage == "encode_text"}
    differs = {unit_id for unit_id in after if before[unit_id] != after[unit_id]}
    assert differs == downstream(plan, encoded)


def test_a_file_more_is_another_model_and_a_touched_one_is_not(before: dict[UnitId, str], checkout: Path) -> None:
    folder = checkout / "data" / "demo_models" / "vlm"
    os.utime(folder / "weights.safetensors", (1, 1))
    assert sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo())) == before
    (folder / "tokenizer.json").write_text("{}")
    after = sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    changed = {unit_id.stage for unit_id in after if before[unit_id] != after[unit_id]}
    assert "recaption" in changed
    assert changed.isdisjoint({"download", "augment", "encode_images"})


def test_weights_are_read_once_and_remembered(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    read = []
    monkeypatch.setattr("pipeline.dag.identities.sha256_of_file", lambda path: read.append(path) or "0" * 64)
    sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    assert read == []
    (checkout / "data" / "demo_models" / "vlm" / "weights.safetensors").write_text("other weights!")
    sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    assert [path.parent.name for path in read] == ["vlm"]


def test_a_hub_model_is_its_id_and_revision(checkout: Path) -> None:
    def captions(revision: str) -> str | None:
        raw = sandbox.demo()
        raw["recaption"]["captioners"]["vlm"].update(model="owner/vlm", revision=revision)
        return sandbox.fingerprints(sandbox.plan(checkout, raw))[UnitId("recaption", "imagenet-vlm", "0")]

    assert captions("a") == captions("a") != captions("b")


def test_an_empty_model_folder_is_refused(checkout: Path) -> None:
    for path in (checkout / "data" / "demo_models" / "vlm").iterdir():
        path.unlink()
    plan = sandbox.plan(checkout, sandbox.demo())
    with pytest.raises(Refusal, match="vlm: an empty folder where a model or pictures were expected"):
        sandbox.fingerprints(plan)


def test_execution_is_the_only_section_that_no_recipe_holds(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    sandbox.fingerprints(plan)
    text = json.dumps([plan.fingerprints.recipe(unit_id) for unit_id in plan.unit_ids()])
    assert str(checkout) not in text
    for name in schema.Execution.__struct_fields__:
        assert f'"{name}"' not in text
