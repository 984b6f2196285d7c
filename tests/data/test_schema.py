"""The contract's names: complete, used, and written in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.data.schema import TABLES, Answered, Augmentation, Column, Detected, FinishReason, Meta, Table

PROJECT = Path(__file__).resolve().parents[2]
HOME = PROJECT / "pipeline" / "data" / "schema.py"
ENUMS = (Column, Augmentation, Detected, Answered, FinishReason, Meta)


def sources() -> list[Path]:
    return sorted(path for folder in ("pipeline", "stages") for path in (PROJECT / folder).rglob("*.py"))


def subscripts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of each ``something["text"]``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
            continue
        if isinstance(node.slice.value, str):
            yield node.lineno, node.slice.value


def opens_shards(path: Path) -> bool:
    return "Column" in path.read_text() and path != HOME


# Words that are column names and keys of other things too: manifests, job records, metrics, published prompt files.
ALSO_OTHERS = {
    "sha256",
    "seed",
    "stage",
    "task",
    "reason",
    "detail",
    "answers",
    "text",
    "mean",
    "std",
    "label",
    "prompt",
    "captioner",
}


def test_rows_are_read_by_the_columns_names_alone() -> None:
    """In modules that work with shards no column stands as text in a subscript."""
    names = {str(column) for column in Column}
    modules = [path for path in sources() if opens_shards(path)]
    assert len(modules) > 10
    found = [
        f"{path.relative_to(PROJECT)}:{line}: {text!r}"
        for path in modules
        for line, text in subscripts(ast.parse(path.read_text()))
        if text in names - ALSO_OTHERS
    ]
    assert found == []


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_are_made_of_known_columns(table: Table) -> None:
    assert {Column(name) for name in table.schema.names} >= {*table.payload, *table.uncompressed}
    assert table.schema.names[0] in (Column.KEY, Column.PROMPT_ID)
    for column in table.uncompressed:
        assert table.schema.field(str(column)).type == pa.binary()


def test_every_column_is_in_a_table() -> None:
    used = {name for table in TABLES.values() for name in table.schema.names}
    assert used == {str(column) for column in Column}


def test_tables_go_by_their_names() -> None:
    assert {name: table.name for name, table in TABLES.items()} == {name: name for name in TABLES}


@pytest.mark.parametrize("enum", ENUMS)
def test_names_are_given_once(enum: type) -> None:
    values = [str(member) for member in enum]  # type: ignore[attr-defined]
    assert len(values) == len(set(values))


def test_metadata_keys_have_a_prefix_of_their_own() -> None:
    """Parquet metadata is shared with other writers' keys."""
    assert all(str(key).startswith("t2i.") for key in Meta)


def test_an_unknown_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="capton"):
        Column("capton")
