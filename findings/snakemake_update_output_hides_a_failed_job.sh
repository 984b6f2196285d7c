#!/usr/bin/env bash
# snakemake 9.27.1: where a job whose output is marked update() fails, Snakemake puts the old output back with a new time
# stamp. The next run therefore finds an output that is newer than its changed input, says "Nothing to be done" and ends
# with status 0: the result of the old input passes for that of the new one.
# Exits with an error where the pinned version behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check snakemake==9.27.1
cd "$folder"
cat > Snakefile <<'SNAKEFILE'
rule table:
    input:
        "words.txt",
    output:
        update("table.txt"),
    shell:
        "grep -q good {input} && cp {input} {output}"
SNAKEFILE
snakemake() { venv/bin/snakemake --cores 1 --quiet rules "$@"; }
echo "good, first" > words.txt
snakemake
sleep 1
echo "bad, second" > words.txt
if snakemake 2> failed.txt; then
    echo "the second run did not fail" >&2
    exit 1
fi
status=0
venv/bin/snakemake --cores 1 2> third.txt || status=$?
cat third.txt
echo "third run: status $status; input: $(cat words.txt); output: $(cat table.txt)"
grep -q "Nothing to be done" third.txt
test "$status" = 0
test "$(cat table.txt)" = "good, first"
