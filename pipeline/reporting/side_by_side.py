"""The models side by side: what each drew for the same prompts, with its verdict and the reason for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.dag.units import UnitId, benchmark_part
from pipeline.data.files import VERDICTS_PARQUET
from pipeline.data.schema import GENERATED, VERDICTS, Column
from pipeline.data.shards import Shard
from pipeline.reporting.pictures import PictureBook
from pipeline.reporting.real import RealPictures
from pipeline.reporting.scores import Scored, form_of
from pipeline.runner.job import Job

SHOWN_IMAGE = 0  # of each prompt, the picture with this number


@dataclass(frozen=True)
class Drawn:
    """One model's picture of one prompt.

    Attributes:
        picture: its name in the picture book; None where there is none.
        correct: the verdict; None where the benchmark gives none.
        reason: why it is wrong.
        num_correct: correct pictures of this prompt.
        num_judged: judged pictures of this prompt.
    """

    model: str
    picture: str | None
    correct: bool | None
    reason: str
    num_correct: int
    num_judged: int


@dataclass(frozen=True)
class SamePrompt:
    """One prompt and what each model drew for it; ``real``: the held-out picture that it is the caption of."""

    prompt: str
    task: str
    real: str | None
    drawn: tuple[Drawn, ...]


@dataclass(frozen=True)
class Comparison:
    """The prompts of one benchmark that are shown.

    Attributes:
        form: of its scores (see ``scores.form_of``).
        num_prompts: prompts of the benchmark.
        same_noise: every model started from the same noise.
    """

    benchmark: str
    form: str
    num_prompts: int
    same_noise: bool
    prompts: tuple[SamePrompt, ...]


@dataclass(frozen=True)
class _Verdict:
    task: str
    correct: bool | None
    reason: str


class _Side:
    """One model's pictures and verdicts of a benchmark, the pictures read when they are asked for."""

    def __init__(self, job: Job, scored: Scored, benchmark: str) -> None:
        self.name = scored.name
        self.seeds: dict[tuple[str, int], int] = {}
        self.prompts: dict[str, str] = {}
        self._where: dict[tuple[str, int], tuple[Shard, int]] = {}
        entry = job.plan.params.sections["generate"].tables["benchmarks"][benchmark]
        for number in range(entry.num_shards):
            shard = Shard(job.input(UnitId("generate", self.name, benchmark_part(benchmark, number))), GENERATED)
            for row, values in enumerate(
                shard.rows([Column.PROMPT_ID, Column.IMAGE_INDEX, Column.SEED, Column.PROMPT])
            ):
                place = (values[Column.PROMPT_ID], values[Column.IMAGE_INDEX])
                self._where[place] = (shard, row)
                self.seeds[place] = values[Column.SEED]
                self.prompts[place[0]] = values[Column.PROMPT]
        self.verdicts = _verdicts(job, scored, benchmark)

    def drawn(self, prompt_id: str, book: PictureBook) -> Drawn:
        place = (prompt_id, SHOWN_IMAGE)
        picture = None
        if place in self._where:
            shard, row = self._where[place]
            data = shard.payload(row, Column.IMAGE)
            picture = book.add(data) if data is not None else None
        of_prompt = self.verdicts.get(prompt_id, {})
        judged = [verdict.correct for verdict in of_prompt.values() if verdict.correct is not None]
        shown = of_prompt.get(SHOWN_IMAGE, _Verdict("", None, ""))
        return Drawn(self.name, picture, shown.correct, shown.reason, sum(judged), len(judged))


def compare(job: Job, scores: list[Scored], real: RealPictures, book: PictureBook) -> list[Comparison]:
    """One comparison per benchmark that any of the models was judged by."""
    names = list(dict.fromkeys(name for scored in scores for name in scored.benchmarks))
    return [_compare(job, [s for s in scores if name in s.benchmarks], name, real, book) for name in names]


def _compare(job: Job, scores: list[Scored], benchmark: str, real: RealPictures, book: PictureBook) -> Comparison:
    sides = [_Side(job, scored, benchmark) for scored in scores]
    prompts = {prompt_id: prompt for side in sides for prompt_id, prompt in side.prompts.items()}
    tasks = {
        prompt_id: verdict.task
        for side in sides
        for prompt_id, verdicts in side.verdicts.items()
        for verdict in verdicts.values()
    }
    entry = job.plan.params.sections["generate"].tables["benchmarks"][benchmark]
    shown = in_turn(((prompt_id, tasks.get(prompt_id, "")) for prompt_id in prompts), job.row_params.num_pictures)
    return Comparison(
        benchmark=benchmark,
        form=str(form_of(scores[0].benchmarks[benchmark])),
        num_prompts=len(prompts),
        same_noise=len(sides) > 1
        and all(scored.lineage.models for scored in scores)
        and all(side.seeds == sides[0].seeds for side in sides),
        prompts=tuple(
            SamePrompt(
                prompts[prompt_id],
                tasks.get(prompt_id, ""),
                real.of_key(entry.caption_set, prompt_id) if entry.caption_set else None,
                tuple(side.drawn(prompt_id, book) for side in sides),
            )
            for prompt_id in shown
        ),
    )


def in_turn(items: Iterable[tuple[str, str]], number: int) -> list[str]:
    """The first ``number`` names, taken from each group in turn, then in the order of the groups.

    Args:
        items: (name, group), in order.
        number: how many names at most.
    """
    groups: dict[str, list[str]] = {}
    for name, group in items:
        groups.setdefault(group, []).append(name)
    taken = dict.fromkeys(groups, 0)
    while sum(taken.values()) < number:
        before = sum(taken.values())
        for group, names in groups.items():
            if taken[group] < len(names) and sum(taken.values()) < number:
                taken[group] += 1
        if sum(taken.values()) == before:
            break
    return [name for group, names in groups.items() for name in names[: taken[group]]]


def _verdicts(job: Job, scored: Scored, benchmark: str) -> dict[str, dict[int, _Verdict]]:
    """Prompt id -> image index -> verdict."""
    place = UnitId("score", scored.score_rows[benchmark], benchmark)
    path = job.input(place, f"{benchmark}/{VERDICTS_PARQUET}")
    verdicts: dict[str, dict[int, _Verdict]] = {}
    for row in Shard(path, VERDICTS).rows(
        [Column.PROMPT_ID, Column.IMAGE_INDEX, Column.TASK, Column.CORRECT, Column.REASON]
    ):
        verdict = _Verdict(row[Column.TASK] or "", row[Column.CORRECT], row[Column.REASON] or "")
        verdicts.setdefault(row[Column.PROMPT_ID], {})[row[Column.IMAGE_INDEX]] = verdict
    return verdicts
