"""Shape world: the same pixels for the same name, outlines and palettes that stay apart, truthful captions."""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.demo.world.describe import INSTRUCTIONS, describe, place_words, relation_words
from pipeline.demo.world.render import outline_mask, png_bytes, render
from pipeline.demo.world.scene import LAYOUTS, Scene, SceneObject, scene_of
from pipeline.demo.world.source import ShapeWorldSource
from pipeline.demo.world.world import BACKGROUNDS, COLORS, OUTLINES, SHAPES, STYLES
from pipeline.digest import sha256_of_bytes
from pipeline.errors import Refusal, Reject

SIDE_PX = 64
GREY_LIMIT = 50  # largest distance between the channels of a background pixel
PIXELS_OF_ONE_VERSION = "b355f9e8dd77141798801ed8b187e646ea57c26806734bde7825cf8ed2b0bcb8"
COLOR_LIMIT = 90  # smallest distance between the channels of an object's own pixel


def source(**changes: object) -> ShapeWorldSource:
    values = {
        "num_scenes": 300,
        "style": "plain",
        "layout": "grid",
        "side_px": SIDE_PX,
        "seed": 0,
        "several": 0.0,
    } | changes
    return ShapeWorldSource(**values)  # type: ignore[arg-type]


def thing(shape: str = "ring", color: str = "red", x: float = 32.0, y: float = 32.0, radius: float = 18) -> SceneObject:
    return SceneObject(shape, color, x, y, radius)


def test_a_picture_depends_on_its_name_alone() -> None:
    wide, narrow = source(), source(num_scenes=5)
    again = [narrow.read(f"scene-{number:07d}") for number in (3, 1, 3)]
    assert again[0] == again[2] == wide.read("scene-0000003")
    assert again[1] == wide.read("scene-0000001") != again[0]


@pytest.mark.parametrize("style", sorted(STYLES))
def test_a_source_lists_the_shapes_that_its_scenes_have(style: str) -> None:
    world = source(style=style, seed=3, several=0.5)
    for number, entry in enumerate(world.entries()):
        assert entry.source_id == entry.location == f"scene-{number:07d}"
        assert {thing.shape for thing in world.scene(entry.location).objects} == {entry.class_name}
        assert SHAPES[entry.label or 0] == entry.class_name
    assert number == world.num_scenes - 1


def test_seed_and_style_are_worlds_of_their_own() -> None:
    scenes = [
        scene_of("scene-0000001", seed=seed, style=style, layout="grid", side_px=SIDE_PX, several=0.0)
        for seed in (0, 1)
        for style in STYLES
    ]
    assert len({scene.objects for scene in scenes}) == len(scenes)


def test_pixels_have_not_changed_since_the_digest_was_written() -> None:
    pixels = b"".join(
        np.asarray(
            render(scene_of(f"scene-{number:07d}", seed=0, style=style, layout=layout, side_px=SIDE_PX, several=0.5))
        ).tobytes()
        for layout in LAYOUTS
        for style in STYLES
        for number in range(20)
    )
    assert sha256_of_bytes(pixels) == PIXELS_OF_ONE_VERSION, "raise download's version, then write the new digest here"


def test_bytes_are_a_lossless_png() -> None:
    data = source().read("scene-0000007")
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (SIDE_PX, SIDE_PX))
        again = png_bytes(image.convert("RGB"))
    assert again == data


def test_entries_carry_class_and_keys() -> None:
    entries = list(source().entries())
    assert [entry.source_id for entry in entries[:2]] == ["scene-0000000", "scene-0000001"]
    assert all(entry.class_name == SHAPES[entry.label or 0] and entry.location == entry.source_id for entry in entries)
    counts = Counter(entry.class_name for entry in entries)
    assert set(counts) == set(SHAPES)
    assert min(counts.values()) > 300 / 6 / 2


def test_draws_are_independent_and_cover_everything() -> None:
    scenes = [
        scene_of(f"scene-{number:07d}", seed=5, style="plain", layout="grid", side_px=SIDE_PX, several=0.0)
        for number in range(2000)
    ]
    pairs = Counter((scene.objects[0].shape, scene.objects[0].color) for scene in scenes)
    assert len(pairs) == len(SHAPES) * len(COLORS)
    assert min(pairs.values()) > 25  # 56 expected
    places = Counter(place_words(scene.objects[0], SIDE_PX) for scene in scenes)
    assert len(places) == 9
    assert min(places.values()) > 150  # 222 expected
    assert {scene.background for scene in scenes} == set(BACKGROUNDS["plain"])


def test_objects_are_large_and_whole() -> None:
    for number in range(300):
        made = scene_of(
            f"scene-{number:07d}", seed=2, style="aesthetic", layout="grid", side_px=SIDE_PX, several=0.0
        ).objects[0]
        assert 14 <= made.radius_px <= 22
        for center in (made.center_x_px, made.center_y_px):
            assert made.radius_px <= center <= SIDE_PX - made.radius_px


def test_a_scene_keeps_its_content_at_another_side() -> None:
    small, large = (
        scene_of("scene-0000004", seed=0, style="plain", layout="grid", side_px=side, several=0.0) for side in (64, 256)
    )
    assert large.objects[0].radius_px == pytest.approx(4 * small.objects[0].radius_px)
    shrunk = np.asarray(render(large).resize((64, 64), Image.Resampling.BOX), dtype=float)
    assert np.abs(shrunk - np.asarray(render(small), dtype=float)).mean() < 2.0


@pytest.mark.parametrize("style", STYLES)
def test_palettes_of_objects_and_backgrounds_never_meet(style: str) -> None:
    for background, color, shape in itertools.product(BACKGROUNDS[style], COLORS, ("circle", "hammer")):
        scene = Scene("x", SIDE_PX, style, background, (thing(shape, color),))
        pixels = np.asarray(render(scene), dtype=int)
        spread = pixels.max(axis=2) - pixels.min(axis=2)
        mask = outline_mask(scene.objects[0], SIDE_PX)
        assert spread[mask == 0].max() < GREY_LIMIT
        assert spread[mask == 1].min() > COLOR_LIMIT
        nearest = [
            min(COLORS, key=lambda name: float(np.square(pixel - np.array(COLORS[name])).sum()))
            for pixel in pixels[mask == 1]
        ]
        assert set(nearest) == {color}


def test_areas_are_those_of_geometry() -> None:
    radius_px = 25.0
    areas = {
        "circle": np.pi,
        "ring": np.pi * (1 - 0.55**2),
        "triangle": 2.0,
        "bowtie": 2 * 1.22,
        "hammer": 2 * 0.6 + 0.6 * 1.4,
    }
    for shape, area in areas.items():
        covered = outline_mask(thing(shape, radius=radius_px), SIDE_PX).sum()
        assert covered == pytest.approx(area * radius_px**2, rel=0.03), shape


def test_outlines_stay_apart_when_small_and_none_is_a_rectangle() -> None:
    masks = {shape: outline_mask(thing(shape, x=16, y=16, radius=9), 32) for shape in OUTLINES}
    for one, other in itertools.combinations(masks.values(), 2):
        common = np.minimum(one, other).sum() / np.maximum(one, other).sum()
        assert common < 0.75
    for mask in masks.values():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert mask.sum() < 0.85 * box


def test_aesthetic_pictures_have_gradients_and_shadows() -> None:
    scene = Scene("x", SIDE_PX, "aesthetic", "misty", (thing("circle", "red"),))
    pixels = np.asarray(render(scene), dtype=int)
    assert pixels[0].sum() > pixels[-1].sum() + SIDE_PX * 100  # lighter above
    assert pixels[24, 24].sum() > pixels[40, 40].sum() + 60  # the object is lit from the upper left
    bare = np.asarray(render(replace(scene, objects=())), dtype=int)
    assert bare[46, 48].sum() > pixels[46, 48].sum() + 40  # shadow on the lower right


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_scenes": 0}, "num_scenes must lie between"),
        ({"style": "baroque"}, "style must be one of plain, aesthetic"),
        ({"side_px": -1}, "side_px must be positive"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(Refusal, match=message):
        source(**change)


@pytest.mark.parametrize("location", ["scene-0000300", "scene-12", "../scene-0000001"])
def test_a_location_that_is_not_listed_is_a_reject(location: str) -> None:
    with pytest.raises(Reject) as caught:
        source().read(location)
    assert caught.value.reason == "missing"


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_captions_name_what_is_there(instruction: str) -> None:
    first, second = thing("ring", "red", 20, 32), thing("moon", "blue", 52, 32, 8)
    for style in STYLES:
        for background in BACKGROUNDS[style]:
            words = describe(
                (first, second), style=style, background=background, side_px=SIDE_PX, instruction=instruction
            )
            if instruction == "name":
                assert re.findall("ring|moon", words) == ["ring", "moon"]
                assert not re.search("red|blue", words)
            else:
                assert {"red ring", "blue moon"} <= set(re.findall(r"(?:red|blue) (?:ring|moon)", words))
            assert (background in words) == (instruction == "full")


def test_places_and_relations_are_seen_from_the_front() -> None:
    left, low = thing(x=20, y=30), thing(x=25, y=50)
    assert relation_words(left, thing(x=44, y=32)) == "left of"
    assert relation_words(thing(x=44, y=32), left) == "right of"
    assert (relation_words(low, left), relation_words(left, low)) == ("below", "above")
    assert place_words(thing(x=20, y=20), SIDE_PX) == "at the top left of"
    assert place_words(thing(), SIDE_PX) == "in the middle of"


def test_captions_refuse_what_they_have_no_words_for() -> None:
    with pytest.raises(ValueError, match="instruction must be one of full, brief, name, got 'poem'"):
        describe((), style="plain", background="white", side_px=SIDE_PX, instruction="poem")
    with pytest.raises(ValueError, match="two kinds of objects at most"):
        describe(
            [thing(color=color) for color in ("red", "blue", "green")],
            style="plain",
            background="white",
            side_px=SIDE_PX,
            instruction="full",
        )
    with pytest.raises(ValueError, match="captions count to 4, got 5 objects alike"):
        describe([thing()] * 5, style="plain", background="white", side_px=SIDE_PX, instruction="brief")


# --- several objects of a class


def several(number: int, share: float = 1.0) -> Scene:
    return scene_of(f"scene-{number:07d}", seed=4, style="plain", layout="corners", side_px=SIDE_PX, several=share)


def test_several_objects_are_alike_whole_and_apart_one_in_a_quarter_each() -> None:
    counts: Counter[int] = Counter()
    for scene in map(several, range(600)):
        counts[len(scene.objects)] += 1
        assert len({(one.shape, one.color, one.radius_px) for one in scene.objects}) == 1
        assert len({(one.center_x_px > 32, one.center_y_px > 32) for one in scene.objects}) == len(scene.objects)
        covered = np.sum([outline_mask(one, SIDE_PX) for one in scene.objects], axis=0)
        assert covered.max() <= 1.0
        assert covered[[0, -1]].max() == covered[:, [0, -1]].max() == 0.0
    assert set(counts) == {2, 3, 4}
    assert min(counts.values()) > 150  # 200 expected


def test_a_share_of_the_scenes_holds_several_and_the_others_stay_as_they_are() -> None:
    alone, some = [several(number, 0.0) for number in range(800)], [several(number, 0.25) for number in range(800)]
    changed = [one for one, other in zip(some, alone, strict=True) if one != other]
    assert all(len(scene.objects) > 1 for scene in changed)
    assert 0.2 < len(changed) / 800 < 0.3
    assert all(len(scene.objects) == 1 for scene in alone)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(Refusal, match="several must lie between 0 and 1"):
        source(several=share)
    with pytest.raises(ValueError, match="several must lie between 0 and 1"):
        several(0, share)


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_captions_count_what_is_alike(instruction: str) -> None:
    three = [thing("ring", "red", x, y, 12) for x, y in ((16, 16), (48, 16), (16, 48))]
    moon = thing("moon", "blue", 48, 48, 8)
    for style in STYLES:
        for background in BACKGROUNDS[style]:
            told = {"style": style, "background": background, "side_px": SIDE_PX, "instruction": instruction}
            alone, mixed = describe(three, **told), describe([*three, moon], **told)  # type: ignore[arg-type]
            rings = "three rings" if instruction == "name" else "three red rings"
            assert rings in alone
            assert re.search(rf"{rings} and a (small )?(blue )?moon", mixed)
            assert (background in mixed) == (instruction == "full")
            assert not re.search("left|right|above|below|top|bottom", mixed)
