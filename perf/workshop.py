"""Where the comparison works: folders of made data, each made when it is first asked for.

It also keeps what is measured once for several rows of the report.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from perf import big_index, big_run, big_sets, made_rows, servers, stage_process
from perf.made_rows import RowShape
from pipeline.errors import Refusal

PEERS = {"webdataset": "webdataset", "mds": "mosaicml-streaming"}
T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[1]
VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Sizes:
    """How much is measured: all of it, or little enough for a test of the harness."""

    warm: RowShape
    cold: RowShape
    stages: tuple[int, ...]
    big_rows: int
    big_shards: int
    index_rows: int
    run_shards: int
    turns: int


FULL = Sizes(
    # 63 whole batches of 64: an epoch of ours and of the peers holds every row once.
    warm=RowShape(num_rows=4_032, height=32, width=32, num_tokens=77, dim=2_048, rows_per_shard=504),
    cold=RowShape(num_rows=768, height=32, width=64, num_tokens=200, dim=2_048, rows_per_shard=96),
    stages=(500, 1_000, 2_000),
    big_rows=big_sets.NUM_ROWS,
    big_shards=big_sets.NUM_SHARDS,
    index_rows=big_index.NUM_ROWS,
    run_shards=big_run.NUM_SHARDS,
    turns=5,
)
SMALL = Sizes(
    warm=RowShape(num_rows=192, height=8, width=8, num_tokens=7, dim=64, rows_per_shard=96),
    cold=RowShape(num_rows=128, height=8, width=4, num_tokens=7, dim=64, rows_per_shard=64),
    stages=(20, 80),
    big_rows=3_000,
    big_shards=3,
    index_rows=big_index.NUM_SHARDS,
    run_shards=2,
    turns=2,
)


@dataclass
class Workshop:
    """Where the comparison works.

    Attributes:
        folder: for made data; emptied of them at the end.
        peers_python: the interpreter of the peers' environment.
        sizes: how much is measured.
        costs: of stages: name to (rows, seconds, peak bytes) of each size, for the plot.
    """

    folder: Path
    peers_python: Path
    sizes: Sizes
    costs: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    _versions: dict[str, str] = field(default_factory=dict)
    _answers: dict[str, Any] = field(default_factory=dict)

    def rows_folder(self, name: str) -> Path:
        """Rows of ``warm`` or ``cold`` as all loaders want them."""
        shape: RowShape = getattr(self.sizes, name)

        def make(folder: Path) -> None:
            made_rows.write_flat(folder, shape)
            made_rows.write_sets(folder, shape)
            for kind in PEERS:
                servers.write_peer(self.peers_python, kind, folder)

        return self._made(name, make)

    def big_folder(self) -> Path:
        """The five sets of ImageNet's size, made by two processes."""

        def make(folder: Path) -> None:
            names = list(big_sets.SETS)
            size = [str(self.sizes.big_rows), str(self.sizes.big_shards)]
            command = [sys.executable, "-m", "perf.big_sets", "write", str(folder), *size]
            started = [subprocess.Popen([*command, *part], env=environment()) for part in (names[:2], names[2:])]
            statuses = [process.wait() for process in started]
            if any(statuses):
                raise Refusal("the sets of ImageNet's size could not be made; what was said before tells why")

        return self._made("big", make)

    def opened(self, num_workers: int) -> dict[str, float]:
        """What ``big_sets open`` says, asked once."""
        command = ["perf.big_sets", "open", str(self.big_folder()), str(num_workers)]
        return self._once(f"opened-{num_workers}", lambda _: answer_of(command))

    def index(self) -> dict[str, dict[str, float]]:
        """What ``big_index`` says of the job that makes the index, of one that reads nothing and of a shard's."""

        def measure(folder: Path) -> dict[str, dict[str, float]]:
            asked = {"make": self.sizes.index_rows, "idle": big_index.NOTHING, "shard": big_index.NUM_SHARDS // 2}
            return {
                name: answer_of(["perf.big_index", "make" if name == "make" else "read", str(folder), str(number)])
                for name, number in asked.items()
            }

        return self._once("index", measure)

    def looks(self) -> dict[str, dict[str, float]]:
        """What ``big_run look`` says of a checkout without a result, and of one that has all."""

        def measure(folder: Path) -> dict[str, dict[str, float]]:
            answer_of(["perf.big_run", "write", str(folder), str(self.sizes.run_shards)])
            first = answer_of(["perf.big_run", "look", str(folder)])
            answer_of(["perf.big_run", "fill", str(folder)])
            return {"first": first, "second": answer_of(["perf.big_run", "look", str(folder)])}

        return self._once("run", measure)

    def stage_costs(self, stage: str) -> list[tuple[int, float, float]]:
        """(rows, seconds, peak bytes) of a stage at each size; the stages before it are run first."""
        if not self.costs:  # what an earlier comparison made would only be found again
            shutil.rmtree(self.folder / "project", ignore_errors=True)
        folder = self._made("project", lambda path: stage_process.write_project(path, self.sizes.stages))
        for name in stage_process.STAGES[: stage_process.STAGES.index(stage) + 1]:
            if name not in self.costs:
                if name == "generate":
                    answer_of(["perf.stage_process", str(folder), stage_process.TRAIN, "0"])
                answers = [
                    (size, answer_of(["perf.stage_process", str(folder), name, str(size)]))
                    for size in self.sizes.stages
                ]
                self.costs[name] = [(size, found["seconds"], found["peak_bytes"]) for size, found in answers]
        return self.costs[stage]

    def peer_versions(self) -> dict[str, str]:
        """Versions of the peers, by package."""
        if not self._versions:
            command = [str(self.peers_python), "-c", VERSIONS, *PEERS.values()]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise Refusal(f"{self.peers_python}: cannot name its packages ({error}); type make perf") from error
            self._versions = json.loads(done.stdout)
        return self._versions

    def _once(self, name: str, measure: Callable[[Path], T]) -> T:
        """What ``measure`` gave when it was first asked for, in a folder without what an earlier comparison left."""
        if name not in self._answers:
            folder = self.folder / name
            shutil.rmtree(folder, ignore_errors=True)
            self._answers[name] = measure(folder)
        answer: T = self._answers[name]
        return answer

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        folder = self.folder / name
        if not folder.exists():
            fresh = self.folder / f"{name}.fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            make(fresh)
            fresh.rename(folder)
        return folder


def environment() -> dict[str, str]:
    """Of this project's processes: its modules are found from any folder, torch takes one thread."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}


def answer_of(module: list[str]) -> dict[str, Any]:
    """The last line that a module of this project prints, run in a process of its own.

    Raises:
        Refusal: it fails; the message has its last line.
    """
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise Refusal(f"{' '.join(module)}: ended with {done.returncode} ({said})")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
