"""Recaption: captions belong to their pictures, and say how they ended."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import transformers

from pipeline.data.schema import CAPTIONS, IMAGES, Column, Meta
from pipeline.data.shards import Shard

if TYPE_CHECKING:
    from whole_run import WholeRuns


def test_label_captions_name_the_class_of_their_row(whole: WholeRuns) -> None:
    for shard in range(2):
        images = Shard(whole.result("download/imagenet", str(shard)), IMAGES)
        captions = Shard(whole.result("recaption/imagenet-label", str(shard)), CAPTIONS)
        rows = zip(images.rows([Column.KEY, Column.CLASS_NAME]), captions.rows(CAPTIONS.schema.names), strict=True)
        for image, caption in rows:
            assert caption["key"] == image["key"]
            assert caption["caption"] == f"an image of a {image['class_name']}"
            assert caption["finish_reason"] == "template"


def test_generated_captions_count_their_tokens_and_differ_between_pictures(whole: WholeRuns) -> None:
    rows = Shard(whole.result("recaption/imagenet-vlm", "0"), CAPTIONS).rows(CAPTIONS.schema.names)
    written = [row for row in rows if row["caption"] is not None]
    assert len(written) >= 10
    assert {row["instruction"] for row in written} <= {"full", "brief", "name"}
    assert all(1 <= row["num_generated_tokens"] <= 6 for row in written)
    assert all((row["finish_reason"] == "length") == (row["num_generated_tokens"] == 6) for row in written)
    assert len({row["caption"] for row in written}) > 1


def test_a_shard_says_where_its_captions_come_from(whole: WholeRuns) -> None:
    metadata = Shard(whole.result("recaption/imagenet-vlm", "0"), CAPTIONS).metadata
    said = json.loads(metadata[Meta.PROVENANCE])
    assert (said["engine"], said["engine_version"]) == ("transformers", transformers.__version__)
    assert re.fullmatch("[0-9a-f]{40}", said["model"])
    assert re.fullmatch("[0-9a-f]{40}", said["chat_template"])
    assert said["decoding"] == {"temperature": 0.0, "top_p": 1.0}
    assert said["captioner"] == "vlm" or said["captioner"].endswith("/vlm")
    label = Shard(whole.result("recaption/imagenet-label", "0"), CAPTIONS).metadata
    assert json.loads(label[Meta.PROVENANCE]) == {"captioner": "label"}


def test_rows_without_a_picture_have_no_caption(whole: WholeRuns) -> None:
    images = Shard(whole.result("augment/cutmix", "0"), IMAGES).valid_rows()
    captions = Shard(whole.result("recaption/cutmix-vlm", "0"), CAPTIONS)
    pairs = zip(images, captions.valid_rows(), strict=True)
    assert all(has_picture or not has_caption for has_picture, has_caption in pairs)
    assert captions.num_null_upstream == images.count(False)
