"""The presets of published captions: what they say of the sets reads files of the form that those sets have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_project import PROJECT

from pipeline.captioners.published_names import PictureNames
from pipeline.params.load import load
from pipeline.params.published import PublishedCaptioner
from pipeline.sources.published_tables import table_files, table_rows

IDS = ["n07718472_16687", "n01440764_10026"]
TEXTS = ["a cucumber on a table", 'a fish, "big"']


def paper(folder: Path) -> None:
    pq.write_table(
        pa.table({"image_path": [f"{name}.JPEG" for name in IDS], "caption": TEXTS}), folder / "train.parquet"
    )


def coca(folder: Path) -> None:
    """As the program writes that made them: a colon behind the name, a tab, and no header."""
    lines = "".join(f"{name}.JPEG:\t{text}\n" for name, text in zip(IDS, TEXTS, strict=True))
    (folder / "ImageNet-CoCa/BERT-L").mkdir(parents=True)
    (folder / "ImageNet-CoCa/imagenet_CoCa_0_of_101.csv").write_text(lines)
    (folder / "ImageNet-CoCa/BERT-L/all_encodings.zip").write_bytes(b"z")
    (folder / "ImageNet-Labels").mkdir()
    (folder / "ImageNet-Labels/labels.csv").write_text("n07718472_16687.JPEG:\tan image of a cucumber\n")


def blip2(folder: Path) -> None:
    image = pa.array([{"bytes": b"x" * 100, "path": None}] * 2)
    names = [f"{name}.JPEG" for name in IDS]
    table = pa.table({"image_id": names, "image": image, "label": [943, 0], "caption_enriched": TEXTS})
    (folder / "data").mkdir()
    pq.write_table(table, folder / "data/train-00000-of-00001.parquet")
    pq.write_table(table.slice(0, 1), folder / "data/validation-00000-of-00001.parquet")


SETS = [
    ("paper_captions", "paper", paper),
    ("published_captions", "coca", coca),
    ("published_captions", "blip2", blip2),
]


@pytest.mark.parametrize(("preset", "name", "write"), SETS, ids=[name for _, name, _ in SETS])
def test_files_of_a_sets_form_are_read(tmp_path: Path, preset: str, name: str, write: Any) -> None:
    captioner = load(PROJECT / f"params/{preset}.yaml", PROJECT).sections["recaption"].tables["captioners"][name]
    assert isinstance(captioner, PublishedCaptioner)
    write(tmp_path)
    here = msgspec.structs.replace(captioner, repository=None, commit=None, path=str(tmp_path))
    names = PictureNames(pa.array([*reversed(IDS), "n09999999_1"], pa.large_string()))
    found = {}
    for file in table_files(here):
        for rows in table_rows(here, file):
            found |= dict(zip(names.find(rows.names).tolist(), rows.captions, strict=True))
    assert found == {1: (TEXTS[0],), 0: (TEXTS[1],)}
