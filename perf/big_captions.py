"""Published captions of as many pictures as ImageNet has: what joining them takes, and what a shard's job reads of it.

``python -m perf.big_captions prepare FOLDER ROWS`` makes pictures' index and a table in a project of its own,
``... make FOLDER ROWS`` joins them, ``... read FOLDER SHARD`` reads what a shard's job reads (SHARD -1: nothing). Each
prints its seconds of processor time and its peak of memory.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from perf import big_index
from perf.own_memory import peak_bytes
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.data.files import INDEX_PARQUET
from pipeline.params import kinds
from pipeline.params.check import project_params
from pipeline.params.load import read_yaml
from pipeline.runner.command import main as run_stage

ROW, TABLE, NUM_CHARACTERS = "published", "captions.tsv", 600
WORDS = "a photograph of something that stands in front of a wall, in the light of the late afternoon; "


def write_project(folder: Path, num_rows: int) -> None:
    """Write parameters, and a table in the opposite order of the pictures."""
    big_index.write_project(folder, num_rows)
    raw: dict[str, Any] = read_yaml(folder / "params.yaml")
    captioner = {
        "kind": "published",
        "path": TABLE,
        "form": "lines",
        "columns": {"picture": 1, "caption": 2},
        "several": "refuse",
        "min_matched_fraction": 1.0,
        "written_by": "nobody",
    }
    raw["recaption"]["captioners"] = {"others": captioner}
    raw["recaption"]["rows"] = {ROW: {"images": f"download/{big_index.ROW}", "captioner": "others"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    filling = WORDS * (NUM_CHARACTERS // len(WORDS) + 1)
    with (folder / TABLE).open("w") as table:
        for entry in reversed(list(big_index.Names(num_rows).entries())):
            table.write(f"{entry.source_id}.JPEG\t{f'{entry.source_id}: {filling}'[:NUM_CHARACTERS]}\n")


def make() -> int:
    """Join both in the current folder, as the job does; returns the exit status."""
    make_part = importlib.import_module("stages.recaption").make
    with kinds.SOURCES.added(big_index.NamesRow, f"{big_index.__name__}:Names"):
        return run_stage("recaption", make_part, ["--row", ROW, "--part", INDEX])


def path_of_index() -> Path:
    """Where the joined captions lie in the store of the current folder."""
    with kinds.SOURCES.added(big_index.NamesRow, f"{big_index.__name__}:Names"):
        plan = Plan(project_params(Path("params.yaml"), Path.cwd()), Path.cwd())
        return plan.made_folder(UnitId("recaption", ROW, INDEX)) / INDEX_PARQUET


def read(shard: int) -> None:
    """Read the captions that one shard's job reads."""
    from pipeline.data.schema import PUBLISHED, Column
    from pipeline.data.shards import Shard
    from pipeline.sources.index import shard_bounds

    index = Shard(path_of_index(), PUBLISHED)
    if shard != big_index.NOTHING:
        start, stop = shard_bounds(index.num_rows, big_index.NUM_SHARDS)[shard]
        rows = index.read_run(start, stop, [Column.KEY, Column.TEXT])
        assert rows.num_rows == stop - start


def main(arguments: list[str]) -> int:
    """Prepare, make or read; returns the exit status."""
    what, folder, number = arguments
    status = 0
    if what == "prepare":
        write_project(Path(folder), int(number))
    os.chdir(folder)
    before = time.process_time()
    if what == "prepare":
        status = big_index.make()
    elif what == "make":
        status = make()
    else:
        read(int(number))
    print(json.dumps({"cpu_seconds": time.process_time() - before, "peak_bytes": peak_bytes()}))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
