"""What the names of files and folders say: classes in words, ids, parts of a data set, other programs' own folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import Refusal, refuse_system_error, refuse_what_may_pass
from pipeline.sources.imagenet_classes import class_names

CLASS_NAMES_FILE = "class_names.tsv"
# formats that we do not decode are listed too: their rows show up as rejects instead of being missing
IMAGE_EXTENSIONS = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".avif",
        ".jp2",
        ".j2k",
        ".heic",
    )
)

_WORDNET_PREFIX = re.compile(r"n\d{8}_")
_WORDNET_ID = re.compile(r"n\d{8}_?")
_NUMBER = re.compile(r"[0-9]{1,18}")
_SPLIT = re.compile(
    r"(train|training|trainval|val|valid|validation|dev|test|testing|eval|evaluation|held[-_ ]?out|hold[-_ ]?out"
    r"|unlabell?ed)([-_ .]?(set|split|data|images?))?([-_ .]?\d+)?",
    re.IGNORECASE,
)
# Recycle bins, indexes and thumbnails of desktops, archives and network disks. None of them is anybody's class.
_FOREIGN_NAMES = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@__thumb", ".@__thumb", "#recycle", "#snapshot"),
        *("__macosx", ".appledouble", ".trashes", ".spotlight-v100", ".fseventsd", "network trash folder"),
        *("temporary items", "lost+found", "$recycle.bin", "recycler", "recycled", "system volume information"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    )
)
_APPLE_DOUBLE = "._"  # what macOS writes beside a file on disks of others


def is_foreign(name: str) -> bool:
    """Did another program put this file or folder there for itself?"""
    return name.lower() in _FOREIGN_NAMES or name.startswith(_APPLE_DOUBLE)


def is_split(name: str) -> bool:
    """Is a folder called as parts of a data set are: train, Val, test2017?"""
    return _SPLIT.fullmatch(name.strip()) is not None


def is_id(class_name: str) -> bool:
    """Is a class called by its WordNet id alone, which says nothing to people and language models?"""
    return _WORDNET_ID.fullmatch(class_name.strip()) is not None


def class_name_of(folder: str) -> str:
    """A sub-folder's name in words: a leading WordNet id goes, underscores become blanks.

    An id alone is one of ImageNet's classes, whose names are known, or stays.
    """
    if is_id(folder):
        return class_names().get(folder.strip().rstrip("_"), folder)
    match = _WORDNET_PREFIX.match(folder)
    return folder[match.end() if match else 0 :].replace("_", " ").strip() or folder


def how_to_name(class_name: str) -> str:
    """What to do about a class that has an id and no name, with an example line."""
    folder = class_name.strip()
    return (
        f"write {CLASS_NAMES_FILE} into the folder that holds the class folders, a line of folder, tab and name for "
        f"each, such as {folder}<tab>tench (docs/parameters.md)"
    )


def parse_class_names(text: str, path: Path, what: str) -> dict[str, str]:
    """Names of classes from the lines of a file: what they are known by, a tab, the name; empty lines are passed over.

    Args:
        text: the file's content.
        path: the file, for refusals.
        what: what classes are known by: a folder, a number.

    Raises:
        Refusal: a line of another form, or of what was named before.
    """
    names: dict[str, str] = {}
    for line, known, name in _lines_of_names(text, path, what):
        if known in names:
            raise Refusal(f"{path} line {line}: {what} {known!r} is named twice; keep one line")
        names[known] = name
    return names


def read_numbered_names(path: Path) -> dict[int, str]:
    """The names of a file that a row calls ``class_names``, as ``parse_numbered_names``.

    Raises:
        Refusal: it is not there, cannot be read, is not UTF-8 or of another form.
        Transient: it cannot be read now.
    """
    try:
        return parse_numbered_names(path.read_text(encoding="utf-8-sig"), path)
    except OSError as error:
        refuse_what_may_pass(error, path)
        refuse_system_error(error, path)
        raise Refusal(f"{path}: {error.strerror}; correct class_names") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def parse_numbered_names(text: str, path: Path) -> dict[int, str]:
    """Names of classes that are known by their numbers, as ``parse_class_names``; 1 and 01 are one number.

    Args:
        text: the file's content.
        path: the file, for refusals.

    Raises:
        Refusal: a line of another form, with a number that is none, or with one that was named before.
    """
    names: dict[int, str] = {}
    lines: dict[int, int] = {}
    for line, known, name in _lines_of_names(text, path, "number"):
        if not _NUMBER.fullmatch(known.strip()):
            raise Refusal(f"{path} line {line}: {known!r:.60} is no number; write number, tab and name of each class")
        number = int(known)
        if number in names:
            raise Refusal(f"{path}: lines {lines[number]} and {line} both name number {number}; keep one of them")
        names[number], lines[number] = name, line
    return names


def _lines_of_names(text: str, path: Path, what: str) -> Iterator[tuple[int, str, str]]:
    """Number of a line, what its class is known by, and its name."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        known, tab, name = line.partition("\t")
        if not tab or "\t" in name or not known.strip() or not name.strip():
            raise Refusal(f"{path} line {number}: need a {what}, one tab and a name, got {line!r}")
        yield number, known, name.strip()
