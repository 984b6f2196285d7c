"""What parameters mean together: references that lead somewhere, values that do not conflict.

Everything here is refused before work starts, with the key, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import Refusal
from pipeline.params import datasets, kinds, schema
from pipeline.params.check_scores import check_score
from pipeline.params.check_where import Where, known_model, named_by_kind, once, tag
from pipeline.params.fits import kind_of, misfit
from pipeline.params.load import Params, load
from pipeline.params.network_sizes import downsampling_factor
from pipeline.params.networks import NetworkParams
from pipeline.params.places import refuse_places_of_results
from pipeline.params.references import (
    AUTOENCODERS,
    TEXT_ENCODERS,
    base_of,
    data_of_model,
    origin,
    side_table,
    split_reference,
)
from pipeline.params.schema import STAGE_NAMES
from pipeline.params.types import Fault
from pipeline.params.unpinned import pin_fault, refuse_unpinned

IMAGE_STAGES = ("download", "augment")
MODEL_STAGES = ("train", "finetune")
PUBLISHED_BENCHMARKS = ("geneval", "dpg")


def project_params(path: Path, project: Path) -> Params:
    """Parameters of a project, read and checked.

    Raises:
        Refusal: as ``load`` and ``check`` do.
        Unpinned: something of the Hub has no commit yet.
    """
    params = load(path, project)
    refuse_unpinned(params)
    check(params)
    refuse_places_of_results(params, project)
    return params


def check(params: Params) -> None:
    """Check a whole set of parameters. Raises Refusal with the first fault found, in the order of the stages."""
    for stage in STAGE_NAMES:
        for row in params.rows(stage):
            _CHECKS[stage](Where(params, stage, row), params.row(stage, row))
    _execution(params)


def _execution(params: Params) -> None:
    def refuse(reference: str, why: str) -> Refusal:
        return Refusal(f"{params.source}: execution.num_processes.{reference}: {why}")

    for reference, number in params.execution.num_processes.items():
        stage, row = split_reference(reference)
        if stage not in MODEL_STAGES or row not in params.sections[stage].rows:
            raise refuse(reference, "must name a row of train or finetune")
        values = params.row(stage, row)
        if values.is_import:
            raise refuse(reference, "is taken in, not trained; leave it out")
        if values.batch_size % number:
            raise refuse(reference, f"its batch_size {values.batch_size} cannot be split among {number}")


def _refuse_fault(where: Where, fault: tuple[str, Any, str] | None) -> None:
    if fault is not None:
        raise where.refuse(*fault)


def _download(where: Where, row: datasets.DownloadRow) -> None:
    _refuse_fault(where, row.fault())
    if row.heldout is None:
        if row.near_duplicates == "reject":
            why = (
                "rejects what is near to a held-out picture, and this row names no `heldout`; within a set: count alone"
            )
            raise where.refuse("near_duplicates", row.near_duplicates, why)
        return
    held = where.reference("heldout", row.heldout, ("download",))
    if held.heldout is not None:
        raise where.refuse("heldout", row.heldout, "must name a row that has no held-out rows itself")
    if tag(row) != tag(held):
        raise where.refuse("heldout", row.heldout, f"must come from the same source: its source is {tag(held)!r}")
    for key in row.same_as_heldout:
        if getattr(row, key) != getattr(held, key):
            why = f"must come from the same source: its {key} is {getattr(held, key)!r}"
            raise where.refuse("heldout", row.heldout, why)


def _augment(where: Where, row: datasets.AugmentRow) -> None:
    where.reference("images", row.images, ("download",))
    _refuse_fault(where, row.fault())


def _recaption(where: Where, row: schema.RecaptionRow) -> None:
    images = where.reference("images", row.images, IMAGE_STAGES)
    captioner = where.table("captioner", row.captioner, "captioners")
    if captioner.reads_captions:
        _shuffled(where, row)
    elif row.captions is not None:
        raise where.refuse("captions", row.captions, f"{row.captioner} makes its own; only kind shuffled reads others")
    if fault := captioner.fault():
        raise where.refuse(f"captioner{fault.key}", fault.value if fault.key else row.captioner, fault.why)
    if captioner.needs_labels and isinstance(images, datasets.AugmentRow):
        raise where.refuse("captioner", row.captioner, f"{row.images} has no labels to make captions of")
    if captioner.needs_source_text and isinstance(images, datasets.AugmentRow):
        why = f"{row.images} has no texts: its pictures are made here; name {images.images}, or a captioner that looks"
        raise where.refuse("captioner", row.captioner, why)
    if captioner.joins_by_id and isinstance(images, datasets.AugmentRow):
        why = (
            f"{row.images} has pictures that are made here, which nobody else has captioned: take a captioner that "
            f"looks (kind local), or name {images.images}"
        )
        raise where.refuse("captioner", row.captioner, why)
    if captioner.pretrained is not None:
        known_model(where, "captioner", *captioner.pretrained)


def _shuffled(where: Where, row: schema.RecaptionRow) -> None:
    if row.captions is None:
        raise where.refuse("captions", None, f"{row.captioner} shuffles another row's captions: name it")
    other = where.reference("captions", row.captions, ("recaption",))
    if other.images != row.images:
        raise where.refuse("captions", row.captions, f"captions of {other.images}, not of {row.images}")
    if other.captions is not None:
        raise where.refuse("captions", row.captions, "is shuffled itself; name the row that it was made from")


def _encode_images(where: Where, row: schema.EncodeImagesRow) -> None:
    images = where.reference("images", row.images, IMAGE_STAGES)
    autoencoder = where.table("autoencoder", row.autoencoder, "autoencoders")
    known_model(where, "autoencoder", autoencoder.model, autoencoder.revision)
    if fault := autoencoder.fault():
        raise where.refuse(f"autoencoder.{fault.key}", fault.value, fault.why)
    if isinstance(images, datasets.AugmentRow) and images.side_px < row.side_px:
        raise where.refuse("side_px", row.side_px, f"{row.images} has pictures of {images.side_px} px only")


def _encode_text(where: Where, row: schema.EncodeTextRow) -> None:
    where.reference("captions", row.captions, ("recaption",))
    encoder = where.table("encoder", row.encoder, "encoders")
    known_model(where, "encoder", encoder.model, encoder.revision)
    if fault := encoder.fault():
        raise where.refuse(f"encoder.{fault.key}", fault.value, fault.why)


def _pairs(where: Where, prefix: str, latents: str, texts: dict[str, float]) -> tuple[str, Any]:
    """Latents and texts of the same pictures. Returns where the pictures come from, and the latent set's row."""
    latent_row = where.reference(f"{prefix}latents", latents, ("encode_images",))
    home = origin(where.params, latents)
    for text in texts:
        where.reference(f"{prefix}texts", text, ("encode_text",))
        other = origin(where.params, text)
        if other != home:
            raise where.refuse(f"{prefix}texts", text, f"captions of {other}, but the latents are of {home}")
    return home, latent_row


def _pictures(where: Where, home: str) -> str:
    """The row of download that pictures were made from."""
    return base_of(where.params, home)


def _training(where: Where, row: Any, latents: str, texts: dict[str, float], before: Iterable[str] = ()) -> None:
    """Data of a training; ``before``: rows of pictures that the model was trained on before."""
    home, latent_row = _pairs(where, "", latents, texts)
    trained_on = {_pictures(where, one) for one in (home, *before)}
    encoders = {where.params.row(*split_reference(text)).encoder for text in texts}
    swaps = row.swap if isinstance(row.swap, list) else [row.swap] if row.swap else []
    for swap in swaps:
        other, other_row = _pairs(where, "swap.", swap.latents, swap.texts)
        if other == home or base_of(where.params, other) != home:
            raise where.refuse("swap.latents", swap.latents, f"must be made from {home}, row by row")
        _same_latents(where, "swap.latents", swap.latents, other_row, latent_row)
        encoders |= {where.params.row(*split_reference(text)).encoder for text in swap.texts}
        if len(swaps) > 1 and swap.weight is None:
            raise where.refuse("swap.weight", None, "each of several swaps needs a weight")
        if len(swaps) == 1 and swap.weight is not None:
            raise where.refuse("swap.weight", swap.weight, "weighs several swaps; the only one has none")
    if row.validation:
        other, other_row = _pairs(where, "validation.", row.validation.latents, row.validation.texts)
        if _pictures(where, other) in trained_on:
            why = f"are made of {_pictures(where, other)}, which the model is trained on"
            raise where.refuse("validation.latents", row.validation.latents, why)
        _same_latents(where, "validation.latents", row.validation.latents, other_row, latent_row)
        encoders |= {where.params.row(*split_reference(text)).encoder for text in row.validation.texts}
    if len(encoders) > 1:
        raise where.refuse("texts", sorted(texts), f"text sets of several encoders ({', '.join(sorted(encoders))})")
    _schedule(where, row)
    if fault := row.objective.fault():
        raise where.refuse(f"objective.{fault.key}", fault.value, fault.why)


def _same_latents(where: Where, key: str, reference: str, other: Any, own: Any) -> None:
    for name in ("autoencoder", "side_px", "view"):
        if getattr(other, name) != getattr(own, name):
            raise where.refuse(key, reference, f"its {name} is {getattr(other, name)!r}, not {getattr(own, name)!r}")


def _schedule(where: Where, row: Any) -> None:
    busy = row.schedule.num_warmup_steps + getattr(row.schedule, "num_decay_steps", 0)
    if busy > row.num_steps:
        raise where.refuse("num_steps", row.num_steps, f"warm-up and decay alone take {busy} steps")
    if row.validate_every_steps % row.log_every_steps:
        raise where.refuse("validate_every_steps", row.validate_every_steps, "must be a multiple of log_every_steps")


def _train(where: Where, row: Any) -> None:
    if isinstance(row, schema.ImportedPipelineRow):
        _known_import(where, row)
        return
    if isinstance(row, schema.ImportedModelRow):
        _imported_model(where, row)
        return
    network = row.network
    _refuse_network(where, network.size_fault() or network.objective_fault(row.objective))
    _refuse_network(where, network.optimizer_fault(row.optimizer.__struct_config__.tag))
    _training(where, row, row.latents, row.texts)
    _refuse_network(where, _latents_fault(where, network, row.latents))


def _refuse_network(where: Where, fault: Fault | None) -> None:
    if fault is not None:
        raise where.refuse(f"network.{fault.key}", fault.value, fault.why)


def _latents_fault(where: Where, network: NetworkParams, latents: str, side_px: int | None = None) -> Fault | None:
    """Why a network cannot take a latent set, or one like it of another side."""
    row = where.params.row(*split_reference(latents))
    entry = side_table(where.params, "encode_images", "autoencoders").get(row.autoencoder)
    factor = None if entry is None else downsampling_factor(Path(entry.model) / (entry.subfolder or ""))
    return network.latents_fault(row.side_px if side_px is None else side_px, factor)


def _imported_model(where: Where, row: schema.ImportedModelRow) -> None:
    """Both encoders are named or none; whether the folder's form asks for them is seen when it is read."""
    _known_import(where, row)
    encoders = {
        "autoencoder": (row.autoencoder, AUTOENCODERS),
        "text_encoder": (row.text_encoder, TEXT_ENCODERS),
    }
    for key, (name, table) in encoders.items():
        if name is not None:
            entry = where.table(key, name, table)
            known_model(where, key, entry.model, entry.revision)
            if table == AUTOENCODERS and (fault := entry.fault()):
                raise where.refuse(f"{key}.{fault.key}", fault.value, fault.why)
        elif any(other is not None for other, _ in encoders.values()):
            raise where.refuse(key, None, "autoencoder and text_encoder are named together, or neither is")


def _known_import(where: Where, row: Any) -> None:
    if (fault := pin_fault(row.import_, getattr(row, "revision", None))) is not None:
        raise where.refuse(fault.key or "import", fault.value, fault.why)


def _finetune(where: Where, row: schema.FinetuneRow) -> None:
    chain = [f"finetune/{where.row}"]
    reference = row.model
    while True:
        other = where.reference("model", reference, MODEL_STAGES)
        if reference in chain:
            raise where.refuse("model", row.model, f"a circle: {' -> '.join([*chain, reference])}")
        chain.append(reference)
        if split_reference(reference)[0] == "train":
            break
        reference = other.model
    if isinstance(other, schema.ImportedPipelineRow):
        raise where.refuse("model", row.model, f"{reference} is a diffusers folder: it is drawn with, not trained on")
    imported = isinstance(other, schema.ImportedModelRow)
    if imported and (row.latents is None or row.texts is None):
        raise where.refuse("model", row.model, "was made elsewhere: name latents and texts to train it on")
    latents, texts = data_of_model(where.params, "finetune", where.row)
    earlier_latents = [data_of_model(where.params, *split_reference(model))[0] for model in chain[1:] if not imported]
    _training(where, row, latents, texts, before=[origin(where.params, one) for one in earlier_latents])
    if isinstance(other, schema.TrainRow):
        _same_spaces(where, row.model, latents, texts)
        fault = _latents_fault(where, other.network, latents)
        if fault is not None:
            why = f"{reference} cannot take it: network.{fault.key} = {fault.value!r}: {fault.why}"
            raise where.refuse("latents", latents, why)
        if row.objective.prediction() != other.objective.prediction():
            why = f"{reference} was trained with another: kind and gamma must be the same"
            raise where.refuse("objective.kind", kind_of(row.objective), why)


def _same_spaces(where: Where, model: str, latents: str, texts: dict[str, float]) -> None:
    """A model goes on in the latents and text embeddings that it knows; their resolution may be another."""

    def named(field: str, references: Iterable[str]) -> list[str]:
        return sorted({getattr(where.params.row(*split_reference(reference)), field) for reference in references})

    known_latents, known_texts = data_of_model(where.params, *split_reference(model))
    for key, field, own, expected in (
        ("latents", "autoencoder", [latents], [known_latents]),
        ("texts", "encoder", list(texts), list(known_texts)),
    ):
        if named(field, own) != named(field, expected):
            why = f"encoded by {', '.join(named(field, own))}, but {model} knows {', '.join(named(field, expected))}"
            raise where.refuse(key, latents if key == "latents" else sorted(texts), why)


def _generate(where: Where, row: Any) -> None:
    if isinstance(row, schema.ImportedPicturesRow):
        _known_import(where, row)
    else:
        model = where.reference("model", row.model, MODEL_STAGES)
        _sampler(where, row.sampler, model)
        _drawn_side(where, row)
    types: list[Any] = list(kinds.BENCHMARKS.paths)
    methods = {*PUBLISHED_BENCHMARKS, *(tag(kind) for kind in types if not kind.name_is_free)}
    for name in once(where, "benchmarks", row.benchmarks, "benchmark"):
        entry = where.table("benchmarks", name, "benchmarks")
        if entry.caption_set is not None:
            where.reference(f"benchmarks.{name}.captions", entry.caption_set, ("recaption",))
        if not entry.name_is_free:
            named_by_kind(where, "benchmarks", name, entry)
        elif name.split("-")[0] in methods:
            raise where.refuse("benchmarks", name, "is the name of another method: names carry the method")


def _drawn_side(where: Where, row: schema.GenerateRow) -> None:
    """Patches must divide what is drawn; a network that learned its places draws pictures of one side alone."""
    reference = row.model
    while (stage_and_row := split_reference(reference))[0] == "finetune":
        reference = where.params.row(*stage_and_row).model
    model = where.params.row(*stage_and_row)
    if not isinstance(model, schema.TrainRow):
        return
    if model.network.draws_one_side:
        trained_px = where.params.row(*split_reference(model.latents)).side_px
        if row.side_px != trained_px:
            raise where.refuse("side_px", row.side_px, f"{reference} draws pictures of {trained_px} px alone")
    else:
        fault = _latents_fault(where, model.network, model.latents, side_px=row.side_px)
        if fault is not None:
            raise where.refuse("side_px", row.side_px, f"{reference} cannot draw it: {fault.why}")


def _sampler(where: Where, sampler: Any, model: Any) -> None:
    is_folder = isinstance(model, schema.ImportedPipelineRow)
    if is_folder != isinstance(sampler, schema.FolderScheduler):
        reason = (
            "a diffusers folder draws with its own scheduler: take {kind: folder, num_steps, guidance_scale}"
            if is_folder
            else "is for diffusers folders alone"
        )
        raise where.refuse("sampler.kind", kind_of(sampler), reason)
    if is_folder:
        return
    lowest, highest = sampler.guidance_interval
    if lowest > highest:
        raise where.refuse("sampler.guidance_interval", sampler.guidance_interval, "must be [lowest t, highest t]")
    if isinstance(model, schema.ImportedModelRow):
        return  # made elsewhere: what it predicts is written beside its weights
    why = misfit(sampler, kind_of(model.objective))
    if why is not None:
        raise where.refuse("sampler.kind", kind_of(sampler), why)


def _report(where: Where, row: schema.ReportRow) -> None:
    rows = where.params.rows("report")
    if rows != ["main"]:
        raise where.refuse("scores", row.scores, f"a run has one page, the row main; there are {', '.join(rows)}")
    for reference in row.scores:
        where.reference("scores", reference, ("score",))


_CHECKS: dict[str, Callable[[Where, Any], None]] = {
    "download": _download,
    "augment": _augment,
    "recaption": _recaption,
    "encode_images": _encode_images,
    "encode_text": _encode_text,
    "train": _train,
    "finetune": _finetune,
    "generate": _generate,
    "score": check_score,
    "report": _report,
}
