"""Augment: row j is made from row j, with its parents and its box."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.errors import Reject

if TYPE_CHECKING:
    from whole_run import WholeRuns

COLUMNS = [Column.KEY, Column.IMAGE, Column.LABEL, Column.AUGMENTATION]


def rows_of(whole: WholeRuns, reference: str, shard: int) -> list[dict[str, Any]]:
    return Shard(whole.result(reference, str(shard)), IMAGES).rows(COLUMNS)


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_cutmix_keeps_the_base_outside_the_box_and_mixes_another_class(whole: WholeRuns) -> None:
    main = {row["key"]: row for shard in range(2) for row in rows_of(whole, "download/imagenet", shard)}
    num_mixed = 0
    for shard in range(2):
        bases = rows_of(whole, "download/imagenet", shard)
        for base, mixed in zip(bases, rows_of(whole, "augment/cutmix", shard), strict=True):
            assert mixed["key"] == f"{base['key']}#cutmix"
            if mixed["image"] is None:
                continue
            num_mixed += 1
            first, second = mixed["augmentation"]["parents"]
            left, top, right, bottom = mixed["augmentation"]["box"]
            assert first == base["key"]
            assert main[second]["label"] != base["label"]
            assert mixed["label"] is None
            outside = np.ones((32, 32), dtype=bool)
            outside[top:bottom, left:right] = False
            assert (pixels(mixed["image"])[outside] == pixels(base["image"])[outside]).all()
            assert (pixels(mixed["image"]) != pixels(base["image"])).any()
    assert num_mixed >= 20


def test_partners_come_from_the_other_shard(whole: WholeRuns) -> None:
    keys = [{row["key"] for row in rows_of(whole, "download/imagenet", shard)} for shard in range(2)]
    for shard in range(2):
        partners = {
            row["augmentation"]["parents"][1] for row in rows_of(whole, "augment/cutmix", shard) if row["augmentation"]
        }
        assert partners
        assert partners <= keys[1 - shard]


def test_crop_is_the_recorded_window(whole: WholeRuns) -> None:
    for base, cropped in zip(rows_of(whole, "download/imagenet", 0), rows_of(whole, "augment/crop", 0), strict=True):
        left, top, right, bottom = cropped["augmentation"]["box"]
        assert right - left == bottom - top
        assert 16 <= right - left <= 29  # 0.5 to 0.9 of 32 px
        window = Image.fromarray(pixels(base["image"])).crop((left, top, right, bottom))
        wanted = np.asarray(window.resize((32, 32), Image.Resampling.LANCZOS))
        assert (pixels(cropped["image"]) == wanted).all()


def test_a_picture_without_a_partner_is_rejected() -> None:
    from pipeline.augment.partner import candidates, draw_partner
    from pipeline.data.randomness import generator

    with pytest.raises(Reject, match="no_other_class"):
        draw_partner(generator(0), candidates(["a", "b"], [3, 3], [True, True]), "c", 3)
