"""What the columns of a Parquet file of pictures are: found by name, checked by type, read row by row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pipeline.errors import Refusal
from pipeline.params.parquet import ParquetColumns
from pipeline.sources.captions import captions_in

_BYTES, _PATH = "bytes", "path"  # fields of a picture as ``datasets`` stores it
_ABSENT = "not there"
_HUGGINGFACE = b"huggingface"  # its own metadata of a schema


class Columns:
    """The columns of one file.

    Args:
        schema: of the file.
        wanted: which columns mean what.
        path: the file, for refusals.

    Attributes:
        image_leaf: the column that holds the bytes: ``image.bytes``, or ``image``.
        path_leaf: that of the pictures' paths, None where they have none.
        small: the columns that are read to list the pictures.
        has_named_labels: labels are names and no numbers.

    Raises:
        Refusal: a column is not there, with those that are; one of a type that it cannot have.
    """

    def __init__(self, schema: pa.Schema, wanted: ParquetColumns, path: Path) -> None:
        self._schema, self._path, self.wanted = schema, path, wanted
        self.image_leaf, self.path_leaf = self._image(wanted.image)
        label = self._type_of("label", wanted.label)
        self.has_named_labels = label is not None and _is_text(label)
        self._require(
            "label", wanted.label, label is None or _is_text(label) or pt.is_integer(label), "whole numbers or texts"
        )
        for key, name in (("class_name", wanted.class_name), *(("text", name) for name in wanted.text or ())):
            kind = self._type_of(key, name)
            is_list = kind is not None and _is_list(kind) and key == "text"
            fits = kind is None or _is_text(kind.value_type if is_list else kind)
            self._require(key, name, fits, "texts" if key == "class_name" else "texts or lists of texts")
        identity = self._type_of("id", wanted.id)
        self._require(
            "id", wanted.id, identity is None or _is_text(identity) or pt.is_integer(identity), "texts or numbers"
        )
        named = [wanted.label, wanted.class_name, *(wanted.text or ()), wanted.id]
        self.small = list(dict.fromkeys(name for name in named if name is not None))

    def refuse_other(self, first: Columns) -> None:
        """Raise a Refusal where the columns, or the names of the classes, are others than in the first file."""
        if not self._schema.equals(first._schema):
            there = {field.name: _said(field) for field in first._schema}
            here = {field.name: _said(field) for field in self._schema}
            name = next((name for name in [*here, *there] if here.get(name) != there.get(name)), "their order")
            raise Refusal(
                f"{self._path}: its columns differ from those of {first._path}: {name!r} is {here.get(name, _ABSENT)}, "
                f"there {there.get(name, _ABSENT)}; name the files of one data set with files, or write them alike"
            )
        if self.class_names() != first.class_names():
            raise Refusal(
                f"{self._path}: its labels have other names than those of {first._path}; name the files of one data "
                "set with files"
            )

    def class_names(self) -> list[str] | None:
        """Names of the labels 0, 1, ... as ``datasets`` wrote them beside the schema; None where it did not."""
        if self.wanted.label is None or _HUGGINGFACE not in (self._schema.metadata or {}):
            return None
        try:
            feature = json.loads(self._schema.metadata[_HUGGINGFACE])["info"]["features"]
            for part in self.wanted.label.split("."):
                feature = feature[part]
            names = feature.get("names")
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # features of another version, or none of this column: the labels have no names
        return [str(name) for name in names] if isinstance(names, list) else None

    def values(self, batch: pa.RecordBatch, name: str) -> list[Any]:
        """The values of one of ``small``, one a row."""
        return values_of(batch, name)

    def captions(self, batch: pa.RecordBatch, first_row: int) -> list[tuple[str, ...]]:
        """The captions of each row, without the blanks around them; empty ones are none."""
        columns = [self.values(batch, name) for name in self.wanted.text or ()]
        if not columns:
            return [()] * batch.num_rows
        return [self._captions(row, first_row + number) for number, row in enumerate(zip(*columns, strict=True))]

    def _captions(self, values: Sequence[Any], row: int) -> tuple[str, ...]:
        texts = [text for value in values for text in (value if isinstance(value, list) else [value]) if text]
        return captions_in(texts, f"{self._path} row {row}")

    def _image(self, name: str) -> tuple[str, str | None]:
        kind = self._type_of("image", name)
        if kind is not None and pt.is_struct(kind):
            fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
            if _BYTES in fields and _is_binary(fields[_BYTES]):
                return f"{name}.{_BYTES}", f"{name}.{_PATH}" if _PATH in fields else None
        fits = kind is not None and _is_binary(kind)
        self._require("image", name, fits, "pictures: binary, or a struct with the field bytes")
        return name, None

    def _type_of(self, key: str, name: str | None) -> Any:
        """The type of a column, or of a field of a struct; None where none is asked for."""
        if name is None:
            return None
        if name in self._schema.names:
            return self._schema.field(name).type
        first, *rest = name.split(".")
        kind: Any = self._schema.field(first).type if first in self._schema.names else None
        for part in rest:
            is_there = kind is not None and pt.is_struct(kind) and kind.get_field_index(part) >= 0
            kind = kind.field(part).type if is_there else None
        if kind is None:
            there = ", ".join(f"{field.name} ({field.type})" for field in self._schema)
            raise Refusal(f"{self._path}: no column {name!r}, which columns.{key} names; it has {there}")
        return kind

    def _require(self, key: str, name: str | None, fits: bool, what: str) -> None:
        if not fits:
            kind = self._type_of(key, name)
            raise Refusal(
                f"{self._path}: column {name!r} is {kind}, and columns.{key} must hold {what}; name another one"
            )


def values_of(batch: pa.RecordBatch, name: str) -> list[Any]:
    """The values of a column, or of a field of a struct (``image.path``), one a row."""
    if name in batch.schema.names:
        return list(batch.column(name).to_pylist())
    first, *rest = name.split(".")
    array: Any = batch.column(first)
    for part in rest:
        array = pc.struct_field(array, part)
    return list(array.to_pylist())


def _said(field: Any) -> str:
    return f"{field.type}{'' if field.nullable else ' and never null'}"


def _is_text(kind: Any) -> bool:
    if pt.is_dictionary(kind):
        kind = kind.value_type
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _is_binary(kind: Any) -> bool:
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def _is_list(kind: Any) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))
