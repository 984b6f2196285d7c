"""Sets of more shards than a process may open: read as ever, with few files open, and none of them blamed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.schema import LATENTS, TEXT, Meta
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal
from pipeline.training import rows as rows_module
from pipeline.training.rows import MAX_OPEN_SHARDS, LatentRows, TextRows
from pipeline.training.sets import LatentSet

PROJECT = Path(__file__).resolve().parents[2]
NUM_SHARDS, ROWS_PER_SHARD, LIMIT = 150, 2, 128


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Many shards whose values tell their row."""
    folder = tmp_path_factory.mktemp("latents")
    for number in range(NUM_SHARDS):
        builder = RowBatch(LATENTS, {Meta.CHANNELS: "1", Meta.DTYPE: "float32"})
        for row in range(number * ROWS_PER_SHARD, (number + 1) * ROWS_PER_SHARD):
            builder.add(key=f"k{row}", mean=np.full((1, 1, 1), row, np.float32).tobytes(), height=1, width=1)
        builder.write(folder / f"{number:05d}.parquet", fingerprint=f"of {number}", row_group_rows=1)
    return tuple(sorted(folder.iterdir()))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The same of text."""
    folder = tmp_path_factory.mktemp("texts")
    for number in range(NUM_SHARDS):
        builder = RowBatch(TEXT, {Meta.DIM: "1", Meta.DTYPE: "float32"})
        for row in range(number * ROWS_PER_SHARD, (number + 1) * ROWS_PER_SHARD):
            builder.add(key=f"k{row}", embedding=np.full((1, 1), row, np.float32).tobytes(), num_text_tokens=1)
        builder.write(folder / f"{number:05d}.parquet", fingerprint=f"of {number}", row_group_rows=1)
    return tuple(sorted(folder.iterdir()))


READING = """
import resource, sys
from pathlib import Path
import numpy as np
from pipeline.training.rows import LatentRows, TextRows
from pipeline.training.sets import LatentSet
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
paths = tuple(sorted(Path({folder!r}).iterdir()))
opened = {opened}
read = (lambda row: opened.read(row)) if {is_text} else (lambda row: opened.read([row], None))
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
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(NUM_SHARDS * ROWS_PER_SHARD)), done.stderr[-500:]


def open_files(folder: Path) -> list[str]:
    paths = (os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir())
    return [path for path in paths if path.startswith(f"{os.path.realpath(folder)}/")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_few_files_are_open_and_those_read_last(latents: tuple[Path, ...], texts: tuple[Path, ...]) -> None:
    opened = LatentRows(LatentSet(latents, scale=1.0, shift=None))
    assert open_files(latents[0].parent) == []
    for row in range(len(opened)):
        opened.read([row], None)
    assert sorted(open_files(latents[0].parent)) == [str(path) for path in latents[-MAX_OPEN_SHARDS:]]
    text = TextRows(texts)
    for row in [0, 4, 0, *range(6, 6 + 2 * (MAX_OPEN_SHARDS - 1), 2)]:
        text.read(row)
    names = [Path(path).name for path in open_files(texts[0].parent)]
    assert len(names) == MAX_OPEN_SHARDS
    assert "00000.parquet" in names  # read again since
    assert "00002.parquet" not in names


def test_up_to_the_bound_no_file_is_opened_twice(latents: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of few shards are read as fast as ever."""
    opened = LatentRows(LatentSet(latents[:MAX_OPEN_SHARDS], scale=1.0, shift=None))
    paths: list[Path] = []
    real = rows_module._File.__init__

    def counted(file: rows_module._File, path: Path) -> None:
        paths.append(path)
        real(file, path)

    monkeypatch.setattr(rows_module._File, "__init__", counted)
    for _ in range(3):
        for row in range(len(opened)):
            opened.read([row], None)
    assert sorted(paths) == sorted(latents[:MAX_OPEN_SHARDS])


def test_threads_read_from_more_shards_than_may_be_open(latents: tuple[Path, ...]) -> None:
    opened = LatentRows(LatentSet(latents, scale=1.0, shift=None))

    def read(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(opened)).tolist()
        return [opened.read([row], None).item() for row in order * 3] == order * 3

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(4)))


def test_a_file_that_is_let_go_while_it_is_read_stays_open(latents: tuple[Path, ...]) -> None:
    opened = LatentRows(LatentSet(latents, scale=1.0, shift=None))
    held = opened._open(0)
    for shard in range(1, MAX_OPEN_SHARDS + 5):
        opened._open(shard)
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


def test_the_bound_leaves_room_for_many_sets() -> None:
    assert rows_module.MAX_OPEN_SHARDS * 16 <= 512
