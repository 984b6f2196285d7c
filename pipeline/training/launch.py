"""Training in this process, or in several that torch's launcher starts (``execution.num_processes``).

Each of several processes runs ``python -m pipeline.training.launch`` with the job's coordinates, computes its share of
each batch and averages gradients; the first one writes checkpoints and the export.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pipeline
from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.errors import Refusal
from pipeline.params.check import project_params
from pipeline.runner.job import Job
from pipeline.runner.log import JobLog
from pipeline.store.store import Partial

REFUSAL_TXT = "refusal.txt"
# Before each line that a process says through its job, unlike those of the launcher and of libraries.
JOB_LINE_MARK = "\x1e"
LAUNCHER = "torch.distributed.run"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def num_processes_of(job: Job) -> int:
    """Processes asked for this model; one where the parameters name none."""
    return job.plan.params.execution.num_processes.get(job.unit_id.reference, 1)


def train_here(job: Job) -> None:
    """Train in this process; one of several where a launcher started it."""
    from pipeline.training.conditioning import conditioning_of
    from pipeline.training.job import first_weights, training_data
    from pipeline.training.trainer import train

    make_model, refers = first_weights(job)
    train(
        job.row_params,
        training_data(job),
        make_model=make_model,
        conditioning=conditioning_of(refers),
        seed=job.plan.params.seeds.train,
        execution=job.plan.params.execution,
        work=job.work,
        out=job.out,
        say=job.log.info,
    )


def train_in_processes(job: Job) -> None:
    """Start the processes and wait for them. Raises Refusal with what the first failing one said."""
    refusal = job.work / REFUSAL_TXT
    refusal.unlink(missing_ok=True)
    number = num_processes_of(job)
    job.log.info(f"starts {number} processes")
    # The launcher inherits the lock on this work: if this process is killed, nobody else takes it up meanwhile.
    lock_handles = () if job.partial.lock is None else (job.partial.lock,)
    with subprocess.Popen(
        _launcher(job, number),
        env=_environment(),
        pass_fds=lock_handles,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as launcher:
        assert launcher.stdout is not None
        for line in launcher.stdout:
            if line.startswith(JOB_LINE_MARK):
                job.log.info(line.removeprefix(JOB_LINE_MARK).rstrip())
            else:  # the launcher's own lines and tracebacks are for the log alone
                job.log.debug(line.rstrip())
    if launcher.returncode != 0:
        message = refusal.read_text() if refusal.exists() else f"the processes ended with status {launcher.returncode}"
        raise Refusal(message)


def _launcher(job: Job, number: int) -> list[str]:
    # torch's own, as accelerate starts it for GPUs: asked for several processes on a CPU, accelerate starts one.
    # Its address is this machine's, whatever the machine is called and whether that name resolves.
    options = ["--standalone", "--local-addr", "localhost", "--nnodes", "1", "--nproc-per-node", str(number)]
    coordinates = {
        "params": job.plan.params.source,
        "stage": job.unit_id.stage,
        "row": job.unit_id.row,
        "part": job.unit_id.part,
        "fingerprint": job.fingerprint,
        "work": job.work,
        "out": job.out,
    }
    arguments = [text for name, value in coordinates.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", LAUNCHER, *options, "-m", __name__, *arguments]


def _environment() -> dict[str, str]:
    code = str(Path(pipeline.__file__).parents[1])
    paths = [code, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class _Plain(JobLog):
    """What a process says goes to the one that started it, which puts the time before it."""

    def info(self, line: str) -> None:
        print(JOB_LINE_MARK + line, flush=True)


def _end_with_the_launcher() -> None:
    """End when the launcher is killed: it holds the lock on this work, which somebody else may then take up."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Killed before that line, it is the parent no longer.
    if LAUNCHER not in Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0"):
        os.kill(os.getpid(), signal.SIGKILL)


def _spare_what_some_gpus_cannot() -> None:
    """As accelerate's launcher does: GPUs of a kind that cannot write to each other are told not to try."""
    import torch
    from accelerate.utils import check_cuda_p2p_ib_support

    if torch.cuda.is_available() and not check_cuda_p2p_ib_support():
        os.environ.setdefault("NCCL_P2P_DISABLE", "1")
        os.environ.setdefault("NCCL_IB_DISABLE", "1")


def main() -> int:
    """One of several training processes."""
    parser = argparse.ArgumentParser(description="One of several processes of a training; started by the stage.")
    for name in ("params", "stage", "row", "part", "fingerprint", "work", "out"):
        parser.add_argument(f"--{name}", required=True)
    parsed = parser.parse_args()
    _end_with_the_launcher()
    _spare_what_some_gpus_cannot()
    project = Path.cwd()
    unit_id = UnitId(parsed.stage, parsed.row, parsed.part)
    partial = Partial(work=Path(parsed.work), out=Path(parsed.out))
    try:
        plan = Plan(project_params(Path(parsed.params), project), project)
        fingerprint = plan.fingerprints.of(unit_id)
        if fingerprint is None or fingerprint != parsed.fingerprint:
            raise Refusal(f"{parsed.params} was changed while {unit_id} began to train; run again")
        log = _Plain(sys.stdout, sys.stdout)
        train_here(Job(plan, unit_id, plan.params.row(unit_id.stage, unit_id.row), fingerprint, partial, log))
    except Refusal as refusal:
        (partial.work / REFUSAL_TXT).write_text(str(refusal))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
