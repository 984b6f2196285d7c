"""What an exported model says of itself beside its weights: its autoencoder, its text encoder, its objective.

``references.json`` lies in the model's folder. It holds their parameters as ``params.yaml`` had them, and their
identity (digest of the files, or id and pinned revision), so that a model is never sampled through another one; of a
model taken in from its authors' folder also what that told of sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.data.files import MODEL_FILES, REFERENCES_JSON
from pipeline.errors import Refusal
from pipeline.interop.records import read_record, write_record
from pipeline.params.encoders import AutoencoderParams, TextEncoderParams
from pipeline.params.fits import kind_of
from pipeline.params.kinds import AUTOENCODERS, OBJECTIVES, TEXT_ENCODERS, num_added
from pipeline.params.objectives import RectifiedFlow, TrainingObjective

VERSION = 2


class References(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of ``references.json``.

    Attributes:
        schema: version of this file's form.
        arm: what the model is called on the page.
        seed: its training seed.
        autoencoder: parameters of the autoencoder that made its latents.
        autoencoder_identity: of its weights.
        text_encoder: parameters of the encoder that made its text embeddings.
        text_encoder_identity: of its weights.
        shift: timestep shift of its training, used for sampling too.
        objective: what it was trained to predict; absent: the velocity of rectified flow.
        released: whose released folder it was taken in from: latents are scaled as that says, not the autoencoder.
        scores: what a picture is conditioned on beside its text, unless told otherwise; absent: on nothing.
        negative_scores: the same of the condition that guidance leads away from; the same names.
        unconditional: file beside this one, float32 [T, dim], of the empty caption's embedding; absent: the text
            encoder's own.
        self_conditioning: share of training samples that were given latents of a first pass; absent: the network
            takes none.
    """

    schema: int
    arm: str
    seed: int
    autoencoder: AutoencoderParams
    autoencoder_identity: str
    text_encoder: TextEncoderParams
    text_encoder_identity: str
    shift: float
    objective: TrainingObjective | UnsetType = UNSET
    released: Literal["cad_i", "miro"] | UnsetType = UNSET
    scores: dict[str, float] | UnsetType = UNSET
    negative_scores: dict[str, float] | UnsetType = UNSET
    unconditional: Literal["uncond_embedding.npy"] | UnsetType = UNSET
    self_conditioning: float | UnsetType = UNSET


def recorded(objective: TrainingObjective) -> TrainingObjective | UnsetType:
    """An objective as ``References`` hold it: the one that models had before there were others is not written."""
    return UNSET if isinstance(objective, RectifiedFlow) else objective


def objective_kind(refers: References) -> str:
    """The kind of objective that a model was trained with."""
    return str(RectifiedFlow.__struct_config__.tag) if refers.objective is UNSET else kind_of(refers.objective)


def files_of(refers: References) -> list[str]:
    """Names of the model's files: those that every model has, and its own empty caption where it has one."""
    own = [] if refers.unconditional is UNSET else [refers.unconditional]
    return [*(name.rsplit("/", 1)[-1] for name in MODEL_FILES), *own]


def self_conditioning_of(refers: References) -> float:
    """Share of training samples that are given latents of a first pass."""
    return 0.0 if refers.self_conditioning is UNSET else refers.self_conditioning


def negative_scores_of(refers: References) -> dict[str, float]:
    """The scores that guidance leads away from; none where the model knows no scores."""
    return {} if refers.negative_scores is UNSET else refers.negative_scores


def chosen_scores(refers: References, wanted: Mapping[str, float]) -> dict[str, float]:
    """The model's scores with some of them chosen.

    Raises:
        Refusal: a score that the model does not know, or that is not within [0, 1].
    """
    usual: dict[str, float] = {} if refers.scores is UNSET else refers.scores
    for name, value in wanted.items():
        if not usual:
            raise Refusal(f"{name}: this model is conditioned on its text alone; leave the score out")
        if name not in usual:
            raise Refusal(f"{name}: is no score of this model (its scores: {', '.join(usual)}); leave it out")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise Refusal(f"{name} = {value!r}: must be a number within 0 and 1")
    return {**usual, **wanted}


def prediction_of(refers: References) -> str:
    """What a model predicts, in words: the kind of its objective and what that has of its own, such as a gamma."""
    return objective_kind(refers) if refers.objective is UNSET else refers.objective.prediction()


def write(folder: Path, references: References) -> None:
    """Write ``references.json`` into a model's folder."""
    write_record(folder / REFERENCES_JSON, references)


def read(folder: Path) -> References:
    """Read a model's ``references.json``. Raises Refusal when it is absent or not what this code wrote."""
    record = read_record(
        folder / REFERENCES_JSON,
        _form(num_added()),
        VERSION,
        absent="a model of this project has it beside its weights",
        remedy="export the model anew",
    )
    return References(**msgspec.structs.asdict(record))


@cache
def _form(num_added: int) -> Any:
    """References whose encoders and objective are any of the tables."""
    del num_added
    objective: Any = OBJECTIVES.union() | UnsetType
    return msgspec.defstruct(
        References.__name__,
        [
            ("autoencoder", AUTOENCODERS.union()),
            ("text_encoder", TEXT_ENCODERS.union()),
            ("objective", objective, UNSET),
        ],
        bases=(References,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
