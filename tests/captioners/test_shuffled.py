"""Shuffled captions: each belongs to another picture, none is lost, and the same ones come again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_project import plan_of, run_small, run_stage, small_parameters, write_parameters

from pipeline.captioners.shuffled import partners
from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard
from pipeline.errors import Refusal
from pipeline.params.check import check
from pipeline.params.load import convert

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [2, 3, 50])
def test_every_caption_goes_to_another_picture(number: int) -> None:
    found = partners(number, 0, "download/imagenet", 0)
    assert sorted(found) == list(range(number))
    assert all(taken != own for own, taken in enumerate(found))
    assert partners(number, 0, "download/imagenet", 0) == found


def test_shards_and_seeds_are_shuffled_in_their_own_ways() -> None:
    ways = {tuple(partners(50, seed, "download/imagenet", shard)) for seed in (0, 1) for shard in (0, 1)}
    assert len(ways) == 4


def test_one_caption_alone_is_refused() -> None:
    with pytest.raises(Refusal, match="shard 3: one caption has no other"):
        partners(1, 0, "download/imagenet", 3)
    assert partners(0, 0, "download/imagenet", 3) == []


def recaption(**changes: object) -> dict[str, object]:
    label = {"kind": "label", "template": "an image of a {class_name}"}
    shuffled = {"images": "download/pictures", "captioner": "shuffled", "captions": "recaption/pictures-label"}
    return {
        "captioners": {"label": label, "shuffled": {"kind": "shuffled"}},
        "rows": {
            # made before the set that it is made from, were the alphabet asked
            "by-others": {key: value for key, value in {**shuffled, **changes}.items() if value is not None},
            "pictures-label": {"images": "download/pictures", "captioner": "label"},
            "heldout-label": {"images": "download/heldout", "captioner": "label"},
        },
    }


def test_the_stage_moves_captions_between_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parameters(tmp_path / "params.yaml", small_parameters(recaption=recaption()))
    (tmp_path / "params").mkdir()
    shutil.copy(PROJECT / "params/demo.yaml", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    run_small()
    assert run_stage("recaption", "by-others") == 0
    plan = plan_of(tmp_path)
    sets = {}
    for row in ("by-others", "pictures-label"):
        for shard in ("0", "1"):
            unit_id = UnitId("recaption", row, shard)
            fingerprint = plan.fingerprints.of(unit_id)
            assert fingerprint is not None
            path = plan.store.entry(fingerprint) / plan.unit(unit_id).files[0]
            sets[row, shard] = Shard(path, CAPTIONS).rows([Column.KEY, Column.CAPTION, Column.INSTRUCTION])
    for shard in ("0", "1"):
        ours, theirs = sets["by-others", shard], sets["pictures-label", shard]
        assert [row["key"] for row in ours] == [row["key"] for row in theirs]
        order = partners(len(theirs), 0, "download/pictures", int(shard))
        assert [row["caption"] for row in ours] == [theirs[taken]["caption"] for taken in order]
        assert sorted(row["caption"] for row in ours) == sorted(row["caption"] for row in theirs)
    order_of_rows = plan.rows_in_order("recaption")
    assert order_of_rows.index("pictures-label") < order_of_rows.index("by-others")
    needs = plan.unit(UnitId("recaption", "by-others", MANIFEST)).needs
    assert UnitId("recaption", "pictures-label", MANIFEST) in needs


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"captions": None}, "shuffles another row's captions: name it"),
        ({"captions": "recaption/none"}, "no such row"),
        ({"captions": "download/pictures"}, "must refer to a row of recaption"),
        ({"captions": "recaption/heldout-label"}, "captions of download/heldout, not of download/pictures"),
        ({"captions": "recaption/by-others"}, "is shuffled itself"),
        ({"captioner": "label"}, "only kind shuffled reads others"),
    ],
)
def test_what_cannot_be_shuffled_is_refused(
    changes: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    raw = small_parameters(recaption=recaption(**changes))
    with pytest.raises(Refusal, match=why):
        check(convert(raw, "params.yaml"))
