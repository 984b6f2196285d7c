"""Parameters of captions that others published: a table, on the Hugging Face Hub or here, joined by pictures' ids."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from pipeline.params.captioners import CaptionerParams
from pipeline.params.parquet import REPOSITORY_PATTERN
from pipeline.params.types import Count, Fault, Fraction, Strict, Text

TableForm = Literal["parquet", "jsonl", "csv", "tsv", "lines"]
ColumnName = Text | Count  # the name of a column, or of files without a header its number, from 1 on
NAMED_FORMS = ("parquet", "jsonl")  # whose columns have names, whatever a file begins with


class TableColumns(Strict, frozen=True, kw_only=True):
    """Which columns of a table mean what.

    Attributes:
        picture: what the picture is called.
        caption: its caption, or a list of them.
    """

    picture: ColumnName
    caption: ColumnName


class PublishedCaptioner(CaptionerParams, tag="published", frozen=True, kw_only=True):
    """Captions that others wrote, in a table of pictures' names and captions.

    Attributes:
        form: of its files. csv and tsv quote their cells, lines are a name, a tab, and a caption as it is.
        several: what becomes of a picture that has several captions: one drawn for its key, or all is refused.
        min_matched_fraction: the share of pictures that must have a caption.
        written_by: who wrote them, as captions tell: mostly a model.
        licence: under which they are handed on; absent: not stated.
        repository, commit: a data set on the Hub, at one commit.
        path: a file here, or a folder of files.
        files: which files: a pattern of their paths, in which ``*`` stands for slashes too.
    """

    joins_by_id: ClassVar[bool] = True
    path_fields: ClassVar[tuple[str, ...]] = ("path",)
    # The index of a row says which caption each picture has: how it was found changes no shard.
    index_only_fields: ClassVar[tuple[str, ...]] = (
        *("form", "columns", "several", "min_matched_fraction", "licence"),
        *("repository", "commit", "files"),
    )

    form: TableForm
    columns: TableColumns
    several: Literal["refuse", "draw"]
    min_matched_fraction: Fraction
    written_by: Text
    licence: Text | None = None
    repository: Annotated[str, Meta(pattern=REPOSITORY_PATTERN)] | None = None
    commit: Text | None = None
    path: Text | None = None
    files: Text | None = None

    @property
    def captioner_name(self) -> str:
        """Who wrote the captions."""
        return self.written_by

    def fault(self) -> Fault | None:
        """A table in two places or in none, a data set without a commit, columns by name and by number."""
        return self._fault_of_place() or self._fault_of_columns()

    def _fault_of_place(self) -> Fault | None:
        if (self.repository is None) == (self.path is None):
            return Fault(".path", self.path, "name a path here, or a repository of the Hub; one of the two")
        if self.repository is None:
            return None if self.commit is None else Fault(".commit", self.commit, "goes with a repository")
        for key in ("commit", "files"):
            if getattr(self, key) is None:
                return Fault(f".{key}", None, f"a repository needs {key}")
        return None

    def _fault_of_columns(self) -> Fault | None:
        picture, caption = self.columns.picture, self.columns.caption
        if picture == caption:
            return Fault(".columns.caption", caption, "is the column of the pictures' names too")
        by_number = [isinstance(column, int) for column in (picture, caption)]
        if any(by_number) and not all(by_number):
            return Fault(".columns.picture", picture, "name both columns, or number both, of files without a header")
        if any(by_number) and self.form in NAMED_FORMS:
            return Fault(".columns.picture", picture, f"columns of {self.form} have names: write the name")
        if any(by_number) and self.form == "lines" and (picture, caption) != (1, 2):
            return Fault(".columns.picture", picture, "form lines is a name, a tab and a caption: write 1 and 2")
        return None
