"""What an exported model says of itself beside its weights: which autoencoder and text encoder it was trained with.

``references.json`` lies in the model's folder. It holds their parameters as ``params.yaml`` had them, and their
identity (digest of the files, or id and pinned revision), so that a model is never sampled through another one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import Refusal
from pipeline.params.schema import Autoencoder, TextEncoder
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
    """

    schema: int
    arm: str
    seed: int
    autoencoder: Autoencoder
    autoencoder_identity: str
    text_encoder: TextEncoder
    text_encoder_identity: str
    shift: float


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
