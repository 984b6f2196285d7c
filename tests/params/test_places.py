"""Pictures and the store must not lie where results are shown: what lies there is moved out of view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sandbox

from pipeline.errors import Refusal
from pipeline.params.load import convert
from pipeline.params.places import refuse_places_of_results


def parameters(run: str, path: str, store: str = "data/store") -> dict[str, Any]:
    raw = sandbox.small()
    raw["run"] = run
    raw["execution"]["store"] = store
    own = {"source": "folder", "revision": 1, "path": path, "num_rows": "all", "num_shards": 1}
    raw["download"]["rows"] = {"own": own}
    raw["augment"]["rows"] = raw["recaption"]["rows"] = {}
    return raw


@pytest.mark.parametrize(
    ("run", "path", "store", "key"),
    [
        ("imagenet", "data/imagenet", "data/store", "download.rows.own.path = 'data/imagenet'"),
        ("imagenet", "data/imagenet/train", "data/store", "download.rows.own.path = 'data/imagenet/train'"),
        ("imagenet", "other/../data/./imagenet", "data/store", "download.rows.own.path = "),
        ("imagenet", "reports/imagenet", "data/store", "download.rows.own.path = 'reports/imagenet'"),
        ("store", "data/pictures", "data/store", "execution.store = 'data/store'"),
        ("store", "data/pictures", "data/store/shared", "execution.store = 'data/store/shared'"),
    ],
)
def test_what_lies_where_results_are_shown_is_refused(
    tmp_path: Path, run: str, path: str, store: str, key: str
) -> None:
    with pytest.raises(Refusal) as caught:
        refuse_places_of_results(convert(parameters(run, path, store), "params.yaml"), tmp_path)
    assert str(caught.value).startswith(f"params.yaml: {key}")
    assert f"results of run '{run}' are shown in " in str(caught.value)


@pytest.mark.parametrize(
    ("run", "path", "store"),
    [
        ("imagenet", "data/imagenet1k", "data/store"),
        ("imagenet", "/data/imagenet", "/data/store"),
        ("image", "data/imagenet", "data/store"),
        ("imagenet", "data", "data/store"),
        ("demo", "../data/demo", "data/store"),
    ],
)
def test_other_places_are_taken(tmp_path: Path, run: str, path: str, store: str) -> None:
    refuse_places_of_results(convert(parameters(run, path, store), "params.yaml"), tmp_path)


def test_a_stage_command_refuses_and_moves_nothing(tmp_path: Path) -> None:
    folder = sandbox.make(tmp_path, parameters("pets", "data/pets"))
    picture = folder / "data/pets/train/cat/0.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a picture")
    done = sandbox.stage(folder, "download", "--row", "own")
    assert done.returncode == 1
    assert "choose another name for the run, or another place" in done.stderr
    assert picture.read_bytes() == b"a picture"
