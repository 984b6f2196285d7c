"""``report.html``: one self-contained file without scripts, made from what the other modules read.

Everything that comes from data (captions, class names, prompts, reasons) is escaped by the template engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from pipeline.evaluation.dpg import CATEGORIES
from pipeline.evaluation.geneval import TASKS
from pipeline.reporting import published
from pipeline.reporting.augmented import AugmentedDataset
from pipeline.reporting.captions import CaptionedDataset
from pipeline.reporting.charts import Chart
from pipeline.reporting.costs import StageCost, total_cost
from pipeline.reporting.datasets import Dataset
from pipeline.reporting.differences import PairsOfBenchmark
from pipeline.reporting.encoders import ImageEncoder
from pipeline.reporting.finetuning import Finetuning
from pipeline.reporting.provenance import Machine, TrainedModel
from pipeline.reporting.rows import RowCount, meaning
from pipeline.reporting.scores import CAPTIONS, QUESTIONS, SHAPES, Scored, distance_text
from pipeline.reporting.side_by_side import Comparison

TEMPLATES = Path(__file__).parent / "templates"
NUM_COLORS = 8
KILO = 1000.0
TASK_MEANINGS = {
    "single_object": "one object of the class",
    "two_object": "two objects of different classes",
    "counting": "two to four objects of one class",
    "colors": "one object of the colour",
    "position": "two objects in the relation",
    "color_attr": "two objects, each of its own colour",
}
CATEGORY_MEANINGS = {
    "global": "the picture as a whole: its background",
    "entity": "whether an object is there",
    "attribute": "an object's colour",
    "relation": "where an object lies, in the picture or to the other",
    "other": "how many there are",
}


@dataclass(frozen=True)
class Content:
    """All that the page shows.

    Attributes:
        pairs: benchmark to the differences between its models.
        finetunings: finetuned models beside those that they start from.
        pictures: name to data URL.
        picture_side_px: longest side that pictures were reduced to.
        used_models: (what, name, identity) of the models that data were made with.
        execution: (name, value) of the execution values that may change floats.
        parameters: the resolved parameters.
    """

    run: str
    scores: list[Scored]
    pairs: dict[str, PairsOfBenchmark]
    finetunings: list[Finetuning]
    comparisons: list[Comparison]
    charts: list[Chart]
    datasets: list[Dataset]
    captioned: list[CaptionedDataset]
    augmented: list[AugmentedDataset]
    image_encoders: list[ImageEncoder]
    rows: list[RowCount]
    costs: list[StageCost]
    models: list[TrainedModel]
    used_models: list[tuple[str, str, str]]
    execution: list[tuple[str, Any]]
    machine: Machine
    parameters: dict[str, Any]
    fingerprint: str
    pictures: dict[str, str]
    picture_side_px: int


def environment() -> jinja2.Environment:
    """What fills templates in: texts are escaped, and a value that is not there is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        duration=duration,
        short_seconds=short_seconds,
        pace=pace,
        size=size,
        spaced=spaced,
        meaning=meaning,
        grouped=grouped,
        count=count,
        breakable=breakable,
        distance_text=distance_text,
    )
    return made


def report_html(content: Content) -> str:
    """The page."""
    shapes = {name: _of_benchmark(content.scores, name) for name in _names(content.scores, SHAPES)}
    questions = {name: _of_benchmark(content.scores, name) for name in _names(content.scores, QUESTIONS)}
    judged = {**shapes, **questions}
    compared = {name: _of_benchmark(content.scores, name) for name in _names(content.scores, CAPTIONS)}
    distances = {
        name: scores for name, scores in compared.items() if any(s.benchmarks[name]["distances"] for s in scores)
    }
    return (
        environment()
        .get_template("report.html")
        .render(
            c=content,
            sections=_sections(content, shapes, questions, distances),
            style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
            shapes=shapes,
            questions=questions,
            judged=judged,
            distances=distances,
            findings={name: findings(name, scores) for name, scores in judged.items()},
            refusals={name: refusals(name, scores) for name, scores in distances.items()},
            colors=colors(content),
            tasks=TASKS,
            task_meanings=TASK_MEANINGS,
            categories={name: _categories(name, scores) for name, scores in questions.items()},
            category_meanings=CATEGORY_MEANINGS,
            published=published,
            total=total_cost(content.costs),
            most_seconds=max((cost.seconds for cost in content.costs), default=0.0),
            parameters=yaml.safe_dump(content.parameters, sort_keys=False, allow_unicode=True, width=100),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def _names(scores: list[Scored], form: str) -> list[str]:
    return list(dict.fromkeys(name for scored in scores for name in scored.of_form(form)))


def _of_benchmark(scores: list[Scored], name: str) -> list[Scored]:
    return [scored for scored in scores if name in scored.benchmarks]


def _categories(benchmark: str, scores: list[Scored]) -> list[str]:
    """The categories that a benchmark's questions are of."""
    return [name for name in CATEGORIES if name in scores[0].benchmarks[benchmark]["categories"]]


def _sections(
    content: Content, shapes: dict[str, Any], questions: dict[str, Any], distances: dict[str, Any]
) -> list[tuple[str, str]]:
    """(anchor, title) of the sections that have something to show."""
    sections = [
        ("scores", "Scores", True),
        ("tasks", "Tasks", bool(shapes)),
        ("questions", "Questions", bool(questions)),
        ("finetuning", "Finetuning", bool(content.finetunings)),
        ("pictures", "Side by side", any(comparison.prompts for comparison in content.comparisons)),
        ("distances", "Distances", bool(distances)),
        ("curves", "Training", bool(content.models)),
        ("datasets", "Sources", bool(content.datasets)),
        ("captions", "Captions", bool(content.captioned)),
        ("augmented", "Augmentation", bool(content.augmented)),
        ("encoders", "Encoders", bool(content.image_encoders)),
        ("rows", "Rows", bool(content.rows)),
        ("time", "Cost", bool(content.costs)),
        ("published", "Published figures", bool(shapes or questions)),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, title) for anchor, title, shown in sections if shown]


def colors(content: Content) -> dict[str, int]:
    """A colour's number for each model, by its reference and by the row of generate that draws with it."""
    color_numbers = {model.reference: number % NUM_COLORS for number, model in enumerate(content.models)}
    number = len(color_numbers)
    for scored in content.scores:
        if scored.lineage.models:
            color_numbers[scored.name] = color_numbers[scored.lineage.models[-1]]
        else:
            color_numbers[scored.name] = number % NUM_COLORS
            number += 1
    return color_numbers


def findings(benchmark: str, scores: list[Scored]) -> list[str]:
    """What the intervals allow to say of the best model, and what they do not cover."""
    ranked = sorted(scores, key=lambda scored: -scored.benchmarks[benchmark]["overall"])
    best, others = ranked[0], ranked[1:]
    low = best.benchmarks[benchmark]["interval"][0]
    below = [scored.name for scored in others if scored.benchmarks[benchmark]["interval"][1] < low]
    near = [scored.name for scored in others if scored.name not in below]
    sentences = [f"{best.name} has the highest score."] if others else []
    if below:
        sentences.append(f"Its interval lies above {_its_or_theirs(below)}.")
    if near:
        sentences.append(f"Its interval overlaps {_its_or_theirs(near)}: look at the differences on the same prompts.")
    return sentences + _seeds(benchmark, scores)


def _its_or_theirs(names: list[str]) -> str:
    if len(names) == 1:
        return f"that of {names[0]}"
    return f"those of {', '.join(names[:-1])} and {names[-1]}"


def _seeds(benchmark: str, scores: list[Scored]) -> list[str]:
    """Spread over training seeds where an arm has several; a caution where none has."""
    groups: dict[tuple[str, str | None], dict[int, float]] = {}
    for scored in scores:
        key = (scored.lineage.arm, scored.lineage.finetuned_name)
        groups.setdefault(key, {})[scored.lineage.seed] = scored.benchmarks[benchmark]["overall"]
    sentences = []
    for (arm, finetuned), values in groups.items():
        if len(values) > 1:
            name = f"{arm}, finetuned on {finetuned}" if finetuned else arm
            overalls = sorted(values.values())
            mean = sum(overalls) / len(overalls)
            sentences.append(
                f"{name} over {len(overalls)} training seeds: mean {mean:.3f}, "
                f"from {overalls[0]:.3f} to {overalls[-1]:.3f}."
            )
    if not sentences and any(scored.lineage.models for scored in scores):
        sentences.append(
            "Each arm was trained with one seed: what another training would give is outside the intervals."
        )
    return sentences


def refusals(benchmark: str, scores: list[Scored]) -> list[tuple[tuple[str, str], list[str]]]:
    """((distance, reason), models) of the distances that were refused, each reason once."""
    models_of_refusal: dict[tuple[str, str], list[str]] = {}
    for scored in scores:
        for name, value in sorted(scored.benchmarks[benchmark]["distances"].items()):
            if "refused" in value:
                models_of_refusal.setdefault((name, value["refused"]), []).append(scored.name)
    return list(models_of_refusal.items())


def duration(seconds: float) -> str:
    """Seconds for people: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def short_seconds(seconds: float) -> str:
    """Seconds for people where few of them count: ``2.31 s``, ``3.07 ms``."""
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def pace(per_second: float) -> str:
    """How many captions a second, or where that is few, how many seconds each."""
    return f"{per_second:,.3g} a second" if per_second >= 1 else f"{1 / per_second:.3g} s each"


def size(num_bytes: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < KILO:
            return f"{num_bytes:.0f} {unit}" if unit == "B" or num_bytes >= 100 else f"{num_bytes:.1f} {unit}"
        num_bytes /= KILO
    return f"{num_bytes:,.1f} TB"


def spaced(name: str) -> str:
    """A name of parameters as words."""
    return name.replace("_", " ")


def count(number: int) -> str:
    """A large number for people: ``940``, ``1.53 M``, ``0.39 B``."""
    for unit, letter in ((1e9, "B"), (1e6, "M")):
        if number >= unit / 10:
            return f"{number / unit:.2f} {letter}"
    return f"{number:,}"


def breakable(name: str) -> Markup:
    """A name that a line may break after its joints, escaped."""
    return Markup("<wbr>").join(re.findall(r"[^_+/\-]+[_+/\-]*|[_+/\-]+", name))


def grouped(items: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """(value, items) for each value of an attribute, in the order in which the values are met."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(getattr(item, attribute), []).append(item)
    return list(groups.items())
