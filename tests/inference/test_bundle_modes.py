"""A bundle may be read by all whom the umask lets read, not by its maker alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tiny_project import make_project, run_to_the_model

from pipeline.inference.bundle import TextToImagePipeline
from pipeline.inference.bundle_command import main

pytestmark = pytest.mark.models


def test_all_of_a_bundle_may_be_read_as_the_umask_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    run_to_the_model()
    for umask in (0o022, 0o007):
        before = os.umask(umask)
        try:
            assert main(["--model", "tiny", "--out", f"by_command_{umask}"]) == 0
            pipeline = TextToImagePipeline.from_pretrained(f"by_command_{umask}")
            saved = tmp_path / f"saved_{umask}"
            saved.mkdir()
            (saved / "mine").write_text("")
            (saved / "mine").chmod(0o600)
            pipeline.save_pretrained(saved)
        finally:
            os.umask(before)
        assert stat.S_IMODE((saved / "mine").stat().st_mode) == 0o600  # not ours
        (saved / "mine").unlink()
        for folder in (tmp_path / f"by_command_{umask}", saved):
            assert len(list(folder.rglob("*.safetensors"))) == 3
            for path in folder.rglob("*"):
                wanted = (0o777 if path.is_dir() else 0o666) & ~umask
                assert stat.S_IMODE(path.stat().st_mode) == wanted, path
