"""report.html: whole, closed to the outside, safe against its own data, and silent on what is absent."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_up import HOSTILE, NOTHING_TRAINED, ONLY_LABELS, shapes_metrics
from report_runs import Reported, reported

from pipeline.reporting.lineage import Lineage
from pipeline.reporting.page import breakable, count, duration, findings, size
from pipeline.reporting.scores import Scored

VOID = {"meta", "link", "img", "br", "wbr"}


class _Reader(HTMLParser):
    """Checks that tags are closed in order; collects tags with attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def ids(self) -> set[str]:
        return {str(attributes["id"]) for _, attributes in self.tags if "id" in attributes}


@pytest.fixture(scope="module")
def page(report: Reported) -> _Reader:
    return _Reader(report.text("report.html"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> _Reader:
    """The page of a run that only downloads and captions from labels."""
    return _Reader(reported(tmp_path_factory.mktemp("bare"), **ONLY_LABELS).text("report.html"))


def test_hostile_captions_classes_prompts_and_reasons_are_text(page: _Reader, report: Reported) -> None:
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) > 20
    assert HOSTILE not in report.text("report.html")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_the_page_reaches_for_nothing_outside(page: _Reader) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert str(attributes[name]).startswith(("data:", "#")), (tag, attributes)
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_link_leads_somewhere_and_every_picture_says_what_it_is(page: _Reader) -> None:
    links = {str(a["href"])[1:] for tag, a in page.tags if tag == "a"}
    assert links
    assert links <= page.ids()
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) > 50
    assert all(attributes["alt"] for attributes in pictures)


def test_all_sections_are_there(page: _Reader) -> None:
    wanted = {
        "scores",
        "tasks",
        "questions",
        "pictures",
        "distances",
        "curves",
        "datasets",
        "captions",
        "augmented",
        "rows",
    }
    assert wanted | {"time", "published", "provenance"} <= page.ids()


def test_words_that_must_not_be_missing(page: _Reader) -> None:
    text = " ".join(page.text.split())
    for said in (
        "demo encoders (demo_vision)",
        "It is not the published GenEval",
        "It is not the published DPG-Bench",
        "Share of the questions about a picture that are answered by yes, of 4 dense prompts and 8 pictures",
        "where an object lies, in the picture or to the other; 4 questions",
        "hence: Is it red? Is it left?",
        "fid_demo_vision refused",
        "Another benchmark, for context alone",
        "74.65",
        "2 cut at the token limit",
        "made from the template “an image of a {class_name}”",
        "For a prompt, all models start from the same noise.",
        "Each arm was trained with one seed",
    ):
        assert said in text, said


def test_absent_stages_leave_no_section_and_no_empty_plot(bare: _Reader) -> None:
    assert bare.ids() == {"main", "scores", "datasets", "captions", "rows", "time", "provenance"}
    text = " ".join(bare.text.split())
    assert "No model was scored in this run" in text
    assert "GenEval" not in text.replace("geneval", "")
    assert "svg" not in {tag for tag, _ in bare.tags}


def test_a_run_without_models_still_shows_its_mixes(tmp_path: Path) -> None:
    found = _Reader(reported(tmp_path, **NOTHING_TRAINED).text("report.html"))
    assert "augmented" in found.ids()
    assert "curves" not in found.ids()


def test_the_page_keeps_to_its_size(report: Reported) -> None:
    assert len(report.text("report.html")) < 5_000_000


def _scored(name: str, overall: float, seed: int = 0, arm: str = "") -> Scored:
    lineage = Lineage(name, arm or name, seed, (), ("train/x",), None)
    return Scored(lineage, {}, {"b": shapes_metrics(overall)})


@pytest.mark.parametrize(
    ("scores", "said", "not_said"),
    [
        ([("a", 0.3), ("b", 0.7)], "b has the highest score. Its interval lies above that of a.", "overlaps"),
        (
            [("a", 0.3), ("b", 0.33)],
            "Its interval overlaps that of a: look at the differences on the same prompts.",
            "above",
        ),
        ([("a", 0.3)], "Each arm was trained with one seed", "highest"),
    ],
)
def test_findings_say_what_the_intervals_allow(scores: list[Any], said: str, not_said: str) -> None:
    text = " ".join(findings("b", [_scored(*score) for score in scores]))
    assert said in text
    assert not_said not in text


def test_several_seeds_of_an_arm_are_taken_together() -> None:
    text = " ".join(findings("b", [_scored("x", 0.4, 0, "ta"), _scored("y", 0.5, 1, "ta")]))
    assert "ta over 2 training seeds: mean 0.450, from 0.400 to 0.500." in text
    assert "one seed" not in text


def test_numbers_for_people() -> None:
    assert [duration(s) for s in (0.04, 12.4, 200, 7500)] == ["0.0 s", "12 s", "3 min 20 s", "2 h 5 min"]
    assert [size(b) for b in (12, 1500, 250_000, 3.2e9)] == ["12 B", "1.5 kB", "250 kB", "3.2 GB"]
    assert [count(n) for n in (940, 1_530_000, 390_000_000)] == ["940", "1.53 M", "0.39 B"]


def test_names_break_at_their_joints_and_stay_escaped() -> None:
    assert breakable("ta_ia+x") == "ta_<wbr>ia+<wbr>x"
    assert breakable("<b>_") == "&lt;b&gt;_"
    assert re.sub("<wbr>", "", str(breakable("_a--b_"))) == "_a--b_"
