"""Commands that only look: the checkout before and after is the same, times included, and what they say is true."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from checkout import Checkout
from expect import NOTHING, NUM_UNITS, NUM_UNITS_OF_CAPTIONS, OTHER_TEMPLATE, TEMPLATE, planned

NOT_OURS = (".snakemake", "__pycache__", "typed")  # Snakemake's log and memory of times; what these tests type
LOOKS = (
    "--dry-run",
    "--dag",
    "--rulegraph",
    "--filegraph",
    "--summary",
    "--detailed-summary",
    "--lint",
    "--list-rules",
)


def tree(checkout: Checkout) -> dict[str, tuple[int, int, int]]:
    """Size, time and inode of everything but ``NOT_OURS``."""
    seen = {}
    for parent, folders, names in os.walk(checkout.folder):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        for name in [*folders, *names]:
            path = os.path.join(parent, name)
            stat = os.lstat(path)
            seen[os.path.relpath(path, checkout.folder)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return seen


def changed(checkout: Checkout) -> None:
    """Other parameters than those of what is in view."""
    checkout.set(TEMPLATE, OTHER_TEMPLATE)


def pulled(checkout: Checkout) -> None:
    """As after ``dvc pull`` into another clone: all is in view, and the store has nothing."""
    shutil.rmtree(checkout.folder / "data/store")


def deleted(checkout: Checkout) -> None:
    """The folders of results are gone; the store has them."""
    for name in ("download", "recaption"):
        shutil.rmtree(checkout.folder / "data/light" / name)


def strange(checkout: Checkout) -> None:
    """A file in view that is no result."""
    (checkout.folder / "data/light/recaption/main-label/notes.parquet").write_text("mine")


STATES: dict[str, tuple[Callable[[Checkout], None], int]] = {
    "as it was made": (lambda checkout: None, 0),
    "other parameters": (changed, NUM_UNITS_OF_CAPTIONS),
    "pulled, and nothing in the store": (pulled, 0),
    "folders deleted": (deleted, 0),
    "a stranger in view": (strange, 0),
}


@pytest.mark.parametrize("state", STATES)
def test_a_dry_run_changes_nothing_and_tells_what_a_run_would_make(done: Checkout, state: str) -> None:
    put_in_state, num_to_make = STATES[state]
    put_in_state(done)
    before, num_made = tree(done), done.num_made
    look = done.snakemake("--dry-run")
    assert look.status == 0, look.text
    assert tree(done) == before
    if num_to_make:
        assert planned(look) == num_to_make
    run = done.snakemake()
    assert run.status == 0, run.text
    assert done.num_made == num_made + num_to_make
    assert done.snakemake().lines_with(NOTHING)


@pytest.mark.parametrize("option", LOOKS)
def test_what_only_looks_touches_nothing(fresh: Checkout, option: str) -> None:
    """In a checkout in which nothing was made, of which nothing may be made by looking either."""
    fresh.type("true")  # what is typed is kept in the checkout too
    before = tree(fresh)
    look = fresh.snakemake(option)
    assert "Traceback" not in look.text
    assert look.status == 0 or option == "--lint"  # which has an opinion on variables, and says it
    assert tree(fresh) == before
    if option == "--dry-run":
        assert planned(look) == NUM_UNITS
