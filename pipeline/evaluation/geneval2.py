"""GenEval 2's prompts and questions, as its authors publish them (arXiv 2512.16853).

A line has ``prompt``, ``atom_count``, ``vqa_list`` (pairs of question and right answer) and ``skills``, one a question.
Right answers are ``Yes`` or a number as a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.errors import Refusal
from pipeline.evaluation.prompt_files import json_lines

YES = "Yes"
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SKILLS = ("object", "attribute", "count", "position", "verb")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about a picture.

    Attributes:
        text: as it is asked.
        answer: the right one: ``Yes``, or one of ``NUMBERS``.
        skill: what it is about, one of ``SKILLS``.
    """

    text: str
    answer: str
    skill: str


@dataclass(frozen=True, slots=True)
class Asking:
    """A prompt with its questions; ``atom_count``: how many things it asks for."""

    prompt_id: str
    prompt: str
    atom_count: int
    questions: tuple[Asked, ...]


def parse(text: str, where: str) -> list[Asking]:
    """The prompts of the file, each called by its line from 0 as five digits.

    Raises:
        Refusal: a line that is not of this form; a prompt that stands there twice; none at all.
    """
    prompts: list[Asking] = []
    seen: dict[str, int] = {}
    for number, line in json_lines(text, where):
        one = _prompt(line, f"{where}:{number}", f"{len(prompts):05d}")
        if one.prompt in seen:
            raise Refusal(f"{where}:{number}: prompt {one.prompt!r} is already on line {seen[one.prompt]}; remove one")
        seen[one.prompt] = number
        prompts.append(one)
    if not prompts:
        raise Refusal(f"{where}: no prompt in it; fetch the published file again")
    return prompts


def _prompt(line: dict[str, Any], where: str, prompt_id: str) -> Asking:
    try:
        prompt, atom_count = line["prompt"], line["atom_count"]
        pairs, skills = line["vqa_list"], line["skills"]
    except KeyError as error:
        raise Refusal(f"{where}: key {error} is missing; use the published form") from error
    if not isinstance(prompt, str) or not prompt.strip() or type(atom_count) is not int or atom_count < 1:
        raise Refusal(
            f"{where}: prompt {prompt!r} with atom_count {atom_count!r}; a text and a number from 1 were expected"
        )
    if not isinstance(pairs, list) or not isinstance(skills, list) or not pairs or len(pairs) != len(skills):
        raise Refusal(f"{where}: vqa_list and skills must be lists of the same length, one entry a question")
    return Asking(prompt_id, prompt, atom_count, tuple(_asked(*one, where) for one in zip(pairs, skills, strict=True)))


def _asked(pair: Any, skill: Any, where: str) -> Asked:
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) and text for text in pair):
        raise Refusal(f"{where}: {pair!r} in vqa_list; a question and its answer were expected")
    if pair[1] not in (YES, *NUMBERS):
        raise Refusal(
            f"{where}: the answer {pair[1]!r} is neither {YES} nor a number from {NUMBERS[0]} to {NUMBERS[-1]}"
        )
    if skill not in SKILLS:
        raise Refusal(f"{where}: the skill {skill!r} is none of {', '.join(SKILLS)}")
    question, answer = pair
    return Asked(question, answer, skill)


def spellings(answer: str) -> tuple[str, ...]:
    """How a right answer may begin: as a word, capitalised or not; a number also as a digit; each after a blank too."""
    words = {answer.lower(), answer.capitalize()}
    if answer in NUMBERS:
        words.add(str(NUMBERS.index(answer)))
    return tuple(sorted(words | {f" {word}" for word in words}))
