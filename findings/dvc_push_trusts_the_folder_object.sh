#!/usr/bin/env bash
# DVC 3.67.1, dvc-data 3.18.3: once the object that lists a folder is at a remote, `dvc push` takes all files of the folder for
# pushed and looks at none. An object that was lost there (a lifecycle rule, a broken disk) stays lost: push says that
# everything is up to date and exits with 0, `dvc status --cloud` says that cache and remote are in sync, and only `dvc pull`
# elsewhere fails. Removing the folder's `.dir` object as well makes push look, and send the lost file again.
# Exits with an error where the pinned versions behave otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dvc==3.67.1 dvc-data==3.18.3
export DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$folder/site"
dvc="$folder/venv/bin/dvc"
mkdir -p "$folder/project/results"
cd "$folder/project"
"$dvc" init --no-scm --quiet
"$dvc" remote add --quiet --default far "$folder/far"
echo one > results/one.txt
echo two > results/two.txt
"$dvc" add --quiet results
"$dvc" push --quiet
lost=$(md5sum results/one.txt | cut -c1-32)
object="$folder/far/files/md5/${lost:0:2}/${lost:2}"
rm "$object"
said=$("$dvc" push 2>&1)
state=$("$dvc" status --cloud 2>&1)
echo "after the loss, push: $said; status --cloud: $state"
grep -q "Everything is up to date" <<< "$said"
grep -q "in sync" <<< "$state"
test ! -e "$object"
listed=$(grep -o "[0-9a-f]*\.dir" results.dvc)
rm "$folder/far/files/md5/${listed:0:2}/${listed:2}"
said=$("$dvc" push 2>&1)
echo "without the folder's object, push: $said"
grep -q "2 files pushed" <<< "$said"
test -e "$object"
