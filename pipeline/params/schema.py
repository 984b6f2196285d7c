"""Every parameter as a frozen, strict type: one class per kind of row, none with a default for a value.

A class is a row *as resolved*: the common values of its section and its own together. Only references that may be
absent are optional. Bounds stand in the annotations, so that a refusal can say what is allowed. ``params/demo.yaml``
explains each value to people; the meaning is told there once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipeline.params import networks, samplers
from pipeline.params.types import (
    Count,
    CountOrZero,
    Fraction,
    Name,
    NotNegative,
    OpenFraction,
    PerChannel,
    Positive,
    Reference,
    References,
    Seed,
    StorageDtype,
    Strict,
    Text,
    Weights,
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
    num_processes: dict[Reference, Count]
    checkpoint_every: Count


class TableRow(Strict, frozen=True, kw_only=True):
    """What the rows of all stages have in common."""

    version: Count


class ShardedRow(TableRow, frozen=True, kw_only=True):
    """A row whose result is a set of shards."""

    max_reject_fraction: Fraction
    row_group_rows: Count


# --- download


class DownloadRow(ShardedRow, tag_field="source", frozen=True, kw_only=True):
    """A dataset."""

    revision: Count
    num_rows: Count | Literal["all"]
    num_shards: Count
    max_image_pixels: Count
    heldout: Reference | None = None


class ShapeWorldRow(DownloadRow, tag="shape_world", kw_only=True, frozen=True):
    """Pictures of the demo's own small world."""

    num_scenes: Count
    style: Literal["plain", "aesthetic"]
    layout: Literal["grid", "corners"]
    several: Fraction
    side_px: Count


class FolderRow(DownloadRow, tag="folder", kw_only=True, frozen=True):
    """Pictures of a folder, one sub-folder a class."""

    path: Text


# --- augment


class AugmentRow(ShardedRow, tag_field="kind", frozen=True, kw_only=True):
    """A dataset made from another, row by row."""

    images: Reference
    side_px: Count


class CutMixWeights(Strict, frozen=True, kw_only=True):
    """How often each CutMix pattern is drawn, relative to the others."""

    half: NotNegative
    quarter: NotNegative
    ninth: NotNegative
    sixteenth: NotNegative


class CutMixRow(AugmentRow, tag="cutmix", frozen=True, kw_only=True):
    """A picture with a part of another class pasted in."""

    weights: CutMixWeights


class CropRow(AugmentRow, tag="crop", frozen=True, kw_only=True):
    """A random square part of a picture."""

    min_scale: Annotated[float, Meta(gt=0.0, le=1.0)]
    max_scale: Annotated[float, Meta(gt=0.0, le=1.0)]


# --- recaption


class LabelCaptioner(Strict, tag_field="kind", tag="label", frozen=True, kw_only=True):
    """A caption made from the class name alone."""

    template: Text


class LocalCaptioner(Strict, tag_field="kind", tag="local", frozen=True, kw_only=True):
    """A vision-language model run here."""

    model: Text
    side_px: Count
    instructions: Weights
    max_new_tokens: Count
    cut_at_full_stop: bool
    loop_ngram_words: Count
    loop_max_repeats: Count
    dtype: Literal["float32", "float16", "bfloat16"]
    revision: Text | None = None


class ShuffledCaptioner(Strict, tag_field="kind", tag="shuffled", frozen=True, kw_only=True):
    """Another set's captions, each given to another picture of its shard: a control."""


Captioner = LabelCaptioner | LocalCaptioner | ShuffledCaptioner


class RecaptionRow(ShardedRow, frozen=True, kw_only=True):
    """A caption set."""

    images: Reference
    captioner: Name
    captions: Reference | None = None


# --- encode_images, encode_text


class Autoencoder(Strict, frozen=True, kw_only=True):
    """An image autoencoder and how its raw latents are scaled when they are read."""

    model: Text
    scale: PerChannel
    source: Text
    shift: PerChannel | None = None
    revision: Text | None = None
    subfolder: Text | None = None


class EncodeImagesRow(ShardedRow, frozen=True, kw_only=True):
    """A latent set."""

    images: Reference
    autoencoder: Name
    side_px: Count
    view: Literal["square"]
    dtype: StorageDtype


class TextEncoder(Strict, frozen=True, kw_only=True):
    """A text encoder and the longest text it is given."""

    model: Text
    max_text_tokens: Count
    revision: Text | None = None


class EncodeTextRow(ShardedRow, frozen=True, kw_only=True):
    """A text set."""

    captions: Reference
    encoder: Name
    dtype: StorageDtype


# --- train, finetune


DiTI = networks.DiTI
RIN = networks.RIN


class UniformTimesteps(Strict, tag_field="kind", tag="uniform", frozen=True, kw_only=True):
    """t uniform in (0, 1)."""


class LogitNormalTimesteps(Strict, tag_field="kind", tag="logit_normal", frozen=True, kw_only=True):
    """t = sigmoid(mean + std * normal)."""

    mean: float
    std: Positive


class LinearGamma(Strict, tag_field="kind", tag="linear", frozen=True, kw_only=True):
    """gamma = max(1 - t, clip_min)."""

    clip_min: OpenFraction


class SigmoidGamma(Strict, tag_field="kind", tag="sigmoid", frozen=True, kw_only=True):
    """gamma falls along a sigmoid between start and end, at temperature tau."""

    start: float
    end: float
    tau: Positive
    clip_min: OpenFraction
    clip_max: OpenFraction


class TrainingObjective(Strict, tag_field="kind", frozen=True, kw_only=True):
    """What a network is asked, and at which t between picture (t = 0) and noise (t = 1)."""

    timesteps: UniformTimesteps | LogitNormalTimesteps
    shift: Positive


class RectifiedFlow(TrainingObjective, tag="rectified_flow", frozen=True, kw_only=True):
    """Velocity prediction on the straight path."""


class NoisePrediction(TrainingObjective, tag="noise", frozen=True, kw_only=True):
    """Noise prediction on the variance-preserving path of a gamma."""

    gamma: LinearGamma | SigmoidGamma


class VPrediction(TrainingObjective, tag="v", frozen=True, kw_only=True):
    """v-prediction on the variance-preserving path of a gamma."""

    gamma: LinearGamma | SigmoidGamma


Objective = RectifiedFlow | NoisePrediction | VPrediction


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


class ConstantSchedule(Strict, tag_field="kind", tag="constant", frozen=True, kw_only=True):
    """Linear warm-up, then a constant rate. More steps may be asked for later."""

    num_warmup_steps: CountOrZero


class CosineSchedule(Strict, tag_field="kind", tag="cosine", frozen=True, kw_only=True):
    """Linear warm-up, then a cosine down to a fraction of the rate."""

    num_warmup_steps: CountOrZero
    final_fraction: Fraction


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


class TrainingRow(TableRow, frozen=True, kw_only=True):
    """What training and finetuning have in common."""

    objective: Objective
    optimizer: AdamW | Muon
    schedule: ConstantSchedule | CosineSchedule | WarmupStableDecay
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


class TrainRow(TrainingRow, kw_only=True, frozen=True):
    """A model trained from scratch."""

    arm: Name
    network: DiTI | RIN
    latents: Reference
    texts: References
    swap: Swap | list[Swap] | None = None


class ImportedModelRow(TableRow, frozen=True, kw_only=True):
    """A model made elsewhere and taken in."""

    import_: Text = msgspec.field(name="import")
    arm: Name
    seed: Seed
    revision: Text | None = None
    subfolder: Text | None = None
    autoencoder: Name | None = None
    text_encoder: Name | None = None


class ImportedPipelineRow(TableRow, frozen=True, kw_only=True):
    """A text-to-image pipeline of diffusers, drawn with as it is."""

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


# What the world of shapes has contents and words for.
MAX_PROMPTS_PER_TASK, MAX_DENSE_PROMPTS = 48, 1152


class GenevalShapesBenchmark(Strict, tag_field="kind", tag="geneval_shapes", frozen=True, kw_only=True):
    """GenEval's six tasks over shapes and colours."""

    num_prompts_per_task: Annotated[int, Meta(ge=1, le=MAX_PROMPTS_PER_TASK)]
    num_images: Count
    num_shards: Count


class GenevalShapesLongBenchmark(Strict, tag_field="kind", tag="geneval_shapes_long", frozen=True, kw_only=True):
    """The same contents in the length of full captions."""

    num_prompts_per_task: Annotated[int, Meta(ge=1, le=MAX_PROMPTS_PER_TASK)]
    num_images: Count
    num_shards: Count


class DpgShapesBenchmark(Strict, tag_field="kind", tag="dpg_shapes", frozen=True, kw_only=True):
    """DPG-Bench's questions about dense prompts over shapes and colours."""

    num_prompts: Annotated[int, Meta(ge=1, le=MAX_DENSE_PROMPTS)]
    num_images: Count
    num_shards: Count


class CaptionsBenchmark(Strict, tag_field="kind", tag="captions", frozen=True, kw_only=True):
    """Pictures for captions of real pictures, for distances between the two sets."""

    captions: Reference
    num_images: Count
    num_shards: Count


Benchmark = GenevalShapesBenchmark | GenevalShapesLongBenchmark | DpgShapesBenchmark | CaptionsBenchmark


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

    import_: Text = msgspec.field(name="import")
    arm: Name
    seed: Seed
    benchmarks: Annotated[list[Name], Meta(min_length=1)]
    row_group_rows: Count
    max_image_pixels: Count


class Features(Strict, frozen=True, kw_only=True):
    """An image encoder whose features distances are measured on."""

    model: Text
    side_px: Count
    demo: bool
    revision: Text | None = None


class ScoreRow(TableRow, frozen=True, kw_only=True):
    """Scores of one row of generate."""

    images: Reference
    num_bootstrap: Count
    kid_subset_size: Count
    kid_num_subsets: Count
    features: Name
    real: Reference | None = None
    style: Name | None = None


class ReportRow(TableRow, frozen=True, kw_only=True):
    """The page of a run."""

    scores: list[Reference]
    num_pictures: Count
    num_captions: Count
