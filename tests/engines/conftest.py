"""Runs of the real engines in throw-away checkouts; one undisturbed run says what the right bytes are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkout import Checkout
from expect import NUM_UNITS


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which Snakemake ran undisturbed; never changed, only copied."""
    checkout = Checkout.new(tmp_path_factory.mktemp("reference") / "project")
    ended = checkout.snakemake()
    assert ended.status == 0, ended.text
    assert len(checkout.store_entries()) == NUM_UNITS
    return checkout


@pytest.fixture(scope="session")
def right_bytes(reference: Checkout) -> dict[str, str]:
    """sha256 of every result of the undisturbed run."""
    return reference.results()


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Callable[[], Checkout]]:
    """Makes checkouts in which nothing ran."""
    made: list[Checkout] = []

    def make() -> Checkout:
        made.append(Checkout.new(tmp_path / f"project{len(made)}"))
        return made[-1]

    yield make
    for checkout in made:
        checkout.end_everything()


@pytest.fixture
def fresh(new: Callable[[], Checkout]) -> Checkout:
    """A checkout in which nothing ran."""
    return new()


@pytest.fixture
def done(reference: Checkout, tmp_path: Path) -> Iterator[Checkout]:
    """A checkout in which Snakemake ran to the end."""
    for number in itertools.count():
        folder = tmp_path / f"done{number}"
        if not folder.exists():
            break
    checkout = reference.twin(folder)
    yield checkout
    checkout.end_everything()
