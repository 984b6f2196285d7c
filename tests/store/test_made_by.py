"""A record says which code made a result, without importing any of it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import sandbox

from pipeline.store.made_by import PACKAGES, code_name, commit_of, this_code
from pipeline.store.store import JOB_JSON, Store

COMMIT = "0123456789" * 4


def test_the_record_of_an_entry_names_its_code(tmp_path: Path) -> None:
    store, fingerprint = Store(tmp_path), "ab" * 20
    with store.locked("cd" * 20, print) as partial:
        (partial.out / "a").write_text("a")
        store.commit(fingerprint, partial, 1.0)
    record = json.loads((store.entry(fingerprint) / JOB_JSON).read_text())
    project = tomllib.loads((sandbox.PROJECT / "pyproject.toml").read_text())["project"]
    assert record["code"] == {
        "version": project["version"],
        "commit": commit_of(sandbox.PROJECT),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    assert store.code_of(fingerprint) == this_code()
    (store.entry(fingerprint) / JOB_JSON).write_text('{"seconds": 1.0}')  # of before code was recorded
    assert store.code_of(fingerprint) is None
    (store.entry(fingerprint) / JOB_JSON).unlink()
    assert store.code_of(fingerprint) is None


def test_nothing_is_imported_for_it() -> None:
    code = f"""
import sys
from pipeline.store.made_by import this_code
assert this_code()["packages"]
print(sorted(set({PACKAGES!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=sandbox.PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_gits_own_however_it_is_written_down(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    assert commit_of(tmp_path / "absent") is None
    git(tmp_path, "init", "--quiet", "checkout")
    assert commit_of(checkout) is None  # nothing is committed yet
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "feat: a")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")
    git(checkout, "pack-refs", "--all")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")
    git(checkout, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "--quiet", "--allow-empty", "--message", "feat: b")
    assert commit_of(tmp_path / "tree") == git(tmp_path / "tree", "rev-parse", "HEAD") != commit_of(checkout)
    git(checkout, "checkout", "--quiet", "--detach")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")


def test_code_has_a_short_name() -> None:
    assert code_name({"version": "0.1.0", "commit": COMMIT}) == "0.1.0, commit 01234567"
    assert code_name({"version": "0.1.0", "commit": None}) == "0.1.0, no commit"
    assert code_name(None) == "code that is not recorded"
