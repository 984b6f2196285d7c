"""Captions of a folder's pictures in a table: its forms, what it says of which picture, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_folder import fill

from pipeline.errors import Refusal
from pipeline.params.datasets import FolderRow
from pipeline.sources.caption_table import CaptionTable, Columns, rows_of
from pipeline.sources.folder import FolderSource

COLUMNS = Columns("file_name", ("text",))
ROW = {
    "version": 1,
    "max_reject_fraction": 0.0,
    "row_group_rows": 1,
    "revision": 1,
    "num_rows": "all",
    "num_shards": 1,
    "max_image_pixels": 10**8,
    "near_duplicates": "count",
    "near_duplicate_bits": 4,
    "file_column": "file_name",
    "text_columns": ["text"],
}


def source(root: Path, captions: str, **values: Any) -> FolderSource:
    row = msgspec.convert({**ROW, "path": str(root), "captions": captions, **values}, FolderRow)
    assert row.fault() is None
    return FolderSource.open(row, 0)


def texts(found: FolderSource) -> dict[str, tuple[str, ...]]:
    return {entry.location: entry.text for entry in found.entries()}


def refused(found: FolderSource) -> str:
    with pytest.raises(Refusal) as caught:
        list(found.entries())
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_lines(path: Path, *rows: Any) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


# --- what it says


def test_json_lines(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.jpg", "cat/b.png", "ünï.webp", "none.jpg", "without.jpg")
    write_lines(
        tmp_path / "captions.jsonl",
        {"file_name": "cat/a.jpg", "text": " a cat \n", "license": float("nan")},
        {"file_name": "./cat/b.png", "text": ["one", "", "two"]},
        {"file_name": "cat/a.jpg", "text": "another"},
        {"file_name": "none.jpg", "text": None},
        {"file_name": "ünï.webp", "text": "一只猫"},
    )
    found = source(tmp_path, "captions.jsonl")
    for _ in range(2):  # what was counted is not added up
        assert texts(found) == {
            "none.jpg": (),
            "without.jpg": (),
            "ünï.webp": ("一只猫",),
            "cat/a.jpg": ("a cat", "another"),
            "cat/b.png": ("one", "two"),
        }
        assert found.remarks() == [
            f"{tmp_path}/captions.jsonl: 1 pictures of {tmp_path} have no row, and so no text; the first: without.jpg"
        ]


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t"), (".CSV", ",")])
def test_text_with_separators(tmp_path: Path, suffix: str, separator: str) -> None:
    """Quotes, separators and line breaks in cells, a mark of the byte order, line ends of Windows, empty lines."""
    lines = "two\nlines" if separator == "," else "two lines"  # no line break is in a text with tabs
    fill(tmp_path / "pictures", "a.jpg", "b.jpg", "c.jpg")
    path = tmp_path / f"metadata{suffix}"
    with path.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle, delimiter=separator)
        writer.writerow(["number", "file_name", "text"])
        writer.writerow(["1", "a.jpg", 'a "cat", a\tdog'])
        handle.write("\r\n")
        writer.writerow(["2", "b.jpg", lines])
        writer.writerow(["3", "b.jpg", "more"])
        writer.writerow(["4", "c.jpg", " "])
    found = source(tmp_path / "pictures", str(path))
    assert texts(found) == {"a.jpg": ('a "cat", a\tdog',), "b.jpg": (lines, "more"), "c.jpg": ()}
    assert found.remarks() == []
    assert [row.line for row in rows_of(path, COLUMNS)] == ([2, 5, 6, 7] if separator == "," else [2, 4, 5, 6])


def test_several_columns(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    write_lines(tmp_path / "t.jsonl", {"file": "a.jpg", "short": "a cat", "long": ["a tabby cat", "a pet"]})
    found = source(tmp_path, "t.jsonl", file_column="file", text_columns=["short", "long"])
    assert texts(found) == {"a.jpg": ("a cat", "a tabby cat", "a pet")}


def test_captions_beside_pictures_are_counted_and_not_read(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.txt", "b.jpg", "b.jpg.txt", "b.txt")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    write_lines(tmp_path / "t.jsonl", *({"file_name": name, "text": "table"} for name in ("a.jpg", "b.jpg")))
    found = source(tmp_path, "t.jsonl")
    assert texts(found) == {"a.jpg": ("table",), "b.jpg": ("table",)}
    assert found.remarks() == [
        f"image folder {tmp_path}: 3 captions beside pictures are not read, since captions names t.jsonl"
    ]


def test_many_rows_are_found_whatever_their_order(tmp_path: Path) -> None:
    """More than are held as objects at a time; against a dictionary."""
    names = [f"class {number % 7}/{number}.jpg" for number in range(20_000)]
    rows = [(name, f"caption {place} of {name}") for name in names for place in range(int(name[6]) % 3)]
    random.Random(0).shuffle(rows)
    write_lines(tmp_path / "t.jsonl", *({"file_name": name, "text": text} for name, text in rows))
    expected: dict[str, tuple[str, ...]] = {}
    for name, text in rows:
        expected[name] = (*expected.get(name, ()), text)
    table = CaptionTable(tmp_path / "t.jsonl", COLUMNS)
    assert {name: table.captions_of(name) for name in names} == {name: expected.get(name) for name in names}
    table.refuse_unused(tmp_path)


# --- what is refused


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "t.jsonl",
            b'{"file_name": "a.jpg", "text": "x"}\n{"file_name": \n',
            "t.jsonl line 2: no JSON: Expecting value",
        ),
        ("t.jsonl", b'\n\n["a.jpg", "x"]\n', "t.jsonl line 3: need a JSON object"),
        ("t.jsonl", b'{"file_name": "a.jpg", "text": "caf\xe9"}\n', "t.jsonl line 1: not UTF-8 at byte 35"),
        ("t.jsonl", b'{"file": "a.jpg", "text": "x"}', "line 1: no column 'file_name'; there are 'file', 'text'"),
        ("t.jsonl", b'{"file_name": "a.jpg", "caption": "x"}', "no column 'text'; there are 'file_name', 'caption'"),
        ("t.jsonl", b'{"file_name": "a.jpg", "text": 3}', "line 1 column 'text': a caption must be a text"),
        (
            "t.jsonl",
            b'{"file_name": "a.jpg", "text": NaN}',
            "a caption must be a text, a list of texts or null, not nan",
        ),
        ("t.jsonl", b'{"file_name": "a.jpg", "text": {"en": "x"}}', "a caption must be"),
        ("t.jsonl", b'{"file_name": "a.jpg", "text": "\\udc00"}', "half a character"),
        ("t.jsonl", b'{"file_name": 7, "text": "x"}', "column 'file_name' must be a picture's path, not 7"),
        ("t.jsonl", b'{"file_name": "", "text": "x"}', "must be a picture's path, not ''"),
        ("t.jsonl", b'{"file_name": "\\ud800.jpg", "text": "x"}', "must be a picture's path"),
        ("t.jsonl", b"\n", "t.jsonl: no rows in it"),
        ("t.csv", b"", "t.csv: no rows in it"),
        ("t.csv", b"file_name,text\n", "t.csv: no rows in it"),
        ("t.csv", b"file_name;text\na.jpg;x\n", "line 2: no column 'file_name'; there are 'file_name;text'"),
        ("t.csv", b"file_name,text\na.jpg,a cat, a dog\n", "t.csv line 2: 3 cells where the first line has 2"),
        ("t.csv", b"file_name,text\na.jpg\n", "t.csv line 2: 1 cells where the first line has 2"),
        ("t.csv", b'file_name,text\na.jpg,"a cat\n\n', "t.csv line 3: unexpected end of data"),
        ("t.csv", b'file_name,text\na.jpg,"a cat\n\n', "end of data in a row from line 2 on; correct its quotes"),
        ("t.csv", b'file_name,text\na.jpg,"a" cat\n', "t.csv line 2: ',' expected after '\"'"),
        ("t.csv", b"file_name,text\na.jpg,caf\xe9\n", "t.csv: not UTF-8 behind line"),
        ("t.csv", b"file_name,text,text\na.jpg,x,y\n", "t.csv line 1: two columns are called 'text'"),
        ("t.csv", b"file_name,text\n,x\n", "line 2: column 'file_name' must be a picture's path, not ''"),
        ("t.json", b"{}", "t.json: of no form that is read; write a table as .jsonl, .csv or .tsv"),
    ],
)
def test_broken_tables(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    fill(tmp_path, "a.jpg")
    (tmp_path / name).write_bytes(data)
    message = refused(source(tmp_path, name))
    assert said in message
    assert str(tmp_path / name) in message


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
@pytest.mark.parametrize("columns", [("file_name", "text"), ("text", "file_name")])
@pytest.mark.parametrize("num_swallowed", [1, 3])
def test_a_quote_that_only_begins_a_caption_swallows_no_rows(
    tmp_path: Path, suffix: str, separator: str, columns: tuple[str, str], num_swallowed: int
) -> None:
    captions = ["a dog", '"Untitled, oil', *["a cat"] * (num_swallowed - 1), 'a board of 6"', "a bird"]
    if columns[0] == "text" and separator == "\t":
        captions[1] = '"Untitled'
    names = [f"{number}.jpg" for number in range(len(captions))]
    fill(tmp_path, *names)
    rows = [{"file_name": name, "text": text} for name, text in zip(names, captions, strict=True)]
    lines = [separator.join(columns), *(separator.join(row[column] for column in columns) for row in rows)]
    (tmp_path / f"t{suffix}").write_text("\n".join(lines) + "\n")
    message = refused(source(tmp_path, f"t{suffix}"))
    assert f"t{suffix} line 3: a quote opens a cell that ends in line {3 + num_swallowed}" in message


def test_a_caption_that_is_too_long(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    write_lines(tmp_path / "t.jsonl", {"file_name": "a.jpg", "text": "x" * 100_000})
    assert "line 1 column 'text': a caption of 100000 characters" in refused(source(tmp_path, "t.jsonl"))


def test_rows_that_name_no_picture(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.jpg", "notes.md")
    rows = [{"file_name": name, "text": "x"} for name in ("cat/a.jpg", "a.jpg", "cat\\a.jpg", "notes.md")]
    write_lines(tmp_path / "t.jsonl", *rows)
    message = refused(source(tmp_path, "t.jsonl"))
    assert f"t.jsonl line 2: 'a.jpg' is no picture of {tmp_path} (3 such of 4 rows); write paths as they are" in message


def test_rows_that_say_the_same_twice(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.jpg")
    rows = [("a.jpg", "x"), ("b.jpg", "x"), ("a.jpg", "y"), ("a.jpg", " x"), ("b.jpg", "x")]
    write_lines(tmp_path / "t.jsonl", *({"file_name": name, "text": text} for name, text in rows))
    message = refused(source(tmp_path, "t.jsonl"))
    assert "lines 1 and 4 say the same of 'a.jpg' (2 such cases)" in message or "lines 2 and 5 say" in message


def test_a_table_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    (tmp_path / "folder.csv").mkdir()
    assert "no.csv: No such file or directory; correct captions" in refused(source(tmp_path, "no.csv"))
    assert "folder.csv" in refused(source(tmp_path, "folder.csv"))


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"file_column": "file_name"}, "file_column"),
        ({"text_columns": ["text"]}, "text_columns"),
        ({"captions": "t.csv", "text_columns": ["text"]}, "file_column"),
        ({"captions": "t.csv", "file_column": "file_name"}, "text_columns"),
    ],
)
def test_a_table_goes_with_its_columns(values: dict[str, Any], key: str) -> None:
    plain = {key: value for key, value in ROW.items() if key not in ("file_column", "text_columns")}
    fault = msgspec.convert({**plain, "path": "x", **values}, FolderRow).fault()
    assert fault is not None
    assert fault.key == key


# --- real captions


def test_real_captions(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/aesthetic-sample"
    found = source(folder, "captions.jsonl", file_column="file", text_columns=["caption"])
    captions = texts(found)
    assert len(captions) == sum(name.endswith(".jpg") for name in os.listdir(folder))
    assert captions["kde_autumn.jpg"][0].startswith("A soft digital painting of an autumn hill")
    assert all(len(text) == 1 for text in captions.values())
    assert found.remarks() == []
    shutil.copytree(folder, tmp_path / "pictures")
    (tmp_path / "pictures/mate_dune.jpg").unlink()
    found = source(tmp_path / "pictures", str(folder / "captions.jsonl"), file_column="file", text_columns=["caption"])
    assert "'mate_dune.jpg' is no picture of" in refused(found)
