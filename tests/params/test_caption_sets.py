"""Several caption sets of one captioner: rows with a dot, what they are made of, and how others name them."""

from __future__ import annotations

from typing import Any

import pytest
import sandbox
from conflicts import Changes, check_refused, checked

from pipeline.errors import Refusal
from pipeline.params.load import Params, convert

pytestmark = pytest.mark.usefixtures("checkout")

VLM = ("recaption", "captioners", "vlm")
ROWS = ("recaption", "rows")
FULL, BRIEF = {"Describe this image.": 1.0}, {"Describe this image in one short sentence.": 1.0}
SETS = {"full": {"instructions": FULL}, "brief": {"instructions": BRIEF, "max_new_tokens": 24}}
TEXT = ("encode_text", "rows", "imagenet-vlm")


def several() -> dict[str, Any]:
    """The demo's captioner with two sets, and text sets of the long ones."""
    raw = sandbox.changed(sandbox.changed(sandbox.demo(), (*VLM, "instructions"), ...), (*VLM, "sets"), SETS)
    for entry in [*raw["encode_text"]["rows"].values(), *raw["generate"]["benchmarks"].values()]:
        if entry.get("captions", "").endswith("-vlm"):
            entry["captions"] += ".full"
    return raw


def with_sets(changes: Changes | None = None) -> Params:
    from pipeline.params.check import check

    raw = several()
    for keys, value in (changes or {}).items():
        raw = sandbox.changed(raw, keys, value)
    params = convert(raw, "demo.yaml")
    check(params)
    return params


def refusal(changes: Changes) -> str:
    with pytest.raises(Refusal) as refused:
        with_sets(changes)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_each_set_is_a_row_of_a_captioner_of_its_own() -> None:
    params = with_sets()
    rows = params.rows("recaption")
    assert [row for row in rows if row.startswith("imagenet")] == [
        "imagenet-label",
        "imagenet-vlm.brief",
        "imagenet-vlm.full",
    ]
    captioners = params.sections["recaption"].tables["captioners"]
    brief, full = (captioners[params.row("recaption", f"imagenet-vlm.{one}").captioner] for one in ("brief", "full"))
    assert (full.instructions, full.max_new_tokens, full.sets) == (FULL, captioners["vlm"].max_new_tokens, None)
    assert (brief.instructions, brief.max_new_tokens, brief.sets) == (BRIEF, 24, None)
    assert params.rows_named("recaption", "imagenet-vlm") == ["imagenet-vlm.full", "imagenet-vlm.brief"]
    assert params.rows_named("recaption", "imagenet-vlm.brief") == ["imagenet-vlm.brief"]
    assert params.rows_named("recaption", "imagenet-label") == ["imagenet-label"]


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (
            "recaption/imagenet-vlm",
            "is several caption sets; name one of them: recaption/imagenet-vlm.brief, recaption/imagenet-vlm.full",
        ),
        (
            "recaption/imagenet-vlm.long",
            "is no caption set; there are recaption/imagenet-vlm.brief, recaption/imagenet-vlm.full",
        ),
        (
            "recaption/imagenet-label.full",
            "is no caption set; imagenet-label is one without a name of its own: write recaption/imagenet-label",
        ),
        ("recaption/imagnet.full", "no such row; recaption has aesthetic-cutmix-vlm.brief, "),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_there_is(reference: str, why: str) -> None:
    said = refusal({(*TEXT, "captions"): reference})
    assert said.startswith(f"demo.yaml: encode_text.rows.imagenet-vlm.captions = {reference!r}: {why}")


def test_benchmarks_and_shuffled_captions_name_a_set_too() -> None:
    name = next(name for name, entry in several()["generate"]["benchmarks"].items() if "captions" in entry)
    benchmark = ("generate", "benchmarks", name, "captions")
    assert "is several caption sets" in refusal({benchmark: "recaption/heldout-vlm"})
    shuffled = {"images": "download/imagenet", "captioner": "shuffled", "captions": "recaption/imagenet-vlm.full"}
    added = {("recaption", "captioners", "shuffled"): {"kind": "shuffled"}}
    assert with_sets({**added, (*ROWS, "other"): shuffled}).row("recaption", "other").captions == shuffled["captions"]
    assert "is several caption sets" in refusal(
        {**added, (*ROWS, "other"): {**shuffled, "captions": "recaption/imagenet-vlm"}}
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({(*VLM, "instructions"): FULL}, "recaption.captioners.vlm.instructions = {'Describe this image.': 1.0}: sets"),
        ({(*VLM, "sets"): {}}, "recaption.captioners.vlm.sets = {}: must be a mapping, not empty"),
        ({(*VLM, "sets", "full", "instructions"): {}}, "vlm.sets.full.instructions = {}: must be a mapping, not empty"),
        (
            {(*VLM, "sets", "full", "instructions"): {"a": 0.0}},
            "vlm.sets.full.instructions = {'a': 0.0}: one weight at least must be above 0",
        ),
        ({(*VLM, "sets", "a.b"): {"instructions": FULL}}, "the key 'a.b' must be a name of letters, digits, _ + -"),
        ({(*VLM, "sets", "full", "model"): "other"}, "vlm.sets.full.model is not a parameter"),
        ({(*VLM, "sets", "full", "max_new_tokens"): 0}, "vlm.sets.full.max_new_tokens = 0: must be a whole number"),
    ],
)
def test_sets_that_say_nothing_or_too_much_are_refused(changes: Changes, why: str) -> None:
    assert why in refusal(changes)


def test_a_captioner_without_instructions_and_a_name_with_a_dot_are_refused() -> None:
    check_refused({(*VLM, "instructions"): ...}, "captioner.instructions = None: name instructions, or sets with")
    check_refused(
        {(*ROWS, "imagenet-vlm.full"): {"images": "download/imagenet", "captioner": "label"}},
        "recaption.rows: the key 'imagenet-vlm.full' must be a name of letters, digits, _ + -",
    )
    checked({})


def test_a_row_of_another_stage_has_no_sets() -> None:
    check_refused(
        {(*ROWS, "imagenet-vlm", "images"): "download/imagenet.full"},
        "images = 'download/imagenet.full': is no caption set; imagenet is one without a name of its own: write",
    )
