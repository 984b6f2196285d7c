"""What a kind of benchmark must offer, and what it is given: its prompts, then verdicts on pictures, then scores.

Generate and score go through any benchmark in the same steps; they agree here on its prompts and on its shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeAlias, TypeVar

from PIL import Image

from pipeline.dag import units
from pipeline.dag.units import benchmark_part
from pipeline.data.images import MAX_PIXELS_CEILING, decode
from pipeline.data.schema import GENERATED, VERDICTS, Answered, Column, Detected
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal
from pipeline.evaluation.geneval import Detection
from pipeline.evaluation.intervals import Bootstrap
from pipeline.params import benchmarks, kinds
from pipeline.runner.job import Job

INTERVAL_LEVEL = 0.95

Item = TypeVar("Item")
Prompt: TypeAlias = dict[str, Any]
"""One prompt: ``prompt_id``, ``prompt``, and what its judge needs beside."""


@dataclass(frozen=True)
class Drawn:
    """A picture that was drawn for a prompt; ``data``: encoded."""

    prompt_id: str
    image_index: int
    prompt: str
    data: bytes

    @property
    def image(self) -> Image.Image:
        """The pixels; it was made or checked by this pipeline."""
        return decode(self.data, max_pixels=MAX_PIXELS_CEILING)


@dataclass(frozen=True)
class Verdict:
    """A row of ``verdicts.parquet``.

    Attributes:
        task: the group of prompts that it is shown with.
        correct: whether the picture shows what it should; None: the benchmark does not say.
        reason: why it is wrong, empty where it is right; None as above.
        detections: what a detector saw; None where none looked.
        answers: question id and probability of yes, of each question; None where there are none.
        detail: JSON of what only this benchmark has; None: nothing.
    """

    prompt_id: str
    image_index: int
    task: str
    correct: bool | None = None
    reason: str | None = None
    detections: Sequence[Detection] | None = None
    answers: Sequence[tuple[int, float]] | None = None
    detail: str | None = None

    def columns(self) -> dict[str, Any]:
        """Its values by column."""
        return {
            Column.PROMPT_ID: self.prompt_id,
            Column.IMAGE_INDEX: self.image_index,
            Column.TASK: self.task,
            Column.CORRECT: self.correct,
            Column.REASON: self.reason,
            Column.DETECTIONS: None if self.detections is None else [detection_value(one) for one in self.detections],
            Column.ANSWERS: None
            if self.answers is None
            else [{Answered.QUESTION: question, Answered.PROBABILITY: yes} for question, yes in self.answers],
            Column.DETAIL: self.detail,
        }

    @classmethod
    def of(cls, values: dict[str, Any]) -> Verdict:
        """The verdict behind values of all these columns; masks of detections are not stored."""
        detections, answers = values[Column.DETECTIONS], values[Column.ANSWERS]
        return cls(
            values[Column.PROMPT_ID],
            values[Column.IMAGE_INDEX],
            values[Column.TASK],
            values[Column.CORRECT],
            values[Column.REASON],
            None if detections is None else [detection_of(one) for one in detections],
            None if answers is None else [(one[Answered.QUESTION], one[Answered.PROBABILITY]) for one in answers],
            values[Column.DETAIL],
        )


def detection_value(detection: Detection) -> dict[str, Any]:
    """A detection as a value of the column ``detections``."""
    return {
        Detected.CLASS: detection.class_name,
        Detected.COLOR: detection.color,
        Detected.SCORE: detection.score,
        Detected.BOX: list(detection.box),
    }


def detection_of(value: dict[str, Any]) -> Detection:
    """The detection behind a value of that column; masks are not stored."""
    box = tuple(value[Detected.BOX])
    return Detection(value[Detected.CLASS], value[Detected.SCORE], box, None, value[Detected.COLOR])


class DrawnShard:
    """A shard of drawn pictures, of which some are read at a time.

    Args:
        shard: of the table ``generated``.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._rows = list(shard.rows([Column.PROMPT_ID, Column.IMAGE_INDEX, Column.PROMPT]))
        self.num_rows = len(self._rows)

    def run(self, start: int, stop: int) -> Iterator[Drawn]:
        """The pictures of rows start..stop-1, each read when it is asked for."""
        for row, values in enumerate(self._rows[start:stop], start):
            image = self._shard.payload(row, Column.IMAGE)
            assert image is not None, f"{self._shard.path}: row {row} has no picture"
            yield Drawn(values[Column.PROMPT_ID], values[Column.IMAGE_INDEX], values[Column.PROMPT], image)


class Scoring:
    """One benchmark of a row of score, as its verdicts and metrics need it.

    Args:
        job: a unit of score.
        name: the benchmark's name.

    Attributes:
        params: of the benchmark.
        bootstrap: how intervals are drawn.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name = job, name
        self.params = benchmark_params(job, name)
        self.bootstrap = Bootstrap(job.row_params.num_bootstrap, INTERVAL_LEVEL, job.plan.params.seeds.generate)

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """Prompt id -> prompt, of all prompts of the benchmark."""
        return {prompt[Column.PROMPT_ID]: prompt for prompt in prompts_of(self.job, self.name)}

    @cached_property
    def judge(self) -> Any:
        """The judge that the row names in the role which the benchmark asks for, opened."""
        entry = self.job.table_entry("judges", getattr(self.job.row_params, str(self.params.needs_judge)))
        return kinds.JUDGES.class_of(entry).open(entry, self.job.plan.params.execution)

    def pictures(self) -> Iterator[Drawn]:
        """All pictures of the row for this benchmark, in order, read anew at each call."""
        for number in range(self.params.num_shards):
            pictures = self.shard_of_pictures(number)
            yield from pictures.run(0, pictures.num_rows)

    def shard_of_pictures(self, number: int) -> DrawnShard:
        """One shard of them."""
        unit_id = units.unit_id(self.job.row_params.images, benchmark_part(self.name, number))
        return DrawnShard(Shard(self.job.input(unit_id), GENERATED))

    def with_prompts(self, pictures: Iterable[Drawn]) -> list[tuple[Drawn, Prompt]]:
        """Pictures with their prompts. Raises Refusal where one was drawn for another text."""
        asked = []
        for drawn in pictures:
            prompt = self.prompts.get(drawn.prompt_id)
            if prompt is None or prompt[Column.PROMPT] != drawn.prompt:
                raise Refusal(
                    f"{self.job.row_params.images} {self.name}: image {drawn.image_index} of {drawn.prompt_id!r} was "
                    f"drawn for {drawn.prompt!r}, which is no prompt of the benchmark; draw its pictures anew"
                )
            asked.append((drawn, prompt))
        return asked

    def verdicts(self) -> Iterator[Verdict]:
        """All verdicts of the row on this benchmark, in order; of one without a judge, rows that say nothing."""
        if self.params.needs_judge is None:
            for drawn in self.pictures():
                yield Verdict(drawn.prompt_id, drawn.image_index, self.name)
            return
        for number in range(self.params.num_shards):
            unit_id = self.job.unit_id._replace(part=benchmark_part(self.name, number))
            for values in Shard(self.job.input(unit_id), VERDICTS).rows(VERDICTS.schema.names):
                yield Verdict.of(values)


class Benchmark(Protocol):
    """Prompts, and scores of the pictures that were drawn for them."""

    @classmethod
    def open(cls, params: Any) -> Self:
        """The benchmark that an entry describes, of the type that the table has for this class."""

    def prompts(self, job: Job) -> list[Prompt]:
        """All prompts, in order, each id once; the same for a job of generate and one of score."""

    def judge(self, asked: Sequence[tuple[Drawn, Prompt]], judge: Any) -> list[Verdict]:
        """A verdict on each picture of a batch, in order, by the judge of the role that its parameters ask for.

        It must not hang on which others are in the batch. Not asked where ``needs_judge`` is None.
        """

    def metrics(self, verdicts: Sequence[Verdict], scoring: Scoring) -> dict[str, Any]:
        """The content of ``metrics.json``, JSON values: ``kind``, and what the verdicts add up to.

        The page of a run shows ``tasks``, ``categories`` or ``distances``. Raises Refusal where they do not add up.
        """


class BaseBenchmark:
    """A benchmark that is opened from its parameters alone; subclasses say which prompts it has and judge them.

    Attributes:
        kind: what the metrics file calls its kind.
    """

    kind: ClassVar[str]

    def __init__(self, params: Any) -> None:
        self.params = params

    @classmethod
    def open(cls, params: Any) -> Self:
        """The benchmark that an entry describes."""
        return cls(params)

    def prompts(self, job: Job) -> list[Prompt]:
        """All prompts."""
        raise NotImplementedError

    def judge(self, asked: Sequence[tuple[Drawn, Prompt]], judge: Any) -> list[Verdict]:
        """Of a benchmark without a judge."""
        raise AssertionError(f"{self.kind} has no verdicts, and was asked for {len(asked)}")


def benchmark_params(job: Job, name: str) -> Any:
    """The parameters of a benchmark."""
    return job.plan.params.sections["generate"].tables["benchmarks"][name]


def open_benchmark(params: benchmarks.Benchmark) -> Benchmark:
    """The benchmark that parameters describe."""
    benchmark: Benchmark = kinds.BENCHMARKS.class_of(params).open(params)
    return benchmark


def prompts_of(job: Job, name: str) -> list[Prompt]:
    """All prompts of a benchmark."""
    return open_benchmark(benchmark_params(job, name)).prompts(job)


def write_verdicts(path: Path, verdicts: Iterable[Verdict], fingerprint: str, row_group_rows: int) -> None:
    """Write ``verdicts.parquet``."""
    builder = RowBatch(VERDICTS)
    for verdict in verdicts:
        builder.add(**verdict.columns())
    builder.write(path, fingerprint=fingerprint, row_group_rows=row_group_rows)


def run_of_shard(items: Sequence[Item], shard: int, num_shards: int) -> Sequence[Item]:
    """The consecutive run of items that a shard holds."""
    return items[shard * len(items) // num_shards : (shard + 1) * len(items) // num_shards]


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of ``size``, the last one perhaps shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
