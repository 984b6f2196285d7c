"""Parameters of datasets: where pictures come from, and sets that are made from another one, row by row."""

from __future__ import annotations

import posixpath
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from pipeline.params.types import Count, Fault, Fraction, NotNegative, Reference, ShardedRow, Strict, Text, no_weight

MAX_NEAR_BITS = 6  # of a perceptual hash's 64: as far as neighbours are looked for
_EXTENSION = "an extension in lower case without the dot before it (jpg)"  # as they are compared
Extension = Annotated[str, Meta(pattern=r"^[^./:A-Z\n\r][^/:A-Z\n\r]*\Z", description=_EXTENSION)]
ExtensionAndField = Annotated[
    str,
    Meta(
        pattern=r"^[^./:A-Z\n\r][^/:A-Z\n\r]*(:[^\n\r]+)?\Z",
        description=f"{_EXTENSION}, or extension:field of JSON (json:caption)",
    ),
]


class DownloadRow(ShardedRow, tag_field="source", frozen=True, kw_only=True):
    """A dataset.

    Attributes:
        same_as_heldout: fields in which a set and its held-out rows agree, so that both are of one source.
        index_only_fields: fields that decide which rows there are, or whether a source is refused, and change no row of
            it; shards do not hang on them.
        limit_fields: fields that say how much may be lost, of sources whose pictures are dear to read a second time:
            the manifest hangs on them, shards do not.
    """

    same_as_heldout: ClassVar[tuple[str, ...]] = ()
    index_only_fields: ClassVar[tuple[str, ...]] = ()
    limit_fields: ClassVar[tuple[str, ...]] = ()

    revision: Count
    num_rows: Count | Literal["all"]
    num_shards: Count
    max_image_pixels: Count
    near_duplicates: Literal["count", "reject"]
    near_duplicate_bits: Annotated[int, Meta(ge=0, le=MAX_NEAR_BITS)]
    heldout: Reference | None = None

    def fault(self) -> Fault | None:
        """A value that no set of this kind can have: its key, the value and why; None where there is none."""
        if isinstance(self.num_rows, int) and self.num_rows < self.num_shards:
            return Fault("num_shards", self.num_shards, f"must be at most num_rows ({self.num_rows})")
        return None


class ShapeWorldRow(DownloadRow, tag="shape_world", kw_only=True, frozen=True):
    """Pictures of the demo's own small world."""

    # A scene follows from its number alone: worlds of other sizes share the scenes that both have.
    same_as_heldout: ClassVar[tuple[str, ...]] = ("style", "layout", "side_px")

    num_scenes: Count
    style: Literal["plain", "aesthetic"]
    layout: Literal["grid", "corners"]
    several: Fraction
    side_px: Count

    def fault(self) -> Fault | None:
        """As of any set; no more rows than scenes."""
        if isinstance(self.num_rows, int) and self.num_rows > self.num_scenes:
            return super().fault() or Fault(
                "num_rows", self.num_rows, f"must be at most num_scenes ({self.num_scenes})"
            )
        return super().fault()


class FolderRow(DownloadRow, tag="folder", kw_only=True, frozen=True):
    """Pictures of a folder, one sub-folder a class; their captions beside them, or in a table of their own.

    Attributes:
        captions: the table, a path below the folder or an absolute one.
        file_column: its column with the pictures' paths below the folder.
        text_columns: its columns with captions.
    """

    same_as_heldout: ClassVar[tuple[str, ...]] = ("path",)
    path_fields: ClassVar[tuple[str, ...]] = ("path", "captions")

    path: Text
    captions: Text | None = None
    file_column: Text | None = None
    text_columns: Annotated[list[Text], Meta(min_length=1)] | None = None

    def fault(self) -> Fault | None:
        """As of any set; columns without a table, or a table without columns."""
        for key in ("file_column", "text_columns"):
            if (value := getattr(self, key)) is None and self.captions is not None:
                return Fault(key, value, f"must name columns of captions ({self.captions})")
            if value is not None and self.captions is None:
                return Fault(key, value, "names a column, and captions names no table; give both or none")
        return super().fault()

    def places(self) -> dict[str, str]:
        """As of any row; a table of captions is looked for in the folder."""
        places = super().places()
        return places | {"captions": posixpath.join(self.path, self.captions)} if self.captions else places


class WebDatasetRow(DownloadRow, tag="webdataset", kw_only=True, frozen=True):
    """Samples in tars, as the webdataset library groups their members.

    Attributes:
        tars: which files below the folder: names, with braces and stars.
        ids: what a picture's id is made of; its path in its tar alone where no path comes twice.
        pictures: extensions of pictures, in the order in which they are preferred.
        texts: where captions are: an extension, or extension:field of JSON.
        label: where class numbers are, in the same form.
        class_names: a file with a line for each class: number, tab, name.
    """

    # A held-out set may be of other tars. By other extensions the same sample would be another picture.
    same_as_heldout: ClassVar[tuple[str, ...]] = ("path", "ids", "pictures")
    path_fields: ClassVar[tuple[str, ...]] = ("path", "class_names")

    path: Text
    tars: Text
    ids: Literal["path", "tar_and_path"]
    pictures: Annotated[list[Extension], Meta(min_length=1)]
    texts: list[ExtensionAndField]
    label: ExtensionAndField | None = None
    class_names: Text | None = None

    def fault(self) -> Fault | None:
        """As of any set; names of classes that no picture has a number of."""
        if self.class_names is not None and self.label is None:
            return Fault("class_names", self.class_names, "names classes, and label says no class; give both or none")
        return super().fault()


WordNetId = Annotated[str, Meta(pattern=r"^n\d{8}\Z", description="an id such as n01440764")]


class ImageNetRow(DownloadRow, tag="imagenet", kw_only=True, frozen=True):
    """ImageNet's training pictures, packed or unpacked.

    Attributes:
        path: the official archive, a folder of class archives or of class folders, or one above it.
        md5: whether the archive's md5 is compared with the official one while its pictures are listed.
        classes: some of the thousand classes, or a file with one on each line; all where it is absent. Labels stay.
    """

    same_as_heldout: ClassVar[tuple[str, ...]] = ("path",)
    index_only_fields: ClassVar[tuple[str, ...]] = ("md5",)

    path: Text
    md5: Literal["check", "skip"]
    classes: Annotated[list[WordNetId], Meta(min_length=1)] | Text | None = None

    @property
    def path_fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """As of any row: ``classes`` is a path where it is no list."""
        return ("path", "classes") if isinstance(self.classes, str) else ("path",)


class AugmentRow(ShardedRow, tag_field="kind", frozen=True, kw_only=True):
    """A dataset made from another, row by row.

    Attributes:
        mixes: each picture is made of two; the second is of the shard that ``partner_shard`` names.
    """

    mixes: ClassVar[bool] = False

    images: Reference
    side_px: Count

    def fault(self) -> Fault | None:
        """A value that no set of this kind can have: its key, the value and why; None where there is none."""
        return None


class CutMixWeights(Strict, frozen=True, kw_only=True):
    """How often each CutMix pattern is drawn, relative to the others."""

    half: NotNegative
    quarter: NotNegative
    ninth: NotNegative
    sixteenth: NotNegative


class CutMixRow(AugmentRow, tag="cutmix", frozen=True, kw_only=True):
    """A picture with a part of another class pasted in."""

    mixes: ClassVar[bool] = True

    weights: CutMixWeights

    def fault(self) -> Fault | None:
        """Some pattern must be drawn."""
        return no_weight("weights", msgspec.structs.asdict(self.weights))


class CropRow(AugmentRow, tag="crop", frozen=True, kw_only=True):
    """A random square part of a picture."""

    min_scale: Annotated[float, Meta(gt=0.0, le=1.0)]
    max_scale: Annotated[float, Meta(gt=0.0, le=1.0)]

    def fault(self) -> Fault | None:
        """A smallest scale above the largest."""
        if self.min_scale > self.max_scale:
            return Fault("min_scale", self.min_scale, f"must be at most max_scale ({self.max_scale})")
        return None
