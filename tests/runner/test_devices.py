"""GPUs, by a fake list of devices: which are visible, that no two jobs have one, and that nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import Refusal
from pipeline.runner.devices import LISTING_TOOL, VISIBLE_VARIABLE, Claims, visible_devices

PROJECT = Path(__file__).resolve().parents[2]
DEVICES = ("GPU-aa11", "GPU-bb22", "GPU-cc33")


def fake_tool(folder: Path, devices: tuple[str, ...] = DEVICES, status: int = 0) -> Path:
    """A folder for PATH with a tool that lists these devices."""
    folder.mkdir(exist_ok=True)
    lines = "".join(f"echo '{index}, {uuid}'\n" for index, uuid in enumerate(devices))
    tool = folder / LISTING_TOOL
    tool.write_text(f"#!/bin/sh\n{lines}exit {status}\n")
    tool.chmod(0o755)
    return folder


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that lists three devices; the folder of their locks."""
    monkeypatch.setenv("PATH", str(fake_tool(tmp_path / "bin")), prepend=os.pathsep)
    monkeypatch.delenv(VISIBLE_VARIABLE, raising=False)
    locks = tmp_path / "locks"
    locks.mkdir()
    return locks


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("chosen", "visible"),
    [
        (None, list(DEVICES)),
        ("2,0", ["GPU-cc33", "GPU-aa11"]),
        ("GPU-bb22", ["GPU-bb22"]),
        ("GPU-b", ["GPU-bb22"]),
        ("MIG-1234/5", ["MIG-1234/5"]),
        ("", []),
    ],
)
def test_visible_are_those_that_the_environment_names(
    chosen: str | None, visible: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is not None:
        monkeypatch.setenv(VISIBLE_VARIABLE, chosen)
    assert visible_devices() == visible


def test_without_tool_or_driver_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices() == []
    monkeypatch.setenv("PATH", str(fake_tool(tmp_path / "bin", (), status=9)), prepend=os.pathsep)
    assert visible_devices() == []
    lines: list[str] = []
    Claims(tmp_path).claim(1, lines.append)
    assert lines == []
    assert not list(tmp_path.glob("*.lock"))


def test_a_claim_shows_its_devices_alone_and_keeps_them(gpus: Path) -> None:
    first, second, lines = Claims(gpus), Claims(gpus), list[str]()
    first.claim(1, lines.append)
    assert os.environ[VISIBLE_VARIABLE] == "GPU-aa11"
    first.claim(1, lines.append)
    assert lines == ["computes on GPU-aa11"]
    os.environ.pop(VISIBLE_VARIABLE)
    second.claim(2, lines.append)
    assert os.environ.pop(VISIBLE_VARIABLE) == "GPU-bb22,GPU-cc33"
    first.release()
    second.release()


def test_more_than_there_are_is_refused(gpus: Path) -> None:
    with pytest.raises(Refusal, match=r"4 GPUs are asked for, 3 are visible here: lower execution\.num_processes"):
        Claims(gpus).claim(4, print)


HOLDER = """
import sys, time
from pathlib import Path
from pipeline.runner.devices import Claims
claims = Claims(Path(sys.argv[1]))
claims.claim(3, lambda line: None)
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_holder_keeps_nothing(gpus: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(gpus)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not Claims(gpus)._try(list(DEVICES), 1)
        holder.kill()
    claims = Claims(gpus)
    claims.claim(3, print)
    claims.release()
    os.environ.pop(VISIBLE_VARIABLE)


USER = """
import os, sys, time
from pathlib import Path
from pipeline.runner import devices
devices.POLL_SECONDS = 0.01
folder, number = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(15):
    claims = devices.Claims(folder)
    os.environ.pop(devices.VISIBLE_VARIABLE, None)
    claims.claim(number, lambda line: None)
    marks = [folder / f"in_use-{name}" for name in os.environ[devices.VISIBLE_VARIABLE].split(",")]
    assert len(marks) == number
    for mark in marks:
        mark.touch(exist_ok=False)  # fails where another has the device too
    time.sleep(0.01)
    for mark in marks:
        mark.unlink()
    claims.release()
"""


def test_never_two_on_one_and_nobody_waits_for_ever(gpus: Path) -> None:
    """Two that want two of three devices each, and two that want one, at the same time."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    start = time.monotonic()
    users = [
        subprocess.Popen([sys.executable, "-c", USER, str(gpus), number], env=environment, stderr=subprocess.PIPE)
        for number in ("2", "2", "1", "1")
    ]
    for user in users:
        _, errors = user.communicate(timeout=120)
        assert user.returncode == 0, errors.decode()
    assert time.monotonic() - start < 100
