"""Where pictures come from and what sets hold, on the page of a small real run over a folder in its own order."""

from __future__ import annotations

import html
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import REPORT, UnitId
from pipeline.data.files import REPORT_FILES
from pipeline.sources.folder import FolderSource

CLASSES = ("cock", "goldfish", "hen", "tench")
PER_CLASS, NUM_HELD_OUT = 12, 6


def write_pictures(folder: Path) -> None:
    """Four classes of unlike pictures; of hens one twice and one as another PNG; a broken one."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            noise = np.random.default_rng([label, number]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize((48, 48), Image.Resampling.BICUBIC)
            image.save(folder / name / f"{number:02d}.png")
    shutil.copy(folder / "hen/03.png", folder / "hen/copy.png")
    Image.open(folder / "hen/05.png").save(folder / "hen/packed<b>.png", compress_level=1)
    (folder / "hen/broken.png").write_bytes((folder / "hen/05.png").read_bytes()[:-60])


def parameters() -> dict[str, Any]:
    raw = small_parameters()
    row = {"source": "folder", "path": "pictures", "revision": 7}
    raw["download"]["max_reject_fraction"] = 1.0
    raw["download"]["rows"] = {
        "sorted": {**row, "num_rows": "all", "num_shards": 4, "heldout": "download/first"},
        "first": {**row, "num_rows": NUM_HELD_OUT, "num_shards": 1},
    }
    raw["recaption"]["rows"] = {}
    return raw


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of the page's section, blanks put together."""
    folder, here = tmp_path_factory.mktemp("datasets"), Path.cwd()
    os.chdir(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FolderSource, "random_access", False)  # as an archive that is read from front to end
            write_pictures(folder / "pictures")
            write_parameters(folder / "params.yaml", parameters())
            for stage, row in (("download", "first"), ("download", "sorted"), ("report", "main")):
                assert run_stage(stage, row) == 0
            log = Path("logs/small/download/sorted/manifest.log").read_text(encoding="utf-8")
            assert "download/sorted: its shards are not mixed: one has 1 of 4 classes" in log
            path = plan_of(folder).made_folder(UnitId(REPORT, "main", REPORT)) / REPORT_FILES[0]
    finally:
        os.chdir(here)
    (section,) = re.findall(r'<section id="datasets">.*?</section>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert "packed<b>" not in section
    cells = re.sub(r"</?(dt|dd|th|td|p|h3)\b[^>]*>", " ", section)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", cells)).split())


@pytest.mark.parametrize(
    "said",
    [
        "source folder, revision 7; path pictures",
        "pictures 45, of which 44 can be used; those of download/first are held out",
        "rejected truncated 1 (examples: Rows)",
        "the same bytes 2 pictures in 1 group",
        "the same pixels 4 pictures in 2 groups",
        "like another of the set 4 with the same hash, 4 within 2 bits, 4 within 4 bits, 4 within 6 bits",
        "like a held-out one none",
        "the same bytes sorted/hen/03.png and sorted/hen/copy.png",
        "the same pixels sorted/hen/05.png and sorted/hen/packed<b>.png",
        "alike sorted/hen/05.png and sorted/hen/packed<b>.png 0 bits",
    ],
)
def test_the_section_tells(page: str, said: str) -> None:
    assert said in page


def test_a_set_in_the_order_of_its_classes_has_a_warning_and_one_of_one_shard_none(page: str) -> None:
    assert page.count("Its shards are not mixed") == 1
    assert re.search(
        r"One has 1 class of 4 \(in a random order [34] or more\), and one class is 100 % of a shard", page
    )
    assert "classes 1 " in page  # of the held-out set, which is one shard
