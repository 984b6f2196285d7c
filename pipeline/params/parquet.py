"""Parameters of datasets that lie in Parquet files, here or on the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from pipeline.params.datasets import DownloadRow
from pipeline.params.types import Fault, Strict, Text

REPOSITORY_PATTERN = r"^[\w.\-]+(/[\w.\-]+)?\Z"  # of a data set on the Hub
IMAGENET = "imagenet"  # class_names: those of ImageNet's thousand classes


class ParquetColumns(Strict, frozen=True, kw_only=True):
    """Which columns mean what; a field of a struct is named with a dot (``image.path``).

    Attributes:
        image: encoded pictures: a struct of bytes and path, as ``datasets`` writes it, or binary.
        label: class numbers or class names.
        class_name: names of classes, beside numbers in ``label``.
        text: captions: texts or lists of texts.
        id: what a picture is called; where it is absent, its file and row.
    """

    image: Text
    label: Text | None = None
    class_name: Text | None = None
    text: Annotated[list[Text], Meta(min_length=1)] | None = None
    id: Text | None = None


class ParquetTable(DownloadRow, frozen=True, kw_only=True):
    """Pictures that are rows of Parquet files, wherever these lie.

    Attributes:
        files: which files: a pattern of their paths, in which ``*`` stands for anything, slashes too.
        class_names: ``imagenet``, or a file with a line for each class: number, tab, name. Goes before the names that
            the Parquet files bring, and says the numbers of classes that have names alone.
    """

    columns: ParquetColumns
    files: Text | None = None
    class_names: Text | None = None

    @property
    def class_names_path(self) -> str | None:
        """The file of class names, where one is named."""
        return None if self.class_names == IMAGENET else self.class_names

    def fault(self) -> Fault | None:
        """As of any set; names of classes from two places, or of none."""
        label, class_name = self.columns.label, self.columns.class_name
        if self.class_names is not None and label is None and class_name is None:
            return Fault("class_names", self.class_names, "names classes, and columns.label says no class")
        if self.class_names is not None and label is not None and class_name is not None:
            return Fault("class_names", self.class_names, "columns.class_name names classes too; give one of the two")
        return super().fault()


class ParquetRow(ParquetTable, tag="parquet", frozen=True, kw_only=True):
    """Parquet files of a folder, or one such file."""

    # A held-out set may be of other files.
    same_as_heldout: ClassVar[tuple[str, ...]] = ("path",)

    path: Text

    @property
    def path_fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """As of any row; ``class_names`` is a path where it names a file."""
        return ("path", "class_names") if self.class_names_path else ("path",)


class HubRow(ParquetTable, tag="hub", frozen=True, kw_only=True):
    """A data set of the Hugging Face Hub at one commit.

    Attributes:
        repository: its id, ``owner/name``.
        commit: the commit, 40 hexadecimal digits. What lies there never changes, so it stands for the pictures.
        subset: a configuration of the data set's card; absent: the default one.
        split: a part of it.
    """

    same_as_heldout: ClassVar[tuple[str, ...]] = ("repository", "commit")

    repository: Annotated[str, Meta(pattern=REPOSITORY_PATTERN, description="an id such as owner/name")]
    commit: Text
    subset: Text | None = None
    split: Text | None = None

    @property
    def path_fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """As of any row: a file of class names alone lies here."""
        return ("class_names",) if self.class_names_path else ()

    def fault(self) -> Fault | None:
        """As of any set; one way of naming its files."""
        if (self.split is None) == (self.files is None):
            return Fault("split", self.split, "name a split or files, one of the two")
        if self.subset is not None and self.split is None:
            return Fault("subset", self.subset, "goes with a split")
        return super().fault()
