"""ImageNet in four layouts: the same pictures, ids, labels and names; what is no such layout is refused in one line."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import made_imagenet
import pytest
from made_imagenet import ARCHIVE, LAYOUTS, SHARK, TENCH, TISSUE, jpeg, made, tar

from pipeline.errors import Refusal, Reject
from pipeline.sources.base import Entry, remarks_of
from pipeline.sources.imagenet import ImageNetSource, wanted_classes

PICTURES = made(3, TENCH, SHARK, TISSUE)
LABELS = {TENCH: 0, SHARK: 2, TISSUE: 999}
NAMES = {TENCH: "tench", SHARK: "great white shark", TISSUE: "toilet tissue"}
KNOWN = {
    (name.removesuffix(".JPEG"), data, LABELS[wnid], NAMES[wnid])
    for wnid, files in PICTURES.items()
    for name, data in files.items()
}


def source_of(path: Path, classes: list[str] | Path | None = None) -> ImageNetSource:
    return ImageNetSource(path, None, classes)


def read(source: ImageNetSource) -> set[tuple[str, bytes | Reject, int | None, str | None]]:
    entries = list(source.entries())
    data = source.read_many([entry.location for entry in entries])
    return {(e.source_id, d, e.label, e.class_name) for e, d in zip(entries, data, strict=True)}


def refused(source: ImageNetSource) -> str:
    with pytest.raises(Refusal) as caught:
        list(source.entries())
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_same_pictures(tmp_path: Path, layout: str) -> None:
    source = source_of(LAYOUTS[layout](tmp_path, PICTURES))
    assert read(source) == KNOWN
    sizes = {entry.source_id: entry.num_bytes for entry in source.entries()}
    assert sizes == {source_id: len(data) for source_id, data, _, _ in KNOWN}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_of_the_hub_are_those_of_every_layout(tmp_path: Path, layout: str) -> None:
    renamed = {
        wnid: {name.replace(".", f"_{wnid}."): data for name, data in files.items()} for wnid, files in PICTURES.items()
    }
    assert read(source_of(LAYOUTS[layout](tmp_path, renamed))) == KNOWN


def test_real_pictures_are_the_same_in_every_layout(tmp_path: Path, shared: Path) -> None:
    files = sorted((shared / "data/imagenet-sample").glob("*.JPEG"))
    pictures = {path.name[:9]: {path.name: path.read_bytes()} for path in files}
    seen = [read(source_of(make(tmp_path / name, pictures))) for name, make in LAYOUTS.items()]
    assert len(seen[0]) == 100
    assert all(pictures == seen[0] for pictures in seen)
    assert all(source_id[10:].replace("_", " ") == name for source_id, _, _, name in seen[0])
    assert all(isinstance(data, bytes) and data == pictures[i[:9]][f"{i}.JPEG"] for i, data, _, _ in seen[0])


@pytest.mark.parametrize(
    ("layout", "below", "said"),
    [
        ("archive", "", "the archive of class archives"),
        ("archive", ARCHIVE, "the archive of class archives"),
        ("class_archives", "", "class archives (n01440764.tar, ...)"),
        ("class_folders", "", "class folders (n01440764, ...)"),
        ("class_folders", "train", "class folders (n01440764, ...)"),
        ("competition", "", "class folders (n01440764, ...)"),
        ("competition", "ILSVRC", "class folders (n01440764, ...)"),
        ("competition", "ILSVRC/Data", "class folders (n01440764, ...)"),
        ("competition", "ILSVRC/Data/CLS-LOC", "class folders (n01440764, ...)"),
        ("competition", "ILSVRC/Data/CLS-LOC/train", "class folders (n01440764, ...)"),
    ],
)
def test_a_layout_is_found_from_above_and_said_in_one_line(tmp_path: Path, layout: str, below: str, said: str) -> None:
    LAYOUTS[layout](tmp_path, PICTURES)
    source = source_of(tmp_path / below)
    assert read(source) == KNOWN
    line = remarks_of(source)[0]
    assert said in line
    assert line.endswith(": 9 pictures of 3 classes, 3 to 3 a class")


def test_no_layout_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    line = refused(source_of(tmp_path))
    assert all(text in line for text in (str(tmp_path), ARCHIVE, "class archives", "class folders", "CLS-LOC/train"))
    assert "nothing is there" in refused(source_of(tmp_path / "absent"))
    (tmp_path / "notes.txt").write_text("words")
    assert "not there. Looked for" in refused(source_of(tmp_path / "notes.txt"))


@pytest.mark.parametrize("other", ["class_archives", "class_folders", "competition"])
def test_two_layouts_at_one_path_are_refused(tmp_path: Path, other: str) -> None:
    made_imagenet.archive(tmp_path, PICTURES)
    LAYOUTS[other](tmp_path, PICTURES)
    line = refused(source_of(tmp_path))
    assert "more than once: the archive of class archives" in line
    assert f"at {tmp_path / ARCHIVE}, and class" in line
    assert read(source_of(tmp_path / ARCHIVE)) == KNOWN


def test_one_layout_by_two_ways_is_one(tmp_path: Path) -> None:
    made_imagenet.competition(tmp_path, PICTURES)
    (tmp_path / "train").symlink_to("ILSVRC/Data/CLS-LOC/train")
    assert read(source_of(tmp_path)) == KNOWN


# --- classes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wanted_classes_keep_their_labels(tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path, PICTURES)
    source = source_of(path, [TISSUE, SHARK])
    assert read(source) == {picture for picture in KNOWN if picture[2] != 0}
    assert len(remarks_of(source)) == 1
    (tmp_path / "classes.txt").write_text(f"{TISSUE}\r\n\n{SHARK}\n")
    assert read(source_of(path, tmp_path / "classes.txt")) == read(source)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{TENCH}\nn00000001\n", "entry 2, 'n00000001', is none of the 1,000 classes"),
        (f"{TENCH} {SHARK}\n", f"entry 1, '{TENCH} {SHARK}', is none"),
        (f"{TENCH}\n{TENCH}\n", f"{TENCH} is named twice"),
        ("\n", "names no class"),
        ("\xff", "not UTF-8 at byte 0"),
    ],
)
def test_classes_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    made_imagenet.class_folders(tmp_path, PICTURES)
    path = tmp_path / "classes.txt"
    path.write_bytes(text.encode("latin-1"))
    line = refused(source_of(tmp_path, path))
    assert line.startswith(f"{path}: ")
    assert said in line


def test_classes_are_in_the_order_of_their_labels() -> None:
    assert wanted_classes([TISSUE, TENCH, SHARK]) == [TENCH, SHARK, TISSUE]
    with pytest.raises(Refusal, match="classes: entry 1, 'tench', is none"):
        wanted_classes(["tench"])


def test_missing_classes_and_pictures_are_said_and_not_refused(tmp_path: Path) -> None:
    source = source_of(made_imagenet.archive(tmp_path, made(2, TENCH)))
    assert len(read(source)) == 2
    _, missing, count = remarks_of(source)
    assert "no picture of 999 classes: n01443537 (goldfish), n01484850 (great white shark)," in missing
    assert count.endswith("2 pictures of 1 classes, where ImageNet's training set has 1,281,167 of 1,000")


# --- what is not as it should be


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_class_that_is_none_of_the_thousand_is_refused(tmp_path: Path, layout: str) -> None:
    source = source_of(LAYOUTS[layout](tmp_path, {**PICTURES, "n00000001": {"n00000001_1.JPEG": jpeg(1)}}))
    assert "n00000001 is none of the 1,000 classes" in refused(source)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name", [f"{SHARK}_1.JPEG", "1.JPEG", f"{TENCH}_.JPEG", f"{TENCH}.JPEG", "ILSVRC2012_val_1.JPEG"]
)
def test_a_picture_that_is_not_called_after_its_class_is_refused(tmp_path: Path, layout: str, name: str) -> None:
    source = source_of(LAYOUTS[layout](tmp_path, {TENCH: {**PICTURES[TENCH], name: jpeg(1)}}))
    assert f"{name!r} at " in refused(source)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_name_that_no_key_can_hold_is_refused(tmp_path: Path, layout: str) -> None:
    source = source_of(LAYOUTS[layout](tmp_path, {TENCH: {f"{TENCH}_a#b.JPEG": jpeg(1)}}))
    assert "holds '#', which keys cannot; rename it" in refused(source)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_no_picture_is_left_out_and_said(tmp_path: Path, layout: str) -> None:
    others = {
        "a.txt": b"1",
        "b.txt": b"2",
        "Thumbs.db": b"3",
        f"._{TENCH}_0.JPEG": b"4",
        ".DS_Store": b"5",
        "README": b"",
    }
    source = source_of(LAYOUTS[layout](tmp_path, {TENCH: {**PICTURES[TENCH], **others}}))
    assert len(read(source)) == 3
    line = remarks_of(source)[-1]
    assert "left out what is no picture of a class: *.txt (2), " in line
    assert line.count("(") == 5
    assert line.endswith("(1)")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_picture_at_all_is_refused(tmp_path: Path, layout: str) -> None:
    source = source_of(LAYOUTS[layout](tmp_path, {TENCH: {"a.txt": b"1"}}))
    assert "without a picture of the wanted classes" in refused(source)
    path = LAYOUTS[layout](tmp_path / "full", PICTURES)
    assert "without a picture of the wanted classes" in refused(source_of(path, ["n01443537"]))


def test_an_archive_of_pictures_is_not_the_archive(tmp_path: Path) -> None:
    (tmp_path / "n01440764.tar").write_bytes(tar(PICTURES[TENCH]))
    assert f"member '{TENCH}_0.JPEG' is no class archive" in refused(source_of(tmp_path / "n01440764.tar"))


@pytest.mark.parametrize("layout", ["archive", "class_archives"])
def test_pictures_in_folders_of_an_archive_are_called_by_their_names(tmp_path: Path, layout: str) -> None:
    packed = {wnid: {f"./{wnid}/{name}": data for name, data in files.items()} for wnid, files in PICTURES.items()}
    assert read(source_of(LAYOUTS[layout](tmp_path, packed))) == KNOWN


@pytest.mark.parametrize("layout", ["archive", "class_archives"])
def test_links_and_devices_in_an_archive_are_refused(tmp_path: Path, layout: str) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
        path = LAYOUTS[layout](tmp_path, {TENCH: {}, SHARK: PICTURES[SHARK]})
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
            info = tarfile.TarInfo(f"{TENCH}_1.JPEG")
            info.type, info.linkname = kind, f"{TENCH}_0.JPEG"
            archive.addfile(info)
        inner = path if path.is_dir() else tmp_path
        (inner / f"{TENCH}.tar").write_bytes(data.getvalue())
        if layout == "archive":
            path.write_bytes(tar({f"{TENCH}.tar": data.getvalue()}))
            (inner / f"{TENCH}.tar").unlink()
        line = refused(source_of(path))
        assert f"'{TENCH}_1.JPEG' of {TENCH}.tar, before byte " in line
        assert "is a link, a device or a file packed with holes" in line


def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """Within the headers, the pictures and the inner archives' ends: with the archive and the byte."""
    path = made_imagenet.archive(tmp_path, made(2, TENCH, SHARK))
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    for cut in [*range(0, end, 512), *range(100, end, 1000)]:
        path.write_bytes(data[:cut])
        line = refused(source_of(path))
        assert line.startswith(f"{path}: cut short at byte ")
        assert int(line.split("at byte ")[1].split(":")[0]) <= cut


def test_a_class_archive_that_is_cut_within_a_whole_archive_is_refused(tmp_path: Path) -> None:
    inner = tar(PICTURES[TENCH])
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        last = archive.getmembers()[-1]
    for cut in (0, 300, 512, last.offset, last.offset_data + 10, last.offset_data + -(-last.size // 512) * 512):
        path = tmp_path / ARCHIVE
        path.write_bytes(tar({f"{TENCH}.tar": inner[:cut], f"{SHARK}.tar": tar(PICTURES[SHARK])}))
        line = refused(source_of(path))
        assert line.startswith(f"{path}: cut short at byte ")


def test_an_archive_that_changed_or_is_gone_is_no_fault_of_its_pictures(tmp_path: Path) -> None:
    path = made_imagenet.archive(tmp_path, PICTURES)
    source = source_of(path)
    locations = [entry.location for entry in source.entries()]
    made_imagenet.archive(tmp_path, made(2, TENCH, SHARK))
    with pytest.raises(Refusal, match=r"at byte \d+ are no longer the"):
        list(source.read_many(locations))
    path.unlink()
    with pytest.raises(Refusal, match=str(path)):
        list(source.read_many(locations))


@pytest.mark.parametrize(("before", "after"), [("archive", "class_folders"), ("class_folders", "archive")])
def test_places_of_another_layout_are_refused(tmp_path: Path, before: str, after: str) -> None:
    locations = [entry.location for entry in source_of(LAYOUTS[before](tmp_path / "before", PICTURES)).entries()]
    source = source_of(LAYOUTS[after](tmp_path / "after", PICTURES))
    with pytest.raises(Refusal, match="when the pictures were listed; put them back, or raise the row's revision"):
        list(source.read_many(locations))


def test_pictures_deeper_in_class_folders_are_found(tmp_path: Path) -> None:
    made_imagenet.class_folders(tmp_path, PICTURES)
    (tmp_path / "train" / TENCH / "images").mkdir()
    for path in (tmp_path / "train" / TENCH).glob("*.JPEG"):
        path.rename(path.parent / "images" / path.name)
    assert read(source_of(tmp_path)) == KNOWN


def test_a_linked_class_folder_is_refused(tmp_path: Path) -> None:
    made_imagenet.class_folders(tmp_path, PICTURES)
    shutil.move(tmp_path / "train" / SHARK, tmp_path / "elsewhere")
    (tmp_path / "train" / SHARK).symlink_to(tmp_path / "elsewhere")
    assert f"{SHARK!r} is a link to a folder, which is not followed" in refused(source_of(tmp_path))


def test_a_picture_that_is_gone_is_rejected_and_the_others_are_read(tmp_path: Path) -> None:
    source = source_of(made_imagenet.class_folders(tmp_path, PICTURES))
    entries: list[Entry] = list(source.entries())
    (tmp_path / "train" / entries[1].location).unlink()
    data = list(source.read_many([entry.location for entry in entries]))
    assert [isinstance(one, Reject) for one in data] == [False, True, *[False] * 7]


# --- the archive's checksum


def test_an_archive_is_compared_with_its_md5(tmp_path: Path) -> None:
    import hashlib

    path = made_imagenet.archive(tmp_path, PICTURES)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert read(ImageNetSource(path, md5, None)) == KNOWN
    with path.open("r+b") as handle:
        handle.seek(2000)
        byte = handle.read(1)
        handle.seek(2000)
        handle.write(bytes([byte[0] ^ 1]))
    other = hashlib.md5(path.read_bytes()).hexdigest()
    line = refused(ImageNetSource(path, md5, None))
    assert f"its md5 is {other}, that of {ARCHIVE} is {md5}" in line


@pytest.mark.parametrize("layout", ["class_archives", "class_folders"])
def test_only_the_archive_has_a_known_md5(tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path, PICTURES)
    assert "have no known md5; write md5: skip" in refused(ImageNetSource(path, "0" * 32, None))
