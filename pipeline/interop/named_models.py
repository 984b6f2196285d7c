"""The models that parameters name: captioners, autoencoders, text encoders, judges, feature extractors, imports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dag.stages import STAGES, Stage
from pipeline.data.files import REFERENCES_JSON
from pipeline.encoders.wanted import ANY_MODEL, AUTOENCODER, TEXT_ENCODER, Parts
from pipeline.interop import references
from pipeline.params.load import Params
from pipeline.params.references import side_table

# What is loaded of the entries of these side tables; of all other models, any.
_PARTS = {"autoencoders": AUTOENCODER, "encoders": TEXT_ENCODER}
_FIELDS = {"import": "import_"}  # where a field is called otherwise in Python


@dataclass(frozen=True)
class NamedModel:
    """A model, and what of it is loaded.

    Attributes:
        model: a folder here, or an id on the Hub.
        revision: the commit of an id.
        subfolder: where in it the model lies; None: at the top.
        parts: what is loaded; None: a whole pipeline of diffusers.
    """

    model: str
    revision: str | None
    subfolder: str | None
    parts: Parts | None


def named_models(params: Params) -> dict[NamedModel, list[str]]:
    """The models that rows are made with, each with the rows that it is for, in the order of the stages."""
    models: dict[NamedModel, list[str]] = {}
    for stage in STAGES:
        for row in params.rows(stage.name):
            for parts, holder in _holders(params, stage, row):
                if (named := _named(stage, parts, holder)) is not None:
                    models.setdefault(named, []).append(f"{stage.name}/{row}")
    return models


def encoders_of(folder: Path) -> list[NamedModel]:
    """What a network's folder refers to: it is drawn with through these; nothing where it is no network of ours."""
    if not (folder / REFERENCES_JSON).is_file():
        return []
    refers = references.read(folder)
    image, text = refers.autoencoder, refers.text_encoder
    return [
        NamedModel(image.model, image.revision, image.subfolder, AUTOENCODER),
        NamedModel(text.model, text.revision, text.subfolder or None, TEXT_ENCODER),
    ]


def _holders(params: Params, stage: Stage, row: str) -> Iterator[tuple[Parts | None, Any]]:
    """A row and the entries that it names, with what is loaded of the model that each names."""
    values = params.row(stage.name, row)
    yield (None if getattr(values, "is_pipeline", False) else ANY_MODEL), values
    for field, table in stage.tables:
        names = getattr(values, field, None)
        for name in names if isinstance(names, list) else [names] if names is not None else []:
            yield _PARTS.get(table.rpartition("/")[2], ANY_MODEL), side_table(params, stage.name, table)[name]


def _named(stage: Stage, parts: Parts | None, holder: Any) -> NamedModel | None:
    if hasattr(holder, "pretrained"):  # it knows itself whether a model is loaded here
        model, revision = holder.pretrained or (None, None)
    else:
        names = (getattr(holder, _FIELDS.get(field, field), None) for field in stage.models)
        model, revision = next(filter(None, names), None), getattr(holder, "revision", None)
    return None if model is None else NamedModel(model, revision, getattr(holder, "subfolder", None) or None, parts)
