"""Samples in tars as a source: what they list, with which ids, captions and classes, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_tars import pack

from pipeline.data.images import decode, square_view
from pipeline.errors import Refusal, Reject
from pipeline.params.datasets import WebDatasetRow
from pipeline.params.kinds import SOURCES
from pipeline.sources import webdataset
from pipeline.sources.base import Entry
from pipeline.sources.folder import MAX_PICTURE_BYTES, FolderSource
from pipeline.sources.index import order_of
from pipeline.sources.listing import Listing
from pipeline.sources.tars import Place
from pipeline.sources.webdataset import WebDatasetSource, tars_of

COMMON = {"version": 1, "max_reject_fraction": 0.0, "row_group_rows": 1, "revision": 1, "num_rows": "all"}
ROW: dict[str, Any] = {
    **COMMON,
    "num_shards": 1,
    "max_image_pixels": 10**8,
    "near_duplicates": "count",
    "near_duplicate_bits": 4,
    "tars": "*.tar",
    "ids": "path",
    "pictures": ["jpg", "jpeg", "png", "webp"],
    "texts": [],
}


def row(root: Path, **values: Any) -> WebDatasetRow:
    return msgspec.convert({**ROW, "path": str(root), **values}, WebDatasetRow)


def source(root: Path, **values: Any) -> WebDatasetSource:
    return WebDatasetSource.open(row(root, **values), 0)


def sample(key: str, **members: Any) -> dict[str, bytes]:
    """Members of one key; what is no bytes or text is written as JSON."""
    data = {}
    for extension, value in members.items():
        raw = value if isinstance(value, bytes | str) else json.dumps(value)
        data[f"{key}.{extension}"] = raw if isinstance(raw, bytes) else raw.encode()
    return data


def refused(found: WebDatasetSource) -> str:
    with pytest.raises(Refusal) as caught:
        list(found.entries())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_listing(tmp_path: Path) -> None:
    pack(
        tmp_path / "00000.tar",
        {
            **sample(
                "cat/a", jpg=b"one", txt="  a cat \n", cls="3\n", json={"caption": "a tabby", "tags": ["x", "", "y"]}
            ),
            **sample("cat/b", txt="a dog", JPEG=b"three"),
            **sample("no picture", txt="nothing"),
            "README": b"",
        },
    )
    pack(tmp_path / "00001.tar", sample("c", png=b"four", jpg=b"five", json={"caption": None}))
    found = source(
        tmp_path,
        texts=["txt", "json:caption", "json:tags"],
        label="cls",
        tars="{00000..00001}.tar",
        pictures=["jpg", "jpeg", "png"],
    )
    assert [replace(entry, mark=None) for entry in found.entries()] == [
        Entry("cat/a.jpg", "00000.tar:512+3", 3, None, ("a cat", "a tabby", "x", "y"), 3),
        Entry("cat/b.JPEG", "00000.tar:5632+5", None, None, ("a dog",), 5),
        Entry("c.jpg", "00001.tar:1536+4", None, None, (), 4),
    ]
    assert found.remarks() == [
        f"tars of {tmp_path}: 1 samples without a picture were left out; the first: 'no picture' in 00000.tar, with "
        "txt",
        f"tars of {tmp_path}: 1 files belong to no sample (links, files with holes, hidden or foreign ones, names "
        "without a dot); the first: 'README' in 00000.tar",
        f"tars of {tmp_path}: 1 pictures have no text; the first: 'c' in 00001.tar",
        f"tars of {tmp_path}: 2 pictures have no class number; the first: 'cat/b' in 00000.tar",
    ]
    locations = [entry.location for entry in found.entries()]
    assert list(found.read_many(locations[::-1])) == [b"five", b"three", b"one"]
    assert list(found.read_many([])) == []


def test_ids_are_paths_and_imagenet_names_are_what_they_are_everywhere(tmp_path: Path) -> None:
    files = {"./x/a.jpg": b"1", "./n01440764_10026.JPEG": b"2", "deep/n01440764_1.x.jpg": b"3"}
    pack(tmp_path / "a.tar", files)
    ids = [entry.source_id for entry in source(tmp_path, pictures=["jpg", "jpeg", "x.jpg"]).entries()]
    assert ids == ["x/a.jpg", "n01440764_10026", "n01440764_1"]


def test_names_that_begin_anew_in_each_tar(tmp_path: Path) -> None:
    for name in ("0.tar", "1.tar"):
        pack(tmp_path / name, {"000000.jpg": name.encode()})
    twins = source(tmp_path)
    with pytest.raises(Refusal, match=r"0\.tar:512.*1\.tar:512.*ids: tar_and_path"):
        order_of(Listing.of(twins.entries()), True, twins.twins_remedy)
    ids = [entry.source_id for entry in source(tmp_path, ids="tar_and_path").entries()]
    assert ids == ["0/000000.jpg", "1/000000.jpg"]


def test_names_of_imagenet_that_begin_anew_in_each_tar(tmp_path: Path) -> None:
    for name in ("0.tar", "1.tar"):
        pack(tmp_path / name, {"n01440764_10026.jpg": name.encode()})
    ids = [entry.source_id for entry in source(tmp_path, ids="tar_and_path").entries()]
    assert ids == ["0/n01440764_10026.jpg", "1/n01440764_10026.jpg"]


def test_classes_with_names(tmp_path: Path) -> None:
    tars, names = tmp_path / "tars", tmp_path / "names.tsv"
    tars.mkdir()
    pack(tars / "a.tar", sample("a", jpg=b"1", cls="1") | sample("b", jpg=b"2", json={"class": 0}))
    names.write_text("0\ttench\n1\tgoldfish\n")
    found = source(tars, label="cls", class_names=str(names))
    assert [(entry.label, entry.class_name) for entry in found.entries()] == [(1, "goldfish"), (None, None)]
    found = source(tars, label="json:class", class_names=str(names))
    assert [(entry.label, entry.class_name) for entry in found.entries()] == [(None, None), (0, "tench")]
    names.write_text("0\ttench\n")
    assert "no name for class 1; add a line" in refused(source(tars, label="cls", class_names=str(names)))
    names.write_text("tench\n")
    assert "line 1: need a number, one tab and a name" in refused(source(tars, label="cls", class_names=str(names)))
    assert "correct class_names" in refused(source(tars, label="cls", class_names=str(tmp_path / "nothing")))
    names.write_text("01\tgoldfish\n0\ttench\n")
    found = source(tars, label="cls", class_names=str(names))
    assert [(entry.label, entry.class_name) for entry in found.entries()] == [(1, "goldfish"), (None, None)]


@pytest.mark.parametrize("cls", ["cat", "-1", "1.0", "", "2147483648", pytest.param("1" * 5000, id="long"), "\uff11"])
def test_a_class_that_is_no_number_is_refused(tmp_path: Path, cls: str) -> None:
    pack(tmp_path / "a.tar", sample("a", jpg=b"1", cls=cls))
    assert "a.tar: 'a.cls': a class must be a whole number" in refused(source(tmp_path, label="cls"))


@pytest.mark.parametrize("value", ["1", True, 1.0, -1, [1]])
def test_a_class_in_json_that_is_no_number_is_refused(tmp_path: Path, value: Any) -> None:
    pack(tmp_path / "a.tar", sample("a", jpg=b"1", json={"class": value}))
    assert "a.tar: 'a.json' field 'class': a class must be" in refused(source(tmp_path, label="json:class"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "no JSON: Expecting property name"),
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'["a"]', "need a JSON object with named fields"),
        (b'{"caption": 3.5}', "field 'caption': a caption must be a text, a list of texts or null, not 3.5"),
        (b'{"caption": ["a", {}]}', "a caption must be"),
        (b'{"caption": "\\ud800"}', "half a character at 0"),
        (b'{"caption": "caf\xe9"}', "not UTF-8 at byte 16"),
        (json.dumps({"caption": "x" * 100_000}).encode(), "a caption of 100000 characters"),
    ],
    ids=["cut", "empty", "deep", "list", "number", "list of objects", "half", "latin", "long"],
)
def test_bad_json_is_refused_with_tar_and_member(tmp_path: Path, data: bytes, said: str) -> None:
    pack(tmp_path / "a.tar", {"a.jpg": b"1", "a.json": data})
    message = refused(source(tmp_path, texts=["json:caption"]))
    assert f"{tmp_path}/a.tar: 'a.json'" in message
    assert said in message


def test_numbers_that_are_none_are_no_fault_of_other_fields(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", {"a.jpg": b"1", "a.json": b'{"similarity": NaN, "caption": "a cat"}'})
    assert [entry.text for entry in source(tmp_path, texts=["json:caption"]).entries()] == [("a cat",)]


def test_bad_text_files_are_refused(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", sample("a", jpg=b"1", txt=b"caf\xe9"))
    assert "'a.txt': not UTF-8 at byte 3" in refused(source(tmp_path, texts=["txt"]))
    pack(tmp_path / "a.tar", sample("a", jpg=b"1", txt=b"\xef\xbb\xbfcaf\xc3\xa9"))
    assert [entry.text for entry in source(tmp_path, texts=["txt"]).entries()] == [("café",)]
    assert "no sample has 'json:caption'" in refused(source(tmp_path, texts=["json:caption"]))


def test_what_no_sample_has_is_refused_with_what_there_is(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", sample("a", jpg=b"1", json={"text": "a cat", "url": ""}))
    message = refused(source(tmp_path, texts=["json:caption"]))
    assert "no sample has 'json:caption', which texts asks for; the first has jpg, json; json has text, url" in message
    assert "no sample has 'cls', which label asks for; the first has jpg, json" in refused(
        source(tmp_path, label="cls")
    )


def test_a_picture_behind_a_second_dot_is_not_lost(tmp_path: Path) -> None:
    """``shape.1.jpg`` and ``shape.2.jpg`` are one sample by the rule, and neither is its picture."""
    pack(tmp_path / "a.tar", {"good.jpg": b"1", "shape.1.jpg": b"2", "shape.2.jpg": b"3"})
    message = refused(source(tmp_path))
    assert "'shape.1.jpg' is '1.jpg' of the sample 'shape'" in message
    pack(tmp_path / "a.tar", {"good.jpg": b"1", "good.seg.png": b"2"})
    assert [entry.source_id for entry in source(tmp_path).entries()] == ["good.jpg"]
    assert [entry.source_id for entry in source(tmp_path, pictures=["seg.png"]).entries()] == ["good.seg.png"]


def test_tars_without_a_picture_are_refused(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", sample("a", tiff=b"1", txt="x"))
    message = refused(source(tmp_path))
    assert "none of its samples has a picture (jpg, jpeg, png, webp)" in message
    assert "'a' in a.tar, with tiff, txt; name its extension in pictures" in message
    pack(tmp_path / "a.tar", {"a.b\nc": b"1"})
    assert r"'a' in a.tar, with 'b\nc'" in refused(source(tmp_path))
    pack(tmp_path / "a.tar", {})
    assert "there are no samples" in refused(source(tmp_path))


def test_links_are_left_out_and_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("b.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "../../secret.jpg"
        tar.addfile(info)
        tar.addfile(tarfile.TarInfo("a.jpg"))
    found = source(tmp_path)
    assert [entry.source_id for entry in found.entries()] == ["a.jpg"]
    assert found.remarks()[0].endswith("the first: 'b.jpg' in a.tar")


@pytest.mark.parametrize("name", ["a#b.jpg", "a\nb.jpg", "\udcff.jpg"])
def test_names_that_cannot_be_keys_are_refused(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "a.tar", {name: b"1"})
    assert f"{tmp_path}/a.tar: {name!r}" in refused(source(tmp_path))


def test_bad_tars_are_refused_by_name(tmp_path: Path) -> None:
    good = pack(tmp_path / "0.tar", sample("a", jpg=b"x" * 2000)).read_bytes()
    bad = tmp_path / "1.tar"
    for data, said in (
        (good[:1500], "1.tar: cut short at byte"),
        (gzip.compress(good), "1.tar: a compressed tar"),
        (good + good, "1.tar: more data behind the end mark"),
        (b"<html>" * 200, "1.tar: damaged or no tar at byte 0"),
    ):
        bad.write_bytes(data)
        assert said in refused(source(tmp_path))


def test_a_picture_that_is_too_large_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    (reject,) = source(tmp_path).read_many([str(Place("a.tar", 512, MAX_PICTURE_BYTES + 1))])
    assert isinstance(reject, Reject)
    assert reject.reason in webdataset.REJECT_REASONS


# --- which tars


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for name in ("00000", "00001", "00002", "train/00000", "train/00001", "val/00000"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.tar").touch()
    (tmp_path / "00000_stats.json").touch()
    (tmp_path / "._00000.tar").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.tar", ["00000.tar", "00001.tar", "00002.tar"]),
        ("{00000..00002}.tar", ["00000.tar", "00001.tar", "00002.tar"]),
        ("{00002..00001}.tar", ["00002.tar", "00001.tar"]),
        ("00001.tar", ["00001.tar"]),
        ("{train,val}/*.tar", ["train/00000.tar", "train/00001.tar", "val/00000.tar"]),
        ("**/00000.tar", ["00000.tar", "train/00000.tar", "val/00000.tar"]),
        ("{00001.tar,*.tar}", ["00001.tar", "00000.tar", "00002.tar"]),
        ("0000[01].tar", ["00000.tar", "00001.tar"]),
    ],
)
def test_patterns(many: Path, pattern: str, names: list[str]) -> None:
    assert tars_of(many, pattern) == names


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{00000..00005}.tar", "'00003.tar' is not there"),
        (
            "*.tgz",
            "nothing matches '*.tgz'; there are ._00000.tar, 00000.tar, 00000_stats.json, 00001.tar, 00002.tar, ...",
        ),
        ("../{a,b}.tar", "'../a.tar' leads out of"),
        ("/data/0.tar", "leads out of"),
        ("{0..99999999}.tar", "names more than 1000000 files"),
        ("https://example.org/{0..1}.tar", "is not there"),
        ("train", "'train' is not there"),
        ("a**.tar", "correct tars"),
    ],
)
def test_patterns_that_name_nothing(many: Path, pattern: str, said: str) -> None:
    with pytest.raises(Refusal) as caught:
        tars_of(many, pattern)
    assert said in str(caught.value)


def test_parts_that_are_not_there_are_missed_unless_tars_leaves_them_out(tmp_path: Path) -> None:
    names = [f"set-{number:06}-of-000006.tar" for number in range(6)]
    for name in names:
        (tmp_path / name).touch()
    assert tars_of(tmp_path, "*.tar") == tars_of(tmp_path, "set-*") == names
    (tmp_path / names[1]).unlink()
    (tmp_path / names[5]).unlink()
    for pattern in ("*.tar", "set-*", "{set,set}-*.tar"):
        with pytest.raises(Refusal, match=rf"{names[1]}, {names[5]} are not there \(4 of its 6 parts are\); fetch"):
            tars_of(tmp_path, pattern)
    assert tars_of(tmp_path, "set-*[234]-of-*.tar") == names[2:5]
    assert tars_of(tmp_path, "set-00000{2..4}-of-000006.tar") == names[2:5]


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    assert "is a file; write its folder, and its name in tars" in refused(source(tmp_path / "a.tar"))
    assert "there is no such folder" in refused(source(tmp_path / "nowhere"))


def test_tars_that_are_links_are_followed(tmp_path: Path) -> None:
    """As in a cache of the Hub, where a snapshot's files are links to blobs."""
    (tmp_path / "snapshot").mkdir()
    pack(tmp_path / "blob", sample("a", jpg=b"1"))
    (tmp_path / "snapshot/0.tar").symlink_to("../blob")
    found = source(tmp_path / "snapshot")
    assert list(found.read_many([entry.location for entry in found.entries()])) == [b"1"]
    (tmp_path / "snapshot/1.tar").symlink_to("../gone")
    assert "1.tar: No such file or directory" in refused(found)


# --- parameters


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pictures": []}, "pictures"),
        ({"pictures": [".jpg"]}, "pictures"),
        ({"pictures": ["JPG"]}, "pictures"),
        ({"texts": ["json:"]}, "texts"),
        ({"ids": "key"}, "ids"),
        ({"label": "CLS"}, "label"),
        ({"class": "cls"}, "class"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        row(tmp_path, **values)


def test_names_of_classes_need_a_label(tmp_path: Path) -> None:
    fault = row(tmp_path, class_names="names.tsv").fault()
    assert fault is not None
    assert fault.key == "class_names"
    assert SOURCES.class_of(row(tmp_path)) is WebDatasetSource


# --- real pictures


def test_real_pictures_are_those_of_a_folder(shared: Path, tmp_path: Path) -> None:
    """100 real JPEGs of ImageNet, packed by GNU tar, as a folder of them would be read."""
    folder = shared / "data/imagenet-sample"
    names = sorted(os.listdir(folder))
    for number in range(3):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for name in names[number::3]:
                tar.add(folder / name, arcname=name)
    found, wanted = source(tmp_path, tars="{0..2}.tar"), FolderSource(folder)
    entries = {entry.source_id: entry for entry in found.entries()}
    expected = {entry.source_id: entry for entry in wanted.entries()}
    assert len(entries) == 100
    assert set(entries) == set(expected)
    ordered = sorted(entries)
    for name, data in zip(ordered, found.read_many([entries[name].location for name in ordered]), strict=True):
        assert data == wanted.read(expected[name].location)
        assert entries[name].num_bytes == expected[name].num_bytes
        assert isinstance(data, bytes)
        assert square_view(decode(data, max_pixels=50_000_000), 64).size == (64, 64)
    shutil.rmtree(tmp_path)
