"""Hand a caption set on, as a table keyed by the pictures' ids.

    python -m pipeline.captions export --row imagenet-vlm --out captions [--form parquet|jsonl|tsv] [--licence TEXT]

Writes the folder ``--out`` with the table and ``provenance.json``. Nothing of the run is changed. Others read it with a
captioner of kind ``published``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from pipeline.captions.export import export
from pipeline.captions.forms import ExportForm
from pipeline.dag.plan import Plan
from pipeline.errors import exit_status
from pipeline.layout import PARAMS_YAML
from pipeline.params.check import project_params


def main(arguments: list[str] | None = None) -> int:
    """Parse, write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.captions", description="Caption sets for others.")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "export", help="write a caption set as a table"
    )
    command.add_argument("--row", required=True, help="a row of recaption, such as imagenet-vlm")
    command.add_argument("--out", required=True, type=Path, help="the folder to write; must not be there")
    command.add_argument("--form", choices=get_args(ExportForm), default="parquet", help="of the table (parquet)")
    command.add_argument("--licence", help="under which the captions are handed on; left out: as the captioner says")
    command.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    parsed = parser.parse_args(arguments)

    def act() -> None:
        project = Path.cwd()
        plan = Plan(project_params(parsed.params, project), project)
        print(export(plan, parsed.row, parsed.out, parsed.form, parsed.licence))

    return exit_status(act)
