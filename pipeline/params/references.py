"""Where the references of parameters lead: rows that others are made from, side tables, what a model is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.params.load import Params

AUTOENCODERS, TEXT_ENCODERS = "encode_images/autoencoders", "encode_text/encoders"
STYLE = "style"  # the part of score that a style probe adds; no benchmark is called so


def split_reference(reference: str) -> tuple[str, str]:
    """``<stage>/<row>`` -> (stage, row)."""
    stage, _, row = reference.partition("/")
    return stage, row


def side_table(params: Params, stage: str, table: str) -> dict[str, Any]:
    """A side table of a stage's own section, or, as ``<section>/<table>``, of another one."""
    section, _, name = table.rpartition("/")
    return params.sections[section or stage].tables[name]


# Rows of these stages have the shards of what they are made from.
_FOLLOWS = {"augment": "images", "recaption": "images", "encode_images": "images", "encode_text": "captions"}


def origin(params: Params, reference: str) -> str:
    """The download or augment row whose rows a reference's rows are (same keys, same shards)."""
    stage, row = split_reference(reference)
    while stage in _FOLLOWS and stage != "augment":
        stage, row = split_reference(getattr(params.row(stage, row), _FOLLOWS[stage]))
    return f"{stage}/{row}"


def base_of(params: Params, pictures: str) -> str:
    """The row of download that pictures were made from: of augmented ones the main set, of others their own row."""
    stage, row = split_reference(pictures)
    return str(params.row(stage, row).images) if stage == "augment" else pictures


def num_shards_of(params: Params, reference: str) -> int:
    """The number of shards of a referenced row."""
    stage, row = split_reference(reference)
    while stage in _FOLLOWS:
        stage, row = split_reference(getattr(params.row(stage, row), _FOLLOWS[stage]))
    number: int = params.row(stage, row).num_shards
    return number


def training_references(params: Params, stage: str, row: str) -> list[str]:
    """All latent and text sets that a model is trained on, those of the model it starts from where it names none."""
    values = params.row(stage, row)
    latents, texts = data_of_model(params, stage, row)
    swaps = values.swap if isinstance(values.swap, list) else [values.swap] if values.swap else []
    references = [latents, *sorted(texts)]
    for swap in [*swaps, *([values.validation] if values.validation else [])]:
        references += [swap.latents, *sorted(swap.texts)]
    return list(dict.fromkeys(references))


def data_of_model(params: Params, stage: str, row: str) -> tuple[str, dict[str, float]]:
    """(latents, texts) of a model: its own, else those of the model that it starts from."""
    values = params.row(stage, row)
    latents, texts = values.latents, values.texts
    while latents is None or texts is None:
        stage, row = split_reference(values.model)
        values = params.row(stage, row)
        latents = values.latents if latents is None else latents
        texts = values.texts if texts is None else texts
    return latents, texts
