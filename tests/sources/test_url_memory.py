"""Memory of a process that reads a list and fetches its pictures: the same for ten times as many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import picture_server as web
import pyarrow as pa
import pyarrow.parquet as pq
from picture_server import serving

PROJECT = Path(__file__).resolve().parents[2]
PEAK = """
import re, sys
from pathlib import Path
sys.path[:0] = [{project!r}, {project!r} + "/tests", {project!r} + "/tests/sources"]
from url_rows import source_in, url_row
def peak_mb():
    # Not ru_maxrss, in which a process begins with the peak of the one that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
"""
LISTED = (
    PEAK
    + """
from pipeline.sources.urls.lists import UrlList
print(sum(1 for _ in UrlList(url_row(path=sys.argv[1])).entries()), peak_mb())
"""
)
FETCHED = (
    PEAK
    + """
num_pictures, url = int(sys.argv[2]), sys.argv[3]
urls = [f"{{url}}{{number}}" for number in range(num_pictures)]
source = source_in(Path(sys.argv[1]), url_row())
print(sum(len(picture) == 60_000 for picture in source.read_many(urls)), peak_mb())
"""
)


def measured(code: str, *arguments: str) -> tuple[int, float]:
    code = code.format(project=str(PROJECT))
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    number, peak = ended.stdout.split()
    return int(number), float(peak)


MAX_BYTES_PER_ROW = 128  # half the text of a row here; some 70 are found: digests of addresses, Arrow's own buffers


def test_a_list_is_not_held_in_memory(tmp_path: Path) -> None:
    peaks, sizes = [], (60_000, 360_000)  # from which on Arrow's own buffers no longer grow
    for num_rows in sizes:
        urls = [f"http://pictures.example/{number:09d}.jpg" for number in range(num_rows)]
        path = tmp_path / f"{num_rows}.parquet"
        pq.write_table(pa.table({"url": urls, "caption": [f"a long caption, {'x' * 200}"] * num_rows}), path)
        number, peak = measured(LISTED, str(path))
        assert number == num_rows
        peaks.append(peak)
    assert (peaks[1] - peaks[0]) * 1e6 / (sizes[1] - sizes[0]) <= MAX_BYTES_PER_ROW, peaks


def test_pictures_are_not_held_in_memory(tmp_path: Path) -> None:
    body = bytes(60_000)
    peaks = []
    with serving() as server:
        server.behaviours = Same(web.body(body))
        for num_pictures in (300, 3000):
            number, peak = measured(FETCHED, str(tmp_path / str(num_pictures)), str(num_pictures), server.url("/x/"))
            assert number == num_pictures
            peaks.append(peak)
    assert peaks[1] <= 1.1 * peaks[0], peaks


class Same(dict):  # type: ignore[type-arg]
    """One behaviour for all paths."""

    def __init__(self, behaviour: object) -> None:
        super().__init__()
        self.behaviour = behaviour

    def get(self, key: object, default: object = None) -> object:
        return self.behaviour
