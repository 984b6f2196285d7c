"""What a judged model is: its arm, its seed and what it was finetuned on, read off parameters, never off a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.params.load import Params
from pipeline.params.references import data_of_model, origin, split_reference


@dataclass(frozen=True)
class Lineage:
    """The models behind a row of generate.

    Attributes:
        name: the row of generate.
        arm: of the model that was trained from scratch or taken in.
        seed: of that same row.
        finetuned_on: datasets of the finetunings, in the order in which they were done; empty without any.
        models: references of the models, the one trained first in front; empty for pictures made elsewhere.
        imported: where the model or the pictures were taken in from; None for what this run made.
    """

    name: str
    arm: str
    seed: int
    finetuned_on: tuple[str, ...]
    models: tuple[str, ...]
    imported: str | None

    @property
    def finetuned_name(self) -> str | None:
        """The datasets of the finetunings as one text; None without any."""
        return ", ".join(self.finetuned_on) or None


def lineage_of(params: Params, generate_row: str) -> Lineage:
    """The lineage of a row of generate."""
    values = params.row("generate", generate_row)
    if values.is_import:
        return Lineage(generate_row, values.arm, values.seed, (), (), values.import_)
    models = chain_of(params, values.model)
    root = params.row(*split_reference(models[0]))
    return Lineage(
        generate_row,
        root.arm,
        root.seed,
        tuple(dataset_of(params, model) for model in models[1:]),
        models,
        root.import_ if root.is_import else None,
    )


def chain_of(params: Params, model: str) -> tuple[str, ...]:
    """References of a model and of those that it starts from, the one that starts from none in front."""
    stage, row = split_reference(model)
    values = params.row(stage, row)  # refused where there is none
    return (*chain_of(params, values.model), model) if stage == "finetune" else (model,)


def dataset_of(params: Params, model: str) -> str:
    """The name of the dataset whose latents a model was trained on."""
    latents, _ = data_of_model(params, *split_reference(model))
    return split_reference(origin(params, latents))[1]


def recipe_in_words(params: Params, model: str) -> str:
    """One line on what a model was trained with."""
    stage, row = split_reference(model)
    values = params.row(stage, row)
    if values.is_import:
        return f"taken in from {values.import_}"
    _, texts = data_of_model(params, stage, row)
    parts = [
        f"{values.num_steps:,} steps of {values.batch_size} pictures of {dataset_of(params, model)}",
        f"texts {_shares(texts)}",
    ]
    parts += [_swap_in_words(params, swap) for swap in swaps_of(values)]
    if stage == "finetune":
        parts.insert(0, f"starts from {values.model}")
    return "; ".join(parts)


def swaps_of(values: Any) -> list[Any]:
    """The augmented sets of a training row."""
    if isinstance(values.swap, list):
        return list(values.swap)
    return [values.swap] if values.swap else []


def _swap_in_words(params: Params, swap: Any) -> str:
    name = split_reference(origin(params, swap.latents))[1]
    return f"{name} with probability {swap.probability:g} where t > {swap.above_t:g}"


def _shares(texts: dict[str, float]) -> str:
    total = sum(texts.values())
    return ", ".join(
        f"{split_reference(reference)[1]} {texts[reference] / total:.0%}"
        for reference in sorted(texts, key=lambda reference: (-texts[reference], reference))
    )
