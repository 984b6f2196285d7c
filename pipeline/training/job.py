"""From a row of train or finetune to what the trainer takes: sets in the store, the references, the first weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pipeline.dag import units
from pipeline.dag.units import MANIFEST, MODEL, UNCONDITIONAL
from pipeline.data.files import MODEL_FOLDER, REFERENCES_JSON, ROWS_ARROW
from pipeline.data.manifest import read_manifest
from pipeline.data.randomness import torch_generator
from pipeline.data.schema import Meta
from pipeline.encoders.scaling import LatentScaling, given, with_scaling
from pipeline.errors import Refusal
from pipeline.interop import references
from pipeline.interop.references import VERSION, References
from pipeline.params.references import data_of_model, split_reference
from pipeline.runner.job import Job
from pipeline.training.sets import LatentSet, SwapSet, TextSet, TrainingData, ValidationData


def first_weights(job: Job) -> tuple[Callable[[], Any], References]:
    """How the network begins (fresh, or as the model that a finetuning starts from), and the references it exports."""
    from pipeline.models.networks import check_trainable, load_network, new_network

    if job.unit_id.stage == "finetune":
        folder = job.input(units.unit_id(job.row_params.model, MODEL), f"{MODEL_FOLDER}/{REFERENCES_JSON}").parent
        start = references.read(folder)
        own = references_of(job, start.arm)
        where = f"finetune.rows.{job.unit_id.row}.model = {job.row_params.model!r}"
        check_same_encoders(own, start, where)
        check_same_prediction(own, start, where)
        check_trainable(folder, references.chosen_scores(start, {}), where)
        conditions = ("self_conditioning", "scores", "negative_scores")  # beside the text; not its own empty caption
        own = msgspec.structs.replace(own, **{name: getattr(start, name) for name in conditions})
        return lambda: load_network(folder), own
    seed = job.plan.params.seeds.train
    channels, dim = latent_channels(job), text_dim(job)

    def fresh() -> Any:
        generator = torch_generator(seed, "train", "weights", job.row_params.seed)
        return new_network(job.row_params.network, in_channels=channels, text_dim=dim, generator=generator)

    own = references_of(job, job.row_params.arm)
    share = job.row_params.network.first_pass_share()
    return fresh, own if share is None else msgspec.structs.replace(own, self_conditioning=share)


def training_data(job: Job) -> TrainingData:
    """All sets that a row is trained on, as paths in the store."""
    latents, texts = data_of_model(job.plan.params, job.unit_id.stage, job.unit_id.row)
    swaps = (
        job.row_params.swap
        if isinstance(job.row_params.swap, list)
        else [job.row_params.swap]
        if job.row_params.swap
        else []
    )
    validation = job.row_params.validation
    return TrainingData(
        latents=_latents(job, latents),
        texts=_texts(job, texts),
        swaps=tuple(
            SwapSet(
                latents=_latents(job, swap.latents),
                texts=_texts(job, swap.texts),
                above_t=swap.above_t,
                probability=swap.probability,
                weight=1.0 if swap.weight is None else swap.weight,
            )
            for swap in swaps
        ),
        validation=None
        if validation is None
        else ValidationData(_latents(job, validation.latents), _texts(job, validation.texts)),
    )


def references_of(job: Job, arm: str) -> References:
    """Which autoencoder and text encoder the row's sets were made with."""
    latents, texts = data_of_model(job.plan.params, job.unit_id.stage, job.unit_id.row)
    autoencoder = scaled_autoencoder(job, latents)
    encoder = _encoder(job, next(iter(sorted(texts))))
    identify = job.plan.digests.model
    return References(
        schema=VERSION,
        arm=arm,
        seed=job.row_params.seed,
        autoencoder=autoencoder,
        autoencoder_identity=identify(autoencoder.model, autoencoder.revision, "autoencoder"),
        text_encoder=encoder,
        text_encoder_identity=identify(encoder.model, encoder.revision, "text_encoder"),
        shift=job.row_params.objective.shift,
        objective=references.recorded(job.row_params.objective),
    )


def check_same_encoders(own: References, other: References, where: str) -> None:
    """A finetuned model must go on with the encoders of the model it starts from. Raises Refusal."""
    for what in ("autoencoder", "text_encoder"):
        mine, theirs = getattr(own, f"{what}_identity"), getattr(other, f"{what}_identity")
        if mine != theirs:
            raise Refusal(f"{where}: its sets were made with the {what} {mine}, the model was trained with {theirs}")
    read, trained = given(own.autoencoder), given(other.autoencoder)
    for name in ("scale", "shift"):
        mine, theirs = getattr(read, name), getattr(trained, name)
        if mine != theirs:
            raise Refusal(f"{where}: latents are read with {name} {mine}, the model was trained with {theirs}")


def check_same_prediction(own: References, other: References, where: str) -> None:
    """A finetuned model must be asked for what it has learned to predict. Raises Refusal."""
    mine, theirs = references.prediction_of(own), references.prediction_of(other)
    if mine != theirs:
        raise Refusal(f"{where}: is asked to predict {mine}, the model was trained to predict {theirs}")


def latent_channels(job: Job) -> int:
    """Channels of the row's latents, from their first shard."""
    from pipeline.data.schema import LATENTS, Meta
    from pipeline.data.shards import Shard

    latents, _ = data_of_model(job.plan.params, job.unit_id.stage, job.unit_id.row)
    return int(Shard(job.input(units.unit_id(latents, 0)), LATENTS).metadata[Meta.CHANNELS])


def text_dim(job: Job) -> int:
    """Width of the row's text embeddings, from the unconditional one."""
    from pipeline.data.schema import TEXT, Meta
    from pipeline.data.shards import Shard

    _, texts = data_of_model(job.plan.params, job.unit_id.stage, job.unit_id.row)
    return int(Shard(job.input(units.unit_id(sorted(texts)[0], UNCONDITIONAL)), TEXT).metadata[Meta.DIM])


def _latents(job: Job, reference: str) -> LatentSet:
    read = given(scaled_autoencoder(job, reference))
    return LatentSet(tuple(_shards(job, reference)), read.scale, read.shift, _index(job, reference))


def _texts(job: Job, weights: dict[str, float]) -> tuple[tuple[TextSet, float], ...]:
    return tuple(
        (
            TextSet(
                tuple(_shards(job, reference)),
                job.input(units.unit_id(reference, UNCONDITIONAL)),
                _index(job, reference),
            ),
            weights[reference],
        )
        for reference in sorted(weights)
    )


def _shards(job: Job, reference: str) -> list[Path]:
    """Paths of a set's shards, after its manifest: a chain with a missing link is refused here."""
    job.input(units.unit_id(reference, MANIFEST))
    return job.shard_paths(reference)


def _index(job: Job, reference: str) -> Path:
    return job.input(units.unit_id(reference, MANIFEST), ROWS_ARROW)


def scaled_autoencoder(job: Job, latents: str) -> Any:
    """Parameters of the autoencoder that made a latent set, which tell how latents are read.

    Where the run's leave that out, the set's manifest says what the autoencoder's own file states: the file itself need
    not be at hand where models are trained.

    Raises:
        Refusal: neither tells.
    """
    params = job.plan.params
    row = params.row(*split_reference(latents))
    entry = params.sections["encode_images"].tables["autoencoders"][row.autoencoder]
    if entry.scale is not None:
        return entry
    path = job.input(units.unit_id(latents, MANIFEST))
    told = read_manifest(path)["metadata"].get(Meta.SCALING)
    if told is None:
        raise Refusal(f"{path}: does not say how its latents are scaled; give the autoencoder's scale and source")
    return with_scaling(entry, LatentScaling.from_json(told))


def _encoder(job: Job, texts: str) -> Any:
    params = job.plan.params
    row = params.row(*split_reference(texts))
    return params.sections["encode_text"].tables["encoders"][row.encoder]
