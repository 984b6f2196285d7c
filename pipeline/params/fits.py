"""Whether a sampler can follow an objective, and a sampler with some of its values changed by hand."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pipeline.errors import Refusal
from pipeline.params.kinds import OBJECTIVES
from pipeline.params.load import Params
from pipeline.params.schema import FolderScheduler, GenerateRow, Sampler

Kind = TypeVar("Kind")


def kind_of(value: msgspec.Struct) -> str:
    """The kind that the parameters name."""
    return str(value.__struct_config__.tag)


def misfit(sampler: Sampler | FolderScheduler, objective_kind: str) -> str | None:
    """Why a sampler cannot draw with a model of an objective, and which can; None where it can."""
    kind = kind_of(sampler)
    objectives: list[Any] = list(OBJECTIVES.paths)
    fitting = next(objective.samplers for objective in objectives if objective.__struct_config__.tag == objective_kind)
    if kind in fitting:
        return None
    return f"sampler {kind} does not fit a model of objective {objective_kind}; take {' or '.join(fitting)}"


def drawing_rows(params: Params, objective_kind: str) -> list[Any]:
    """The rows of generate whose sampler can draw with a model of an objective, the first one in front.

    Raises:
        Refusal: there is none.
    """
    rows = [params.row("generate", name) for name in params.rows("generate")]
    fitting = [r for r in rows if isinstance(r, GenerateRow) and misfit(r.sampler, objective_kind) is None]
    if not fitting:
        raise Refusal(
            f"{params.source}: generate has no row that draws with a model of objective {objective_kind}, so there "
            "are no sampling values to take; add one"
        )
    return fitting


def changed(sampler: Sampler, num_steps: int | None, guidance_scale: float | None) -> Sampler:
    """A sampler with other steps or guidance.

    Args:
        sampler: any.
        num_steps: None: its own.
        guidance_scale: None: its own.

    Raises:
        Refusal: a value is out of range; the message names the key.
    """
    asked = {"num_steps": num_steps, "guidance_scale": guidance_scale}
    given = {name: value for name, value in asked.items() if value is not None}
    return converted(msgspec.to_builtins(sampler) | given, type(sampler))


def converted(values: dict[str, Any], kind: type[Kind]) -> Kind:
    """Values as the parameters of a kind. Raises Refusal with the key where one is out of range."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        key = str(error).rsplit(".", maxsplit=1)[-1].strip("`")
        raise Refusal(f"{key}: {error}") from None
