"""A folder of pictures as a source: one sub-folder per class, pictures in the folder itself without a class.

Sub-folders in sorted order are the labels 0, 1, ...; an empty one counts, so that labels do not move when pictures
come and go. A class may hold folders of its own. A caption beside a picture (``cat.txt`` or ``cat.jpg.txt`` beside
``cat.jpg``) becomes its text, or, where the row names a table of captions, what that says of it. Hidden files, files
that are no pictures by their name, and what other programs keep there for themselves (thumbnails, recycle bins) are
left out; whatever is a picture by its name stays, and is rejected when it is read and cannot be used.

Folders called train, val, test and the like are no classes: a root that holds nothing but such folders is refused. That
goes for a single folder ``train`` too. It may be a class of railway trains, but a data set of one class teaches nothing
that its captions could say, while a root one level too high would caption every picture with "train". Who means the
class says so in ``class_names.tsv``, and nothing is refused. Among other classes (car, train, bus) it is one of them.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from pipeline.data.keys import fault_of_id, source_id_of
from pipeline.errors import Refusal, Reject, refuse_what_may_pass
from pipeline.params.datasets import FolderRow
from pipeline.sources.base import Entry, OneByOne
from pipeline.sources.caption_table import Columns, FolderCaptions
from pipeline.sources.captions import checked_caption
from pipeline.sources.marks import FileMarks
from pipeline.sources.names import (
    CLASS_NAMES_FILE,
    IMAGE_EXTENSIONS,
    class_name_of,
    is_foreign,
    is_split,
    parse_class_names,
)

TEXT_EXTENSION = ".txt"
MAX_PICTURE_BYTES = 1 << 29  # more than an uncompressed picture of the most pixels that can be decoded

REJECT_REASONS = {
    "not_readable": "the file is gone, may not be read or is no regular file",
    "outside_source": "the file is a link that leaves the source's folder",
    "too_many_bytes": f"the file is larger than {MAX_PICTURE_BYTES} bytes",
}


class FolderSource(OneByOne):
    """Pictures below a folder; the location is the path below it, with forward slashes."""

    random_access = True

    def __init__(self, path: Path, table: tuple[Path, Columns] | None = None) -> None:
        """Nothing is read yet.

        Args:
            path: the folder; it may itself be a link.
            table: a table of captions and its columns; None: captions are beside the pictures.
        """
        self.path = path
        self._table = table
        self._captions: FolderCaptions | None = None
        self._left_out: Counter[str] = Counter()
        self._marks = FileMarks()
        self._said: list[str] = []

    @classmethod
    def open(cls, params: FolderRow, seed: int) -> Self:
        """The folder that a row names."""
        del seed
        path = Path(params.path)
        if params.captions is None:
            return cls(path)
        assert params.file_column is not None
        assert params.text_columns is not None
        return cls(path, (path / params.captions, Columns(params.file_column, tuple(params.text_columns))))

    def entries(self) -> Iterator[Entry]:
        """All pictures, sorted by name within each folder; those of the folder itself come first.

        Raises:
            Refusal: the folder is missing, cannot be listed or holds no picture; its sub-folders are parts of a data
                set and no classes; a linked sub-folder (its pictures could lie anywhere); a name that cannot be a key;
                a caption that is not UTF-8, too long or a link that leaves the folder; ``class_names.tsv`` is malformed
                or lacks a sub-folder; a table of captions as in ``CaptionTable``, or a row of it that names no picture.
        """
        if not self.path.is_dir():
            raise Refusal(f"image folder {self.path}: there is no such folder; correct the path of the source")
        self._left_out.clear()
        self._marks = FileMarks()
        self._captions = FolderCaptions(self.path, *self._table) if self._table else None
        listed = self._scan("")
        class_folders = [item.name for item in listed if _is_folder(self.path, "", item)]
        self._refuse_splits(class_folders)
        class_names = self._class_names(class_folders)
        num_pictures = 0
        for name, texts in _pictures(listed):
            num_pictures += 1
            yield self._entry("", name, texts, None, None)
        for label, class_folder in enumerate(class_folders):
            for folder, name, texts in self._walk(class_folder):
                num_pictures += 1
                yield self._entry(folder, name, texts, label, class_names[class_folder])
        if num_pictures == 0:
            extensions = " ".join(sorted(IMAGE_EXTENSIONS))
            raise Refusal(f"image folder {self.path}: no picture in it ({extensions}); correct the path of the source")
        self._said = self._captions.finish() if self._captions else []
        self._captions = None  # a large one is large

    def remarks(self) -> list[str]:
        """As ``Source.remarks``: what was left out as other programs' own, and pictures that a table does not name."""
        if not self._left_out:
            return self._said
        names = ", ".join(f"{name} ({number})" for name, number in sorted(self._left_out.items()))
        return [
            f"image folder {self.path}: left out what other programs keep there for themselves: {names}",
            *self._said,
        ]

    def read(self, location: str) -> bytes:
        """The bytes of one picture as found.

        Raises:
            Reject: with a reason of ``REJECT_REASONS``.
            Transient: the disk, its mount or the machine cannot read it now.
        """
        try:
            root = self.path.resolve()
            target = (root / location).resolve()
            if not target.is_relative_to(root):
                raise Reject("outside_source", f"{location} leads out of the folder")
            status = target.stat()
            if not stat.S_ISREG(status.st_mode):
                raise Reject("not_readable", f"{location} is not a regular file")  # a pipe would block for ever
            if status.st_size > MAX_PICTURE_BYTES:
                raise Reject("too_many_bytes", f"{location} has {status.st_size} bytes")
            return target.read_bytes()
        except OSError as error:  # its text without the absolute path, which differs by machine
            refuse_what_may_pass(error, self.path / location)
            raise Reject("not_readable", f"{location}: {error.strerror or type(error).__name__}") from None
        except (RuntimeError, ValueError) as error:  # how pathlib reports links in a circle, and a NUL in a name
            what = "links in a circle" if isinstance(error, RuntimeError) else "not a file name"
            raise Reject("not_readable", f"{location!r}: {what}") from None

    def files_behind(self, locations: Sequence[str]) -> Iterator[Path]:
        """The pictures' own files."""
        return (self.path / location for location in locations)

    def _entry(self, folder: str, name: str, texts: list[str], label: int | None, class_name: str | None) -> Entry:
        location = _join(folder, name)
        source_id = source_id_of(location)
        _check_id(self.path, source_id)
        if self._captions:
            text = self._captions.captions_of(location, texts)
        else:
            text = tuple(caption for text in texts if (caption := self._caption(_join(folder, text))))
        return Entry(source_id, location, label, class_name, text, *self._marks.of(self.path / location))

    def _scan(self, relative: str) -> list[os.DirEntry[str]]:
        """The visible entries of one folder that are not other programs' own, sorted by name."""
        folder = self.path / relative
        try:
            with os.scandir(folder) as items:
                listed = sorted(items, key=lambda item: item.name)
        except OSError as error:
            raise Refusal(f"image folder {folder}: {error.strerror}; make it a folder that can be listed") from None
        foreign = [item.name for item in listed if is_foreign(item.name)]
        self._left_out.update("._*" if name.startswith("._") else name for name in foreign)
        return [item for item in listed if not item.name.startswith(".") and not is_foreign(item.name)]

    def _walk(self, folder: str) -> Iterator[tuple[str, str, list[str]]]:
        """Folder, name and captions of all pictures below a folder, its own before those of its sub-folders."""
        listed = self._scan(folder)
        for name, texts in _pictures(listed):
            yield folder, name, texts
        for item in listed:
            if _is_folder(self.path, folder, item):
                yield from self._walk(_join(folder, item.name))

    def _refuse_splits(self, class_folders: list[str]) -> None:
        """Raise a Refusal where the sub-folders are a data set's parts, and nobody named them as classes."""
        if not class_folders or not all(map(is_split, class_folders)) or (self.path / CLASS_NAMES_FILE).exists():
            return
        filled = [folder for folder in class_folders if self._holds_something(folder)]
        if filled:
            first = next((folder for folder in filled if folder.lower().startswith("train")), filled[0])
            raise Refusal(
                f"image folder {self.path}: all its sub-folders ({', '.join(class_folders)}) are called as parts of a "
                f"data set are, not as classes; write path: {self.path / first}, or name them in {CLASS_NAMES_FILE} if "
                "they are classes"
            )

    def _holds_something(self, folder: str) -> bool:
        listed = self._scan(folder)
        return any(_pictures(listed)) or any(_is_folder(self.path, folder, item) for item in listed)

    def _caption(self, relative: str) -> str:
        return checked_caption(self._text(relative), self.path / relative)

    def _class_names(self, class_folders: list[str]) -> dict[str, str]:
        """Sub-folder to class name: from the file, which must name every one, or without it from the sub-folder."""
        path = self.path / CLASS_NAMES_FILE
        if not path.exists():
            return {folder: class_name_of(folder) for folder in class_folders}
        names = parse_class_names(self._text(CLASS_NAMES_FILE), path, "folder")
        missing = [folder for folder in class_folders if folder not in names]
        if missing:
            raise Refusal(f"{path}: no name for folder {missing[0]!r} ({len(missing)} in all); add a line for each")
        return names

    def _text(self, relative: str) -> str:
        where = self.path / relative
        try:
            return self.read(relative).decode("utf-8-sig")
        except Reject as reject:
            raise Refusal(f"{where}: {reject.detail}; repair or remove it") from None
        except UnicodeDecodeError as error:
            raise Refusal(f"{where}: not UTF-8 at byte {error.start}; save it as UTF-8 or remove it") from None


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _is_folder(root: Path, relative: str, item: os.DirEntry[str]) -> bool:
    if item.is_symlink() and _leads_to_folder(item):
        raise Refusal(
            f"image folder {root}: {_join(relative, item.name)!r} is a link to a folder, which is not "
            "followed; mount or copy the pictures there"
        )
    return item.is_dir(follow_symlinks=False)


def _leads_to_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # links in a circle lead nowhere; reading such a file gives its reject
        return False


def _pictures(listed: list[os.DirEntry[str]]) -> Iterator[tuple[str, list[str]]]:
    """Names of the pictures among the entries of one folder, each with the names of the captions beside it."""
    files = {item.name for item in listed if not _leads_to_folder(item)}
    for item in listed:
        stem, extension = os.path.splitext(item.name)
        if item.name in files and extension.lower() in IMAGE_EXTENSIONS:
            yield item.name, [text for text in (stem + TEXT_EXTENSION, item.name + TEXT_EXTENSION) if text in files]


def _check_id(root: Path, source_id: str) -> None:
    if fault := fault_of_id(source_id):
        raise Refusal(f"image folder {root}: {source_id!r} {fault}; rename it")
