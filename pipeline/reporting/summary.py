"""``report.md``: the page for the terminal. Scores, rows and rejects, and where the page lies.

The same bytes for the same results: no times, no machine.
"""

from __future__ import annotations

from typing import Any

from pipeline.evaluation.dpg import CATEGORIES
from pipeline.evaluation.geneval import TASKS
from pipeline.reporting.rows import RowCount
from pipeline.reporting.scores import CAPTIONS, QUESTIONS, SHAPES, Scored, distance_text


def report_md(run: str, scores: list[Scored], rows: list[RowCount], page: str) -> str:
    """The text of ``report.md``."""
    blocks = [f"# Run {run}", *score_blocks(scores), *_row_blocks(rows), f"The page of the run: `{page}`"]
    return "\n\n".join(blocks) + "\n"


def score_blocks(scores: list[Scored]) -> list[str]:
    """The score tables; one sentence where nothing was scored."""
    if not scores:
        return ["No model was scored in this run."]
    blocks = []
    for form, parts in ((SHAPES, TASKS), (QUESTIONS, CATEGORIES)):
        for name in dict.fromkeys(name for scored in scores for name in scored.of_form(form)):
            judged = [scored for scored in scores if name in scored.benchmarks]
            shown = [part for part in parts if part in judged[0].benchmarks[name][form]]
            lines = [[s.name, _arm(s), *_score_cells(s.benchmarks[name], form, shown)] for s in judged]
            blocks += [f"## {name}", table(["model", "arm", "overall", "95 % interval", *shown], lines)]
    for name in dict.fromkeys(name for scored in scores for name in scored.of_form(CAPTIONS)):
        lines = [
            [scored.name, distance, distance_text(value), *_num_pictures(scored.benchmarks[name])]
            for scored in scores
            if name in scored.benchmarks
            for distance, value in scored.benchmarks[name]["distances"].items()
        ]
        blocks += [f"## {name}: distances to real pictures, less is nearer"]
        header = ["model", "distance", "value ± std over subsets", "generated", "real"]
        blocks += [table(header, lines) if lines else "None was measured."]
    return blocks + _style_blocks(scores)


def _style_blocks(scores: list[Scored]) -> list[str]:
    lines = [
        [scored.name, _arm(scored), *_style_cells(scored.style), f"{scored.style['auc']:.4f}"]
        for scored in scores
        if scored.style
    ]
    if not lines:
        return []
    return [
        "## style: mean probability of the aesthetic style",
        table(["model", "arm", "style", "95 % interval", "AUC on held-out pictures"], lines),
    ]


def _style_cells(metrics: dict[str, Any]) -> list[str]:
    if "refused" in metrics:
        return ["refused", metrics["refused"]]
    low, high = metrics["interval"]
    return [f"{metrics['score']:.3f}", f"{low:.3f} - {high:.3f}"]


def _arm(scored: Scored) -> str:
    name = scored.lineage.finetuned_name
    seed = f", seed {scored.lineage.seed}" if scored.lineage.seed else ""
    return scored.lineage.arm + seed + (f", finetuned on {name}" if name else "")


def _score_cells(metrics: dict[str, Any], key: str, parts: list[str]) -> list[str]:
    low, high = metrics["interval"]
    values = [f"{metrics[key][part]['score']:.3f}" for part in parts]
    return [f"{metrics['overall']:.3f}", f"{low:.3f} - {high:.3f}", *values]


def _num_pictures(metrics: dict[str, Any]) -> list[str]:
    return [str(metrics["num_generated"]), str(metrics["num_real"])]


def _row_blocks(rows: list[RowCount]) -> list[str]:
    lines = [
        [
            f"{row.stage}/{row.row}",
            f"{row.num_rows:,}",
            f"{row.num_whole:,}",
            f"{row.num_rejected:,}",
            f"{row.num_null_upstream:,}",
            ", ".join(f"{reason} {count}" for reason, count in row.rejected.items()),
        ]
        for row in rows
    ]
    return (
        ["## Rows", table(["row", "rows", "whole", "rejected here", "lost before", "reasons"], lines)] if rows else []
    )


def table(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table with columns padded, so that it reads in a terminal too; numbers stand to the right."""
    cells = [header, *[[cell.replace("|", "\\|") for cell in line] for line in lines]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    right = [column > 0 and all(_is_number(line[column]) for line in lines) for column in range(len(header))]

    def joined(line: list[str]) -> str:
        padded = [
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(line, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}{':' if at_right else '-'}" for width, at_right in zip(widths, right, strict=True)]
    return "\n".join([joined(cells[0]), joined(rule), *map(joined, cells[1:])])


def _is_number(text: str) -> bool:
    parts = text.replace(",", "").split(" ± ")
    return all(part.replace(".", "", 1).replace("-", "", 1).isdigit() for part in parts)
