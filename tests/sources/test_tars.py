"""Tars: what lies where, in bounded memory; cut, joined, compressed and damaged ones are refused with the byte."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from pipeline.errors import Refusal, Transient
from pipeline.sources import tars
from pipeline.sources.tars import Member, OpenTars, Place, members

LONG = "a folder/" * 20 + "ünï.jpg"  # longer than a header's field


def pack(path: Path, files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of these files."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def refused(path: Path) -> str:
    with pytest.raises(Refusal) as caught:
        list(members(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_lie_where_they_are_said_to(tmp_path: Path, form: int) -> None:
    files = {"a.jpg": b"1234", "empty.txt": b"", "b/c.JPG": os.urandom(5000), "x" * 90: b"last"}
    if form != tarfile.USTAR_FORMAT:
        files[LONG] = b"long"
    path = pack(tmp_path / "a.tar", files, form)
    found = list(members(path))
    assert [member.name for member in found] == list(files)
    with OpenTars(tmp_path) as opened:
        for member in found:
            assert member.is_plain
            assert opened.read(Place("a.tar", member.offset, member.num_bytes)) == files[member.name]


def test_members_are_those_that_tarfile_finds(tmp_path: Path) -> None:
    """Of a tar that GNU tar made, with folders, links, holes, times in pax headers."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.jpg").write_bytes(b"abc")
    (folder / "link.jpg").symlink_to("sub/a.jpg")
    os.link(folder / "sub/a.jpg", folder / "twin.jpg")
    with (folder / "holes.jpg").open("wb") as handle:
        handle.seek(1 << 20)
        handle.write(b"end")
    for options in (("--format=pax",), ("--format=gnu", "--sparse"), ("--format=pax", "--sparse")):
        path = tmp_path / "made.tar"
        subprocess.run(["tar", *options, "--sort=name", "-cf", str(path), "-C", str(folder), "."], check=True)
        with tarfile.open(path) as tar:
            wanted = [
                Member(one.name, one.offset_data, one.size, one.isreg() and not one.issparse())
                for one in tar
                if not one.isdir()
            ]
        assert list(members(path)) == wanted
        plain = {Path(member.name).name for member in wanted if member.is_plain}
        assert "a.jpg" in plain
        assert "link.jpg" not in plain
        assert ("holes.jpg" in plain) == ("--sparse" not in options)


def test_a_tar_in_a_tar_is_read_where_it_lies(tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner.tar", {"x.jpg": b"xx", "y.jpg": b"yyy"}).read_bytes()
    path = pack(tmp_path / "outer.tar", {"first": b"1", "inner.tar": inner, "last": b"2"})
    (_, middle, _) = members(path)
    found = list(members(path, middle.offset, middle.offset + middle.num_bytes))
    data = path.read_bytes()
    assert [data[member.offset : member.offset + member.num_bytes] for member in found] == [b"xx", b"yyy"]
    cut = pack(tmp_path / "cut.tar", {"first": b"1", "inner.tar": inner[:1500], "last": b"2"})
    (_, middle, _) = members(cut)
    with pytest.raises(Refusal, match="cut short at byte"):
        list(members(cut, middle.offset, middle.offset + middle.num_bytes))


def test_a_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    """Python's own reader takes most of these for smaller tars."""
    data = pack(tmp_path / "a.tar", {"a.jpg": b"x" * 700, LONG: b"y" * 700, "c.jpg": b"z" * 700}).read_bytes()
    last = max(member.offset + member.num_bytes for member in members(tmp_path / "a.tar"))
    end_mark = -(-last // 512) * 512
    path = tmp_path / "cut.tar"
    accepted_by_tarfile = 0
    for size in [*range(0, end_mark + 512, 64), end_mark, end_mark + 511]:
        path.write_bytes(data[:size])
        message = refused(path)
        assert "cut short at byte" in message
        at = int(message.split("at byte ")[1].split(":")[0])
        assert 0 <= at <= size
        try:
            with tarfile.open(path, "r:") as tar:
                accepted_by_tarfile += bool(tar.getmembers())
        except tarfile.TarError:
            pass
    assert accepted_by_tarfile > 3
    path.write_bytes(data[: end_mark + 512])
    assert len(list(members(path))) == 3


def test_a_damaged_header_is_refused_where_it_is(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", {"a.jpg": b"x" * 700, "b.jpg": b"y", "c.jpg": b"z"})
    data = bytearray(path.read_bytes())
    at = 512 + 1024  # of the second header
    data[at + 3] ^= 1
    path.write_bytes(data)
    assert f"damaged or no tar at byte {at}" in refused(path)


def test_a_negative_size_is_no_circle(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.jpg")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + b"\0" * 10240)
    assert "at byte" in refused(path)


def test_tars_joined_end_to_end_are_refused(tmp_path: Path) -> None:
    first, second = (pack(tmp_path / name, {f"{name}.jpg": b"x"}).read_bytes() for name in ("a", "b"))
    path = tmp_path / "joined.tar"
    path.write_bytes(first + second)
    assert "more data behind the end mark at byte 1024" in refused(path)
    path.write_bytes(first + b"\0" * (3 << 20))
    assert len(list(members(path))) == 1


@pytest.mark.parametrize("name", ["a.tar.gz", "called.tar"])
def test_compressed_tars_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    data = pack(tmp_path / "a.tar", {"a.jpg": b"x"}).read_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data))
    assert "unpack it once (gunzip)" in refused(path)


@pytest.mark.parametrize("data", [b"no tar" * 1000, b"\x89PNG" + b"x" * 2000, b"{}"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    assert "at byte 0" in refused(path)
    assert "Is a directory" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "nowhere.tar")


def test_headers_are_not_kept(tmp_path: Path) -> None:
    peaks = []
    for number in (500, 5000):
        path = pack(tmp_path / f"{number}.tar", {f"{i:06}.jpg": b"x" for i in range(number)})
        tracemalloc.start()
        assert sum(1 for _ in members(path)) == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


# --- places


@pytest.mark.parametrize("tar", ["00000.tar", "train/a:b+c.tar", "ünï 1.tar"])
def test_places_as_text(tar: str) -> None:
    place = Place(tar, 1536, 40213)
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize(
    "text", ["", "a.tar", "a.tar:5", ":5+6", "a.tar:x+6", "a.tar:0+6", "a.tar:600+-6", "/a.tar:5+6", "../a.tar:5+6"]
)
def test_other_texts_are_no_places(text: str) -> None:
    with pytest.raises(ValueError, match=r"place|invalid literal"):
        Place.parse(text)


def test_a_tar_that_is_another_one_than_was_indexed(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", {"a.jpg": b"x" * 700, "b.jpg": b"y" * 700})
    data = path.read_bytes()
    place = Place("a.tar", *list(members(path))[1][1:3])
    pack(path, {"longer.jpg": b"x" * 1700, "b.jpg": b"y" * 700})
    others = [path.read_bytes(), pack(path, {"a.jpg": b"x" * 700, "b.jpg": b"y" * 699}).read_bytes(), data[:2200], b""]
    for other in others:
        path.write_bytes(other)
        with OpenTars(tmp_path) as opened, pytest.raises(Refusal, match=f"at byte {place.offset} are no longer"):
            opened.read(place)
    path.unlink()
    with OpenTars(tmp_path) as opened:
        opened.will_read(place)
        with pytest.raises(Refusal, match="put it back"):
            opened.read(place)


def test_a_disk_that_does_not_answer_is_no_fault_of_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "a.tar", {"a.jpg": b"x"})

    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fails)
    with OpenTars(tmp_path) as opened, pytest.raises(Transient):
        opened.read(Place("a.tar", 512, 1))


def test_few_tars_are_open_at_a_time(tmp_path: Path) -> None:
    names = [f"{number}.tar" for number in range(2 * tars.MAX_OPEN_TARS)]
    for name in names:
        pack(tmp_path / name, {"a.jpg": name.encode()})

    def num_open() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = num_open()
    with OpenTars(tmp_path) as opened:
        for _ in range(2):
            for name in names:
                assert opened.read(Place(name, 512, len(name))) == name.encode()
                assert num_open() <= before + tars.MAX_OPEN_TARS
    assert num_open() == before
