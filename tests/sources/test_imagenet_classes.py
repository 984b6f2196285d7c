"""The table of ImageNet's classes: complete, in order, without twins, and as the real pictures' files are called."""

from __future__ import annotations

from pathlib import Path

from pipeline.sources.imagenet_classes import NUM_CLASSES, class_names, labels
from pipeline.sources.names import class_name_of


def test_a_thousand_ids_in_the_order_of_the_labels() -> None:
    wnids = list(class_names())
    assert len(wnids) == NUM_CLASSES == 1000
    assert wnids == sorted(set(wnids))
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in wnids)
    assert list(labels().values()) == list(range(NUM_CLASSES))


def test_names_are_words_and_no_two_are_the_same() -> None:
    names = list(class_names().values())
    assert all(name == name.strip() and "_" not in name and name.isprintable() and name for name in names)
    assert len({name.lower() for name in names}) == NUM_CLASSES


def test_labels_and_names_that_everybody_knows() -> None:
    known = {
        "n01440764": (0, "tench"),
        "n02012849": (134, "crane bird"),
        "n02113186": (264, "Cardigan Welsh corgi"),
        "n02123045": (281, "tabby"),
        "n02963159": (474, "cardigan"),
        "n03126707": (517, "construction crane"),
        "n03710637": (638, "maillot"),
        "n03710721": (639, "maillot tank suit"),
        "n03773504": (657, "missile"),
        "n04008634": (744, "projectile"),
        "n04355933": (836, "sunglass"),
        "n04356056": (837, "sunglasses"),
        "n15075141": (999, "toilet tissue"),
    }
    assert {wnid: (labels()[wnid], class_names()[wnid]) for wnid in known} == known


def test_the_names_of_real_files_are_those_of_the_table(shared: Path) -> None:
    stems = sorted(path.stem for path in (shared / "data/imagenet-sample").glob("*.JPEG"))
    assert len(stems) == 100
    assert {stem: class_names()[stem[:9]] for stem in stems} == {stem: class_name_of(stem) for stem in stems}
