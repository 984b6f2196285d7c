"""How members of a tar are grouped: as the webdataset library does, but for what it would lose."""

from __future__ import annotations

from pathlib import Path

import pytest
from webdataset_cases import CASES, Samples, library_says, write_tar

from pipeline.errors import Refusal
from pipeline.sources.samples import Tally, samples, split_name


def ours(path: Path) -> Samples | str:
    try:
        return [(sample.key, list(sample.members)) for sample in samples(path, Tally())]
    except Refusal as refusal:
        return str(refusal)


def apart(expected: Samples) -> bool:
    keys = [key for key, _ in expected]
    return len(set(keys)) < len(keys)


@pytest.mark.parametrize(("names", "expected"), CASES, ids=[" ".join(case[0])[:40].strip() for case in CASES])
def test_samples_are_those_of_the_library(tmp_path: Path, names: list[str], expected: Samples | str) -> None:
    found = ours(write_tar(tmp_path / "a.tar", names))
    if isinstance(expected, str):
        assert "are both" in found
    elif apart(expected):
        assert "members of one sample lie apart" in found
    else:
        assert found == expected


def test_the_table_is_what_the_library_says(tmp_path: Path) -> None:
    pytest.importorskip("webdataset", reason="webdataset is not installed; its answers are recorded in the table")
    for names, expected in CASES:
        assert library_says(write_tar(tmp_path / "a.tar", names)) == expected


def test_two_members_of_one_extension_are_both_named(tmp_path: Path) -> None:
    message = ours(write_tar(tmp_path / "a.tar", ["x/a.jpg", "x/a.txt", "x/a.JPG"]))
    assert "a.tar: 'x/a.jpg' and 'x/a.JPG' are both 'jpg' of the sample 'x/a'" in message


def test_members_that_lie_apart_are_named_and_counted(tmp_path: Path) -> None:
    message = ours(write_tar(tmp_path / "a.tar", ["a.jpg", "b.jpg", "b.txt", "a.txt", "c.jpg", "b.json"]))
    assert "others are between" in message
    assert "'a.jpg' and 'a.txt'" in message or "'b.jpg' and 'b.json'" in message
    assert "(2 such cases)" in message
    assert "tar --sort=name" in message


def test_keys_of_other_tars_are_other_samples(tmp_path: Path) -> None:
    for name in ("0.tar", "1.tar"):
        assert ours(write_tar(tmp_path / name, ["a.jpg"])) == [("a", ["jpg"])]


def test_hidden_files_in_folders_part_no_sample(tmp_path: Path) -> None:
    """As macOS packs them. That library makes a sample ``x/`` of each, and two of what lies around it."""
    passed_over = Tally()
    path = write_tar(tmp_path / "a.tar", ["x/._a.jpg", "x/a.jpg", "x/._a.txt", "x/a.txt", "README"])
    assert [(sample.key, list(sample.members)) for sample in samples(path, passed_over)] == [("x/a", ["jpg", "txt"])]
    assert (passed_over.number, passed_over.first) == (3, "'x/._a.jpg' in a.tar")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        *(("a.jpg", ("a", "jpg")), ("d.e/a.SEG.Png", ("d.e/a", "seg.png")), ("a", None), (".a.jpg", None)),
        *(("d/.a", None), ("__MACOSX/d/a.jpg", None), ("d/@eaDir/a.jpg", None), ("d/Thumbs.db", None)),
    ],
)
def test_names_are_split_at_the_first_dot(name: str, parts: tuple[str, str] | None) -> None:
    assert split_name(name) == parts
