"""Captions come from pixels alone, and nothing of a picture's truth reaches training or a verdict by another way."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.captioners.base import Caption
from pipeline.captioners.local import LocalVlm
from pipeline.dag.units import UnitId
from pipeline.data.randomness import Coordinates, generator
from pipeline.data.schema import CAPTIONS, IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.demo.world.render import outline_mask, render
from pipeline.demo.world.scene import Scene, scene_of
from pipeline.demo.world.source import scene_id_of
from pipeline.demo.world.world import COLORS
from pipeline.errors import Reject
from pipeline.params.load import load

PROJECT = Path(__file__).resolve().parents[1]
VLM = PROJECT / "data/demo_models/vlm"
WORLD_SEED = 77  # neither a run's world nor one that the captioner learnt from
NUM_RECOLOURED = 200
SAID = (Column.CAPTION, Column.INSTRUCTION, Column.FINISH_REASON, Column.NUM_GENERATED_TOKENS)
SHARD = "0"


# --- captions see pixels and nothing else


@pytest.fixture
def captioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dozen pictures in one shard, and two caption sets of them: by the demo's captioner and by class name."""
    demo = small_parameters()
    rows = {name: {**row, "num_shards": 1} for name, row in demo["download"]["rows"].items()}
    # What a picture is captioned under is drawn from its key, by design; here all are told the same.
    vlm = {**_demo_captioner(), "model": str(VLM), "instructions": {"full": 1.0}}
    captioners = {**demo["recaption"]["captioners"], "vlm": vlm}
    sets = {name: {"images": "download/pictures", "captioner": name} for name in ("vlm", "label")}
    recaption = {"captioners": captioners, "rows": sets, "max_reject_fraction": 1.0}
    write_parameters(tmp_path / "params.yaml", small_parameters(download={"rows": rows}, recaption=recaption))
    (tmp_path / "params").mkdir()
    shutil.copy(PROJECT / "params/demo.yaml", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    for row in ("heldout", "pictures"):
        assert run_stage("download", row) == 0
    return tmp_path


def test_captions_are_the_same_without_key_label_class_name_and_text(captioned: Path) -> None:
    before = {name: _captions(captioned, name) for name in ("vlm", "label")}
    nothing_is_known_but_pixels(captioned)
    after = {name: _captions(captioned, name) for name in ("vlm", "label")}
    assert len(before["vlm"]) == 12
    assert len({row[Column.CAPTION] for row in before["vlm"]}) > 6
    assert after["vlm"] == before["vlm"]
    # The names are really gone: a caption that is made of one cannot be made any more.
    assert all(row[Column.CAPTION] for row in before["label"])
    assert not any(row[Column.CAPTION] for row in after["label"])


def test_captions_follow_the_pixels(captioned: Path) -> None:
    before = _captions(captioned, "vlm")
    nothing_is_known_but_pixels(captioned, shift=1)
    after = _captions(captioned, "vlm")
    assert after != before
    assert after == [*before[1:], before[0]]


def _demo_captioner() -> dict[str, Any]:
    captioner: dict[str, Any] = load(PROJECT / "params/demo.yaml", PROJECT).resolved["recaption"]["captioners"]["vlm"]
    return captioner


def _captions(project: Path, row: str) -> list[dict[str, Any]]:
    """What a caption set says, made anew."""
    plan, unit_id = plan_of(project), UnitId("recaption", row, SHARD)
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    for folder in (plan.store.entry(fingerprint), plan.layout.shown("recaption", row)):
        if folder.exists():
            shutil.rmtree(folder)
    assert run_stage("recaption", row, part=SHARD) == 0
    return Shard(plan.store.entry(fingerprint) / plan.unit(unit_id).files[0], CAPTIONS).rows(SAID)


def nothing_is_known_but_pixels(project: Path, shift: int = 0) -> None:
    """Rewrite the shard of pictures: keys are row numbers, labels and texts null, pixels from ``shift`` rows on."""
    plan, unit_id = plan_of(project), UnitId("download", "pictures", SHARD)
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    path = plan.store.entry(fingerprint) / plan.unit(unit_id).files[0]
    rows = Shard(path, IMAGES).rows([Column.IMAGE, Column.WIDTH_PX, Column.HEIGHT_PX, Column.SHA256])
    builder = RowBatch(IMAGES)
    for number in range(len(rows)):
        builder.add(key=str(number), **rows[(number + shift) % len(rows)])
    path.chmod(0o644)
    path.unlink()
    builder.write(path, fingerprint=fingerprint, row_group_rows=64)


# --- a colour that was painted over is gone from the caption


def _scene(number: int) -> Scene:
    return scene_of(scene_id_of(number), seed=WORLD_SEED, style="plain", layout="corners", side_px=64, several=0.0)


def _other_color(scene: Scene) -> str:
    """One of the world's five other colours."""
    others = [color for color in COLORS if color != scene.objects[0].color]
    return others[int(generator(WORLD_SEED, "recoloured", scene.scene_id).integers(len(others)))]


def _recoloured(scene: Scene, color: str) -> Image.Image:
    """The finished picture with its object's pixels painted over, soft edges by their share."""
    thing = scene.objects[0]
    mask = outline_mask(thing, scene.side_px)[:, :, None]
    change = np.array(COLORS[color], dtype=np.float64) - np.array(COLORS[thing.color], dtype=np.float64)
    pixels = np.asarray(render(scene), dtype=np.float64) + change * mask
    return Image.fromarray(np.round(np.clip(pixels, 0, 255)).astype(np.uint8))


def _colors_in(caption: object) -> set[str]:
    assert isinstance(caption, Caption), caption
    return set(re.findall("|".join(COLORS), caption.text))


def captions_in_full(vlm: LocalVlm, pictures: list[Image.Image]) -> list[Caption | Reject]:
    return vlm.caption(pictures, ["full"] * len(pictures), [Coordinates(number) for number in range(len(pictures))])


def test_recoloured_pictures_are_captioned_with_their_new_colour() -> None:
    params = load(PROJECT / "params/demo.yaml", PROJECT)
    entry = params.sections["recaption"].tables["captioners"]["vlm"]
    vlm = LocalVlm(_struct_with(entry, model=str(VLM)), _struct_with(params.execution, device="cpu"))
    scenes = [_scene(number) for number in range(NUM_RECOLOURED)]
    new = [_other_color(scene) for scene in scenes]
    painted = [_recoloured(scene, color) for scene, color in zip(scenes, new, strict=True)]
    found = [_colors_in(one) for one in captions_in_full(vlm, painted)]
    assert np.mean([seen == {color} for seen, color in zip(found, new, strict=True)]) >= 0.95
    # As they were, the same pictures had the old colour: the captioner did see the paint.
    some = scenes[:20]
    unpainted = captions_in_full(vlm, [render(scene) for scene in some])
    assert np.mean([_colors_in(c) == {s.objects[0].color} for c, s in zip(unpainted, some, strict=True)]) >= 0.95


def test_repainting_is_what_rendering_in_the_new_colour_gives() -> None:
    for number in range(20):
        scene = _scene(number)
        color = _other_color(scene)
        in_new_color = replace(scene, objects=(replace(scene.objects[0], color=color),))
        there, here = (np.asarray(image, dtype=int) for image in (render(in_new_color), _recoloured(scene, color)))
        assert np.abs(there - here).max() <= 1  # rounded twice
        assert np.abs(there - np.asarray(render(scene), dtype=int)).max() > 50


def _struct_with(struct: Any, **values: Any) -> Any:
    return msgspec.structs.replace(struct, **values)
