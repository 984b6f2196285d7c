"""Parquet files as a source: what is listed and read, and what is refused in one line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_made import IMAGE, png, rows, table, write

from pipeline.errors import Refusal, Reject, Transient
from pipeline.params.parquet import ParquetColumns, ParquetRow
from pipeline.sources import parquet_pictures
from pipeline.sources.base import Entry
from pipeline.sources.index import order_of
from pipeline.sources.listing import Listing
from pipeline.sources.parquet import ParquetSource

COMMON: dict[str, Any] = {
    "version": 1,
    "revision": 1,
    "num_rows": "all",
    "num_shards": 1,
    "max_image_pixels": 10**6,
    "near_duplicates": "count",
    "near_duplicate_bits": 4,
    "max_reject_fraction": 0.5,
    "row_group_rows": 4,
}
COLUMNS = {"image": "image", "label": "label", "text": ["caption"], "id": "image.path"}


def source(path: Path, columns: dict[str, Any] | None = None, **values: Any) -> ParquetSource:
    row = ParquetRow(**COMMON, path=str(path), columns=msgspec.convert(columns or COLUMNS, ParquetColumns), **values)
    return ParquetSource.open(row, 0)


def listed(path: Path, columns: dict[str, Any] | None = None, **values: Any) -> list[Entry]:
    return list(source(path, columns, **values).entries())


def refused(path: Path, columns: dict[str, Any] | None = None, **values: Any) -> str:
    with pytest.raises(Refusal) as caught:
        listed(path, columns, **values)
    line = str(caught.value)
    assert "\n" not in line
    return line


def without_columns(*names: str) -> dict[str, Any]:
    return {key: value for key, value in COLUMNS.items() if key not in names}


# --- what is listed and read


def test_rows_in_the_form_of_datasets_come_back_as_they_went_in(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00002.parquet", table(rows(range(10))))
    write(tmp_path / "data/train-00001-of-00002.parquet", table(rows(range(10, 15))))
    found = listed(tmp_path)
    assert [entry.source_id for entry in found] == [f"{number}.png" for number in range(15)]
    assert found[11].location == "data/train-00001-of-00002.parquet/1"
    assert [entry.text for entry in found] == [(f"picture {number}",) for number in range(15)]
    assert {(entry.label, entry.class_name) for entry in found} == {(0, "cat"), (1, "dog"), (2, "fire truck")}
    order = np.random.default_rng(0).permutation(15).tolist()
    for numbers in (range(15), order):
        read = list(source(tmp_path).read_many([found[number].location for number in numbers]))
        assert read == [png(number) for number in numbers]


def test_label_text_and_id_may_be_absent_and_pictures_plain_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"picture": [png(number) for number in range(6)]}))
    found = listed(path, {"image": "picture"})
    assert [(e.source_id, e.location, e.label, e.class_name, e.text) for e in found] == [
        (f"a.parquet/{number}", f"a.parquet/{number}", None, None, ()) for number in range(6)
    ]
    assert list(source(path, {"image": "picture"}).read_many([found[4].location])) == [png(4)]


def test_several_columns_of_text_and_lists_of_texts(tmp_path: Path) -> None:
    made = rows(range(3))
    long = pa.array(["a long one", None, " "])
    lists = pa.array([["first", " second "], [], None], pa.list_(pa.string()))
    write(tmp_path / "a.parquet", table(made, long=long, more=lists))
    found = listed(tmp_path, {**COLUMNS, "text": ["caption", "long", "more"]})
    assert [entry.text for entry in found] == [
        ("picture 0", "a long one", "first", "second"),
        ("picture 1",),
        ("picture 2",),
    ]


def test_labels_that_are_names_are_numbered_over_all_files(tmp_path: Path) -> None:
    for name, labels in (("a", ["truck", None]), ("b", ["n01440764_tench", "cat"])):
        write(tmp_path / f"{name}.parquet", pa.table({"image": [png(1), png(2)], "label": labels}))
    found = listed(tmp_path, {"image": "image", "label": "label"})
    assert [(e.label, e.class_name) for e in found] == [(2, "truck"), (None, None), (1, "tench"), (0, "cat")]


def test_a_row_of_some_files_numbers_classes_as_one_of_all(tmp_path: Path) -> None:
    """Whatever files it reads, and although others below the path have no such column."""
    for name, labels in (("train", ["truck", "cat"]), ("test", ["truck", "deer"])):
        write(tmp_path / f"{name}.parquet", pa.table({"image": [png(1), png(2)], "label": labels}))
    write(tmp_path / "more/extra.parquet", pa.table({"text": ["bee"]}))
    write(tmp_path / "more/numbers.parquet", pa.table({"label": [7]}))
    for files, classes in (
        ("t*", [(2, "truck"), (1, "deer"), (2, "truck"), (0, "cat")]),
        ("train*", [(2, "truck"), (0, "cat")]),
        ("test*", [(2, "truck"), (1, "deer")]),
    ):
        found = listed(tmp_path, {"image": "image", "label": "label"}, files=files)
        assert [(e.label, e.class_name) for e in found] == classes


def test_numbers_of_names_may_be_declared(tmp_path: Path) -> None:
    labels = ["great white shark", "n01440764", "", None]
    write(tmp_path / "a.parquet", pa.table({"image": [png(number) for number in range(4)], "label": labels}))
    names = tmp_path / "names.tsv"
    names.write_text("7\tn01440764\n9\tgreat white shark\n")
    for columns in ({"image": "image", "label": "label"}, {"image": "image", "class_name": "label"}):
        found = listed(tmp_path, columns, class_names=str(names))
        assert [(e.label, e.class_name) for e in found][:2] == [(9, "great white shark"), (7, "n01440764")]
        found = listed(tmp_path, columns, class_names="imagenet")
        assert [(e.label, e.class_name) for e in found] == [(2, "great white shark"), (0, "tench"), *[(None, None)] * 2]
    names.write_text("7\tn01440764\n9\tshark\n")
    line = refused(tmp_path, {"image": "image", "label": "label"}, class_names=str(names))
    assert f"a.parquet/0: class 'great white shark' is none of the 2 of {names}; write a line for it" in line
    names.write_text("7\tshark\n9\tshark\n")
    line = refused(tmp_path, {"image": "image", "label": "label"}, class_names=str(names))
    assert f"{names}: numbers 7 and 9 are both called 'shark'" in line


def test_a_blank_label_is_no_class_and_shifts_none(tmp_path: Path) -> None:
    labels = ["dog", "", "cat", " ", None]
    write(tmp_path / "a.parquet", pa.table({"image": [png(number) for number in range(5)], "label": labels}))
    found = listed(tmp_path, {"image": "image", "label": "label"})
    assert [(e.label, e.class_name) for e in found] == [(1, "dog"), (None, None), (0, "cat"), *[(None, None)] * 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\tfoo\n0\tzero\n01\tbar\n", "lines 1 and 3 both name number 1; keep one of them"),
        ("0\tzero\none\tbar\n", "line 2: 'one' is no number; write number, tab and name"),
        pytest.param("1" * 5000 + "\tfoo\n", "line 1: '11111", id="long"),
    ],
)
def test_numbers_of_classes_that_are_none_or_come_twice(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path / "a.parquet", table(rows(range(3))))
    names = tmp_path / "names.tsv"
    names.write_text(text)
    line = refused(tmp_path, class_names=str(names))
    assert str(names) in line
    assert said in line


def test_names_of_classes_come_from_the_parameters_first(tmp_path: Path) -> None:
    made = rows(range(3))
    made[1]["label"] = -1  # a row without a label, in the language of datasets
    write(tmp_path / "a.parquet", table(made, named=pa.array(["x", "y", "z"])))
    names = tmp_path / "names.tsv"
    names.write_text("0\tzero\n2\ttwo\n")

    def classes(columns: dict[str, Any], **values: Any) -> list[tuple[int | None, str | None]]:
        return [(entry.label, entry.class_name) for entry in listed(tmp_path, columns, **values)]

    assert classes(COLUMNS) == [(0, "cat"), (None, None), (2, "fire truck")]
    assert classes(COLUMNS, class_names=str(names)) == [(0, "zero"), (None, None), (2, "two")]
    assert classes(COLUMNS, class_names="imagenet") == [(0, "tench"), (None, None), (2, "great white shark")]
    assert classes({**COLUMNS, "class_name": "named"}) == [(0, "x"), (None, "y"), (2, "z")]
    assert classes({**without_columns("label"), "class_name": "named"}) == [(0, "x"), (1, "y"), (2, "z")]
    write(tmp_path / "a.parquet", table(made, names=None))
    assert classes(COLUMNS) == [(0, None), (None, None), (2, None)]


@pytest.mark.parametrize("name", ["n01440764_10026.JPEG", "n01440764_10026_n01440764.JPEG", "a/n01440764_10026.png"])
def test_an_imagenet_picture_is_called_as_in_every_layout(tmp_path: Path, name: str) -> None:
    made = rows([0])
    made[0]["image"]["path"] = name
    write(tmp_path / "a.parquet", table(made))
    assert [entry.source_id for entry in listed(tmp_path)] == ["n01440764_10026"]


def test_a_null_picture_is_a_reject_and_its_row_stays(tmp_path: Path) -> None:
    made = rows(range(8))
    made[2]["image"] = None
    made[5]["image"] = {"bytes": None, "path": "5.png"}
    write(tmp_path / "a.parquet", table(made), row_group_rows=2)
    found = listed(tmp_path, without_columns("id"))
    read = list(source(tmp_path).read_many([entry.location for entry in found]))
    assert [value.reason if isinstance(value, Reject) else None for value in read] == [
        *(None, None, "no_picture", None, None, "no_picture", None, None)
    ]
    assert str(read[5]) == "no_picture: a.parquet/5 is null"


def test_a_page_is_read_once_for_what_is_asked_of_it_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", table(rows(range(40))), row_group_rows=10)
    locations = [f"a.parquet/{number}" for number in np.random.default_rng(1).permutation(40)]
    num_read, read_region = [0], parquet_pictures.ColumnPages._rows_of

    def counted(self: Any, page: Any) -> Any:
        num_read[0] += 1
        return read_region(self, page)

    monkeypatch.setattr(parquet_pictures.ColumnPages, "_rows_of", counted)
    expected = [png(int(location.rpartition("/")[2])) for location in locations]
    assert list(source(tmp_path).read_many(locations)) == expected
    assert num_read == [4]
    monkeypatch.setattr(parquet_pictures, "MAX_HELD_BYTES", 0)
    num_read[0] = 0
    assert list(source(tmp_path).read_many(locations)) == expected
    assert num_read[0] > 20


def test_the_order_of_rows_is_that_of_their_ids_whatever_the_files(tmp_path: Path) -> None:
    write(tmp_path / "one/a.parquet", table(rows(range(20))))
    for part, numbers in enumerate((range(10, 20), range(10))):
        write(tmp_path / f"two/{part}.parquet", table([rows(range(20))[n] for n in numbers]), row_group_rows=3)

    def ids(path: Path) -> list[str]:
        listing = Listing.of(source(path).entries())
        return [str(listing.source_id[int(row)]) for row in order_of(listing, ParquetSource.random_access)]

    assert ids(tmp_path / "one") == ids(tmp_path / "two")


# --- what is refused


def test_columns_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table(rows(range(3))))
    there = "it has image (struct<bytes: binary, path: string>), label (int64), caption (string)"
    for key, name in (("image", "img"), ("label", "y"), ("id", "image.name"), ("id", "label.x")):
        line = refused(tmp_path, {**COLUMNS, key: name})
        assert f"a.parquet: no column {name!r}, which columns.{key} names; {there}" in line
    assert "no column 'long', which columns.text names" in refused(tmp_path, {**COLUMNS, "text": ["caption", "long"]})


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("image", "caption", "column 'caption' is string, and columns.image must hold pictures"),
        ("image", "image.path", "must hold pictures"),
        ("label", "image", "and columns.label must hold whole numbers or texts"),
        ("class_name", "label", "and columns.class_name must hold texts"),
        ("text", ["label"], "column 'label' is int64, and columns.text must hold texts or lists of texts"),
        ("id", "image", "and columns.id must hold texts or numbers"),
    ],
)
def test_columns_of_another_type(tmp_path: Path, key: str, name: Any, said: str) -> None:
    write(tmp_path / "a.parquet", table(rows(range(3))))
    assert said in refused(tmp_path, {**COLUMNS, key: name})


def test_an_image_folder_that_datasets_wrote_without_its_pictures(tmp_path: Path) -> None:
    """As FACTS of the library say: ``to_parquet`` of an image folder holds paths alone."""
    made = rows(range(9))
    for row in made:
        row["image"]["bytes"] = None
    write(tmp_path / "a.parquet", table(made))
    line = refused(tmp_path)
    assert "a.parquet: no picture in it: 'image.bytes' is null in all 9 rows, only paths are there" in line
    assert "source: folder" in line


def test_files_that_are_not_of_one_data_set(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table(rows(range(3))))
    write(tmp_path / "b.parquet", table(rows(range(3, 6)), extra=pa.array([1, 2, 3])))
    line = refused(tmp_path)
    assert (
        f"{tmp_path}/b.parquet: its columns differ from those of {tmp_path}/a.parquet: 'extra' is int64, there" in line
    )
    write(tmp_path / "b.parquet", table(rows(range(3, 6)), names=("dog", "cat", "fire_truck")))
    assert f"{tmp_path}/b.parquet: its labels have other names" in refused(tmp_path)
    write(tmp_path / "b.parquet", table(rows(range(3, 6))).set_column(1, "label", pa.array([0, 1, 2], pa.int32())))
    assert "'label' is int32, there int64" in refused(tmp_path)
    assert len(listed(tmp_path, files="a.*")) == 3


def test_parts_of_a_data_set_are_not_mixed_up(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        write(tmp_path / f"data/{part}-00000-of-00001.parquet", table(rows(range(3))))
    line = refused(tmp_path)
    assert (
        'several parts of a data set (train, validation); name those of one with files, such as files: "data/train*"'
        in line
    )
    assert len(listed(tmp_path, files="data/train*")) == 3
    assert "names none of its 2 Parquet files: data/train-00000-of-00001" in refused(tmp_path, files="test*")


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ((0, 2, 3), "data/train-00001-of-00004.parquet is not there (3 of its 4 parts are)"),
        ((0, 1, 2), "data/train-00003-of-00004.parquet is not there"),
        ((1, 2, 3), "data/train-00000-of-00004.parquet is not there"),
        ((2, 3, 4), "data/train-00001-of-00004.parquet is not there"),
        ((2,), "data/train-00000-of-00004.parquet, data/train-00001-of-00004.parquet, data/train-00003-of-00004.pa"),
        ((0, 1, 2, 3), None),
        ((1, 2, 3, 4), None),
    ],
)
def test_missing_parts_are_missed_unless_files_leaves_them_out(
    tmp_path: Path, parts: tuple[int, ...], missing: str | None
) -> None:
    for part in parts:
        write(tmp_path / f"data/train-{part:05}-of-00004.parquet", table(rows([part])))
    for files in (None, "data/train*"):
        if missing is None:
            assert len(listed(tmp_path, files=files)) == len(parts)
        else:
            assert f"{tmp_path}: {missing}" in refused(tmp_path, files=files)
    assert len(listed(tmp_path, files="*-00002-of-*")) == 1
    assert len(listed(tmp_path / "data/train-00002-of-00004.parquet")) == 1


def test_nothing_to_read(tmp_path: Path) -> None:
    assert "nothing is there; correct the path" in refused(tmp_path / "gone")
    assert "no .parquet file is there" in refused(tmp_path)
    (tmp_path / "linked").symlink_to("/")
    assert "'linked' is a link to a folder, which is not followed" in refused(tmp_path)
    (tmp_path / "linked").unlink()
    file = write(tmp_path / "a.txt", table(rows(range(3))))
    assert "a.txt: no .parquet file is there" in refused(file)
    write(tmp_path / "a.parquet", table(rows(range(3))).slice(0, 0))
    assert "a.parquet: no row in it" in refused(tmp_path)


def test_labels_ids_and_captions_that_cannot_be(tmp_path: Path) -> None:
    made = rows(range(3))
    made[2]["label"] = 3
    write(tmp_path / "a.parquet", table(made))
    assert "a.parquet/2: label 3 is none of the 3 classes of" in refused(tmp_path)
    made[2]["label"] = -2
    write(tmp_path / "a.parquet", table(made))
    assert "a.parquet/2: label -2, allowed are 0 to" in refused(tmp_path)
    made = rows(range(3))
    made[1]["image"]["path"] = None
    write(tmp_path / "a.parquet", table(made))
    assert "a.parquet/1: 'image.path' is null or empty, which columns.id names" in refused(tmp_path)
    made[1]["image"]["path"] = "a#b"
    write(tmp_path / "a.parquet", table(made))
    assert "a.parquet/1: 'a#b' holds '#', which keys cannot" in refused(tmp_path)
    made = rows(range(3))
    made[1]["caption"] = "x" * (1 << 17)
    write(tmp_path / "a.parquet", table(made))
    assert "a.parquet row 1: a caption of 131072 characters" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("0 zero", "line 1: need a number, one tab and a name"), ("x\ty", "'x' is no number"), (None, "No such file")],
)
def test_files_of_class_names_that_are_none(tmp_path: Path, text: str | None, said: str) -> None:
    write(tmp_path / "a.parquet", table(rows(range(3))))
    names = tmp_path / "names.tsv"
    if text is not None:
        names.write_text(text)
    assert said in refused(tmp_path, class_names=str(names))


def test_encodings_that_are_not_read(tmp_path: Path) -> None:
    write(
        tmp_path / "a.parquet",
        pa.table({"image": [png(1)]}),
        use_dictionary=False,
        column_encoding={"image": "DELTA_BYTE_ARRAY"},
    )
    line = refused(tmp_path, {"image": "image"})
    assert (
        "a.parquet row group 0: 'image' is encoded as DELTA_BYTE_ARRAY, which is not read here; write the file anew"
        in line
    )


# --- damage


def read_refused(path: Path, locations: Sequence[str]) -> str:
    with pytest.raises(Refusal) as caught:
        list(source(path).read_many(locations))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", table(rows(range(10))))
    whole = path.read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert f"{path}: no Parquet file, or a damaged one (" in refused(tmp_path)
        assert f"{path}: no Parquet file, or a damaged one (" in read_refused(tmp_path, ["a.parquet/0"])


@pytest.mark.parametrize("checksums", [True, False])
def test_a_page_that_was_flipped_names_file_and_row_group(tmp_path: Path, checksums: bool) -> None:
    path = write(tmp_path / "a.parquet", table(rows(range(12))), write_page_checksum=checksums)
    footer = pq.read_metadata(path)
    whole = bytearray(path.read_bytes())
    start = footer.row_group(1).column(0).dictionary_page_offset
    whole[start : start + 40] = bytes(byte ^ 0xFF for byte in whole[start : start + 40])
    path.write_bytes(whole)
    assert len(listed(tmp_path)) == 12  # pictures are not read for the index
    assert f"{path} row group 1: damaged (" in read_refused(tmp_path, [f"a.parquet/{row}" for row in range(12)])
    whole = bytearray(write(path, table(rows(range(12))), write_page_checksum=checksums).read_bytes())
    start = pq.read_metadata(path).row_group(2).column(2).dictionary_page_offset
    whole[start : start + 30] = bytes(byte ^ 0xFF for byte in whole[start : start + 30])
    path.write_bytes(whole)
    assert f"{path} row group 2: damaged (" in refused(tmp_path)


def test_a_file_that_was_exchanged_since_it_was_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", table(rows(range(10))))
    assert f"{path}: has 10 rows, and row 12 was listed" in read_refused(tmp_path, ["a.parquet/12"])
    write(path, pa.table({"image": [png(1)]}), use_dictionary=False, column_encoding={"image": "DELTA_BYTE_ARRAY"})
    with pytest.raises(Refusal, match="is encoded as DELTA_BYTE_ARRAY, which is not read here; it was exchanged since"):
        list(source(tmp_path, {"image": "image"}).read_many(["a.parquet/0"]))
    path.unlink()
    assert f"{path}: No such file or directory" in read_refused(tmp_path, ["a.parquet/1"])


def test_a_disk_that_fails_is_no_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", table(rows(range(10))))

    def fails(*_: Any) -> bytes:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(Transient, match=r"a\.parquet: Input/output error \(EIO\)"):
        list(source(tmp_path).read_many(["a.parquet/1"]))


def test_the_picture_struct_of_datasets_is_what_tests_write() -> None:
    assert str(IMAGE) == "struct<bytes: binary, path: string>"
