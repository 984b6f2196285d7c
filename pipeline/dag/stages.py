"""The ten stages in order, each with its declaration: parts, files, and which other units they are made from.

One place says what exists; planning, fingerprints, both engines, status and clean-up walk these declarations with one
generic loop. Nothing here reads a file or knows an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.dag import score_units, units
from pipeline.dag.score_units import judged_benchmarks
from pipeline.dag.units import (
    INDEX,
    MANIFEST,
    MODEL,
    REPORT,
    UNCONDITIONAL,
    Unit,
    UnitId,
    benchmark_part,
    shard_file,
    split_benchmark,
)
from pipeline.data.files import (
    FINGERPRINT_JSON,
    INDEX_JSON,
    INDEX_PARQUET,
    LOSS_TSV,
    MANIFEST_JSON,
    MODEL_FILES,
    MODEL_FOLDER,
    PIPELINE_JSON,
    REJECTS_PARQUET,
    REPORT_FILES,
    ROWS_ARROW,
)
from pipeline.digest import digest_coordinates
from pipeline.params.benchmarks import ROLES
from pipeline.params.captioners import CaptionerParams
from pipeline.params.load import Params
from pipeline.params.references import (
    AUTOENCODERS,
    TEXT_ENCODERS,
    num_shards_of,
    side_table,
    split_reference,
    training_references,
)

# What a row is judged by as a whole: of any stage the manifest alone reads it, and what is made from the row hangs on
# it as little as a shard's bytes do.
JUDGED_BY = frozenset({"max_reject_fraction", "max_garbage_fraction"})
TRAINED_ON = ("encode_images", "encode_text")  # stages whose rows training reads one by one
SeedKind = Literal["data", "train", "generate"]
_NEAR_FIELDS = frozenset({"near_duplicates", "near_duplicate_bits"})


def _all_read(params: Params, row: str, part: str) -> frozenset[str]:
    return frozenset()


def _no_gpu(params: Params, row: str, part: str) -> int:
    return 0


@dataclass(frozen=True)
class Stage:
    """What the whole project knows of a stage.

    Attributes:
        name: folder, rule, section, command.
        part_names: the parts of a row, in the order in which they are made.
        unit: the declaration of one unit.
        seed: which of the three seeds its results are drawn from; None: nothing random.
        tables: row field -> side table whose entry it names, or whose entries it lists (see ``side_table``).
        names_parts: the field whose list names the parts; a part counts the entry that it is called after alone.
        unread: fields of a row, or as ``<field>.<key>`` of an entry that it names, that a part does not read, though
            other parts do; they are no part of its recipe.
        models: fields (of rows and table entries) that name a model folder or Hub id.
        key_carries_name: keys of the result hold the row's name, so that it is part of the fingerprint.
        also: what else its command can be asked for, for its help.
        has_sets: a row may be several sets, made in one pass (see ``pipeline.params.caption_sets``).
        does: one line for people.
        num_gpus: how many GPUs a unit computes on where there are any.
        mem_mb: memory of a unit's job at full size, for schedulers.
        runtime_min: minutes that it may take at full size, for schedulers.
    """

    name: str
    part_names: Callable[[Params, str], list[str]]
    unit: Callable[[Params, str, str], Unit]
    seed: SeedKind | None
    does: str
    mem_mb: int
    runtime_min: int
    num_gpus: Callable[[Params, str, str], int] = _no_gpu
    tables: tuple[tuple[str, str], ...] = ()
    names_parts: str | None = None
    unread: Callable[[Params, str, str], frozenset[str]] = _all_read
    models: tuple[str, ...] = ()
    key_carries_name: bool = False
    also: str = ""
    has_sets: bool = False


def _gpu_of_shard(params: Params, row: str, part: str) -> int:
    return int(part != MANIFEST)


def _captioner_of(params: Params, row: str) -> CaptionerParams:
    entry: CaptionerParams = side_table(params, "recaption", "captioners")[params.row("recaption", row).captioner]
    return entry


def _gpu_of_captioner(params: Params, row: str, part: str) -> int:
    return int(part != MANIFEST and _captioner_of(params, row).pretrained is not None)


def _gpus_of_training(stage: str) -> Callable[[Params, str, str], int]:
    def number(params: Params, row: str, part: str) -> int:
        return 0 if params.row(stage, row).is_import else params.execution.num_processes.get(f"{stage}/{row}", 1)

    return number


def _gpu_of_drawing(params: Params, row: str, part: str) -> int:
    return int(split_benchmark(part)[1] != MANIFEST and not params.row("generate", row).is_import)


def _shard_names(num_shards: int) -> list[str]:
    return [str(i) for i in range(num_shards)]


def shard_units(params: Params, reference: str) -> list[UnitId]:
    """The shards of a referenced row, in order."""
    return [units.unit_id(reference, number) for number in range(num_shards_of(params, reference))]


def partner_shard(seed: int, row_name: str, shard: int, number_of_shards: int) -> int:
    """The shard that CutMix partners of ``shard`` come from: a permutation without fixed points (a drawn rotation)."""
    if number_of_shards == 1:
        return shard
    rotation = 1 + digest_coordinates(seed, "augment", "partner_shard", row_name) % (number_of_shards - 1)
    return (shard + rotation) % number_of_shards


# --- declarations


def _shard(unit_id: UnitId, needs: tuple[UnitId, ...]) -> Unit:
    return Unit(unit_id, (shard_file(unit_id.part),), needs)


def _manifest(params: Params, unit_id: UnitId, extra: tuple[UnitId, ...] = ()) -> Unit:
    files = (MANIFEST_JSON, REJECTS_PARQUET, *((ROWS_ARROW,) if unit_id.stage in TRAINED_ON else ()))
    return Unit(unit_id, files, (*shard_units(params, unit_id.reference), *extra))


def _sharded_names(stage: str, first: tuple[str, ...] = ()) -> Callable[[Params, str], list[str]]:
    def names(params: Params, row: str) -> list[str]:
        return [*first, *_shard_names(num_shards_of(params, f"{stage}/{row}")), MANIFEST]

    return names


def _download(params: Params, row: str, part: str) -> Unit:
    unit_id, heldout = UnitId("download", row, part), params.row("download", row).heldout
    if part == INDEX:
        return Unit(unit_id, (INDEX_JSON, INDEX_PARQUET), (units.unit_id(heldout, INDEX),) if heldout else ())
    index = units.unit_id(unit_id.reference, INDEX)
    needs = (index, units.unit_id(heldout, MANIFEST)) if heldout else (index,)
    return _manifest(params, unit_id, needs) if part == MANIFEST else _shard(unit_id, needs)


def _unread_of_near_duplicates(params: Params, row: str, part: str) -> frozenset[str]:
    """Near-duplicates are counted at all distances; which are near is read by shards that reject them alone."""
    rejects = params.row("download", row).near_duplicates == "reject"
    return _NEAR_FIELDS if part in (INDEX, MANIFEST) or not rejects else frozenset()


def _augment(params: Params, row: str, part: str) -> Unit:
    unit_id, values = UnitId("augment", row, part), params.row("augment", row)
    if part == MANIFEST:
        return _manifest(params, unit_id, (units.unit_id(values.images, MANIFEST),))
    needs = [units.unit_id(values.images, part)]
    if values.mixes:
        partner = partner_shard(params.seeds.data, row, int(part), num_shards_of(params, values.images))
        needs += [units.unit_id(values.images, partner)] if str(partner) != part else []
    return _shard(unit_id, tuple(needs))


def _row_by_row(stage: str, field: str) -> Callable[[Params, str, str], Unit]:
    """Stages whose shard i is made from shard i of one other row."""

    def declare(params: Params, row: str, part: str) -> Unit:
        unit_id, source = UnitId(stage, row, part), getattr(params.row(stage, row), field)
        # Captions that are shuffled belong to the same pictures, shard by shard.
        others = [params.row(stage, row).captions] if stage == "recaption" and params.row(stage, row).captions else []
        if part == UNCONDITIONAL:
            return Unit(unit_id, (f"{UNCONDITIONAL}.parquet",), ())
        if part == MANIFEST:
            extra = (units.unit_id(unit_id.reference, UNCONDITIONAL),) if stage == "encode_text" else ()
            return _manifest(params, unit_id, (*(units.unit_id(one, MANIFEST) for one in (source, *others)), *extra))
        return _shard(unit_id, tuple(units.unit_id(one, part) for one in (source, *others)))

    return declare


_captions = _row_by_row("recaption", "images")


def _recaption_names(params: Params, row: str) -> list[str]:
    first = (INDEX,) if _captioner_of(params, row).joins_by_id else ()
    return _sharded_names("recaption", first)(params, row)


def _recaption(params: Params, row: str, part: str) -> Unit:
    """Published captions are joined with the pictures once, in an index of which each shard reads its own run."""
    if not _captioner_of(params, row).joins_by_id:
        return _captions(params, row, part)
    index = UnitId("recaption", row, INDEX)
    if part == INDEX:
        pictures = units.unit_id(params.row("recaption", row).images, INDEX)
        return Unit(index, (INDEX_JSON, INDEX_PARQUET), (pictures,))
    unit = _captions(params, row, part)
    return replace(unit, needs=(index, *unit.needs))


def _unread_by_recaption(params: Params, row: str, part: str) -> frozenset[str]:
    """How the captions of an index were found is told by the index."""
    fields = () if part == INDEX else _captioner_of(params, row).index_only_fields
    return frozenset(f"captioner.{field}" for field in fields)


def _model(stage: str) -> Callable[[Params, str, str], Unit]:
    def declare(params: Params, row: str, part: str) -> Unit:
        unit_id, values = UnitId(stage, row, part), params.row(stage, row)
        if values.is_pipeline:
            return Unit(unit_id, (FINGERPRINT_JSON, f"{MODEL_FOLDER}/{PIPELINE_JSON}"), ())
        if values.is_import:
            return Unit(unit_id, (FINGERPRINT_JSON, *MODEL_FILES), ())
        needs = [units.unit_id(reference, MANIFEST) for reference in training_references(params, stage, row)]
        needs += [units.unit_id(values.model, MODEL)] if stage == "finetune" else []
        return Unit(unit_id, (FINGERPRINT_JSON, *MODEL_FILES, LOSS_TSV), tuple(needs))

    return declare


def _generate_names(params: Params, row: str) -> list[str]:
    table = params.sections["generate"].tables["benchmarks"]
    return [
        benchmark_part(benchmark, inner)
        for benchmark in params.row("generate", row).benchmarks
        for inner in [*_shard_names(table[benchmark].num_shards), MANIFEST]
    ]


def _generate(params: Params, row: str, part: str) -> Unit:
    unit_id, values = UnitId("generate", row, part), params.row("generate", row)
    benchmark, inner = split_benchmark(part)
    entry = params.sections["generate"].tables["benchmarks"][benchmark]
    if inner == MANIFEST:
        shards = [units.unit_id(unit_id.reference, benchmark_part(benchmark, i)) for i in range(entry.num_shards)]
        files = (f"{benchmark}/{MANIFEST_JSON}", f"{benchmark}/{REJECTS_PARQUET}")
        return Unit(unit_id, files, tuple(shards))
    needs = [] if values.is_import else [units.unit_id(values.model, MODEL)]
    needs += [units.unit_id(entry.caption_set, MANIFEST)] if entry.caption_set else []
    return Unit(unit_id, (f"{benchmark}/{shard_file(inner)}",), tuple(needs))


def _unread_by_download(params: Params, row: str, part: str) -> frozenset[str]:
    """What is checked while a source is listed, or how much of it may be lost, changes nothing in its shards."""
    values = params.row("download", row)
    unread = {INDEX: (), MANIFEST: values.index_only_fields}
    own = frozenset(unread.get(part, (*values.index_only_fields, *values.limit_fields)))
    return own | _unread_of_near_duplicates(params, row, part)


def _report(params: Params, row: str, part: str) -> Unit:
    """The page shows all data and models of the run, and the scores that its row lists."""
    needs = [UnitId(stage, name, last) for stage, last in _LAST_PARTS.items() for name in params.rows(stage)]
    for reference in params.row("report", row).scores:
        score = split_reference(reference)[1]
        images = split_reference(params.row("score", score).images)[1]
        needs += [units.unit_id(reference, name) for name in score_units.results_of(params, score)]
        needs += [
            units.unit_id(f"generate/{images}", benchmark_part(b, MANIFEST)) for b in judged_benchmarks(params, score)
        ]
    return Unit(UnitId("report", row, part), (FINGERPRINT_JSON, *REPORT_FILES), tuple(dict.fromkeys(needs)))


_LAST_PARTS = {
    "download": MANIFEST,
    "augment": MANIFEST,
    "recaption": MANIFEST,
    "encode_images": MANIFEST,
    "encode_text": MANIFEST,
    "train": MODEL,
    "finetune": MODEL,
}


def _one(part: str) -> Callable[[Params, str], list[str]]:
    return lambda params, row: [part]


STAGES: tuple[Stage, ...] = (
    Stage(
        "download",
        _sharded_names("download", (INDEX,)),
        _download,
        "data",
        "index a source of pictures and cut it into shards",
        mem_mb=4000,
        runtime_min=240,
        unread=_unread_by_download,
        key_carries_name=True,
    ),
    Stage(
        "augment",
        _sharded_names("augment"),
        _augment,
        "data",
        "make CutMix and crop pictures of the main set",
        mem_mb=4000,
        runtime_min=240,
        key_carries_name=True,
    ),
    Stage(
        "recaption",
        _recaption_names,
        _recaption,
        "data",
        "write a caption for each picture",
        mem_mb=32000,
        runtime_min=1440,
        num_gpus=_gpu_of_captioner,
        also="--preview N instead of --part: N pictures, captioned, on a page; nothing is made (--preview N --help)",
        tables=(("captioner", "captioners"),),
        unread=_unread_by_recaption,
        models=("model",),
        has_sets=True,
    ),
    Stage(
        "encode_images",
        _sharded_names("encode_images"),
        _row_by_row("encode_images", "images"),
        None,
        "encode pictures to raw latents",
        mem_mb=16000,
        runtime_min=240,
        num_gpus=_gpu_of_shard,
        tables=(("autoencoder", "autoencoders"),),
        models=("model",),
    ),
    Stage(
        "encode_text",
        _sharded_names("encode_text", (UNCONDITIONAL,)),
        _row_by_row("encode_text", "captions"),
        None,
        "encode captions to text embeddings",
        mem_mb=32000,
        runtime_min=240,
        num_gpus=_gpu_of_shard,
        tables=(("encoder", "encoders"),),
        models=("model",),
    ),
    Stage(
        "train",
        _one(MODEL),
        _model("train"),
        "train",
        "train a model, or take one in",
        mem_mb=64000,
        runtime_min=4320,
        num_gpus=_gpus_of_training("train"),
        tables=(("autoencoder", AUTOENCODERS), ("text_encoder", TEXT_ENCODERS)),
        models=("import", "model"),
    ),
    Stage(
        "finetune",
        _one(MODEL),
        _model("finetune"),
        "train",
        "train on from another model",
        mem_mb=64000,
        runtime_min=4320,
        num_gpus=_gpus_of_training("finetune"),
    ),
    Stage(
        "generate",
        _generate_names,
        _generate,
        "generate",
        "draw the pictures of the benchmarks",
        mem_mb=32000,
        runtime_min=480,
        num_gpus=_gpu_of_drawing,
        tables=(("benchmarks", "benchmarks"),),
        names_parts="benchmarks",
        models=("import",),
    ),
    Stage(
        "score",
        score_units.part_names,
        score_units.unit,
        "generate",
        "judge generated pictures",
        mem_mb=32000,
        runtime_min=480,
        num_gpus=score_units.num_gpus,
        tables=(
            *((role, "judges") for role in ROLES),
            *(("metrics", "metrics"), ("features", "feature_extractors"), ("style", "style_probes")),
        ),
        unread=score_units.unread,
        models=("model",),
    ),
    Stage("report", _one(REPORT), _report, None, "write the page of the run", mem_mb=8000, runtime_min=120),
)
BY_NAME: dict[str, Stage] = {stage.name: stage for stage in STAGES}


def unit_of(params: Params, unit_id: UnitId) -> Unit:
    """The declaration of one place."""
    return BY_NAME[unit_id.stage].unit(params, unit_id.row, unit_id.part)
