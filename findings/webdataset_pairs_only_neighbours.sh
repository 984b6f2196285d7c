#!/usr/bin/env bash
# webdataset 1.0.2: files of one sample are put together only where they follow each other in the tar. A tar of all pictures
# and then all captions, as `tar -cf shard.tar *.jpg *.txt` writes it, gives twice as many samples without an error or a
# warning: each picture without its caption, and each caption without its picture, both under the same key. Whoever then
# selects samples with a picture has lost all captions, and whoever counts samples sees twice the pictures.
# Exits with an error where the pinned version behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check webdataset==1.0.2 numpy==2.4.6
mkdir "$folder/pictures"
cd "$folder/pictures"
for name in cat dog; do
    printf 'picture of a %s' "$name" > "$name.jpg"
    printf 'a %s' "$name" > "$name.txt"
done
tar -cf ../beside.tar cat.jpg cat.txt dog.jpg dog.txt
tar -cf ../apart.tar ./*.jpg ./*.txt
cd ..
venv/bin/python - <<'PYTHON'
import webdataset


def samples(name):
    dataset = webdataset.WebDataset(name, shardshuffle=False)
    return [sorted(key for key in sample if not key.startswith("_")) for sample in dataset]


beside, apart = samples("beside.tar"), samples("apart.tar")
print("neighbours:", beside)
print("pictures first:", apart)
assert beside == [["jpg", "txt"], ["jpg", "txt"]]
assert apart == [["jpg"], ["jpg"], ["txt"], ["txt"]], apart
PYTHON
