"""A small sample of a run's work: parameters of few rows, pruned to those that show every kind of work once.

The sample is a run like any other, in a folder of its own; only its numbers are small. What is timed is therefore what
a run does, by the stages' own commands.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pipeline.dag.stages import BY_NAME, unit_of
from pipeline.dag.units import UnitId
from pipeline.params.load import Params
from pipeline.params.references import split_reference
from pipeline.params.schema import STAGE_NAMES
from pipeline.planning.counts import Counts, Told
from pipeline.planning.work import Key, Works

HELD_OUT_ROWS = 64  # at most, of held-out sets


def rows_to_measure(params: Params, stages: Iterable[str]) -> set[tuple[str, str]]:
    """(stage, row) of few rows that show all kinds of work of these stages, and of those that they are made from.

    From the last stage backwards, since rows of late stages need others anyway; of a stage those first that show most.
    """
    works = Works(params, Counts(params, Told()))
    chosen: set[tuple[str, str]] = set()
    shown: set[Key] = set()
    for stage in reversed([name for name in STAGE_NAMES if name in set(stages) and name != "report"]):
        keys = {row: _keys(works, params, stage, row) for row in params.rows(stage)}
        while rows := [row for row in keys if keys[row] - shown and not _is_made_elsewhere(params, stage, row)]:
            best = max(rows, key=lambda row: (len(keys[row] - shown), -params.rows(stage).index(row)))
            for pair in _closure(params, stage, best):
                chosen.add(pair)
                shown |= _keys(works, params, *pair)
    return chosen


def _is_made_elsewhere(params: Params, stage: str, row: str) -> bool:
    return bool(params.row(stage, row).is_import)


def _keys(works: Works, params: Params, stage: str, row: str) -> set[Key]:
    return {works.of(UnitId(stage, row, part)).key for part in BY_NAME[stage].part_names(params, row)}


def _closure(params: Params, stage: str, row: str) -> set[tuple[str, str]]:
    """A row and all that it is made from."""
    found, waiting = set[tuple[str, str]](), [(stage, row)]
    while waiting:
        pair = waiting.pop()
        if pair in found:
            continue
        found.add(pair)
        for part in BY_NAME[pair[0]].part_names(params, pair[1]):
            waiting += [(need.stage, need.row) for need in unit_of(params, UnitId(*pair, part)).needs]
    return found


def sample_parameters(
    params: Params, chosen: set[tuple[str, str]], *, num_rows: int, num_samples: int, num_prompts: int, page: bool
) -> dict[str, Any]:
    """Resolved parameters of a sample.

    Args:
        params: of the run.
        chosen: the rows to keep.
        num_rows: pictures of a set at most; of a held-out one ``HELD_OUT_ROWS`` at most.
        num_samples: that a training goes through, in whole steps, two at least.
        num_prompts: of a benchmark, or of one of its tasks.
        page: with a row of report on the chosen scores.
    """
    raw = copy.deepcopy(params.resolved)
    for stage in STAGE_NAMES:
        kept = {_base(row) for kept_stage, row in chosen if kept_stage == stage}
        raw[stage]["rows"] = {name: row for name, row in raw[stage]["rows"].items() if name in kept}
    scores = sorted(f"score/{row}" for stage, row in chosen if stage == "score")
    if page and scores:
        raw["report"]["rows"] = {"main": {**next(iter(params.resolved["report"]["rows"].values())), "scores": scores}}
    held = {row.heldout for row in _rows(params, "download") if row.heldout}
    held |= {row.validation.latents for row in _rows(params, "train") if getattr(row, "validation", None)}
    for name, row in raw["download"]["rows"].items():
        wanted = min(num_rows, HELD_OUT_ROWS) if f"download/{name}" in held else num_rows
        row["num_rows"] = wanted if row["num_rows"] == "all" else min(wanted, row["num_rows"])
        row["num_shards"] = 1
    for stage in ("train", "finetune"):
        _shorten(raw, params, stage, num_samples)
    for entry in raw["generate"].get("benchmarks", {}).values():
        entry["num_shards"] = 1
        for key in ("num_prompts_per_task", "num_prompts"):
            if key in entry:
                entry[key] = min(num_prompts, entry[key])
    _fit_scores(raw, min(num_rows, HELD_OUT_ROWS))
    raw["execution"]["num_processes"] = {
        key: number for key, number in raw["execution"]["num_processes"].items() if split_reference(key) in chosen
    }
    return raw


def _base(row: str) -> str:
    """A row of several caption sets is one row of the file."""
    return row.split(".", maxsplit=1)[0]


def _rows(params: Params, stage: str) -> list[Any]:
    return [params.row(stage, row) for row in params.rows(stage)]


def _shorten(raw: dict[str, Any], params: Params, stage: str, num_samples: int) -> None:
    section = raw[stage]
    for name, row in section["rows"].items():
        values = params.row(stage, name)
        if values.is_import:
            continue
        row["num_steps"] = max(2, num_samples // values.batch_size)
        row["schedule"] = {"kind": "constant", "num_warmup_steps": 0}  # others end with the steps; it costs the same
        row["log_every_steps"] = row["validate_every_steps"] = values.validate_every_steps


def _fit_scores(raw: dict[str, Any], most: int) -> None:
    """Judges of sets ask for no more pictures than there are."""
    half = max(1, most // 2)
    for probe in raw["score"].get("style_probes", {}).values():
        probe["num_fitted"], probe["num_heldout"] = min(probe["num_fitted"], half), min(probe["num_heldout"], half)
        probe["min_auc"] = 0.0
    for metric in raw["score"].get("metrics", {}).values():
        if "subset_size" in metric:
            metric["subset_size"] = min(metric["subset_size"], half)
