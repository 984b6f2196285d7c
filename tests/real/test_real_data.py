"""Real pictures in every layout give the same rows; then changed, captioned and encoded, killed on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from checkout import PROJECT, Checkout, shown_bytes
from layouts import CAPTIONED, IMAGENET, SERVED, aesthetic_pictures, imagenet_pictures
from moments import catch
from picture_server import serving
from small_project import run_stage, write_parameters

from pipeline.data.schema import CAPTIONS, IMAGES, LATENTS, TEXT, Column, Table
from pipeline.data.shards import Shard
from pipeline.digest import sha256_of_bytes
from pipeline.params.load import read_yaml, resolve
from pipeline.params.schema import STAGE_NAMES
from pipeline.sources.imagenet_classes import labels

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

RUN = "real_data"
SIDE_PX = 64
NUM_PICTURES, NUM_AESTHETIC = 100, 31
LAYOUTS = IMAGENET | CAPTIONED | {"addresses": SERVED}
FIRST = next(iter(IMAGENET))
# Stage and row of what is made of the pictures, in order; those in the middle of which it is killed.
MADE = (
    ("augment", "crop", IMAGES),
    ("recaption", "crop-vlm", CAPTIONS),
    ("encode_images", "crop", LATENTS),
    ("encode_text", "crop-vlm", TEXT),
)
KILLED = ("augment", "recaption", "encode_images")


def parameters() -> dict[str, Any]:
    """All layouts as rows of download, and crops of the first, captioned and encoded by the demo's models."""
    demo = read_yaml(PROJECT / "params/demo.yaml")
    vlm = {**demo["recaption"]["captioners"]["vlm"], "max_new_tokens": 8}
    datasets = {name: layout.row(f"data/{name}") for name, layout in LAYOUTS.items()}
    delta = {
        **{stage: {"rows": {}} for stage in STAGE_NAMES},
        "run": RUN,
        "execution": {"device": "cpu", "inference_batch_size": 8},
        "download": {"rows": {name: {**row, "num_rows": "all", "num_shards": 1} for name, row in datasets.items()}},
        "augment": {
            "rows": {
                "crop": {
                    **{"kind": "crop", "images": f"download/{FIRST}", "side_px": SIDE_PX},
                    **{"min_scale": 0.5, "max_scale": 0.9},
                }
            }
        },
        "recaption": {
            "max_reject_fraction": 0.2,  # the demo's captioner has never seen a photograph
            "captioners": {"vlm": vlm},
            "rows": {"crop-vlm": {"images": "augment/crop", "captioner": "vlm"}},
        },
        "encode_images": {"rows": {"crop": {"images": "augment/crop"}}},
        "encode_text": {"rows": {"crop-vlm": {"captions": "recaption/crop-vlm"}}},
        "score": {"style_probes": {}, "rows": {}},
        "report": {"rows": {"main": {"scores": []}}},
    }
    return resolve(delta, demo)


@pytest.fixture(scope="module")
def project(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with the pictures in every layout, and the demo's models; nothing is made yet."""
    checkout = Checkout.new(tmp_path_factory.mktemp("real_data") / "project")
    checkout.take_demo_models()
    for layouts, pictures in ((IMAGENET, imagenet_pictures(shared)), (CAPTIONED, aesthetic_pictures(shared))):
        for name, layout in layouts.items():
            layout.make(pictures, checkout.folder / "data" / name)
    write_parameters(checkout.folder / "params.yaml", parameters())
    with serving() as server:
        SERVED.make(aesthetic_pictures(shared), checkout.folder / "data/addresses", server)
        yield checkout


def downloaded(project: Checkout, layout: str) -> list[dict[str, Any]]:
    """The rows of a layout, made where they are not."""
    with chdir(project.folder):
        assert run_stage("download", layout) == 0
    return rows(project, f"download/{layout}", IMAGES)


def rows(project: Checkout, reference: str, table: Table) -> list[dict[str, Any]]:
    return Shard(project.folder / "data" / RUN / reference / "00000.parquet", table).rows(table.schema.names)


def id_of(row: dict[str, Any]) -> str:
    return str(row[Column.KEY]).partition("/")[2]


@pytest.mark.parametrize("layout", IMAGENET)
def test_imagenet_pictures_are_the_same_rows_in_every_layout(project: Checkout, shared: Path, layout: str) -> None:
    pictures = imagenet_pictures(shared)
    wanted = {(one.name, one.data, labels()[one.class_id], one.class_name) for one in pictures}
    found = downloaded(project, layout)
    assert len(found) == len(wanted) == NUM_PICTURES
    assert {(id_of(row), row[Column.IMAGE], row[Column.LABEL], row[Column.CLASS_NAME]) for row in found} == wanted
    assert all(row[Column.SHA256] == sha256_of_bytes(row[Column.IMAGE]) for row in found)


@pytest.mark.parametrize("layout", [*CAPTIONED, "addresses"])
def test_captioned_pictures_have_the_same_bytes_and_texts_in_every_layout(
    project: Checkout, shared: Path, layout: str
) -> None:
    wanted = {(one.data, one.caption) for one in aesthetic_pictures(shared)}
    found = downloaded(project, layout)
    assert len(found) == len(wanted) == NUM_AESTHETIC
    assert {(row[Column.IMAGE], *row[Column.TEXT]) for row in found} == wanted


@pytest.fixture(scope="module")
def killed(project: Checkout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, list[str | None]]:
    """Another checkout with the same pictures in which three stages were killed and went on; and which those were."""
    downloaded(project, FIRST)
    other = project.twin(tmp_path_factory.mktemp("killed") / "project")
    caught = []
    for stage, row, _ in MADE:
        if stage in KILLED:
            caught.append(catch(other, other.start_stage(stage, row), (stage,)))
        ended = other.stage(stage, row)
        assert ended.status == 0, ended.text
    return other, caught


@pytest.fixture(scope="module")
def calm(project: Checkout, killed: tuple[Checkout, list[str | None]]) -> Checkout:
    """The first checkout, in which all was made undisturbed, after the other was copied from it."""
    with chdir(project.folder):
        for stage, row, _ in MADE:
            assert run_stage(stage, row) == 0
    return project


def test_rows_are_conserved_at_each_stage(calm: Checkout) -> None:
    pictures = downloaded(calm, FIRST)
    for stage, row, table in MADE:
        found = rows(calm, f"{stage}/{row}", table)
        assert [one[Column.KEY] for one in found] == [f"{one[Column.KEY]}#crop" for one in pictures]
        said = json.loads((calm.folder / "data" / RUN / stage / row / "manifest.json").read_text())
        empty = sum(one[table.payload[0]] is None for one in found)
        assert (said["num_rows"], said["num_rejected"] + said["num_null_upstream"]) == (NUM_PICTURES, empty)
        assert empty <= (0 if stage in ("augment", "encode_images") else NUM_PICTURES // 5)


def test_three_kills_on_the_way_change_no_byte(calm: Checkout, killed: tuple[Checkout, list[str | None]]) -> None:
    other, caught = killed
    assert caught == list(KILLED)
    made = {f"data/{RUN}/{stage}/{row}/" for stage, row, _ in MADE}
    first, second = (
        {name: digest for name, digest in shown_bytes(one.folder, RUN).items() if name.startswith(tuple(made))}
        for one in (calm, other)
    )
    assert first == second
    assert {name.rpartition("/")[0] + "/" for name in first} == made
