"""Processes that are timed: ``loop FOLDER`` reads files, ``download PARAMS ROW PART`` is a job as Snakemake starts it.

``serve FOLDER`` has the files of a folder behind addresses, and says which, until its input ends. The others print how
many pictures they had, and the peak of their memory.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


def loop(folder: str) -> int:
    """The plain loop over a folder of class folders; returns the number of pictures."""
    from perf.plain_loop import plain_loop

    return plain_loop(sorted(Path(folder).glob("*/*")))


def digests(folder: str) -> int:
    """The same with what shards hold of each picture beside its bytes' digest."""
    from pipeline.data.images import MAX_PIXELS_CEILING, decode
    from pipeline.data.likeness import likeness

    paths = sorted(Path(folder).glob("*/*"))
    for path in paths:
        data = path.read_bytes()
        likeness(data, decode(data, max_pixels=MAX_PIXELS_CEILING))
    return len(paths)


def download(params: str, row: str, part: str) -> int:
    """One part of a row; returns how many pictures it has."""
    from pipeline.dag.plan import Plan
    from pipeline.dag.units import UnitId
    from pipeline.params.check import project_params
    from pipeline.runner.command import main as run_stage

    make = importlib.import_module("stages.download").make
    if run_stage("download", make, ["--params", params, "--row", row, "--part", part]):
        sys.exit(1)
    if not part.isdigit():
        return 0
    from pyarrow.parquet import read_metadata

    plan = Plan(project_params(Path(params), Path.cwd()), Path.cwd())
    unit_id = UnitId("download", row, part)
    metadata: Any = read_metadata(plan.made_folder(unit_id) / plan.unit(unit_id).files[0])
    if json.loads(metadata.metadata[b"t2i.rejects"]):
        sys.exit(f"{unit_id}: pictures were rejected, so that less work was done")
    return int(metadata.num_rows)


class QuietHandler(SimpleHTTPRequestHandler):
    """Files, over connections that stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is said."""


def serve(folder: str) -> None:
    """Serve until the input ends; the first line of the output is the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    act, *arguments = sys.argv[1:]
    if act == "serve":
        serve(*arguments)
    else:
        acts: dict[str, Callable[..., int]] = {"loop": loop, "digests": digests, "download": download}
        num_pictures = acts[act](*arguments)
        from perf.own_memory import peak_bytes

        print(json.dumps({"num_pictures": num_pictures, "peak_bytes": peak_bytes()}))
