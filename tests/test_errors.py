"""Command lines end with one line and a status, and quietly where nobody reads on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from small_project import into_a_closed_pipe

from pipeline.encoders import loading
from pipeline.errors import Refusal, Reject, Transient, system_errors_refused
from pipeline.interop import diffusers_folder, records
from pipeline.interop.references import References
from pipeline.sources.folder import FolderSource

PRINTING = """
import sys
from pipeline.errors import Refusal, exit_status
def work():
    for number in range({num_lines}):
        print(number, "x" * 60)
    {then}
sys.exit(exit_status(work))
"""


@pytest.mark.parametrize("num_lines", [1, 5000])
def test_a_reader_that_goes_early_is_no_error(num_lines: int) -> None:
    assert into_a_closed_pipe(PRINTING.format(num_lines=num_lines, then="")) == (0, "")


def test_a_refusal_after_the_reader_went_is_still_told() -> None:
    code = PRINTING.format(num_lines=1, then='raise Refusal("mend it")')
    assert into_a_closed_pipe(code) == (1, "mend it\n")


def test_another_error_is_not_swallowed() -> None:
    status, said = into_a_closed_pipe(PRINTING.format(num_lines=1, then="1 / 0"))
    assert status != 0
    assert "ZeroDivisionError" in said


def test_what_the_system_refuses_within_the_context_is_one_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "shard.parquet"
    with pytest.raises(Refusal, match=r"shard\.parquet: .* \(ENOSPC\); make room"), system_errors_refused(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(Refusal, match=r"shard\.parquet: .* \(EDQUOT\)"), system_errors_refused(path):
        raise OSError(f"Error writing bytes to file. Detail: [errno {errno.EDQUOT}] Disk quota exceeded")  # as Arrow's
    with pytest.raises(OSError, match="magic bytes"), system_errors_refused(path):
        raise OSError("magic bytes not found")  # no word of the system
    with pytest.raises(ValueError, match="another"), system_errors_refused(path):
        raise ValueError("another")


READERS = {
    "a record beside weights": lambda folder: records.read_record(
        folder / "references.json", References, 2, absent="a", remedy="r"
    ),
    "the configuration of a model": loading.read_config,
    "the index of a pipeline": diffusers_folder.read_index,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_what_the_system_refuses_is_no_fault_of_the_file(
    reader: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *arguments: object, **options: object) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(Refusal) as caught:
        READERS[reader](tmp_path)
    assert f"({errno.errorcode[number]})" in str(caught.value)
    assert not [word for word in ("not there", "save", "download", "delete") if word in str(caught.value)]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT])
def test_a_picture_that_cannot_be_read_now_is_not_rejected_for_ever(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/a.jpg").write_bytes(b"a")
    source = FolderSource(tmp_path)

    def refuse(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(Transient, match=errno.errorcode[number]):
        list(source.read_many(["cat/a.jpg"]))
    monkeypatch.setattr(Path, "read_bytes", lambda path: path.with_name("gone").open().read())
    assert [type(data) for data in source.read_many(["cat/a.jpg"])] == [Reject]
