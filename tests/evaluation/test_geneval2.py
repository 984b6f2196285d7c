"""GenEval 2's file as published, and files that are none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Refusal
from pipeline.evaluation.geneval2 import Asked, parse, spellings
from pipeline.evaluation.prompt_files import read_published

LINE: dict[str, Any] = {
    "prompt": "two red cats",
    "atom_count": 3,
    "vqa_list": [["How many cats are in the image?", "two"], ["Are the cats red?", "Yes"], ["Is there a cat?", "Yes"]],
    "skills": ["count", "attribute", "object"],
}


def lines(*changes: dict[str, Any]) -> str:
    return "".join(json.dumps({**LINE, **change}) + "\n" for change in changes)


def test_prompts_and_questions() -> None:
    first, second = parse(lines({}, {"prompt": "a dog", "atom_count": 1}) + "\n", "f")
    assert (first.prompt_id, first.prompt, first.atom_count) == ("00000", "two red cats", 3)
    assert first.questions[0] == Asked("How many cats are in the image?", "two", "count")
    assert (second.prompt_id, len(second.questions)) == ("00001", 3)


def test_spellings() -> None:
    assert spellings("Yes") == (" Yes", " yes", "Yes", "yes")
    assert set(spellings("three")) == {"three", "Three", "3", " three", " Three", " 3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f: no prompt in it"),
        ("{", "f:1: no JSON"),
        ("[]", "f:1: list where an object was expected"),
        (lines({}, {}), "f:2: prompt 'two red cats' is already on line 1"),
        (json.dumps({"prompt": "x"}), "f:1: key 'atom_count' is missing"),
        (lines({"prompt": " "}), "f:1: prompt ' ' with atom_count 3"),
        (lines({"atom_count": True}), "atom_count True"),
        (lines({"atom_count": 0}), "atom_count 0"),
        (lines({"skills": ["count"]}), "f:1: vqa_list and skills must be lists of the same length"),
        (lines({"vqa_list": [["q"], ["q", "Yes"], ["q", "Yes"]]}), "in vqa_list; a question and its answer"),
        (lines({"vqa_list": [["q", "No"], ["q", "Yes"], ["q", "Yes"]]}), "the answer 'No' is neither Yes nor a number"),
        (lines({"skills": ["count", "colour", "object"]}), "the skill 'colour' is none of object, attribute"),
    ],
)
def test_what_is_not_of_the_published_form(text: str, said: str) -> None:
    with pytest.raises(Refusal, match=said.replace("(", r"\(")):
        parse(text, "f")


def test_the_bytes_are_those_that_the_parameters_state(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(lines({}).encode())
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert parse(read_published(str(path), right, "GenEval 2"), str(path))[0].prompt == "two red cats"
    with pytest.raises(Refusal, match=f"has the sha256 {right}, the parameters state {'0' * 64}"):
        read_published(str(path), "0" * 64, "GenEval 2")
    with pytest.raises(Refusal, match=r"GenEval 2 needs the file that its authors publish"):
        read_published(str(tmp_path / "none"), right, "GenEval 2")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Refusal, match="no UTF-8 at byte 0"):
        read_published(str(path), hashlib.sha256(b"\xff\xfe").hexdigest(), "GenEval 2")
