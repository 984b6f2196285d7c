"""Every parameter as a frozen, strict type: one class per kind of row, none with a default for a value.

A class is a row *as resolved*: the common values of its section and its own together. Only references that may be
absent are optional. Bounds stand in the annotations, so that a refusal can say what is allowed. ``params/demo.yaml``
explains each value to people; the meaning is told there once.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from pipeline.params import networks, objectives, samplers, servers, urls
from pipeline.params.types import (
    Count,
    CountOrZero,
    Fraction,
    Name,
    NotNegative,
    Positive,
    PositiveFraction,
    Reference,
    References,
    Seed,
    ShardedRow,
    StorageDtype,
    Strict,
    TableRow,
    Text,
)

STAGE_NAMES = (
    *("download", "augment", "recaption", "encode_images", "encode_text"),
    *("train", "finetune", "generate", "score", "report"),
)


class Seeds(Strict, frozen=True, kw_only=True):
    """The three seeds of a run; everything random is drawn from one of them and from coordinates."""

    data: Seed
    train: Seed
    generate: Seed


class Execution(Strict, frozen=True, kw_only=True):
    """Values that say where and how fast work is done. None of them is part of any fingerprint."""

    store: Text
    device: Literal["auto", "cpu", "cuda"]
    num_threads: Count
    num_workers: CountOrZero
    inference_batch_size: Count
    attention: Literal["matmul", "sdpa"]
    gradient_checkpointing: bool
    micro_batch_size: CountOrZero
    compile: bool
    keep_freed_memory: bool
    num_processes: dict[Reference, Count]
    checkpoint_every: Count
    http: urls.Http | None = None
    captioner_servers: dict[Text, servers.CaptionServers] | None = None


# --- recaption


class RecaptionRow(ShardedRow, frozen=True, kw_only=True):
    """A caption set."""

    images: Reference
    captioner: Name
    max_garbage_fraction: Fraction
    captions: Reference | None = None


# --- encode_images, encode_text


class EncodeImagesRow(ShardedRow, frozen=True, kw_only=True):
    """A latent set."""

    images: Reference
    autoencoder: Name
    side_px: Count
    view: Literal["square"]
    dtype: StorageDtype


class EncodeTextRow(ShardedRow, frozen=True, kw_only=True):
    """A text set."""

    captions: Reference
    encoder: Name
    dtype: StorageDtype


# --- train, finetune


DiTI = networks.DiTI
RIN = networks.RIN


UniformTimesteps = objectives.UniformTimesteps
LogitNormalTimesteps = objectives.LogitNormalTimesteps
LinearGamma = objectives.LinearGamma
SigmoidGamma = objectives.SigmoidGamma
Objective = objectives.TrainingObjective
RectifiedFlow = objectives.RectifiedFlow
NoisePrediction = objectives.NoisePrediction
VPrediction = objectives.VPrediction


class AdamW(Strict, tag_field="kind", tag="adamw", frozen=True, kw_only=True):
    """torch's AdamW."""

    learning_rate: Positive
    weight_decay: NotNegative
    beta_1: Fraction
    beta_2: Fraction


class Muon(Strict, tag_field="kind", tag="muon", frozen=True, kw_only=True):
    """torch's Muon for the matrices of the blocks, AdamW for the rest."""

    learning_rate: Positive
    weight_decay: NotNegative
    momentum: Fraction
    adamw_learning_rate: Positive
    beta_1: Fraction
    beta_2: Fraction


class Lamb(Strict, tag_field="kind", tag="lamb", frozen=True, kw_only=True):
    """LAMB: Adam's steps, each weight's as long as its learning rate times the weight."""

    learning_rate: Positive
    weight_decay: NotNegative
    beta_1: Fraction
    beta_2: Fraction


class ConstantSchedule(Strict, tag_field="kind", tag="constant", frozen=True, kw_only=True):
    """Linear warm-up, then a constant rate. More steps may be asked for later."""

    num_warmup_steps: CountOrZero


class CosineSchedule(Strict, tag_field="kind", tag="cosine", frozen=True, kw_only=True):
    """Linear warm-up, then a cosine down to a fraction of the rate."""

    num_warmup_steps: CountOrZero
    final_fraction: Fraction


class CosinePartSchedule(Strict, tag_field="kind", tag="cosine_part", frozen=True, kw_only=True):
    """Linear warm-up, then the first part of a cosine that would end at zero."""

    num_warmup_steps: CountOrZero
    part: PositiveFraction


class WarmupStableDecay(Strict, tag_field="kind", tag="warmup_stable_decay", frozen=True, kw_only=True):
    """Linear warm-up, constant rate, linear decay to zero at the end. More steps may be asked for later."""

    num_warmup_steps: CountOrZero
    num_decay_steps: Count


class Swap(Strict, frozen=True, kw_only=True):
    """Augmented rows that stand in for plain ones at high noise."""

    latents: Reference
    texts: References
    above_t: Fraction
    probability: Fraction
    weight: Positive | None = None


class Validation(Strict, frozen=True, kw_only=True):
    """Rows never trained on, for the validation curve."""

    latents: Reference
    texts: References


class BlockOrder(Strict, frozen=True, kw_only=True):
    """Whole runs of rows in drawn order, mixed in a buffer: for disks that read single rows slowly."""

    block_rows: Count
    buffer_rows: Count


class TrainingRow(TableRow, frozen=True, kw_only=True):
    """What training and finetuning have in common."""

    objective: Objective
    optimizer: AdamW | Muon | Lamb
    schedule: ConstantSchedule | CosineSchedule | CosinePartSchedule | WarmupStableDecay
    num_steps: Count
    batch_size: Count
    ema_decay: Fraction
    caption_dropout: Fraction
    clip_norm: Positive
    latent_draw: Literal["sample", "mean"]
    precision: Literal["float32", "bfloat16"]
    seed: Seed
    log_every_steps: Count
    validate_every_steps: Count
    validation: Validation | None = None
    order: BlockOrder | None = None


class TrainRow(TrainingRow, kw_only=True, frozen=True):
    """A model trained from scratch."""

    arm: Name
    network: networks.NetworkParams
    latents: Reference
    texts: References
    swap: Swap | list[Swap] | None = None


class ImportedModelRow(TableRow, frozen=True, kw_only=True):
    """A model made elsewhere and taken in."""

    is_import: ClassVar[bool] = True

    import_: Text = msgspec.field(name="import")
    arm: Name
    seed: Seed
    revision: Text | None = None
    subfolder: Text | None = None
    autoencoder: Name | None = None
    text_encoder: Name | None = None


class ImportedPipelineRow(TableRow, frozen=True, kw_only=True):
    """A text-to-image pipeline of diffusers, drawn with as it is: it has no references."""

    is_import: ClassVar[bool] = True
    is_pipeline: ClassVar[bool] = True

    import_: Text = msgspec.field(name="import")
    kind: Literal["diffusers"]
    arm: Name
    seed: Seed
    dtype: Literal["float32", "float16", "bfloat16"]
    revision: Text | None = None


class FinetuneRow(TrainingRow, kw_only=True, frozen=True):
    """A model that starts from another. Latents and texts left out are the other's own; a swap is not."""

    model: Reference
    latents: Reference | None = None
    texts: References | None = None
    swap: Swap | list[Swap] | None = None


# --- generate, score, report


Sampler = samplers.Sampler
Euler = samplers.Euler
Heun = samplers.Heun
Dpmpp2m = samplers.Dpmpp2m
Ddim = samplers.Ddim
FolderScheduler = samplers.FolderScheduler


class GenerateRow(TableRow, frozen=True, kw_only=True):
    """A model to be judged."""

    model: Reference
    benchmarks: Annotated[list[Name], Meta(min_length=1)]
    sampler: Sampler | FolderScheduler
    side_px: Count
    row_group_rows: Count


class ImportedPicturesRow(TableRow, frozen=True, kw_only=True):
    """Pictures made elsewhere: ``<folder>/<benchmark>/<prompt id>/<image index>.png``."""

    is_import: ClassVar[bool] = True

    import_: Text = msgspec.field(name="import")
    arm: Name
    seed: Seed
    benchmarks: Annotated[list[Name], Meta(min_length=1)]
    row_group_rows: Count
    max_image_pixels: Count


class ScoreRow(TableRow, frozen=True, kw_only=True):
    """Scores of one row of generate."""

    images: Reference
    num_bootstrap: Count
    features: Name
    detector: Name | None = None
    answerer: Name | None = None
    real: Reference | None = None
    metrics: Annotated[list[Name], Meta(min_length=1)] | None = None
    style: Name | None = None


class ReportRow(TableRow, frozen=True, kw_only=True):
    """The page of a run."""

    scores: list[Reference]
    num_pictures: Count
    num_captions: Count
