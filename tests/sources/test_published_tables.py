"""Tables of captions in every form, here and on a small Hub: the same rows, and what is broken refused by its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_hub import COMMIT, Hub, serving
from huggingface_hub import constants

from pipeline.errors import Refusal, Transient
from pipeline.params.published import PublishedCaptioner
from pipeline.sources import published_tables
from pipeline.sources.published_tables import table_files, table_rows

ROWS = [
    ("a/1.jpg", 'A "quoted" cat'),
    ("b.jpg", "zwei Hunde, im Schnee\u2028und Regen"),
    ("c.png", '"begins with a quote, and a\ttab'),
    ("d.png", "'"),
]
NAMES = {"picture": "file_name", "caption": "text"}
NUMBERS = {"picture": 1, "caption": 2}
Rows = list[tuple[str, tuple[str, ...]]]


def params(**values: Any) -> PublishedCaptioner:
    own = {"form": "lines", "columns": NUMBERS, "several": "refuse", "min_matched_fraction": 0.0, "written_by": "x"}
    return msgspec.convert({"kind": "published", **own, **values}, PublishedCaptioner)


def read(**values: Any) -> Rows:
    asked = params(**values)
    runs = [rows for file in table_files(asked) for rows in table_rows(asked, file)]
    return [pair for rows in runs for pair in zip(rows.names, rows.captions, strict=True)]


def refused(kind: type[Refusal] = Refusal, **values: Any) -> str:
    with pytest.raises(Refusal) as caught:
        read(**values)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_lines(path: Path, header: bool) -> None:
    rows = [("file_name", "text"), *ROWS] if header else ROWS
    path.write_bytes("".join(f"{name}\t{text}\r\n" for name, text in rows).encode("utf-8-sig"))


def write_cells(path: Path, separator: str, header: bool) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, delimiter=separator)
        if header:
            writer.writerow(["file_name", "score", "text"])
        writer.writerows([name, 0.5, text] for name, text in ROWS)


def write_json(path: Path) -> None:
    rows = [{"file_name": name, "text": text, "score": None} for name, text in ROWS]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")


def write_parquet(path: Path, group_rows: int = 3) -> None:
    table = pa.table({"text": [text for _, text in ROWS], "file_name": [name for name, _ in ROWS]})
    pq.write_table(table, path, row_group_size=group_rows)


def test_every_form_gives_the_same_rows(tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.txt", header=False)
    write_lines(tmp_path / "named.txt", header=True)
    write_cells(tmp_path / "cells.csv", ",", header=True)
    write_cells(tmp_path / "bare.csv", ",", header=False)
    write_cells(tmp_path / "cells.tsv", "\t", header=True)
    write_json(tmp_path / "rows.jsonl")
    write_parquet(tmp_path / "rows.parquet")
    three = {"picture": 1, "caption": 3}
    found = {
        name: read(path=str(tmp_path / name), form=form, columns=columns)
        for name, form, columns in (
            ("lines.txt", "lines", NUMBERS),
            ("named.txt", "lines", NAMES),
            ("cells.csv", "csv", NAMES),
            ("bare.csv", "csv", three),
            ("cells.tsv", "tsv", NAMES),
            ("rows.jsonl", "jsonl", NAMES),
            ("rows.parquet", "parquet", NAMES),
        )
    }
    assert found == {name: [(picture, (text,)) for picture, text in ROWS] for name in found}


def test_lists_nulls_and_names_in_structs(tmp_path: Path) -> None:
    image = pa.array([{"bytes": b"x" * 1000, "path": f"{number}.jpg"} for number in range(3)])
    texts = pa.array([["one", " ", "two "], None, []], pa.list_(pa.string()))
    pq.write_table(pa.table({"image": image, "texts": texts}), tmp_path / "t.parquet")
    columns = {"picture": "image.path", "caption": "texts"}
    assert read(path=str(tmp_path), form="parquet", columns=columns) == [
        ("0.jpg", ("one", "two")),
        ("1.jpg", ()),
        ("2.jpg", ()),
    ]
    (tmp_path / "t.jsonl").write_text('{"id": 7, "c": ["a", null]}\n')
    said = refused(path=str(tmp_path / "t.jsonl"), form="jsonl", columns={"picture": "id", "caption": "c"})
    assert said.startswith(f"{tmp_path / 't.jsonl'} line 1: a caption must be a text, a list of texts or null")


def test_several_files_are_read_in_the_order_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_tables, "ROWS_AT_ONCE", 2)
    for name, number in (("b/2.csv", 2), ("a.csv", 1), ("z.txt", 3), (".hidden.csv", 4), ("README.md", 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(f"{number}-{row}\tcaption {row}\n" for row in range(3)))
    names = [name for name, _ in read(path=str(tmp_path), files="*.csv")]
    assert names == [f"{number}-{row}" for number in (1, 2) for row in range(3)]
    assert [name for name, _ in read(path=str(tmp_path))] == [f"3-{row}" for row in range(3)]  # .txt alone are lines


def test_what_is_missing_of_a_folder_is_refused(tmp_path: Path) -> None:
    assert (
        refused(path=str(tmp_path))
        == f"{tmp_path}: no file of form lines (.tsv .txt) of what is there: nothing; correct files"
    )
    write_lines(tmp_path / "t.txt", header=False)
    assert "files = '*.csv' names none of what is there: t.txt; correct files" in refused(
        path=str(tmp_path), files="*.csv"
    )
    assert "is no folder, and files = '*' picks files of one" in refused(path=str(tmp_path / "t.txt"), files="*")
    assert "none.txt: No such file or directory; correct path or files" in refused(path=str(tmp_path / "none.txt"))
    write_parquet(tmp_path / "train-00000-of-00002.parquet")
    said = refused(path=str(tmp_path), form="parquet", columns=NAMES)
    assert "train-00001-of-00002.parquet is not there (1 of its 2 parts are)" in said


@pytest.mark.parametrize(
    ("form", "columns", "data", "said"),
    [
        (
            "lines",
            NUMBERS,
            b"a.jpg\ta cat\nb.jpg: a dog\n",
            "t line 2: no tab in it; write a name, a tab and a caption",
        ),
        ("lines", NUMBERS, b"a.jpg\ta cat\n\tno name\n", "t line 2: a picture's name must be a text, not ''"),
        ("lines", NUMBERS, b"a.jpg\tc\n\nb.jpg\t\xff\n", "t line 3: not UTF-8 at byte 6; save it as UTF-8"),
        ("lines", NAMES, b"a.jpg\ta cat\n", "t line 1: no column 'file_name'; there are 'a.jpg', 'a cat'; where the"),
        ("csv", NAMES, b"file_name,text,text\n", "t line 1: two columns are called 'text'; rename one"),
        ("csv", {"picture": 1, "caption": 4}, b"a.jpg,1,c\n", "t line 1: 3 cells, and column 4 is asked for"),
        ("csv", NUMBERS, b"a.jpg,c\nb.jpg,c,d\n", "t line 2: 3 cells where the first line has 2"),
        ("tsv", NUMBERS, b'a.jpg\t"big cat\nb.jpg\t"a" dog\n', "t line 2: '\t' expected after"),
        (
            "jsonl",
            NAMES,
            b'{"file_name": "a.jpg", "caption": "c"}\n',
            "t line 1: no column 'text'; there are 'file_name'",
        ),
        ("jsonl", NAMES, b'{"file_name": "a.jpg"', "t line 1: no JSON: "),
        ("jsonl", NAMES, b'{"file_name": null, "text": "c"}\n', "t line 1: a picture's name must be a text, not None"),
        ("parquet", NAMES, b"file_name,text\n", "t: no Parquet file, or a damaged one"),
    ],
)
def test_what_is_broken_is_named_by_its_line(
    tmp_path: Path, form: str, columns: dict[str, Any], data: bytes, said: str
) -> None:
    (tmp_path / "t").write_bytes(data)
    line = refused(path=str(tmp_path / "t"), form=form, columns=columns)
    assert line.startswith(f"{tmp_path}/{said}"), line


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    assert "fetch the file again" in refused(path=str(path), form="parquet", columns=NAMES)
    path.write_bytes(whole)
    columns = {"picture": "file_name", "caption": "words"}
    assert "no column 'words'; there are 'text', 'file_name'" in refused(
        path=str(path), form="parquet", columns=columns
    )


REPOSITORY = "maker/captions"
FIRST, SECOND = "coca/imagenet_0_of_2.csv", "coca/imagenet_1_of_2.csv"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Captions of two files, the second of them large, on a small Hub; an empty cache, and no token."""
    many = [(f"{number}.jpg", f"picture {number}") for number in range(200)]
    files = {
        ".gitattributes": b"*.zip filter=lfs\n",
        FIRST: "".join(f"{name}:\t{text}\n" for name, text in many[:5]).encode(),
        SECOND: "".join(f"{name}:\t{text}\n" for name, text in many[5:]).encode(),
        "coca/BERT-L/all_encodings.zip": b"z" * 5000,
    }
    with serving(Hub(files, REPOSITORY, token="a-token-for-tests", gated=True)) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr("pipeline.hub.files._WAITS_SECONDS", (0.0, 0.0))
        monkeypatch.setenv("HF_TOKEN", "a-token-for-tests")
        huggingface_hub.close_session()
        yield served


def of_the_hub(**values: Any) -> dict[str, Any]:
    return {"repository": REPOSITORY, "commit": COMMIT, "files": "coca/*.csv", **values}


def test_a_table_on_the_hub_is_fetched_once_and_nothing_beside_it(hub: Hub) -> None:
    found = read(**of_the_hub())
    assert found == [(f"{number}.jpg:", (f"picture {number}",)) for number in range(200)]
    asked = len(hub.asked)
    assert read(**of_the_hub()) == found
    assert len(hub.asked) == asked
    assert [hub.sent(name) for name in (FIRST, SECOND)] == [[(0, len(hub.files[name]))] for name in (FIRST, SECOND)]
    assert hub.sent("all_encodings.zip") == []


def test_a_connection_that_breaks_is_continued(hub: Hub) -> None:
    hub.faults[SECOND] = [("cut", 2000)]
    assert len(read(**of_the_hub())) == 200
    assert sum(size for _, size in hub.sent(SECOND)) <= len(hub.files[SECOND]) + 2000


@pytest.mark.parametrize(
    ("values", "token", "said"),
    [
        ({}, "", f"hub data set {REPOSITORY}: gated, and there is no token (401); ask for access at"),
        ({}, "another", f"hub data set {REPOSITORY}: gated, and this token's user may not read it (403)"),
        ({"commit": "main"}, None, f"commit 'main' is not pinned; it is {COMMIT} now: write commit: {COMMIT}"),
        ({"files": "blip/*"}, None, f"hub data set {REPOSITORY} at {COMMIT}: files = 'blip/*' names none of what is"),
        ({"repository": "maker/others"}, None, "hub data set maker/others: "),
    ],
    ids=["no token", "another token", "branch", "files", "repository"],
)
def test_what_the_hub_refuses_is_one_line(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], token: str | None, said: str
) -> None:
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    line = refused(**of_the_hub(**values))
    assert said in line
    assert "a-token-for-tests" not in line


def test_a_hub_that_does_not_answer_may_later(hub: Hub) -> None:
    hub.faults[FIRST] = [503] * 3
    assert "answers 503; run again later" in refused(Transient, **of_the_hub())
    assert len(read(**of_the_hub())) == 200
