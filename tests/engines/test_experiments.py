"""``dvc exp run`` and ``dvc exp show``: DVC changes parameters, our commands run for them, both agree on values."""

from __future__ import annotations

import csv
import sys

import pytest
from checkout import Checkout, Ended
from expect import NUM_UNITS, NUM_UNITS_OF_CAPTIONS

pytestmark = pytest.mark.slow


def committed(checkout: Checkout) -> Checkout:
    """Experiments start from a commit."""
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "start")
    return checkout


def experiment(checkout: Checkout, name: str, *changes: str) -> Ended:
    options = [option for change in changes for option in ("--set-param", change)]
    return checkout.type(sys.executable, "-m", "dvc", "exp", "run", "--name", name, *options)


def test_an_experiment_runs_and_its_parameters_are_shown(done: Checkout) -> None:
    assert done.dvc("repro").status == 0
    committed(done)
    first = experiment(done, "drawing", 'recaption.captioners.label.template="a drawing of a {class_name}"')
    assert first.status == 0, first.text
    assert done.num_made == NUM_UNITS + NUM_UNITS_OF_CAPTIONS
    # DVC writes 1e-05, which PyYAML alone would take for a text.
    second = experiment(done, "strict", "recaption.max_reject_fraction=0.00001")
    assert second.status == 0, second.text
    assert "max_reject_fraction: 1e-05" in (done.folder / "params.yaml").read_text()
    shown = done.type(sys.executable, "-m", "dvc", "exp", "show", "--csv")
    rows = {row["Experiment"]: row for row in csv.DictReader(shown.text.splitlines()) if row["Experiment"]}
    key = next(key for key in rows["strict"] if key.endswith("recaption.max_reject_fraction"))
    assert (float(rows["strict"][key]), float(rows["drawing"][key])) == (1e-05, 0.01)
    template = key.replace("max_reject_fraction", "captioners.label.template")
    assert rows["drawing"][template] == "a drawing of a {class_name}"


def test_conflict_markers_are_named_and_left_alone(done: Checkout) -> None:
    """Two branches that both ran: git leaves both versions in the file."""
    path = done.folder / "dvc.lock"
    text = f"<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.1'\n>>>>>>> other\n{'stages: {}'}\n"
    path.write_text(text)
    ended = done.snakemake()
    assert ended.status == 0, ended.text
    assert len(ended.lines_with("dvc.lock holds git's conflict markers")) == 1
    assert path.read_text() == text
    stage = done.stage("recaption", "main-label")
    assert (stage.status, len(stage.lines_with("conflict markers"))) == (0, 1), stage.text
    assert not (done.folder / ".work/dvc.lock.cut_short").exists()
