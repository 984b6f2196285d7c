#!/usr/bin/env bash
# datasets 5.2.0: a folder of pictures loaded with "imagefolder" and written with to_parquet gives a file without pictures:
# `bytes` is null and `path` is absolute, so that only the machine that wrote it can read it. It reads back there, which
# hides it. download_and_prepare(file_format="parquet") does put the bytes in, and shortens `path` to the bare name: two
# classes that each have a 1.png give two rows called 1.png, so that `path` names no picture.
# Exits with an error where the pinned version behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 pillow==13.0.0
cd "$folder"
export HF_HUB_OFFLINE=1 HF_HOME="$folder/home" HF_DATASETS_DISABLE_PROGRESS_BARS=1
venv/bin/python - <<'PYTHON'
from pathlib import Path

import datasets
import pyarrow.parquet as pq
from PIL import Image


def pictures_in(path):
    return [row["image"] for row in pq.read_table(path).to_pylist()]


for name, grey in (("cat", 0), ("dog", 200)):
    path = Path("pictures") / name / "1.png"
    path.parent.mkdir(parents=True)
    Image.new("L", (8, 8), grey).save(path)

datasets.load_dataset("imagefolder", data_dir="pictures", split="train").to_parquet("written.parquet")
written = pictures_in("written.parquet")
print("to_parquet:", written)
assert [one["bytes"] for one in written] == [None, None]
assert all(Path(one["path"]).is_absolute() for one in written)
assert datasets.Dataset.from_parquet("written.parquet")[1]["image"].getpixel((0, 0)) == 200

builder = datasets.load_dataset_builder("imagefolder", data_dir="pictures")
builder.download_and_prepare("prepared", file_format="parquet")
prepared = pictures_in(next(Path("prepared").glob("*.parquet")))
print("download_and_prepare:", [(one["path"], len(one["bytes"])) for one in prepared])
assert [one["path"] for one in prepared] == ["1.png", "1.png"]
PYTHON
