"""Long prompts ask for what the short ones ask for, in the words that captions have."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.demo.benchmarks import geneval_shapes
from pipeline.demo.benchmarks.geneval_shapes_long import OPPOSITE, prompts
from pipeline.demo.world.world import BACKGROUNDS
from pipeline.errors import Refusal
from pipeline.evaluation.geneval import TASKS, parse_metadata
from pipeline.params.check import check
from pipeline.params.load import convert, load

PROJECT = Path(__file__).resolve().parents[2]
NUM = 40


def test_only_the_words_differ() -> None:
    for short, long in zip(geneval_shapes.prompts(NUM, 0), prompts(NUM, 0), strict=True):
        assert {**short, "prompt": ""} == {**long, "prompt": ""}
        parse_metadata(long)
        assert len(long["prompt"].split()) >= len(short["prompt"].split())
    lengths = {
        of.__module__: sum(len(row["prompt"].split()) for row in of(NUM, 0)) / (NUM * len(TASKS))
        for of in (geneval_shapes.prompts, prompts)
    }
    short_words, long_words = lengths.values()
    assert long_words > 1.6 * short_words


def test_no_prompt_stands_there_twice_and_all_name_a_background() -> None:
    rows = prompts(NUM, 0)
    assert len({row["prompt"] for row in rows}) == len(rows)
    grounds = Counter(ground for row in rows for ground in BACKGROUNDS["plain"] if ground in row["prompt"].split())
    assert sum(grounds.values()) == len(rows)
    assert set(grounds) == set(BACKGROUNDS["plain"])
    assert rows == prompts(NUM, 0) != prompts(NUM, 1)


def test_every_asked_object_is_named_with_its_colour_and_relation() -> None:
    for row in prompts(NUM, 2):
        requirement = parse_metadata(row)
        for clause in requirement.include:
            name = f"{clause.color} {clause.class_name}" if clause.color else clause.class_name
            assert name in row["prompt"]
        if row["tag"] == "position":
            anchor, subject = (clause.class_name for clause in requirement.include)
            assert requirement.include[1].position is not None
            relation = requirement.include[1].position[0]
            forward = rf"a {subject} {relation} a {anchor}"
            back = OPPOSITE[relation]
            backward = rf"the {anchor} is {back} the {subject}|a {subject} and {back} it a {anchor}"
            assert re.search(f"{forward}|{backward}", row["prompt"]), row["prompt"]


def test_too_many_are_refused() -> None:
    with pytest.raises(Refusal, match="not num_prompts_per_task 49"):
        prompts(49, 0)


def test_the_preset_asks_both_and_mixes_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    params = load(PROJECT / "params/ablation-captions.yaml", PROJECT)
    check(params)
    for row, share in (("short-0", 0.0), ("short-20", 0.2), ("short-50", 0.5)):
        texts = params.row("train", row).texts
        assert texts.get("encode_text/imagenet-short", 0.0) == share
        assert sum(texts.values()) == pytest.approx(1)
        assert params.row("generate", row).benchmarks == ["geneval_shapes", "geneval_shapes_long"]
    captioners = params.sections["recaption"].tables["captioners"]
    assert set(captioners["vlm-full"].instructions) == {"full"}
    assert set(captioners["vlm-short"].instructions) == {"brief", "name"}
    raw = {**params.resolved, "generate": {**params.resolved["generate"]}}
    raw["generate"]["benchmarks"] = {
        **raw["generate"]["benchmarks"],
        "geneval_shapes": raw["generate"]["benchmarks"]["geneval_shapes_long"],
    }
    with pytest.raises(Refusal, match="is of kind geneval_shapes_long: name it geneval_shapes_long"):
        check(convert(raw, "params.yaml"))
