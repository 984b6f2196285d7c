"""In which layout ImageNet's training pictures lie at a path: found by looking."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import Refusal
from pipeline.sources.imagenet_archives import Archive, ClassArchives
from pipeline.sources.imagenet_base import Layout, listed
from pipeline.sources.imagenet_folders import ClassFolders
from pipeline.sources.imagenet_parquet import TrainParquet

# A further layout is a class of its own and a place in this row.
LAYOUTS: tuple[type[Layout], ...] = (Archive, ClassArchives, ClassFolders, TrainParquet)
# Where the pictures may lie below the path: unpacked by hand, or as the competition hands them out.
PLACES = ("", "train", "CLS-LOC/train", "Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/train")


def find_layout(path: Path) -> Layout:
    """The one layout at a path or in one of ``PLACES`` below it.

    Raises:
        Refusal: there is none, or more than one.
    """
    if not path.exists():
        raise Refusal(f"{path}: nothing is there; correct the path of ImageNet's training pictures")
    places = {(path / below).resolve(): path / below for below in PLACES if not below or (path / below).is_dir()}
    found = [layout for place in places.values() for layout in _layouts_at(place)]
    if len(found) == 1:
        return found[0]
    if found:
        named = ", and ".join(f"{layout.looks_like} at {layout.path}" for layout in found)
        raise Refusal(
            f"{path}: ImageNet's training pictures lie there more than once: {named}; name the path of one of them, or "
            "move the others away"
        )
    looked_for = "; ".join(kind.looks_like for kind in LAYOUTS)
    looked_in = ", ".join(below for below in PLACES if below)
    raise Refusal(
        f"{path}: ImageNet's training pictures are not there. Looked for: {looked_for}; in it and in {looked_in} below "
        "it; correct the path"
    )


def _layouts_at(place: Path) -> list[Layout]:
    names = frozenset(item.name for item in listed(place)) if place.is_dir() else frozenset[str]()
    return [layout for kind in LAYOUTS if (layout := kind.at(place, names)) is not None]
