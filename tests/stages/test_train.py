"""Train: the exported model is a diffusers model with its references; nothing but sets of the store is read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.data.files import MODEL_FILES
from pipeline.errors import Refusal

if TYPE_CHECKING:
    from whole_run import WholeRuns


def test_the_model_loads_and_names_its_encoders(whole: WholeRuns) -> None:
    from pipeline.interop import references
    from pipeline.models.dit import DiTI

    folder = whole.result("train/ta_ia", "model", "model/config.json").parent
    model = DiTI.from_pretrained(folder, local_files_only=True)
    assert model.config.width == 32
    found = references.read(folder)
    assert (found.arm, found.seed) == ("ta_ia", 0)
    assert found.autoencoder.scale == 0.18
    assert len(found.autoencoder_identity) == len(found.text_encoder_identity) == 40


def test_the_loss_curve_has_a_point_every_two_steps(whole: WholeRuns) -> None:
    lines = whole.result("train/ta_ia", "model", "curves/loss.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["step", "loss"]
    assert [int(line.split("\t")[0]) for line in lines[1:]] == [2, 4, 6, 8]
    assert all(0.0 < float(line.split("\t")[1]) < 10.0 for line in lines[1:])


def test_arms_start_from_the_same_weights_and_end_in_others(whole: WholeRuns) -> None:
    weights = [
        whole.result(f"train/{arm}", "model", "model/diffusion_pytorch_model.safetensors").read_bytes()
        for arm in ("aio", "ta_ia")
    ]
    assert weights[0] != weights[1]


def test_a_model_taken_in_is_a_copy(whole: WholeRuns) -> None:
    for name in MODEL_FILES:
        taken = whole.result("train/taken_in", "model", name).read_bytes()
        made = (whole.snakemake.folder / "data/elsewhere/model" / name.rsplit("/", 1)[-1]).read_bytes()
        assert taken == made


def test_a_folder_without_references_is_refused(whole: WholeRuns) -> None:
    from pipeline.interop import references

    with pytest.raises(Refusal, match=r"references\.json"):
        references.read(whole.snakemake.folder / "data/tiny/vlm")


def test_training_imports_neither_encoders_nor_pictures() -> None:
    code = (
        "import sys, json, pipeline.training.trainer, pipeline.training.export, stages.train\n"
        "print(json.dumps([n for n in sys.modules if n.startswith(('pipeline.', 'transformers.models.', 'PIL.'))]))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = json.loads(printed.splitlines()[-1])
    for forbidden in ("pipeline.sources", "pipeline.captioners", "pipeline.encoders.text", "pipeline.encoders.auto"):
        assert not [name for name in loaded if name.startswith(forbidden)]
