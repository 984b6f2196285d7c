"""Sets of more shards than a process may open: read as ever, with few files open, and none of them blamed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from read_latents import read_latents

from pipeline.data.schema import LATENTS, TEXT, Meta, Table
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal
from pipeline.training import open_files
from pipeline.training.open_files import MOST_OPEN_FILES, OpenFile, max_open_files
from pipeline.training.rows import LatentRows, TextRows
from pipeline.training.sets import LatentSet

PROJECT = Path(__file__).resolve().parents[2]
NUM_SHARDS, ROWS_PER_SHARD, LIMIT = 150, 2, 128
NUM_OPEN = 32  # of a process that may open the usual 1,024


def written(folder: Path, table: Table, facts: dict[Meta, str], row_of: Callable[[int], dict[str, Any]]) -> list[Path]:
    """Many shards whose values tell their row."""
    for number in range(NUM_SHARDS):
        batch = RowBatch(table, facts)
        for row in range(number * ROWS_PER_SHARD, (number + 1) * ROWS_PER_SHARD):
            batch.add(key=f"k{row}", **row_of(row))
        batch.write(folder / f"{number:05d}.parquet", fingerprint=f"of {number}", row_group_rows=1)
    return sorted(folder.iterdir())


def value_of(row: int) -> bytes:
    return np.float32(row).tobytes()


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    facts = {Meta.CHANNELS: "1", Meta.DTYPE: "float32"}
    folder = tmp_path_factory.mktemp("latents")
    return tuple(written(folder, LATENTS, facts, lambda row: {"mean": value_of(row), "height": 1, "width": 1}))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    facts = {Meta.DIM: "1", Meta.DTYPE: "float32"}
    folder = tmp_path_factory.mktemp("texts")
    return tuple(written(folder, TEXT, facts, lambda row: {"embedding": value_of(row), "num_text_tokens": 1}))


@pytest.fixture(autouse=True)
def usual_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process might open as many files as systems allow unless told otherwise."""
    monkeypatch.setattr(open_files, "max_open_files", lambda _: NUM_OPEN)


READING = """
import resource, sys
from pathlib import Path
import numpy as np
from read_latents import read_latents
from pipeline.training.rows import LatentRows, TextRows
from pipeline.training.sets import LatentSet
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
paths = tuple(sorted(Path({folder!r}).iterdir()))
opened = {opened}
read = (lambda row: opened.read(row)) if {is_text} else (lambda row: read_latents(opened, [row]))
order = np.random.default_rng(0).permutation(len(opened)).tolist()
assert [read(row).item() for row in order * 2] == order * 2
print(len(opened))
"""


@pytest.mark.parametrize("kind", ["latents", "texts"])
def test_more_shards_than_a_process_may_open_are_read(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)[0].parent
    opened = "TextRows(paths)" if kind == "texts" else "LatentRows(LatentSet(paths, scale=1.0, shift=None))"
    code = READING.format(limit=LIMIT, folder=str(folder), opened=opened, is_text=kind == "texts")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(NUM_SHARDS * ROWS_PER_SHARD)), done.stderr[-500:]


def files_open_in(folder: Path) -> list[str]:
    paths = (os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir())
    return [path for path in paths if path.startswith(f"{os.path.realpath(folder)}/")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_few_files_are_open_and_those_read_last(latents: tuple[Path, ...], texts: tuple[Path, ...]) -> None:
    opened = LatentRows(LatentSet(latents, scale=1.0, shift=None))
    assert files_open_in(latents[0].parent) == []
    for row in range(len(opened)):
        read_latents(opened, [row])
    assert sorted(files_open_in(latents[0].parent)) == [str(path) for path in latents[-NUM_OPEN:]]
    text = TextRows(texts)
    for row in [0, 4, 0, *range(6, 6 + 2 * (NUM_OPEN - 1), 2)]:
        text.read(row)
    names = [Path(path).name for path in files_open_in(texts[0].parent)]
    assert len(names) == NUM_OPEN
    assert "00000.parquet" in names  # read again since
    assert "00002.parquet" not in names


def test_up_to_the_bound_no_file_is_opened_twice(latents: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of few shards are read as fast as ever."""
    opened = LatentRows(LatentSet(latents[:NUM_OPEN], scale=1.0, shift=None))
    paths: list[Path] = []
    real = OpenFile.__init__

    def counted(file: OpenFile, path: Path) -> None:
        paths.append(path)
        real(file, path)

    monkeypatch.setattr(OpenFile, "__init__", counted)
    for _ in range(3):
        for row in range(len(opened)):
            read_latents(opened, [row])
    assert sorted(paths) == sorted(latents[:NUM_OPEN])


def test_threads_read_from_more_shards_than_may_be_open(latents: tuple[Path, ...]) -> None:
    opened = LatentRows(LatentSet(latents, scale=1.0, shift=None))

    def read(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(opened)).tolist()
        return [read_latents(opened, [row]).item() for row in order * 3] == order * 3

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(4)))


def test_a_file_that_is_let_go_while_it_is_read_stays_open(latents: tuple[Path, ...]) -> None:
    opened = LatentRows(LatentSet(latents, scale=1.0, shift=None))
    held = opened._files.get(0)
    for shard in range(1, NUM_OPEN + 5):
        opened._files.get(shard)
    assert os.path.realpath(f"/proc/self/fd/{held.handle}") == str(latents[0])


@pytest.fixture
def few_files() -> Iterator[None]:
    """This process may open no file more than it has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    num_open = max(int(handle.name) for handle in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (num_open, before[1]))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        yield
    for handle in taken:
        os.close(handle)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_where_no_file_can_be_opened_the_limit_is_blamed(latents: tuple[Path, ...], few_files: None) -> None:
    with pytest.raises(Refusal, match=r"00000\.parquet: Too many open files \(EMFILE\); .*ulimit -n") as caught:
        LatentRows(LatentSet(latents, scale=1.0, shift=None))
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize(("limit", "num_files"), [(16, 1), (128, 4), (1024, 32), (4096, 128), (1 << 20, 1024)])
def test_a_set_keeps_a_share_of_what_a_process_may_open(limit: int, num_files: int) -> None:
    assert max_open_files(limit) == num_files
    assert max_open_files(resource.RLIM_INFINITY) == MOST_OPEN_FILES
