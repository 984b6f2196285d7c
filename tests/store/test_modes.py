"""Who may read a result: modes are those of the umask, whatever a library gave its files."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.store import modes
from pipeline.store.modes import follow_umask
from pipeline.store.store import JOB_JSON, Store

FINGERPRINT, WORK = "ab" * 20, "cd" * 20


@pytest.fixture(params=[0o022, 0o007], ids=["022", "007"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Two umasks: everybody reads; a group works together."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def assert_open(folder: Path, umask: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        assert mode(path) == (0o777 if path.is_dir() else 0o666) & ~umask, path


def private_tree(folder: Path) -> None:
    """What libraries leave: weights through a temporary file, a folder of ``mkdtemp``."""
    inner = Path(tempfile.mkdtemp(dir=folder))
    save_file({"a": torch.zeros(3)}, inner / "weights.safetensors")
    save_file({"a": torch.zeros(3)}, folder / "weights.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "config.json").chmod(0o600)


def test_an_entry_may_be_read_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    store = Store(tmp_path / "store")
    with store.locked(WORK, print) as partial:
        private_tree(partial.out)
        store.commit(FINGERPRINT, partial, 1.0)
    entry = store.entry(FINGERPRINT)
    assert sum(path.suffix == ".safetensors" for path in entry.rglob("*")) == 2
    assert (entry / JOB_JSON).is_file()
    assert_open(tmp_path / "store", umask)


def test_a_copy_that_is_taken_in_follows_too(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's cache is read-only, and where links are impossible its mode is copied with the file."""

    def other_device(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tmp_path / "pulled").write_text("x")
    (tmp_path / "pulled").chmod(0o400)
    monkeypatch.setattr(os, "link", other_device)
    store = Store(tmp_path / "store")
    store.take_in(FINGERPRINT, tmp_path, ["pulled"])
    assert_open(tmp_path / "store", umask)
    assert mode(tmp_path / "pulled") == 0o400


def test_a_file_that_is_somebody_elses_too_stays_as_it_is(tmp_path: Path, umask: int) -> None:
    (tmp_path / "cache").write_text("x")
    (tmp_path / "cache").chmod(0o400)
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "elsewhere").chmod(0o400)
    store = Store(tmp_path / "store")
    with store.locked(WORK, print) as partial:
        os.link(tmp_path / "cache", partial.out / "linked")
        (partial.out / "named").symlink_to(tmp_path / "elsewhere")
        store.commit(FINGERPRINT, partial, 1.0)
    assert mode(tmp_path / "cache") == mode(tmp_path / "elsewhere") == 0o400


def test_a_group_that_folders_hand_on_stays(tmp_path: Path, umask: int) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner").chmod(0o2700)
    follow_umask(tmp_path)
    assert mode(tmp_path / "inner") == 0o2000 | 0o777 & ~umask
    assert os.listdir(tmp_path) == ["inner"]


def test_where_modes_are_not_known_the_result_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_tree(tmp_path)

    def unknown(path: str, mode: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(modes.os, "chmod", unknown)
    follow_umask(tmp_path)

    def broken(path: str, mode: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(modes.os, "chmod", broken)
    with pytest.raises(OSError, match="Input/output"):
        follow_umask(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_second_user_reads_what_the_first_one_made() -> None:
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        before = os.umask(0o022)
        try:
            store = Store(Path(name) / "store")
            with store.locked(WORK, print) as partial:
                private_tree(partial.out)
                store.commit(FINGERPRINT, partial, 1.0)
            os.seteuid(65534)
            try:
                assert load_file(store.entry(FINGERPRINT) / "weights.safetensors")["a"].tolist() == [0, 0, 0]
                assert store.job_record(FINGERPRINT)["seconds"] == 1.0
            finally:
                os.seteuid(0)
        finally:
            os.umask(before)
