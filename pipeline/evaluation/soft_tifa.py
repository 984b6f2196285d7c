"""GenEval 2's scores from the probability of each right answer: Soft-TIFA (arXiv 2512.16853).

A prompt has one picture and several questions, each about one atom: an object, its attribute, a count, a relation, an
action. A question's value is the probability that the judge gives its right answer. A prompt's arithmetic mean says how
much of it is there on average (AM), its geometric mean whether all of it is (GM): one atom that is missing for certain
makes it 0. Both are averaged over prompts, in percent. A skill's score is the mean over all of its questions, and an
atomicity's the mean of GM over the prompts of that many atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.randomness import generator
from pipeline.errors import Refusal
from pipeline.evaluation.intervals import Bootstrap, Interval, percentile_interval

PERCENT = 100.0
AM, GM = "soft_tifa_am", "soft_tifa_gm"


@dataclass(frozen=True, slots=True)
class AnsweredPrompt:
    """What a judge made of a prompt's picture.

    Attributes:
        atom_count: how many atoms the prompt has.
        skills: what each question is about.
        probabilities: 0 to 1, of the right answer to each.
    """

    prompt_id: str
    atom_count: int
    skills: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """A score in percent, its interval under resampled prompts, and of how many prompts or questions it is the mean."""

    score: float
    interval: Interval
    number: int


@dataclass(frozen=True, slots=True)
class SoftTifa:
    """All scores.

    Attributes:
        overall: ``soft_tifa_am`` and ``soft_tifa_gm``.
        skills: skill -> mean over its questions, sorted by name.
        atomicity: number of atoms -> mean of the prompts' geometric means, in ascending order.
    """

    overall: dict[str, Scored]
    skills: dict[str, Scored]
    atomicity: dict[int, Scored]


def prompt_means(probabilities: Sequence[float]) -> tuple[float, float]:
    """Arithmetic and geometric mean of a prompt's probabilities; the latter is 0 where one of them is."""
    values = np.asarray(probabilities, dtype=np.float64)
    geometric = float(np.exp(np.log(values).mean())) if values.all() else 0.0
    return float(values.mean()), geometric


def aggregate(wanted: Mapping[str, int], answered: Iterable[AnsweredPrompt], bootstrap: Bootstrap) -> SoftTifa:
    """The scores of a benchmark of which every prompt was answered.

    Args:
        wanted: prompt id -> number of its questions, of all prompts.
        answered: the prompts, in any order.
        bootstrap: how intervals are drawn: prompts are resampled, within an atomicity for its score.

    Raises:
        Refusal: a prompt is missing, there twice or unknown; answers are more or fewer than its questions; a value is
            no probability.
    """
    prompts = _checked(wanted, answered)
    means = np.array([prompt_means(one.probabilities) for one in prompts])
    atoms = np.array([one.atom_count for one in prompts])
    overall = {name: _mean(name, means[:, column], bootstrap) for column, name in enumerate((AM, GM))}
    atomicity = {
        int(number): _mean(f"atoms_{number}", means[atoms == number, 1], bootstrap) for number in np.unique(atoms)
    }
    names = sorted({skill for one in prompts for skill in one.skills})
    return SoftTifa(overall, {name: _skill(name, prompts, bootstrap) for name in names}, atomicity)


def _checked(wanted: Mapping[str, int], answered: Iterable[AnsweredPrompt]) -> list[AnsweredPrompt]:
    found: dict[str, AnsweredPrompt] = {}
    for one in answered:
        if one.prompt_id not in wanted:
            raise Refusal(f"prompt {one.prompt_id}: is none of the {len(wanted)} prompts; remove its answers")
        if one.prompt_id in found:
            raise Refusal(f"prompt {one.prompt_id}: is answered twice; keep one picture of each prompt")
        if not wanted[one.prompt_id] == len(one.probabilities) == len(one.skills):
            raise Refusal(
                f"prompt {one.prompt_id}: {len(one.probabilities)} answers and {len(one.skills)} skills for "
                f"{wanted[one.prompt_id]} questions; judge its picture anew"
            )
        if odd := [value for value in one.probabilities if not 0 <= value <= 1]:
            raise Refusal(f"prompt {one.prompt_id}: {odd[0]} is no probability; judge its picture anew")
        found[one.prompt_id] = one
    missing = [prompt_id for prompt_id in wanted if prompt_id not in found]
    if missing or not found:
        raise Refusal(
            f"{len(missing)} of {len(wanted)} prompts have no answers, first {(missing or ['none'])[0]}; draw and "
            "judge them, a score over fewer is another score"
        )
    return [found[prompt_id] for prompt_id in wanted]


def _mean(name: str, values: np.ndarray, bootstrap: Bootstrap) -> Scored:
    """The mean of one value a prompt."""
    return _ratio(name, values, np.ones_like(values), len(values), bootstrap)


def _skill(name: str, prompts: Sequence[AnsweredPrompt], bootstrap: Bootstrap) -> Scored:
    """The mean over a skill's questions; prompts are resampled, since a prompt's questions share one picture."""
    of_prompt = [
        [value for skill, value in zip(one.skills, one.probabilities, strict=True) if skill == name] for one in prompts
    ]
    sums = np.array([sum(values) for values in of_prompt])
    counts = np.array([float(len(values)) for values in of_prompt])
    asked = counts > 0
    return _ratio(f"skill_{name}", sums[asked], counts[asked], int(counts.sum()), bootstrap)


def _ratio(name: str, sums: np.ndarray, counts: np.ndarray, number: int, bootstrap: Bootstrap) -> Scored:
    draws = generator(bootstrap.seed, "score", "soft_tifa_bootstrap", name)
    rows = draws.integers(0, len(sums), (bootstrap.num_resamples, len(sums)))
    resampled = PERCENT * sums[rows].sum(axis=1) / counts[rows].sum(axis=1)
    return Scored(PERCENT * float(sums.sum() / counts.sum()), percentile_interval(resampled, bootstrap.level), number)
