"""Servers of captioners that the parameters do not name: said before any work starts, not in the first shard.

Where servers are is an execution value: a run whose captions are there already needs none.
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.dag.plan import Plan
from pipeline.dag.units import MANIFEST, UnitId
from pipeline.errors import Refusal
from pipeline.params.captioners import CaptionerParams
from pipeline.params.references import side_table


def refuse_without_servers(plan: Plan, missing: Collection[UnitId]) -> None:
    """Raise a Refusal where captions are to be made by servers that ``execution`` does not name.

    Args:
        plan: of the run.
        missing: units that are to be made.
    """
    entries: dict[str, CaptionerParams] = side_table(plan.params, "recaption", "captioners")
    named = plan.params.execution.captioner_servers or {}
    rows = {unit_id.row for unit_id in missing if unit_id.stage == "recaption" and unit_id.part != MANIFEST}
    for row in sorted(rows):
        model = entries[plan.params.row("recaption", row).captioner].served_model
        if model is not None and model not in named:
            raise Refusal(
                f"{plan.params.source}: execution.captioner_servers.{model} is missing, which recaption/{row} needs: "
                "write there where servers of it are (docs/use.md)"
            )
