"""An image folder: what it lists, under which names and labels, and how bad files and bad names are turned down."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.data.images import decode, square_view
from pipeline.errors import Refusal, Reject
from pipeline.sources.base import Entry, Source
from pipeline.sources.folder import MAX_PICTURE_BYTES, FolderSource
from pipeline.sources.names import CLASS_NAMES_FILE, class_name_of, is_id, is_split


def fill(root: Path, *names: str) -> FolderSource:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return FolderSource(root)


def refused(source: FolderSource) -> str:
    with pytest.raises(Refusal) as caught:
        list(source.entries())
    message = str(caught.value)
    assert "\n" not in message
    return message


def rejected(source: FolderSource, location: str) -> str:
    with pytest.raises(Reject) as caught:
        source.read(location)
    assert str(source.path) not in caught.value.detail  # details are stored, and stored results name no machine
    return caught.value.reason


def test_listing(tmp_path: Path) -> None:
    source: Source = fill(
        tmp_path,
        "n02123045_tabby_cat/b.JPEG",
        "n02123045_tabby_cat/a.jpg",
        "n02123045_tabby_cat/more/c.PnG",
        "dog/ünï code and blanks.webp",
        "loose.gif",
        "n02123045_tabby_cat/notes.md",
        "dog/.hidden.jpg",
        ".cache/x.jpg",
        "dog/Thumbs.db",
    )
    (tmp_path / "empty").mkdir()
    assert source.random_access
    assert [replace(entry, mark=None) for entry in source.entries()] == [
        Entry("loose.gif", "loose.gif", None, None, (), 9),
        Entry("dog/ünï code and blanks.webp", "dog/ünï code and blanks.webp", 0, "dog", (), 30),
        Entry("n02123045_tabby_cat/a.jpg", "n02123045_tabby_cat/a.jpg", 2, "tabby cat", (), 25),
        Entry("n02123045_tabby_cat/b.JPEG", "n02123045_tabby_cat/b.JPEG", 2, "tabby cat", (), 26),
        Entry("n02123045_tabby_cat/more/c.PnG", "n02123045_tabby_cat/more/c.PnG", 2, "tabby cat", (), 30),
    ]
    for entry in source.entries():
        assert source.read(entry.location) == entry.source_id.encode()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("n01440764_tench", "tench"),
        ("n02110185_Siberian_husky", "Siberian husky"),
        ("n02100236_German_short-haired_pointer", "German short-haired pointer"),
        ("n01440764", "tench"),
        ("n02963159_", "cardigan"),
        ("n00000001", "n00000001"),
        ("n00000001_", "n00000001_"),
        ("night_sky", "night sky"),
        ("n123_x", "n123 x"),
        ("_", "_"),
    ],
)
def test_class_names_from_folders(folder: str, name: str) -> None:
    assert class_name_of(folder) == name


def test_class_names_from_a_file(tmp_path: Path) -> None:
    source = fill(tmp_path, "n01440764/a.jpg", "n02123045/b.jpg")
    names = "\ufeffn01440764\ttench, Tinca tinca\r\n\nn02123045\ttabby\nn09999999\tnot here\n"
    (tmp_path / CLASS_NAMES_FILE).write_text(names, encoding="utf-8", newline="")
    assert [entry.class_name for entry in source.entries()] == ["tench, Tinca tinca", "tabby"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a\tone\n", "no name for folder 'b'"),
        ("a one\nb\ttwo\n", "line 1"),
        ("a\tone\textra\nb\ttwo\n", "line 1"),
        ("a\tone\nb\t \n", "line 2"),
        ("a\tone\nb\ttwo\na\tthree\n", "line 3: folder 'a' is named twice"),
    ],
)
def test_bad_class_names_are_refused(tmp_path: Path, text: str, named: str) -> None:
    source = fill(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / CLASS_NAMES_FILE).write_text(text)
    assert named in refused(source)


# --- a root one level too high


@pytest.mark.parametrize(
    ("splits", "wanted"),
    [
        (("train", "val"), "train"),
        (("Val", "Train"), "Train"),
        (("test2017", "val2017"), "test2017"),
        (("dev", "eval", "validation_set"), "dev"),
        (("train",), "train"),
    ],
)
def test_parts_of_a_data_set_are_no_classes(tmp_path: Path, splits: tuple[str, ...], wanted: str) -> None:
    source = fill(tmp_path, "banner.png", *(f"{split}/cat/1.jpg" for split in splits))
    message = refused(source)
    assert all(split in message for split in splits)
    assert f"write path: {tmp_path / wanted}, or" in message
    (entry,) = FolderSource(tmp_path / wanted).entries()
    assert entry.class_name == "cat"


def test_parts_that_hold_their_pictures_directly_are_none_either(tmp_path: Path) -> None:
    assert f"write path: {tmp_path / 'train'}" in refused(fill(tmp_path, "train/1.jpg", "test/2.jpg"))


def test_an_empty_part_is_not_where_the_pictures_are(tmp_path: Path) -> None:
    source = fill(tmp_path, "val/1.jpg", "@eaDir/val/1.jpg", "train/._1.jpg")
    assert f"write path: {tmp_path / 'val'}" in refused(source)


def test_a_class_called_train_is_one_among_others_or_where_it_is_named(tmp_path: Path) -> None:
    source = fill(tmp_path / "vehicles", "bus/1.jpg", "car/1.jpg", "train/1.jpg")
    assert [entry.class_name for entry in source.entries()] == ["bus", "car", "train"]
    alone = fill(tmp_path / "alone", "train/1.jpg")
    (tmp_path / "alone" / CLASS_NAMES_FILE).write_text("train\trailway train\n")
    assert [entry.class_name for entry in alone.entries()] == ["railway train"]


@pytest.mark.parametrize("name", ["trainer", "training dogs", "tested", "devil", "evaluate", "valley", "2017", "car"])
def test_other_names_are_no_parts(name: str) -> None:
    assert not is_split(name)


# --- ids


@pytest.mark.parametrize(
    ("name", "answer"), [("n00000001", True), ("n00000001_", True), ("tench", False), ("n0144076", False)]
)
def test_ids_are_no_words(name: str, answer: bool) -> None:
    assert is_id(name) is answer
    assert is_id(class_name_of(name)) is answer
    assert not is_id(class_name_of("n01440764_tench"))


# --- other programs' own


def test_what_other_programs_keep_there_is_left_out_and_said_once(tmp_path: Path) -> None:
    source = fill(
        tmp_path,
        "cat/a.jpg",
        "cat/._a.jpg",
        "cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
        "cat/.@__thumb/default1.jpg",
        "dog/b.jpg",
        "dog/Thumbs.db",
        "dog/#recycle/b.jpg",
        "__MACOSX/cat/._a.jpg",
        "$RECYCLE.BIN/x.jpg",
        "lost+found/x.jpg",
        "System Volume Information/x.jpg",
    )
    for _ in range(2):  # what was said is not added up
        assert [(entry.location, entry.label) for entry in source.entries()] == [("cat/a.jpg", 0), ("dog/b.jpg", 1)]
        (line,) = source.remarks()
        for name in ("@eaDir (1)", "._* (1)", ".@__thumb (1)", "Thumbs.db (1)", "#recycle (1)", "__MACOSX (1)"):
            assert name in line
        for name in ("$RECYCLE.BIN (1)", "lost+found (1)", "System Volume Information (1)"):
            assert name in line


def test_nothing_is_said_where_nothing_was_left_out(tmp_path: Path) -> None:
    source = fill(tmp_path, "cat/a.jpg", "cat/.hidden.jpg")
    assert len(list(source.entries())) == 1
    assert source.remarks() == []


def test_captions_beside_pictures(tmp_path: Path) -> None:
    source = fill(tmp_path, "cat/a.jpg", "cat/b.jpg", "cat/c.jpg", "cat/d.jpg", "cat/other.txt")
    (tmp_path / "cat/a.txt").write_text("  a cat on a möbel\n", encoding="utf-8")
    (tmp_path / "cat/b.txt").write_text("one")
    (tmp_path / "cat/b.jpg.txt").write_text("two")
    (tmp_path / "cat/c.txt").write_text(" \n")
    assert [entry.text for entry in source.entries()] == [("a cat on a möbel",), ("one", "two"), (), ()]


def test_bad_captions_are_refused(tmp_path: Path) -> None:
    source = fill(tmp_path / "root", "cat/a.jpg", "cat/a.txt")
    caption = tmp_path / "root/cat/a.txt"
    caption.write_bytes(b"caf\xe9")
    assert "a.txt: not UTF-8 at byte 3" in refused(source)
    caption.write_text("x" * 100_000)
    assert "100000 characters" in refused(source)
    caption.unlink()
    (tmp_path / "secret").write_text("secret")
    caption.symlink_to(tmp_path / "secret")
    assert "leads out of the folder" in refused(source)


def test_a_folder_that_is_missing_empty_or_a_file(tmp_path: Path) -> None:
    assert "no such folder" in refused(FolderSource(tmp_path / "nowhere"))
    assert "no picture" in refused(fill(tmp_path / "empty", "cat/readme.txt"))
    (tmp_path / "file").write_text("x")
    assert "no such folder" in refused(FolderSource(tmp_path / "file"))


@pytest.mark.parametrize("name", ["cat/a#b.jpg", "cat/a\nb.jpg", "ca#t/a.jpg", "cat/a\rb.jpg"])
def test_names_that_cannot_be_keys_are_refused(tmp_path: Path, name: str) -> None:
    assert repr(name) in refused(fill(tmp_path, name))


def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with open(os.fsencode(tmp_path) + b"/cat/\xff.jpg", "wb"):
        pass
    assert "not named in UTF-8" in refused(FolderSource(tmp_path))


def test_hostile_files_stay_and_are_rejected_when_read(tmp_path: Path) -> None:
    source = fill(tmp_path / "root", "cat/good.jpg")
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    cat = tmp_path / "root/cat"
    (cat / "leaves.jpg").symlink_to(tmp_path / "outside.jpg")
    (cat / "dangling.jpg").symlink_to(cat / "nothing")
    (cat / "circle.jpg").symlink_to(cat / "circle.jpg")
    (cat / "inside.jpg").symlink_to("good.jpg")
    os.mkfifo(cat / "pipe.jpg")
    with (cat / "huge.jpg").open("wb") as handle:
        handle.truncate(MAX_PICTURE_BYTES + 1)  # sparse: takes no room
    (cat / "empty.jpg").touch()
    names = [entry.source_id for entry in source.entries()]
    assert names == [
        f"cat/{name}.jpg" for name in ("circle", "dangling", "empty", "good", "huge", "inside", "leaves", "pipe")
    ]
    assert rejected(source, "cat/leaves.jpg") == "outside_source"
    assert rejected(source, "cat/dangling.jpg") == "not_readable"
    assert rejected(source, "cat/circle.jpg") == "not_readable"
    assert rejected(source, "cat/pipe.jpg") == "not_readable"
    assert rejected(source, "cat/huge.jpg") == "too_many_bytes"
    assert source.read("cat/inside.jpg") == b"cat/good.jpg"
    assert source.read("cat/empty.jpg") == b""


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../outside.jpg", "outside_source"),
        ("/outside.jpg", "outside_source"),
        ("cat/../../outside.jpg", "outside_source"),
        ("cat/gone.jpg", "not_readable"),
        ("cat", "not_readable"),
        ("cat/a\0.jpg", "not_readable"),
        ("cat/" + "x" * 300 + ".jpg", "not_readable"),
    ],
)
def test_places_that_lead_nowhere(tmp_path: Path, location: str, reason: str) -> None:
    source = fill(tmp_path / "root", "cat/a.jpg")
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    assert rejected(source, location) == reason


def test_linked_folders_are_refused(tmp_path: Path) -> None:
    source = fill(tmp_path / "root", "cat/a.jpg")
    fill(tmp_path / "elsewhere", "b.jpg")
    (tmp_path / "root/dog").symlink_to(tmp_path / "elsewhere")
    assert "'dog' is a link to a folder" in refused(source)
    (tmp_path / "root/dog").unlink()
    (tmp_path / "root/cat/loop").symlink_to(tmp_path / "root")
    assert "'cat/loop' is a link to a folder" in refused(source)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    fill(tmp_path / "real", "cat/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    source = FolderSource(tmp_path / "link")
    assert [source.read(entry.location) for entry in source.entries()] == [b"cat/a.jpg"]


def test_real_pictures(shared: Path) -> None:
    source = FolderSource(shared / "data" / "imagenet-sample")
    entries = list(source.entries())
    assert len(entries) == 100
    assert {entry.label for entry in entries} == {None}
    for entry in entries[:5]:
        assert square_view(decode(source.read(entry.location), max_pixels=50_000_000), 64).size == (64, 64)
