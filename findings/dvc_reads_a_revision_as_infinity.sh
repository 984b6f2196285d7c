#!/usr/bin/env bash
# DVC 3.67.1 beside PyYAML 6.0.3: PyYAML writes the text "12e4567" (a short commit id) without quotes, since to YAML 1.1
# it is no number. DVC reads parameters as YAML 1.2, where it is 12 times ten to the 4567: the parameter of a pinned
# revision becomes infinity, and the number 1e-05 that DVC writes itself reads back as a text in PyYAML.
# Exits with an error where the pinned versions behave otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dvc==3.67.1 PyYAML==6.0.3 ruamel.yaml==0.19.1
mkdir "$folder/project"
cd "$folder/project"
export DVC_NO_ANALYTICS=1
../venv/bin/dvc init --no-scm --quiet
../venv/bin/python - <<'PYTHON'
import dvc.api
import yaml
from dvc.utils.serialize import modify_yaml

with open("params.yaml", "w") as file:
    yaml.safe_dump({"revision": "12e4567", "rate": 0.1}, file)
shown = dvc.api.params_show()
print(f"written: {open('params.yaml').read()!r}; DVC reads {shown}")
assert shown["revision"] == float("inf"), shown
with modify_yaml("params.yaml") as values:
    values["rate"] = 0.00001
again = yaml.safe_load(open("params.yaml"))
print(f"DVC writes: {open('params.yaml').read()!r}; PyYAML reads {again}")
assert again["rate"] == "1e-05", again
PYTHON
