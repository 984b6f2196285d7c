"""What an exported model says of itself beside its weights: its autoencoder, its text encoder, its objective.

``references.json`` lies in the model's folder. It holds their parameters as ``params.yaml`` had them, and their
identity (digest of the files, or id and pinned revision), so that a model is never sampled through another one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.errors import Refusal
from pipeline.params.fits import kind_of
from pipeline.params.schema import Autoencoder, NoisePrediction, Objective, RectifiedFlow, TextEncoder, VPrediction
from pipeline.stages import REFERENCES_JSON

VERSION = 1


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
    """

    schema: int
    arm: str
    seed: int
    autoencoder: Autoencoder
    autoencoder_identity: str
    text_encoder: TextEncoder
    text_encoder_identity: str
    shift: float
    objective: NoisePrediction | VPrediction | UnsetType = UNSET


def recorded(objective: Objective) -> NoisePrediction | VPrediction | UnsetType:
    """An objective as ``References`` hold it."""
    return UNSET if isinstance(objective, RectifiedFlow) else objective


def objective_kind(found: References) -> str:
    """The kind of objective that a model was trained with."""
    return "rectified_flow" if found.objective is UNSET else kind_of(found.objective)


def prediction_of(found: References) -> str:
    """What a model predicts, in words: the kind of its objective and its schedule of gamma."""
    if found.objective is UNSET:
        return objective_kind(found)
    gamma = json.dumps(msgspec.to_builtins(found.objective.gamma), sort_keys=True)
    return f"{objective_kind(found)} with gamma {gamma}"


def write(folder: Path, references: References) -> None:
    """Write ``references.json`` into a model's folder."""
    content: Any = msgspec.to_builtins(references)
    (folder / REFERENCES_JSON).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def read(folder: Path) -> References:
    """Read a model's ``references.json``. Raises Refusal when it is absent or not what this code wrote."""
    path = folder / REFERENCES_JSON
    try:
        found = msgspec.json.decode(path.read_bytes(), type=References)
    except OSError as error:
        raise Refusal(f"{path}: not there; a model of this project has it beside its weights") from error
    except msgspec.MsgspecError as error:
        raise Refusal(f"{path}: {error}; export the model anew") from error
    if found.schema != VERSION:
        raise Refusal(f"{path}: version {found.schema}, this code reads {VERSION}")
    return found
