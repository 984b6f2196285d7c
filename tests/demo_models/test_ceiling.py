"""The ceiling: truth as it is reaches one, truth that the autoencoder destroys reaches nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.contract.rng import generator
from pipeline.demo_models import ceiling
from pipeline.demo_models.pictures import Pool
from pipeline.demo_models.recipes import HELDOUT_SEED, SIDE_PX
from pipeline.encoders.autoencoder import Latent

NUM = 12


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(num_scenes=NUM, style="plain", side_px=SIDE_PX, seed=HELDOUT_SEED, layout="corners")


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
    assert "params/folder.yaml: needs rows of shape_world" in capsys.readouterr().err
