"""A preview of captions: the run's own captions of a few pictures, an honest bill, and nothing that is kept."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import chdir
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import served_project
import several_sets
import small_project
from caption_server import serving
from hypothesis import given
from hypothesis import strategies as st

from pipeline.captioners import inputs
from pipeline.captioners.base import Caption
from pipeline.data.schema import CAPTIONS, Column, FinishReason
from pipeline.data.shards import Shard
from pipeline.errors import Reject
from pipeline.reporting import preview as preview_module
from pipeline.reporting.preview_page import duration_range, pace
from pipeline.reporting.preview_timing import Batch, project, take_counting
from pipeline.runner.runlock import TOKEN_VARIABLE
from stages import recaption

ROW = several_sets.PICTURES_ROW
SETS = [f"{ROW}.{name}" for name in several_sets.SETS]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose captioner writes two sets; its pictures are made, and no caption."""
    folder = tmp_path_factory.mktemp("preview")
    several_sets.make_project(folder)
    with chdir(folder):
        for row in ("heldout", "pictures"):
            assert small_project.run_stage("download", row) == 0
    return folder


@pytest.fixture
def here(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(checkout)
    return checkout


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["recaption", *arguments])
    return recaption.preview()


class _Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", list[tuple[str, dict[str, str | None]]]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def keys(self) -> list[str]:
        alts = [str(attributes["alt"]) for tag, attributes in self.tags if tag == "img"]
        return [alt.removeprefix("Picture ").partition(",")[0] for alt in alts]


def files_in(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "samples" not in path.parts
    }


def test_it_shows_the_captions_that_the_run_will_have(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(here)
    assert run(monkeypatch, "--row", ROW, "--preview", "5") == 0
    said = capsys.readouterr().out
    page = here / f"samples/preview-small-{ROW}.html"
    assert f"recaption/{ROW}: 5 pictures captioned, " in said
    assert said.splitlines()[0].endswith(f": samples/preview-small-{ROW}.html")
    assert files_in(here) == before  # nothing entered the store, nothing counts as made
    shown = _Reader(page.read_text())
    assert len(shown.keys()) == len(set(shown.keys())) == 5
    assert run(monkeypatch, "--row", ROW, "--preview", "5", "--out", "other.html") == 0
    assert _Reader((here / "other.html").read_text()).keys() == shown.keys()  # drawn by the seed
    (here / "other.html").unlink()
    assert small_project.run_stage("recaption", ROW) == 0
    for name in several_sets.SETS:
        rows: dict[str, dict[str, Any]] = {}
        for shard in (here / "data/small/recaption" / ROW / name).glob("0*.parquet"):
            rows |= {row[Column.KEY]: row for row in Shard(shard, CAPTIONS).rows(CAPTIONS.schema.names)}
        for key in shown.keys():  # noqa: SIM118  no mapping
            row = rows[key]
            if row[Column.CAPTION] is not None:
                tokens = row[Column.NUM_GENERATED_TOKENS]
                assert f"{row[Column.CAPTION]} {tokens} token" in " ".join(shown.text.split())
    several_sets.forget(here)


def test_one_set_and_the_page_reaches_for_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--row", SETS[1], "--preview", "3", "--out", "one.html") == 0
    page = _Reader((here / "one.html").read_text())
    assert SETS[0] not in page.text
    assert f"{SETS[1]}, told “a brief one, please”" in page.text
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert str(attributes.get(name, "data:")).startswith(("data:", "#"))
    (here / "one.html").unlink()


def test_the_bill_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--row", ROW, "--preview", "4", "--out", "b.html", "--price-per-hour", "3600") == 0
    text = " ".join(_Reader((here / "b.html").read_text()).text.split())
    assert "for 12 pictures on one device such as this one." in text
    cost = float(re.search(r"([\d,.]+) at 3,600.00 an hour", text)[1].replace(",", ""))  # type: ignore[index]
    hours = float(re.search(r"Device hours\s*([\d.e-]+)", text)[1])  # type: ignore[index]
    assert cost == pytest.approx(3600 * hours, rel=0.02)  # a second costs one
    (here / "b.html").unlink()


class _Captioner:
    """Takes three seconds to load, one for its first batch, and half a second for each later picture."""

    num_in_flight = 4

    def __init__(self) -> None:
        self.now, self.sizes = 0.0, list[int]()

    def caption_sets(self, pictures: Sequence[Any], names: Sequence[str]) -> list[list[Caption | Reject]]:
        self.sizes.append(len(pictures))
        self.now += {1: 3.0, 2: 9.0}.get(len(self.sizes), 0.5 * len(pictures))
        captions: list[Caption | Reject] = [
            Reject("loop", "<b>again</b>") if number else Caption("<i>a ring</i>", "tell", FinishReason.LENGTH, 7)
            for number, _ in enumerate(pictures)
        ]
        return [captions for _ in names]


def timed(here: Path, number: int, max_seconds: float) -> tuple[preview_module.Preview, _Captioner]:
    captioner = _Captioner()
    ways = preview_module.Captioning(lambda job: captioner, inputs.wanted_rows, inputs.pictures_at)
    plan = small_project.plan_of(here)
    made = preview_module.preview(plan, ROW, number, ways, max_seconds=max_seconds, clock=lambda: captioner.now)
    return made, captioner


def test_loading_and_the_first_batch_are_left_out(here: Path) -> None:
    made, captioner = timed(here, 4, 100.0)
    assert captioner.sizes == [1, 4, 4, 4]  # twelve pictures in all
    assert made.timing.load_seconds == 3.0
    assert made.timing.batches == (Batch(4, 2.0), Batch(4, 2.0))
    projection = project(made.timing, made.num_pictures, made.num_jobs, 2.0)
    assert (made.num_pictures, made.num_jobs, made.is_counted) == (12, 2, True)
    assert projection.seconds == projection.lowest_seconds == projection.highest_seconds == 12 * 0.5 + 2 * 3.0
    assert projection.costs == pytest.approx((12 / 1800,) * 3)


def test_where_time_is_short_less_is_said(here: Path) -> None:
    made, captioner = timed(here, 2, 1.0)
    assert captioner.sizes == [1, 2]
    assert made.timing.caveats == [
        "Only the first batch was timed, which warms up too: expect less.",
        "Batches of 2 were timed where the run takes 4 at a time, which a GPU or servers do in less time a picture.",
    ]


def test_rejects_and_marks_are_shown_as_text(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inputs, "opened", lambda job: _Captioner())
    assert run(monkeypatch, "--row", ROW, "--preview", "3", "--out", "r.html") == 0
    page = _Reader((here / "r.html").read_text())
    assert "rejected, loop: <b>again</b>" in page.text
    assert "<i>a ring</i> 7 tokens, cut at the token limit" in " ".join(page.text.split())
    assert not {"b", "i"} & {tag for tag, _ in page.tags if tag == "i"}
    (here / "r.html").unlink()


def test_what_must_be_made_first_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    several_sets.make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "--row", ROW, "--preview", "2") == 1
    assert capsys.readouterr().err == (
        f"recaption/{ROW}: no shard of its pictures is made, and one is all that it takes: run `python -m "
        "stages.download --params params.yaml --row pictures --part 0` first\n"
    )
    for row, part in (("heldout", None), ("pictures", "0")):
        assert small_project.run_stage("download", row, part=part) == 0
    assert run(monkeypatch, "--row", ROW, "--preview", "2", "--out", "p.html") == 0  # one shard of two is enough
    assert "12 pictures (as listed: some may turn out to be of no use)" in _Reader(Path("p.html").read_text()).text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preview", "0"), "--preview 0: name how many pictures, 1 or more"),
        (("--preview", "2", "--price-per-hour", "-1"), "--price-per-hour -1.0: a price above 0"),
        (("--preview", "2", "--row", "nothing"), "recaption has no row 'nothing'"),
    ],
)
def test_what_cannot_be_is_refused(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert run(monkeypatch, "--row", ROW, *arguments) == 1
    assert said in capsys.readouterr().err


def test_no_engine_previews(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "x")
    assert run(monkeypatch, "--row", ROW, "--preview", "2") == 1
    assert capsys.readouterr().err == "--preview is for people; an engine makes rows\n"


@given(
    warm_up=st.integers(1, 64),
    sizes=st.lists(st.integers(1, 64), max_size=5),
    seconds=st.lists(st.floats(0.001, 100.0), min_size=6, max_size=6),
    number=st.integers(1, 10**7),
)
def test_a_bill_lies_within_its_range(warm_up: int, sizes: list[int], seconds: list[float], number: int) -> None:
    batches = [Batch(size, time) for size, time in zip([warm_up, *sizes], seconds, strict=False)]
    timing = take_counting(batches[0], batches[1:], 2.0, 64)
    assert batches[0] not in timing.batches or timing.warm_up_counts or batches[0] in batches[1:]
    projection = project(timing, number, 3, 2.5)
    slack = 1 + 1e-9
    assert projection.lowest_seconds <= projection.seconds * slack
    assert projection.seconds <= projection.highest_seconds * slack
    assert pace(timing)
    assert duration_range(projection).startswith("about ")


def test_servers_are_what_the_bill_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(2) as servers:
        urls = [server.url for server in servers]
        small_project.write_parameters(Path("params.yaml"), served_project.parameters(urls))
        assert small_project.run_stage("download", "pictures") == 0
        assert run(monkeypatch, "--preview", "16", "--row", "served", "--price-per-hour", "3") == 0
    assert "with 2 such servers" in capfd.readouterr().out
    text = " ".join(_Reader(Path("samples/preview-small-served.html").read_text()).text.split())
    assert "for 48 pictures with 2 such servers." in text
    assert "at 3.00 for an hour of all servers" in text
    assert f"{', '.join(urls)}; the run takes 8 pictures at a time" in text
