"""ImageNet's thousand classes: WordNet ids, the label that each has everywhere, and names in words.

The table beside this file has a line for each, in the order of the ids, which is that of the labels 0 to 999. A name is
the first word of the class in WordNet, as published with the pictures. Where that is another class's too, another one
tells them apart: crane bird and construction crane, maillot and maillot tank suit, Cardigan Welsh corgi and cardigan.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

NUM_CLASSES = 1000
_TABLE = Path(__file__).with_name("imagenet_classes.tsv")


@cache
def class_names() -> dict[str, str]:
    """WordNet id to name, in the order of the labels."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    return {wnid: name for wnid, _, name in (line.partition("\t") for line in lines)}


@cache
def labels() -> dict[str, int]:
    """WordNet id to label: its rank among the sorted ids."""
    return {wnid: label for label, wnid in enumerate(class_names())}
