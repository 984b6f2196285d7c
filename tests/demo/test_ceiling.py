"""The ceiling: truth as it is reaches one, truth that the autoencoder destroys reaches nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sandbox
from PIL import Image

from pipeline.data.randomness import generator
from pipeline.demo import ceiling
from pipeline.demo.models.pictures import Picture, Pool
from pipeline.demo.models.recipes import HELDOUT_SEED, SIDE_PX
from pipeline.demo.world.scene import SceneObject
from pipeline.encoders.autoencoder import Latent
from pipeline.params.load import convert

NUM = 12


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(num_scenes=NUM, style="plain", side_px=SIDE_PX, seed=HELDOUT_SEED, layout="corners", several=0.0)


class Autoencoder:
    """Stands in for one: its latents are pictures, which it paints in its own way."""

    def __init__(self, paint):
        self.paint = paint

    def encode(self, images):
        return [Latent(np.asarray(image), None) for image in images]

    def decode(self, latents):
        return [Image.fromarray(self.paint(latent)) for latent in latents]


def test_a_perfect_autoencoder_changes_nothing(pool):
    perfect = Autoencoder(lambda pixels: pixels)
    line = ceiling.ceiling("singles", [pool.single(number) for number in range(NUM)], perfect)
    assert line.exact == (1.0, 1.0)
    assert line.two_found == (0.0, 0.0)
    assert line.tasks == {}


def test_several_of_a_class_are_asked_for_by_number():
    several = Pool(num_scenes=NUM, style="plain", side_px=SIDE_PX, seed=HELDOUT_SEED, layout="corners", several=1.0)
    pictures = [several.single(number) for number in range(NUM)]
    for picture in pictures:
        (asked,) = ceiling.requirements(picture).values()
        num = len(picture.things)
        assert (asked["include"][0]["count"], asked["exclude"][0]["count"]) == (num, num + 1)
    perfect = Autoencoder(lambda pixels: pixels)
    line = ceiling.ceiling("several of a class", pictures, perfect)
    assert line.tasks == {"counting": (1.0, 1.0)}
    grey = Autoencoder(lambda pixels: np.full_like(pixels, 128))
    assert ceiling.ceiling("grey", pictures, grey).tasks["counting"][1] == 0.0


def test_a_class_of_several_beside_another_is_asked_for_without_a_place():
    rings = [SceneObject("ring", "red", x, 16.0, 12.0) for x in (16.0, 48.0)]
    moon = SceneObject("moon", "blue", 16.0, 48.0, 7.0)
    nothing = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    picture = Picture(nothing, "plain", "white", (*rings, moon), "quarter", False, (*rings, moon), nothing)
    asked = ceiling.requirements(picture)
    assert set(asked) == {"two_object", "color_attr"}
    ring, blue_moon = asked["color_attr"]["include"]
    assert (ring["class"], ring["color"]) == ("ring", "red")
    assert (blue_moon["class"], blue_moon["color"]) == ("moon", "blue")


@pytest.mark.parametrize("several", [0.0, 0.5])
def test_mixes_of_several_stand_in_the_table_where_a_run_has_them(several):
    lines = ceiling.ceilings(Autoencoder(lambda pixels: pixels), "corners", several, 6)
    names = [line.name for line in lines]
    assert ("several of a class" in names) == ("quarter pairs, some of several" in names) == bool(several)
    assert all(line.exact[0] == line.exact[1] for line in lines)
    assert ceiling.table(lines, {"half": 1.0, "quarter": 1.0}).count("some of several") == (4 if several else 0)


def test_the_world_and_weights_are_those_of_the_mixes_of_plain_pictures():
    raw = sandbox.demo()
    other = {"half": 9.0, "quarter": 0.0, "ninth": 0.0, "sixteenth": 0.0}
    raw["augment"]["rows"]["aesthetic-cutmix"]["weights"] = other
    ((world, weights),) = ceiling.plain_mixes(convert(raw, "demo.yaml"))
    assert world.style == "plain"
    assert weights == raw["augment"]["rows"]["cutmix"]["weights"] != other


def test_an_autoencoder_that_paints_all_grey_lets_nothing_through(pool):
    grey = Autoencoder(lambda pixels: np.full_like(pixels, 128))
    draws = generator("test", "ceiling")
    pairs = [pool.draw_pair(draws, {"quarter": 1.0}) for _ in range(NUM)]
    line = ceiling.ceiling("quarter pairs", pairs, grey)
    assert 0 < line.two_visible < 1
    assert set(line.tasks) == {"two_object", "position", "color_attr"}
    for as_they_are, after in [line.two_found, *line.tasks.values()]:
        assert as_they_are > 0.5
        assert after == 0.0


def test_the_table_weighs_the_patterns():
    lines = [
        ceiling.Ceiling(f"{name} pairs", 1.0, (share, 0.0), (1.0, 1.0), {})
        for name, share in (("half", 0.2), ("quarter", 0.8))
    ]
    text = ceiling.table(lines, {"half": 1.0, "quarter": 3.0})
    assert text.endswith("two classes are found: 0.65 / 0.00.")
    of_several = [
        ceiling.Ceiling(f"{name} pairs, some of several", 1.0, (share, 0.0), (1.0, 1.0), {"counting": (0.5, 0.25)})
        for name, share in (("half", 0.4), ("quarter", 0.6))
    ]
    text = ceiling.table([*lines, *of_several], {"half": 1.0, "quarter": 3.0})
    assert text.endswith("two classes are found: 0.55 / 0.00.")
    assert "| quarter pairs, some of several | 1.00 | 0.60 / 0.00 | 1.00 / 1.00 | - | 0.50 / 0.25 | - | - |" in text


def test_parameters_without_a_world_are_refused(capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert ceiling.main(["--params", "params/folder.yaml"]) == 1
    assert "params/folder.yaml: needs one row of cutmix over a plain shape_world" in capsys.readouterr().err
