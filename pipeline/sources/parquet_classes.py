"""Classes of pictures in Parquet files: numbers and names, whichever of the two a file has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import Refusal
from pipeline.params.parquet import IMAGENET
from pipeline.sources.imagenet_classes import class_names
from pipeline.sources.names import class_name_of, read_numbered_names

MAX_LABEL = (1 << 31) - 1
NO_LABEL = -1  # as ``datasets`` writes pictures of a part that has no labels


class Numbered:
    """Labels are numbers; what they are called is known of all, or of none.

    Args:
        names: number to name; None: they have no names, or a column has them.
        said_by: where the names are from, for refusals.
    """

    def __init__(self, names: Mapping[int, str] | None, said_by: str) -> None:
        self._names, self._said_by = names, said_by

    def of(self, label: Any, class_name: str | None, where: str) -> tuple[int | None, str | None]:
        """Number and name of a class as a row has them. Raises Refusal for a number that is none, or has no name."""
        if label is None or label == NO_LABEL:
            return None, class_name
        if not 0 <= label <= MAX_LABEL:
            raise Refusal(f"{where}: label {label}, allowed are 0 to {MAX_LABEL}; name another column as label")
        if class_name is not None or self._names is None:
            return label, class_name
        if label not in self._names:
            raise Refusal(f"{where}: label {label} is none of the {len(self._names)} classes of {self._said_by}")
        return label, self._names[label]


class Named:
    """Classes have names alone; their numbers are their ranks among the sorted names, or declared.

    Args:
        names: all that there are, in any order; a blank one is none.
        declared: number to name; None: numbers are ranks.
        said_by: where declared names are from, for refusals.

    Raises:
        Refusal: two numbers are declared for one name.
    """

    def __init__(self, names: Iterable[str], declared: Mapping[int, str] | None = None, said_by: str = "") -> None:
        self._said_by, self._declared = said_by, declared
        if declared is None:
            self._numbers = {name: number for number, name in enumerate(sorted(filter(str.strip, names)))}
            return
        self._numbers = {}
        for number, name in declared.items():
            if name in self._numbers:
                raise Refusal(f"{said_by}: numbers {self._numbers[name]} and {number} are both called {name!r}")
            self._numbers[name] = number

    def of(self, label: Any, class_name: str | None, where: str) -> tuple[int | None, str | None]:
        """As ``Numbered.of``; a row without a name, or with a blank one, has no class.

        Raises:
            Refusal: its name is none of those that were declared.
        """
        name = label if class_name is None else class_name
        if not name or not name.strip():
            return None, None
        if self._declared is None:
            return self._numbers[name], class_name_of(name)
        known = name if name in self._numbers else class_name_of(name)
        if known not in self._numbers:
            raise Refusal(
                f"{where}: class {name!r:.60} is none of the {len(self._numbers)} of {self._said_by}; write a line for "
                "it into a file, and name that in class_names"
            )
        return self._numbers[known], known


def names_of(class_names_value: str | None, from_file: list[str] | None, path: Path) -> Numbered:
    """Names of numbered classes: those that the parameters name, else the file's own, else none.

    Args:
        class_names_value: ``imagenet``, a file of numbers, tabs and names, or None.
        from_file: what a Parquet file says that its labels are called.
        path: that file.

    Raises:
        Refusal: the file of names cannot be read, or is malformed.
    """
    if class_names_value is not None:
        return Numbered(declared_names(class_names_value), said(class_names_value))
    if from_file is not None:
        return Numbered(
            {number: class_name_of(name) for number, name in enumerate(from_file)}, f"{path}'s own metadata"
        )
    return Numbered(None, "")


def declared_names(class_names_value: str) -> dict[int, str]:
    """Number to name of the classes that the parameters name. Raises as ``names_of``."""
    if class_names_value == IMAGENET:
        return dict(enumerate(class_names().values()))
    return read_numbered_names(Path(class_names_value))


def said(class_names_value: str) -> str:
    """Where these names are from, for people."""
    return "ImageNet" if class_names_value == IMAGENET else class_names_value
