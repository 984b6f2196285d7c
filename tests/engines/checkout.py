"""A throw-away checkout of this project, with both engines as a person types them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
CARRIED = ("pipeline", "stages", "profiles", "params", "Snakefile", "dvc.yaml", ".dvc", ".dvcignore", ".gitignore")
DEMO_MODELS = "data/demo_models"
LIGHT = Path(__file__).parent / "light.yaml"
MADE = re.compile(r"^(.+): made in [0-9.]+ s$", re.MULTILINE)
LONG_SECONDS = 900.0  # for the slowest and busiest machine; a run that is waited for longer hangs


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    text: str

    def lines_with(self, words: str) -> list[str]:
        return [line for line in self.text.splitlines() if words in line]


@dataclass
class Running:
    """A command that was started, in a process group of its own."""

    process: subprocess.Popen[bytes]
    output: Path

    def ended(self) -> Ended:
        try:
            status = self.process.wait(timeout=LONG_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # or it would disturb the tests that come next
            raise
        return Ended(status, self.output.read_text(errors="replace"))

    def kill(self, pid: int | None = None) -> None:
        """kill -9 the command itself, or one process below it; everything else lives on."""
        try:
            os.kill(pid or self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """Halt (SIGSTOP) a stage command of this run, so that the run cannot end meanwhile."""
        halted: list[int] = []
        deadline = time.monotonic() + LONG_SECONDS
        while not halted:
            assert time.monotonic() < deadline, "no stage command to halt"
            for pid in self.stage_commands():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    halted.append(pid)
        try:
            yield
        finally:
            for pid in halted:
                os.kill(pid, signal.SIGCONT)

    def stage_commands(self) -> list[int]:
        """Processes of this group that run a stage command (not the shells around them)."""
        return [pid for pid, command in processes_of_group(self.process.pid) if is_stage_command(command)]


def is_stage_command(command: list[str]) -> bool:
    """``python -m stages.<stage> ...``"""
    return command[1:2] == ["-m"] and "".join(command[2:3]).startswith("stages.")


def processes_of_group(group: int) -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (OSError, IndexError):
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append((int(entry.name), command))
    return found


class Checkout:
    """A folder with this project's code and light parameters, under git and DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._outputs = folder / ".work" / "typed"
        self._groups: list[int] = []

    @classmethod
    def new(cls, folder: Path) -> Checkout:
        """Copy what git tracks, and what it does not know yet, into a new repository."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", *CARRIED],
            cwd=PROJECT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (PROJECT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(PROJECT / name, folder / name)
        (folder / DEMO_MODELS).mkdir(parents=True)
        (folder / DEMO_MODELS / "README.md").write_text("No stage of these runs reads a model.\n")
        shutil.copyfile(LIGHT, folder / "params.yaml")
        checkout = cls(folder)
        checkout.git("init", "-q")
        return checkout

    def twin(self, folder: Path) -> Checkout:
        """A copy of everything, hard links between the store and the shown files included."""
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        return Checkout(folder)

    def take_demo_models(self) -> None:
        """Give it the demo's captioner, autoencoder and text encoder; a new checkout has none."""
        shutil.rmtree(self.folder / DEMO_MODELS)
        shutil.copytree(PROJECT / DEMO_MODELS, self.folder / DEMO_MODELS)

    def publish(self, shelf: Path) -> None:
        """Push what DVC recorded to a folder, and commit the record, as for a colleague."""
        for command in (("remote", "add", "--default", "shelf", str(shelf)), ("push",)):
            ended = self.dvc(*command)
            assert ended.status == 0, ended.text
        self.git("add", ".")
        self.git("commit", "-q", "-m", "results")

    def clone(self, folder: Path) -> Checkout:
        """A clone into which the results were pulled."""
        self.git("clone", "-q", str(self.folder), str(folder))
        copy = Checkout(folder)
        ended = copy.dvc("pull")
        assert ended.status == 0, ended.text
        return copy

    # --- commands

    def git(self, *arguments: str) -> None:
        name = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *name, *arguments], cwd=self.folder, check=True, capture_output=True)

    def start(self, *command: str) -> Running:
        self._outputs.mkdir(parents=True, exist_ok=True)
        output = self._outputs / f"{len(list(self._outputs.iterdir())):03d}.txt"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=stream, stderr=stream, env=environment(), start_new_session=True
            )
        self._groups.append(process.pid)
        return Running(process, output)

    def type(self, *command: str) -> Ended:
        return self.start(*command).ended()

    def start_snakemake(self, *arguments: str) -> Running:
        return self.start(sys.executable, "-m", "snakemake", "--cores", "2", *arguments)

    def start_dvc(self, *arguments: str) -> Running:
        return self.start(sys.executable, "-m", "dvc", *(arguments or ("repro",)))

    def snakemake(self, *arguments: str) -> Ended:
        return self.start_snakemake(*arguments).ended()

    def dvc(self, *arguments: str) -> Ended:
        return self.start_dvc(*arguments).ended()

    def stage(self, stage: str, row: str, *arguments: str) -> Ended:
        return self.start_stage(stage, row, *arguments).ended()

    def start_stage(self, stage: str, row: str, *arguments: str) -> Running:
        return self.start(sys.executable, "-m", f"stages.{stage}", "--row", row, *arguments)

    def wait_for_orphans(self) -> None:
        """Until nothing that was started here is alive any more."""
        deadline = time.monotonic() + LONG_SECONDS
        while any(self._is_ours(pid) for group in self._groups for pid, _ in processes_of_group(group)):
            assert time.monotonic() < deadline, "orphans do not end"
            time.sleep(0.05)

    def _is_ours(self, pid: int) -> bool:
        """Does a process work in this folder? The number of a group that ended may be another's by now."""
        try:
            return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(self.folder)
        except OSError:
            return False

    def end_everything(self) -> None:
        for group in self._groups:
            if any(self._is_ours(pid) for pid, _ in processes_of_group(group)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)

    # --- parameters

    @property
    def params(self) -> dict[str, Any]:
        value: dict[str, Any] = yaml.safe_load((self.folder / "params.yaml").read_text())
        return value

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit params.yaml in one step, as editors do."""
        value = self.params
        change(value)
        fresh = self.folder / ".params.yaml.fresh"
        fresh.write_text(yaml.safe_dump(value, sort_keys=False))
        os.replace(fresh, self.folder / "params.yaml")

    def set(self, key: str, value: Any) -> Any:
        """Set one dotted key; returns what it was."""
        *path, last = key.split(".")
        before: list[Any] = []

        def change(params: dict[str, Any]) -> None:
            for name in path:
                params = params[name]
            before.append(params.get(last))
            params[last] = value

        self.change(change)
        return before[0]

    # --- what there is

    def results(self) -> dict[str, str]:
        """sha256 of all shown results (see ``shown_bytes``)."""
        return shown_bytes(self.folder, "light")

    def store_entries(self) -> dict[str, int]:
        """Fingerprints of finished results, each with the time at which it was made."""
        entries = (self.folder / "data/store").glob("??/*/job.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in entries}

    def times_made(self) -> Counter[str]:
        """How often each part was said to have been made, by all commands typed here (orphans included)."""
        outputs = [path.read_text(errors="replace") for path in sorted(self._outputs.glob("*.txt"))]
        return Counter(match[1] for text in outputs for match in MADE.finditer(text))

    @property
    def num_made(self) -> int:
        return sum(self.times_made().values())

    def failures(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.folder / "logs").rglob("*.failed.json"))]

    def forget_results(self) -> None:
        """As if nothing had been made or pulled, but for what DVC and git know."""
        for name in ("data/light", "data/store", "reports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def forget_everything(self) -> None:
        """Back to a checkout in which nothing ran."""
        for name in (".snakemake", ".work", "data/light", "data/store", "reports", "logs", ".dvc/tmp", ".dvc/cache"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "dvc.lock").unlink(missing_ok=True)


MAY_DIFFER = ("report.html", "report.md", "fingerprint.json")  # the page may tell times, and the last hashes it


def shown_bytes(folder: Path, run: str) -> dict[str, str]:
    """sha256 of each file that a run shows, by its path in the checkout; the report's page is left out."""
    reports = folder / "reports" / run
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in (folder / "data" / run, reports)
        for path in sorted(top.rglob("*"))
        if path.is_file() and not (path.parent == reports and path.name in MAY_DIFFER)
    }


def environment() -> dict[str, str]:
    """What a person's shell has: the tools of this environment first, no project on the path but the folder's own."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "T2I_RUN_TOKEN")}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
