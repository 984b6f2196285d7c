"""What is timed side by side has the same pictures, whole, in every layout; what fails or does less is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_imagenet import SHARK, TENCH, made

from perf import source_layouts
from perf.source_layouts import FILES, LAYOUTS, PARAMS, SERVED
from perf.source_speed import DIGESTS, LOOP, Taken, jobs_of, line, main, memory_line, run_at_once, served
from perf.workshop import environment
from pipeline.errors import Refusal
from pipeline.params.check import project_params
from pipeline.params.kinds import SOURCES
from pipeline.sources.base import Workplace, prepare

NUM_PICTURES = 44


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for files in made(11, TENCH, SHARK).values():
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return folder


def test_every_layout_has_the_same_pictures(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_layouts, "PICTURES_PER_PART", 8)
    monkeypatch.chdir(tmp_path)
    classes = source_layouts.pictures_of(pictures, 2)
    wanted = {data for files in classes.values() for data in files.values()}
    assert len(wanted) == NUM_PICTURES
    assert len(classes) == 3
    for name, layout in LAYOUTS.items():
        layout.write(classes, tmp_path / name)
    source_layouts.write_project(tmp_path, list(LAYOUTS), NUM_PICTURES, (1, 2))
    one, two = (project_params(tmp_path / PARAMS.format(num_threads=number), tmp_path) for number in (1, 2))
    assert (one.execution.num_threads, two.execution.num_threads) == (1, 2)
    assert one.result_digest() == two.result_digest()
    with served(tmp_path / FILES) as address:
        source_layouts.give_addresses(tmp_path / SERVED, address)
        for name in LAYOUTS:
            row = one.row("download", name)
            assert [one.row("download", f"{name}{end}").num_shards for end in ("", "-halves", "-tenth")] == [1, 2, 1]
            source = SOURCES.class_of(row).open(row, 0)
            locations = [entry.location for entry in source.entries()]
            (tmp_path / "work" / name).mkdir(parents=True)
            prepare(source, Workplace(one.execution, tmp_path / "work" / name, print, tmp_path / "hosts.json"))
            assert set(source.read_many(locations)) == wanted
            assert len(locations) == NUM_PICTURES


def test_all_are_timed_in_processes_of_their_own(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(pictures), "work", "--copies", "2", "--turns", "1", "--sources", "class-tars"]) == 0
    *rates, memory = capfd.readouterr().out.splitlines()
    assert [text.partition(":")[0] for text in rates] == [LOOP, DIGESTS, *jobs_of("class-tars")]
    assert all(re.search(r": \d+ pictures/s, .* of the loop \(.* ms of a processor a picture$", text) for text in rates)
    assert "1.00 of the loop (1.00 to 1.00)" in rates[0]
    assert re.fullmatch(r"class-tars: peak \d+ MB, of ten times the pictures \d+ \(\d\.\d{3}\)", memory)


def test_a_process_that_does_less_or_fails_is_refused(pictures: Path, tmp_path: Path) -> None:
    source_layouts.write_folder(source_layouts.pictures_of(pictures, 1), tmp_path / "files")
    command = ["loop", str(tmp_path / "files")]
    taken = run_at_once([command, command], environment(), NUM_PICTURES)
    assert len(taken.peaks) == 2
    assert min(taken.peaks) > 5e6
    assert 0 < taken.cpu_seconds < 100
    with pytest.raises(Refusal, match="22 pictures, where 23 were to be read"):
        run_at_once([command], environment(), 23)
    (tmp_path / "files" / TENCH / "z.JPEG").write_bytes(b"text")
    with pytest.raises(Refusal, match=r"loop .*: failed \(.*cannot identify image file"):
        run_at_once([command], environment(), 23)


def test_ratios_are_within_a_turn() -> None:
    taken = {
        LOOP: [Taken(1.0, 1.0, [1]), Taken(3.0, 1.0, [1]), Taken(2.0, 1.0, [1])],
        DIGESTS: [Taken(2.0, 1.0, [1])] * 3,
        "job": [Taken(2.0, 1.5, [200_000_000]), Taken(4.0, 2.5, [220_000_000]), Taken(2.5, 2.0, [210_000_000])],
    }
    assert line("job", 100, taken) == (
        f"job: 40 pictures/s, 0.75 of the {LOOP} (0.50 to 0.80), 0.80 of the {DIGESTS} (0.50 to 1.00), "
        "20.00 ms of a processor a picture"
    )
    wanted = "job: peak 200 MB, of ten times the pictures 210 (1.050)"
    assert memory_line("job", 200_000_000, taken["job"]) == wanted


def test_a_folder_without_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path / "work")]) == 1
    assert "no *.JPEG is there" in capsys.readouterr().err
