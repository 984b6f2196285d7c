"""Lists of addresses as files: formats, filters, doubles, ids, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from url_rows import url_row

from pipeline.errors import Refusal
from pipeline.sources.base import Entry
from pipeline.sources.listing import Listing
from pipeline.sources.urls.lists import UrlList

COLUMNS: dict[str, list[Any]] = {
    "url": ["http://a.example/1.jpg", "http://b.example/ü 2.jpg ", "http://c.example/3.jpg", "http://a.example/1.jpg"],
    "caption": ["one", ' two, "quoted"\nand on two lines ', None, "one again"],
    "llava": ["a longer one", "", "three", None],
    "score": [6.5, 5.0, 7.25, 9.0],
    "width": [640, 1024, 512, 512],
    "key": ["k1", "k2", "k3", "k4"],
}


def written(path: Path, columns: dict[str, list[Any]]) -> Path:
    """A list in the format of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=2)
    elif path.suffix in (".csv", ".tsv"):
        delimiter = "\t" if path.suffix == ".tsv" else ","
        pa.csv.write_csv(table, path, pa.csv.WriteOptions(delimiter=delimiter))
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()))
    return path


def listed(path: Path, **row: Any) -> list[Entry]:
    return list(UrlList(url_row(path=str(path), **row)).entries())


def refused(path: Path, **row: Any) -> str:
    with pytest.raises(Refusal) as caught:
        listed(path, **row)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["list.parquet", "list.csv", "list.tsv", "list.jsonl", "list.NDJSON"])
def test_all_formats_say_the_same(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, COLUMNS)
    source = UrlList(
        url_row(
            path=str(path),
            caption_columns=["caption", "llava"],
            id_column="key",
            min_values={"score": 5.0, "width": 600},
            max_values={"score": 8.0},
        )
    )
    assert list(source.entries()) == [
        Entry("k1", "http://a.example/1.jpg", None, None, ("one", "a longer one")),
        Entry("k2", "http://b.example/ü 2.jpg", None, None, ('two, "quoted"\nand on two lines',)),
    ]
    assert source.remarks() == [f"{path}: left out 2 outside min_values of width"]


def test_an_address_is_taken_once_and_its_id_hangs_on_it_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "list.parquet", COLUMNS)
    source = UrlList(url_row(path=str(path)))
    entries = list(source.entries())
    assert [entry.location for entry in entries] == [url.strip() for url in COLUMNS["url"][:3]]
    assert [entry.text for entry in entries] == [("one",), ('two, "quoted"\nand on two lines',), ()]
    assert source.remarks() == [f"{path}: left out 1 with an address that stands there before"]
    assert len({entry.source_id for entry in entries}) == 3
    assert all(len(entry.source_id) == 32 for entry in entries)
    backwards = {name: values[::-1] for name, values in COLUMNS.items()}
    again = {entry.location: entry.source_id for entry in listed(written(tmp_path / "other.csv", backwards))}
    assert again == {entry.location: entry.source_id for entry in entries}


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for number, name in enumerate(("b/2.parquet", "a/1.csv", "c.jsonl", "_SUCCESS.parquet", ".hidden.csv", "notes.md")):
        columns = {"url": [f"http://a.example/{number}"], "caption": ["c"]}
        if name.endswith(".md"):
            (tmp_path / name).write_text("no list")
        else:
            written(tmp_path / name, columns)
    assert [entry.location[-1] for entry in listed(tmp_path)] == ["1", "0", "2"]


def test_rows_without_an_address_or_a_number_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = {
        "url": [None, "", "  ", "http://a/1", "http://a/2", "http://a/3"],
        "caption": ["c"] * 6,
        "score": [9.0, 9.0, 9.0, None, float("nan"), 9.0],
    }
    path = written(tmp_path / "list.parquet", columns)
    source = UrlList(url_row(path=str(path), min_values={"score": 1.0}))
    assert [entry.location for entry in source.entries()] == ["http://a/3"]
    assert source.remarks() == [f"{path}: left out 2 with no score, 3 without an address"]


def test_captions_may_be_lists_and_endless_ones_are_left_out(tmp_path: Path) -> None:
    columns = {"url": ["http://a/1", "http://a/2"], "caption": [["one", None, " two "], ["x" * 70_000, "short"]]}
    path = written(tmp_path / "list.parquet", columns)
    source = UrlList(url_row(path=str(path)))
    assert [entry.text for entry in source.entries()] == [("one", "two"), ("short",)]
    assert source.remarks() == [f"{path}: left out 1 captions of more than 65536 characters"]


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    for name in ("list.parquet", "list.csv", "list.jsonl"):
        path = written(tmp_path / name, {"url": ["http://a/1"], "caption": ["c"], "id": [17]})
        assert [entry.source_id for entry in listed(path, id_column="id")] == ["17"]


@pytest.mark.parametrize("name", ["list.parquet", "list.csv", "list.jsonl"])
def test_a_column_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, {"URL": ["http://a/1"], "TEXT": ["c"]})
    for row in ({}, {"url_column": "URL"}, {"url_column": "URL", "caption_columns": [], "min_values": {"score": 1.0}}):
        line = refused(path, **row)
        missing = {0: "url", 1: "caption", 3: "score"}[len(row)]
        assert line == f"{path}: no column '{missing}'; it has 'URL', 'TEXT'; name another"


def test_values_of_another_kind_are_named_with_their_row(tmp_path: Path) -> None:
    columns = {"url": ["http://a/1", "http://a/2"], "caption": [1, 2], "score": ["high", "low"], "key": ["a#b", None]}
    path = written(tmp_path / "list.parquet", columns)
    assert refused(path) == f"{path}: row 1: caption_columns: 'caption' holds int, no text; name another"
    bare = {"caption_columns": []}
    assert (
        refused(path, **bare, min_values={"score": 1.0})
        == f"{path}: row 1: min_values: 'score' holds 'high', no number; name another column"
    )
    assert "row 1: the id 'a#b' holds '#', which keys cannot; leave id_column out" in refused(
        path, **bare, id_column="key"
    )
    assert "row 1: url_column = 'caption' holds int, no text; name another" in refused(
        path, **bare, url_column="caption"
    )
    empty = written(tmp_path / "ids.jsonl", {"url": ["http://a/1"], "key": [None]})
    assert "row 1: id_column = 'key' holds None, no id" in refused(empty, **bare, id_column="key")


def test_a_list_of_which_nothing_is_left_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = written(tmp_path / "list.parquet", COLUMNS)
    line = refused(path, min_values={"score": 100.0})
    why = "no row is left (4 outside min_values of score)"
    assert line == f"{path}: {why}; correct the list, or min_values and max_values"
    nothing: Any = pa.array([], pa.string())
    empty = written(tmp_path / "empty.parquet", {"url": nothing, "caption": nothing})
    assert "no row is left (it has no rows)" in refused(empty)


def test_what_is_no_list_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "nothing is there; correct the path of the source" in refused(tmp_path / "none.parquet")
    (tmp_path / "empty").mkdir()
    assert "no list in this folder (.csv .jsonl .ndjson .parquet .tsv)" in refused(tmp_path / "empty")
    (tmp_path / "list.txt").write_text("http://a/1\n")
    assert "must end with one of .csv .jsonl .ndjson .parquet .tsv; convert it" in refused(tmp_path / "list.txt")
    whole = written(tmp_path / "whole.parquet", COLUMNS).read_bytes()
    broken = {
        "cut.parquet": whole[: len(whole) // 2],
        "text.parquet": b"url\nhttp://a/1\n",
        "none.csv": b"",
        "ragged.csv": b"url,caption\nhttp://a/1\n",
        "bytes.csv": b"url,caption\n\xff\xfe,c\n",
        "cut.jsonl": b'{"url": "http://a/1", "caption": "c"}\n{"url": ',
        "list.jsonl": b"[1, 2]\n",
        "bytes.jsonl": b'{"url": "\xff", "caption": ""}\n',
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        line = refused(tmp_path / name)
        assert line.startswith((f"{tmp_path / name}: ", f"{tmp_path / name} line "))
    assert refused(tmp_path / "cut.jsonl").startswith(f"{tmp_path / 'cut.jsonl'} line 2: no JSON: ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            'c\turl\n"big dog\thttp://a/\ncat\thttp://b/\n"mouse\thttp://c/\nx\thttp://d/\n',
            "lines 2 to 4: quotes that do",
        ),
        ('c\turl\ncat\thttp://a/\n"big dog\thttp://b/\nx\thttp://c/\n', "lines 3 to 4: quotes that do"),
        ("c\turl\n" + '"big dog\thttp://a/\n' + "cat\thttp://b/\n" * 20_000, "lines 2 to "),
        ("c\turl\n\ncat\thttp://a/\tmore\n", "line 3: 3 cells, the first line has 2; quote"),
        ("c\turl\turl\ncat\thttp://a/\thttp://b/\n", "two columns are called 'url'; rename one"),
    ],
)
def test_no_quote_swallows_rows(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(text)
    assert refused(path, caption_columns=["c"]).startswith(f"{path}: {fault}")


def test_of_captions_as_text_only_the_empty_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('url,caption\nhttp://a/1,NA\nhttp://a/2,null\nhttp://a/3,nan\nhttp://a/4,\nhttp://a/5,""\n')
    assert [entry.text for entry in listed(path)] == [("NA",), ("null",), ("nan",), (), ()]


def test_numbers_that_text_says_are_missing_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url,score\nhttp://a/1,NA\nhttp://a/2,null\nhttp://a/3,nan\nhttp://a/4,\nhttp://a/5,7\n")
    source = UrlList(url_row(path=str(path), caption_columns=[], min_values={"score": 1.0}))
    assert [entry.location for entry in source.entries()] == ["http://a/5"]
    assert source.remarks() == [f"{path}: left out 4 with no score"]


def test_what_is_hidden_below_a_folder_is_no_list(tmp_path: Path) -> None:
    for folder, caption in ((".ipynb_checkpoints", "old"), ("_temporary/0", "older"), ("", "new")):
        written(tmp_path / ".lists" / folder / "l.csv", {"url": ["http://a/1"], "caption": [caption]})
    assert [entry.text for entry in listed(tmp_path / ".lists")] == [("new",)]


def test_json_that_python_cannot_hold_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"url": "http://a/1", "score": {"9" * 400}}}\n')
    line = refused(path, caption_columns=[], min_values={"score": 1.0})
    assert line == f"{path}: row 1: min_values: 'score' holds a number too large to compare; mend it"
    path.write_text('{"url": "http://a/1", "caption": ' + "[" * 200_000 + "\n")
    assert refused(path).startswith(f"{path} line 1: no JSON: ")


def test_halves_of_characters_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    rows = [("http://a/\ud83d", "c"), ("http://a/1", "a dog \ud83d"), ("http://a/2", "a dog \U0001f436")]
    path.write_text("".join(json.dumps({"url": url, "caption": caption}) + "\n" for url, caption in rows))
    source = UrlList(url_row(path=str(path)))
    listing = Listing.of(source.entries())
    assert listing.location.to_pylist() == ["http://a/1", "http://a/2"]
    assert listing.text.to_pylist() == [[], ["a dog \U0001f436"]]
    assert source.remarks() == [
        f"{path}: left out 1 captions with half a character, 1 with half a character in the address"
    ]
