"""The ten stages in order, each with its declaration: parts, files, and which other parts they are made from.

One place says what exists; planning, fingerprints, both engines, status and clean-up walk these declarations with one
generic loop. A part is named by stage, row and part, for example ``recaption``, ``cutmix-vlm``, ``3``. Nothing here
reads a file or knows an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.digest import digest_coordinates

if TYPE_CHECKING:
    from pipeline.params.load import Params

INDEX, MANIFEST, MODEL, UNCONDITIONAL, REPORT = "index", "manifest", "model", "unconditional", "report"
MANIFEST_JSON, REJECTS_PARQUET = "manifest.json", "rejects.parquet"
INDEX_JSON, INDEX_PARQUET = "index.json", "index.parquet"
FINGERPRINT_JSON = "fingerprint.json"
METRICS_JSON, VERDICTS_PARQUET = "metrics.json", "verdicts.parquet"
STYLE, STYLE_PARQUET = "style", "style.parquet"
MODEL_FOLDER, REFERENCES_JSON = "model", "references.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
WEIGHTS = f"{MODEL_FOLDER}/{WEIGHTS_FILE}"
MODEL_FILES = tuple(f"{MODEL_FOLDER}/{name}" for name in ("config.json", WEIGHTS_FILE, REFERENCES_JSON))
PIPELINE_JSON = "pipeline.json"  # of a diffusers folder, instead of those
LOSS_TSV = "curves/loss.tsv"
AUTOENCODERS, TEXT_ENCODERS = "encode_images/autoencoders", "encode_text/encoders"
REPORT_FILES = ("report.html", "report.md", METRICS_JSON, "plots/tasks.csv", "plots/curves.csv")
SeedKind = Literal["data", "train", "generate"]


class Place(NamedTuple):
    """The name of one part of the work."""

    stage: str
    row: str
    part: str

    @property
    def reference(self) -> str:
        """``<stage>/<row>``, as parameters write it."""
        return f"{self.stage}/{self.row}"

    def __str__(self) -> str:
        return f"{self.stage}/{self.row} {self.part}"


@dataclass(frozen=True, slots=True)
class Part:
    """One unit of work: its place, the files that it shows in its row's folder, and what it is made from."""

    place: Place
    files: tuple[str, ...]
    needs: tuple[Place, ...]


@dataclass(frozen=True)
class Stage:
    """What the whole project knows of a stage.

    Attributes:
        name: folder, rule, section, command.
        part_names: the parts of a row, in the order in which they are made.
        part: the declaration of one part.
        seed: which of the three seeds its results are drawn from; None: nothing random.
        tables: row field -> side table whose entry it names (see ``side_table``).
        models: fields (of rows and table entries) that name a model folder or Hub id.
        paths: fields that name a place in the file system which a stamp or digest stands for.
        key_carries_name: keys of the result hold the row's name, so that it is part of the fingerprint.
        does: one line for people.
    """

    name: str
    part_names: Callable[[Params, str], list[str]]
    part: Callable[[Params, str, str], Part]
    seed: SeedKind | None
    does: str
    tables: tuple[tuple[str, str], ...] = ()
    models: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    key_carries_name: bool = False


def split(reference: str) -> tuple[str, str]:
    """``<stage>/<row>`` -> (stage, row)."""
    stage, _, row = reference.partition("/")
    return stage, row


def side_table(params: Params, stage: str, table: str) -> dict[str, Any]:
    """A side table of a stage's own section, or, as ``<section>/<table>``, of another one."""
    section, _, name = table.rpartition("/")
    return params.sections[section or stage].tables[name]


def at(reference: str, part: str | int) -> Place:
    """A part of a referenced row."""
    return Place(*split(reference), str(part))


def shard_file(part: str | int) -> str:
    """The file name of a shard."""
    return f"{int(part):05d}.parquet"


def part_name(text: str) -> str:
    """A part as people and file names write it (``00003``, ``geneval_shapes.00003``) -> its name."""
    head, dot, last = text.rpartition(".")
    return f"{head}{dot}{int(last)}" if last.isdigit() else text


def _shard_names(num_shards: int) -> list[str]:
    return [str(i) for i in range(num_shards)]


# --- how many shards a row has: derived rows have those of what they are made from

_FOLLOWS = {"augment": "images", "recaption": "images", "encode_images": "images", "encode_text": "captions"}


def origin(params: Params, reference: str) -> str:
    """The download or augment row whose rows a reference's rows are (same keys, same shards)."""
    stage, row = split(reference)
    while stage in _FOLLOWS and stage != "augment":
        stage, row = split(getattr(params.row(stage, row), _FOLLOWS[stage]))
    return f"{stage}/{row}"


def num_shards(params: Params, reference: str) -> int:
    """The number of shards of a referenced row."""
    stage, row = split(reference)
    while stage in _FOLLOWS:
        stage, row = split(getattr(params.row(stage, row), _FOLLOWS[stage]))
    number: int = params.row(stage, row).num_shards
    return number


def shard_places(params: Params, reference: str) -> list[Place]:
    """The shards of a referenced row, in order."""
    return [at(reference, number) for number in range(num_shards(params, reference))]


def partner_shard(seed: int, row_name: str, shard: int, number_of_shards: int) -> int:
    """The shard that CutMix partners of ``shard`` come from: a permutation without fixed points (a drawn rotation)."""
    if number_of_shards == 1:
        return shard
    rotation = 1 + digest_coordinates(seed, "augment", "partner_shard", row_name) % (number_of_shards - 1)
    return (shard + rotation) % number_of_shards


# --- declarations


def _shard(place: Place, needs: tuple[Place, ...]) -> Part:
    return Part(place, (shard_file(place.part),), needs)


def _manifest(params: Params, place: Place, extra: tuple[Place, ...] = ()) -> Part:
    return Part(place, (MANIFEST_JSON, REJECTS_PARQUET), (*shard_places(params, place.reference), *extra))


def _sharded_names(stage: str, first: tuple[str, ...] = ()) -> Callable[[Params, str], list[str]]:
    def names(params: Params, row: str) -> list[str]:
        return [*first, *_shard_names(num_shards(params, f"{stage}/{row}")), MANIFEST]

    return names


def _download(params: Params, row: str, part: str) -> Part:
    place, heldout = Place("download", row, part), params.row("download", row).heldout
    if part == INDEX:
        return Part(place, (INDEX_JSON, INDEX_PARQUET), (at(heldout, INDEX),) if heldout else ())
    index = at(place.reference, INDEX)
    if part == MANIFEST:
        return _manifest(params, place, (index,))
    return _shard(place, (index, at(heldout, MANIFEST)) if heldout else (index,))


def _augment(params: Params, row: str, part: str) -> Part:
    place, values = Place("augment", row, part), params.row("augment", row)
    if part == MANIFEST:
        return _manifest(params, place, (at(values.images, MANIFEST),))
    needs = [at(values.images, part)]
    if hasattr(values, "weights"):
        partner = partner_shard(params.seeds.data, row, int(part), num_shards(params, values.images))
        needs += [at(values.images, partner)] if str(partner) != part else []
    return _shard(place, tuple(needs))


def _row_by_row(stage: str, field: str) -> Callable[[Params, str, str], Part]:
    """Stages whose shard i is made from shard i of one other row."""

    def declare(params: Params, row: str, part: str) -> Part:
        place, source = Place(stage, row, part), getattr(params.row(stage, row), field)
        # Captions that are shuffled belong to the same pictures, shard by shard.
        others = [params.row(stage, row).captions] if stage == "recaption" and params.row(stage, row).captions else []
        if part == UNCONDITIONAL:
            return Part(place, (f"{UNCONDITIONAL}.parquet",), ())
        if part == MANIFEST:
            extra = (at(place.reference, UNCONDITIONAL),) if stage == "encode_text" else ()
            return _manifest(params, place, (*(at(one, MANIFEST) for one in (source, *others)), *extra))
        return _shard(place, tuple(at(one, part) for one in (source, *others)))

    return declare


def training_references(params: Params, stage: str, row: str) -> list[str]:
    """All latent and text sets that a model is trained on, those of the model it starts from where it names none."""
    values = params.row(stage, row)
    latents, texts = training_data(params, stage, row)
    swaps = values.swap if isinstance(values.swap, list) else [values.swap] if values.swap else []
    found = [latents, *sorted(texts)]
    for swap in [*swaps, *([values.validation] if values.validation else [])]:
        found += [swap.latents, *sorted(swap.texts)]
    return list(dict.fromkeys(found))


def training_data(params: Params, stage: str, row: str) -> tuple[str, dict[str, float]]:
    """(latents, texts) of a model: its own, else those of the model that it starts from."""
    values = params.row(stage, row)
    latents, texts = values.latents, values.texts
    while latents is None or texts is None:
        stage, row = split(values.model)
        values = params.row(stage, row)
        latents = values.latents if latents is None else latents
        texts = values.texts if texts is None else texts
    return latents, texts


def is_diffusers_folder(values: Any) -> bool:
    """Whether a row of train takes in a pipeline of diffusers, which has no references."""
    return getattr(values, "kind", None) == "diffusers"


def _model(stage: str) -> Callable[[Params, str, str], Part]:
    def declare(params: Params, row: str, part: str) -> Part:
        place, values = Place(stage, row, part), params.row(stage, row)
        if is_diffusers_folder(values):
            return Part(place, (FINGERPRINT_JSON, f"{MODEL_FOLDER}/{PIPELINE_JSON}"), ())
        if hasattr(values, "import_"):
            return Part(place, (FINGERPRINT_JSON, *MODEL_FILES), ())
        needs = [at(reference, MANIFEST) for reference in training_references(params, stage, row)]
        needs += [at(values.model, MODEL)] if stage == "finetune" else []
        return Part(place, (FINGERPRINT_JSON, *MODEL_FILES, LOSS_TSV), tuple(needs))

    return declare


def benchmark_part(benchmark: str, part: str | int) -> str:
    """The name of a benchmark's part: ``geneval_shapes.0``, ``geneval_shapes.manifest``."""
    return f"{benchmark}.{part}"


def split_benchmark(part: str) -> tuple[str, str]:
    """``geneval_shapes.0`` -> (geneval_shapes, 0)."""
    benchmark, _, inner = part.rpartition(".")
    return benchmark, inner


def _generate_names(params: Params, row: str) -> list[str]:
    table = params.sections["generate"].tables["benchmarks"]
    return [
        benchmark_part(benchmark, inner)
        for benchmark in params.row("generate", row).benchmarks
        for inner in [*_shard_names(table[benchmark].num_shards), MANIFEST]
    ]


def _generate(params: Params, row: str, part: str) -> Part:
    place, values = Place("generate", row, part), params.row("generate", row)
    benchmark, inner = split_benchmark(part)
    entry = params.sections["generate"].tables["benchmarks"][benchmark]
    if inner == MANIFEST:
        shards = [at(place.reference, benchmark_part(benchmark, i)) for i in range(entry.num_shards)]
        files = (f"{benchmark}/{MANIFEST_JSON}", f"{benchmark}/{REJECTS_PARQUET}")
        return Part(place, files, tuple(shards))
    needs = [] if hasattr(values, "import_") else [at(values.model, MODEL)]
    needs += [at(entry.captions, MANIFEST)] if hasattr(entry, "captions") else []
    return Part(place, (f"{benchmark}/{shard_file(inner)}",), tuple(needs))


def judged_benchmarks(params: Params, row: str) -> list[str]:
    """The benchmarks that a row of score judges: those that its pictures were drawn for."""
    names: list[str] = list(params.row("generate", split(params.row("score", row).images)[1]).benchmarks)
    return names


def _score_names(params: Params, row: str) -> list[str]:
    return [*judged_benchmarks(params, row), *([STYLE] if params.row("score", row).style else [])]


def _score(params: Params, row: str, part: str) -> Part:
    values = params.row("score", row)
    if part == STYLE:
        probe = side_table(params, "score", "style_probes")[values.style]
        sets = (probe.plain, probe.aesthetic, probe.heldout_plain, probe.heldout_aesthetic)
        pictures = at(values.images, benchmark_part(probe.benchmark, MANIFEST))
        names = tuple(f"{STYLE}/{name}" for name in (FINGERPRINT_JSON, METRICS_JSON, STYLE_PARQUET))
        return Part(Place("score", row, part), names, (pictures, *(at(one, MANIFEST) for one in sets)))
    entry = params.sections["generate"].tables["benchmarks"][part]
    needs = [at(values.images, benchmark_part(part, MANIFEST))]
    compares = hasattr(entry, "captions") and values.real is not None
    needs += [at(values.real, MANIFEST)] if compares else []
    files = tuple(f"{part}/{name}" for name in (FINGERPRINT_JSON, METRICS_JSON, VERDICTS_PARQUET))
    return Part(Place("score", row, part), files, tuple(needs))


def _report(params: Params, row: str, part: str) -> Part:
    """The page shows all data and models of the run, and the scores that its row lists."""
    needs = [Place(stage, name, last) for stage, last in _LAST_PARTS.items() for name in params.rows(stage)]
    for reference in params.row("report", row).scores:
        score = split(reference)[1]
        images = split(params.row("score", score).images)[1]
        needs += [at(reference, name) for name in _score_names(params, score)]
        needs += [at(f"generate/{images}", benchmark_part(b, MANIFEST)) for b in judged_benchmarks(params, score)]
    return Part(Place("report", row, part), (FINGERPRINT_JSON, *REPORT_FILES), tuple(dict.fromkeys(needs)))


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
        paths=("path",),
        key_carries_name=True,
    ),
    Stage(
        "augment",
        _sharded_names("augment"),
        _augment,
        "data",
        "make CutMix and crop pictures of the main set",
        key_carries_name=True,
    ),
    Stage(
        "recaption",
        _sharded_names("recaption"),
        _row_by_row("recaption", "images"),
        "data",
        "write a caption for each picture",
        tables=(("captioner", "captioners"),),
        models=("model",),
    ),
    Stage(
        "encode_images",
        _sharded_names("encode_images"),
        _row_by_row("encode_images", "images"),
        None,
        "encode pictures to raw latents",
        tables=(("autoencoder", "autoencoders"),),
        models=("model",),
    ),
    Stage(
        "encode_text",
        _sharded_names("encode_text", (UNCONDITIONAL,)),
        _row_by_row("encode_text", "captions"),
        None,
        "encode captions to text embeddings",
        tables=(("encoder", "encoders"),),
        models=("model",),
    ),
    Stage(
        "train",
        _one(MODEL),
        _model("train"),
        "train",
        "train a model, or take one in",
        tables=(("autoencoder", AUTOENCODERS), ("text_encoder", TEXT_ENCODERS)),
        models=("import", "model"),
    ),
    Stage("finetune", _one(MODEL), _model("finetune"), "train", "train on from another model"),
    Stage(
        "generate",
        _generate_names,
        _generate,
        "generate",
        "draw the pictures of the benchmarks",
        tables=(("benchmarks", "benchmarks"),),
        models=("import",),
    ),
    Stage(
        "score",
        _score_names,
        _score,
        "generate",
        "judge generated pictures",
        tables=(("features", "feature_extractors"), ("style", "style_probes")),
        models=("model",),
    ),
    Stage("report", _one(REPORT), _report, None, "write the page of the run"),
)
NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)
BY_NAME: dict[str, Stage] = {stage.name: stage for stage in STAGES}


def part_of(params: Params, place: Place) -> Part:
    """The declaration of one place."""
    return BY_NAME[place.stage].part(params, place.row, place.part)
