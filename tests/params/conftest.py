"""The checkout that conflicts of parameters are looked for in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sandbox


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Model folders are looked for in the current folder; the autoencoder's own file tells its factor."""
    monkeypatch.chdir(sandbox.make(tmp_path, sandbox.demo()))
    config = json.dumps({"_class_name": "AutoencoderKL", "block_out_channels": [16, 32, 64, 64]})
    (tmp_path / "data/demo_models/autoencoder/config.json").write_text(config)
    return tmp_path
