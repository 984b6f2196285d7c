"""Every table, column and metadata key of the data contract. No column name is written anywhere else.

Units: ``*_px`` pixels; latents are raw autoencoder output, (channels, height, width) in C order; text embeddings are
(num_text_tokens, dim) in C order; dtypes stand in the shard's metadata. Payload columns are null where a row was
rejected; the row itself stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


class Column(StrEnum):
    """Names of columns, and of the keys of a training batch that come from them."""

    KEY = "key"
    LOCATION = "location"
    LABEL = "label"
    CLASS_NAME = "class_name"
    TEXT = "text"
    IMAGE = "image"
    WIDTH_PX = "width_px"
    HEIGHT_PX = "height_px"
    SHA256 = "sha256"
    PIXEL_SHA256 = "pixel_sha256"
    PHASH = "phash"
    AUGMENTATION = "augmentation"
    CAPTION = "caption"
    CAPTIONER = "captioner"
    INSTRUCTION = "instruction"
    FINISH_REASON = "finish_reason"
    NUM_GENERATED_TOKENS = "num_generated_tokens"
    SCORES = "scores"
    MEAN = "mean"
    STD = "std"
    HEIGHT = "height"
    WIDTH = "width"
    EMBEDDING = "embedding"
    NUM_TEXT_TOKENS = "num_text_tokens"
    SCALE = "scale"
    POOLED = "pooled"
    PROMPT_ID = "prompt_id"
    IMAGE_INDEX = "image_index"
    SEED = "seed"
    PROMPT = "prompt"
    CORRECT = "correct"
    REASON = "reason"
    TASK = "task"
    DETAIL = "detail"
    DETECTIONS = "detections"
    ANSWERS = "answers"
    STAGE = "stage"
    STYLE = "style"


class Augmentation(StrEnum):
    """Fields of the ``augmentation`` column: box is left, top, right, bottom in the square view."""

    KIND = "kind"
    PARENTS = "parents"
    BOX = "box"


class Detected(StrEnum):
    """Fields of a detection: box is left, top, right, bottom in pixels of the drawn picture."""

    CLASS = "class"
    COLOR = "color"
    SCORE = "score"
    BOX = "box"


class Answered(StrEnum):
    """Fields of an answer: the question's id within its prompt, and the probability of yes."""

    QUESTION = "question"
    PROBABILITY = "probability"


class FinishReason(StrEnum):
    """Why a caption ended."""

    STOP = "stop"  # the model ended it
    LENGTH = "length"  # the token limit did
    TEMPLATE = "template"  # it was not generated


class Meta(StrEnum):
    """Keys of a shard's Parquet metadata."""

    SCHEMA = "t2i.schema"
    TABLE = "t2i.table"
    FINGERPRINT = "t2i.fingerprint"
    ROW_GROUP_ROWS = "t2i.row_group_rows"
    REJECTS = "t2i.rejects"
    NUM_NULL_UPSTREAM = "t2i.num_null_upstream"
    NUM_TRUNCATED = "t2i.num_truncated"
    CHANNELS = "t2i.channels"
    DIM = "t2i.dim"
    POOLED_DIM = "t2i.pooled_dim"
    PROVENANCE = "t2i.provenance"
    PAYLOADS = "t2i.payloads"
    ROWS = "t2i.rows"  # of an index of rows
    DTYPE = "t2i.dtype"
    SCALING = "t2i.scaling"  # of latents whose parameters leave it to the autoencoder's own file


@dataclass(frozen=True)
class Table:
    """One table of the contract.

    Attributes:
        name: as recorded in metadata and manifests.
        schema: its columns.
        payload: the columns that are null in a rejected row; the first decides whether a row is whole.
        uncompressed: large columns that would not shrink (encoded images, latents, embeddings).
    """

    name: str
    schema: pa.Schema
    payload: tuple[Column, ...]
    uncompressed: tuple[Column, ...] = ()


def _schema(*fields: tuple[Column, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(str(name), kind) for name, kind in fields])


_AUGMENTATION_TYPE = pa.struct(
    [
        pa.field(str(Augmentation.KIND), pa.string()),
        pa.field(str(Augmentation.PARENTS), pa.list_(pa.string())),
        pa.field(str(Augmentation.BOX), pa.list_(pa.int32())),
    ]
)

_DETECTION_TYPE = pa.struct(
    [
        pa.field(str(Detected.CLASS), pa.string()),
        pa.field(str(Detected.COLOR), pa.string()),
        pa.field(str(Detected.SCORE), pa.float32()),
        pa.field(str(Detected.BOX), pa.list_(pa.float32())),
    ]
)
_ANSWER_TYPE = pa.struct(
    [
        pa.field(str(Answered.QUESTION), pa.int32()),
        pa.field(str(Answered.PROBABILITY), pa.float32()),
    ]
)

INDEX = Table(
    "index",
    _schema(
        (Column.KEY, pa.string()),
        (Column.LOCATION, pa.string()),
        (Column.LABEL, pa.int32()),
        (Column.CLASS_NAME, pa.string()),
        (Column.TEXT, pa.list_(pa.string())),
    ),
    payload=(Column.LOCATION,),
)

PUBLISHED = Table(
    "published",
    _schema(
        (Column.KEY, pa.string()),
        (Column.TEXT, pa.list_(pa.string())),
    ),
    payload=(Column.TEXT,),
)

IMAGES = Table(
    "images",
    _schema(
        (Column.KEY, pa.string()),
        (Column.IMAGE, pa.binary()),
        (Column.WIDTH_PX, pa.int32()),
        (Column.HEIGHT_PX, pa.int32()),
        (Column.LABEL, pa.int32()),
        (Column.CLASS_NAME, pa.string()),
        (Column.TEXT, pa.list_(pa.string())),
        (Column.SHA256, pa.string()),
        (Column.PIXEL_SHA256, pa.string()),
        (Column.PHASH, pa.uint64()),
        (Column.AUGMENTATION, _AUGMENTATION_TYPE),
    ),
    payload=(Column.IMAGE, Column.WIDTH_PX, Column.HEIGHT_PX, Column.SHA256, Column.PIXEL_SHA256, Column.PHASH),
    uncompressed=(Column.IMAGE,),
)

CAPTIONS = Table(
    "captions",
    _schema(
        (Column.KEY, pa.string()),
        (Column.CAPTION, pa.string()),
        (Column.CAPTIONER, pa.string()),
        (Column.INSTRUCTION, pa.string()),
        (Column.FINISH_REASON, pa.string()),
        (Column.NUM_GENERATED_TOKENS, pa.int32()),
        (Column.SCORES, pa.map_(pa.string(), pa.float32())),
    ),
    payload=(Column.CAPTION, Column.FINISH_REASON, Column.NUM_GENERATED_TOKENS),
)

LATENTS = Table(
    "latents",
    _schema(
        (Column.KEY, pa.string()),
        (Column.MEAN, pa.binary()),
        (Column.STD, pa.binary()),
        (Column.HEIGHT, pa.int32()),
        (Column.WIDTH, pa.int32()),
    ),
    payload=(Column.MEAN, Column.STD, Column.HEIGHT, Column.WIDTH),
    uncompressed=(Column.MEAN, Column.STD),
)

TEXT = Table(
    "text",
    _schema(
        (Column.KEY, pa.string()),
        (Column.EMBEDDING, pa.binary()),
        (Column.NUM_TEXT_TOKENS, pa.int32()),
        (Column.SCALE, pa.binary()),
        (Column.POOLED, pa.binary()),
    ),
    payload=(Column.EMBEDDING, Column.NUM_TEXT_TOKENS, Column.SCALE, Column.POOLED),
    uncompressed=(Column.EMBEDDING, Column.SCALE, Column.POOLED),
)

GENERATED = Table(
    "generated",
    _schema(
        (Column.PROMPT_ID, pa.string()),
        (Column.IMAGE_INDEX, pa.int32()),
        (Column.SEED, pa.uint64()),
        (Column.PROMPT, pa.string()),
        (Column.IMAGE, pa.binary()),
    ),
    payload=(Column.IMAGE,),
    uncompressed=(Column.IMAGE,),
)

VERDICTS = Table(
    "verdicts",
    _schema(
        (Column.PROMPT_ID, pa.string()),
        (Column.IMAGE_INDEX, pa.int32()),
        (Column.TASK, pa.string()),
        (Column.CORRECT, pa.bool_()),
        (Column.REASON, pa.string()),
        (Column.DETECTIONS, pa.list_(_DETECTION_TYPE)),
        (Column.ANSWERS, pa.list_(_ANSWER_TYPE)),
        (Column.DETAIL, pa.string()),
    ),
    payload=(Column.CORRECT,),
)

STYLES = Table(
    "styles",
    _schema(
        (Column.PROMPT_ID, pa.string()),
        (Column.IMAGE_INDEX, pa.int32()),
        (Column.TASK, pa.string()),
        (Column.STYLE, pa.float64()),
    ),
    payload=(Column.STYLE,),
)

REJECTS = Table(
    "rejects",
    _schema(
        (Column.KEY, pa.string()),
        (Column.STAGE, pa.string()),
        (Column.REASON, pa.string()),
        (Column.DETAIL, pa.string()),
    ),
    payload=(),
)

_ALL = (INDEX, PUBLISHED, IMAGES, CAPTIONS, LATENTS, TEXT, GENERATED, VERDICTS, STYLES, REJECTS)
TABLES = {table.name: table for table in _ALL}
