"""Which sampler can follow which objective."""

from __future__ import annotations

from pipeline.params.schema import Objective, Sampler

# A velocity is what Euler and Heun integrate. On the straight path DDIM is Euler's method: one name for it is enough.
OBJECTIVES = {
    "euler": ("rectified_flow",),
    "heun": ("rectified_flow",),
    "dpmpp_2m": ("rectified_flow", "noise", "v"),
    "ddim": ("noise", "v"),
}


def kind_of(value: Objective | Sampler) -> str:
    """The kind that the parameters name."""
    return str(value.__struct_config__.tag)


def misfit(sampler: Sampler, objective_kind: str) -> str | None:
    """Why a sampler cannot draw with a model of an objective, and which can; None where it can."""
    kind = kind_of(sampler)
    if objective_kind in OBJECTIVES[kind]:
        return None
    fitting = [name for name, kinds in OBJECTIVES.items() if objective_kind in kinds]
    return f"sampler {kind} does not fit a model of objective {objective_kind}; take {' or '.join(fitting)}"
