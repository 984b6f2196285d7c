"""Makes ``tiny_training`` importable and gives its data."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

import tiny_training

from pipeline.training.sets import TrainingData


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Plain latents and two text sets, a swap set and a validation set; 14 rows each, rows 3 and 9 not usable."""
    return tiny_training.write_data(tmp_path_factory.mktemp("data"))
