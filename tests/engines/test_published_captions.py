"""Published captions on both engines: joined once, made anew where they changed, at hand in a clone without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkout import Checkout

from pipeline.data.schema import CAPTIONS, INDEX, Column
from pipeline.data.shards import Shard

pytestmark = pytest.mark.slow

TABLE = "data/captions.tsv"
CAPTIONER = {
    "kind": "published",
    "path": TABLE,
    "form": "lines",
    "columns": {"picture": 1, "caption": 2},
    "several": "refuse",
    "min_matched_fraction": 0.9,
    "written_by": "others",
}
NUM_UNITS = 6  # of the caption set: its index, three shards, their manifest; and the page


def ids_of(checkout: Checkout) -> list[str]:
    index = checkout.folder / "data/light/download/main/index.parquet"
    return [str(row["key"]).partition("/")[2] for row in Shard(index, INDEX).rows([Column.KEY])]


def write_table(checkout: Checkout, captions: dict[str, str]) -> None:
    (checkout.folder / TABLE).write_text("".join(f"{name}\t{text}\n" for name, text in captions.items()))


def captions_of(checkout: Checkout) -> dict[str, str]:
    shards = sorted((checkout.folder / "data/light/recaption/main-label").glob("0*.parquet"))
    rows = [row for path in shards for row in Shard(path, CAPTIONS).rows([Column.KEY, Column.CAPTION])]
    return {str(row["key"]).partition("/")[2]: row["caption"] for row in rows}


def test_captions_of_others_are_joined_once_and_made_anew_alone(done: Checkout, tmp_path: Path) -> None:
    captions = {name: f"what others say of {name}" for name in ids_of(done)}
    assert len(captions) == 30
    before = done.num_made
    done.set("recaption.captioners", {"others": CAPTIONER})
    done.set("recaption.rows.main-label.captioner", "others")
    look = done.snakemake()
    assert look.status != 0
    words = f"params.yaml: recaption.captioners.others.path = '{TABLE}': nothing is there; put the captions there or"
    assert len(look.lines_with(words)) == 1
    assert done.num_made == before

    write_table(done, captions)
    ended = done.snakemake()
    assert ended.status == 0, ended.text
    assert done.num_made == before + NUM_UNITS, done.times_made()
    assert captions_of(done) == captions
    assert "30 of 30 pictures have a caption in 30 rows" in ended.text
    ended = done.dvc()
    assert ended.status == 0, ended.text
    assert done.num_made == before + NUM_UNITS
    right = done.results()

    write_table(done, dict(reversed(captions.items())))  # the same captions, in another order: only a look at them
    assert done.snakemake().status == 0
    assert done.times_made()["recaption/main-label index"] == 2
    assert done.num_made == before + NUM_UNITS + 1

    mended = captions | {next(iter(captions)): "mended"}
    write_table(done, mended)
    ended = done.dvc("repro", "--force", "recaption@main-label")
    assert ended.status == 0, ended.text
    assert captions_of(done) == mended
    write_table(done, captions)
    assert done.snakemake().status == 0
    assert {name: digest for name, digest in done.results().items() if "main-label/index." not in name} == {
        name: digest for name, digest in right.items() if "main-label/index." not in name
    }


def test_in_a_clone_nothing_is_made_though_the_table_is_not_there(done: Checkout, tmp_path: Path) -> None:
    write_table(done, {name: f"what others say of {name}" for name in ids_of(done)})
    done.set("recaption.captioners", {"others": CAPTIONER})
    done.set("recaption.rows.main-label.captioner", "others")
    ended = done.dvc()
    assert ended.status == 0, ended.text
    done.publish(tmp_path / "shelf")
    clone = done.clone(tmp_path / "clone")
    assert not (clone.folder / TABLE).exists()
    for engine in (clone.snakemake, clone.dvc):
        ended = engine()
        assert ended.status == 0, ended.text
    assert clone.num_made == 0
    assert clone.results() == done.results()
