"""Each family of vision-language models writes two sets in a pass as it writes each alone, whatever it can share."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from test_contract import EACH, drawn_pictures, values
from test_local_sets import shown
from tiny_families import SIDE_PX, Family, make_tiny_family

from pipeline.captioners.base import Picture, Setting, told
from pipeline.captioners.local import LocalVlm
from pipeline.captioners.local_sets import LocalSets

pytestmark = [pytest.mark.contract]
TOLD = {"row.full": {"full": 0.5, "describe this at length, please": 0.5}, "row.brief": {"a brief one": 1.0}}


@pytest.mark.parametrize("family", EACH)
def test_two_sets_of_a_pass_are_those_of_two_passes(family: Family, tmp_path: Path) -> None:
    from several_sets import execution

    folder = make_tiny_family(family, tmp_path / "vlm")
    captioners = {name: structs.replace(values(folder), instructions=weights) for name, weights in TOLD.items()}
    images = drawn_pictures(5)
    pictures = [
        Picture(number, f"set/{number}", None, (), lambda _, image=image: image)  # type: ignore[misc]
        for number, image in enumerate(images)
    ]
    sets = LocalSets(captioners, Setting(execution(3), 0, "download/set", 0, None, "digest"))
    together = shown(sets.caption_sets(pictures, list(captioners)))
    apart = []
    for captioner in captioners.values():
        instructions, coordinates = told(captioner.instructions or {}, 0, pictures)
        apart.append(LocalVlm(captioner, execution(3)).caption(images, instructions, coordinates))
    assert all(image.size == (SIDE_PX, SIDE_PX) for image in images)
    assert together == shown(apart)
    print(f"{family.name}: pictures are computed {'once' if all(sets.shares.values()) else 'for each set'}")
