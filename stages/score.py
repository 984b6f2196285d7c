"""Score: judge the pictures of one benchmark of a row.

Reads generated pictures, and real ones for distances. Writes ``verdicts.parquet`` (one row a picture) and
``metrics.json`` per benchmark. The judge sees the generated pixels and the prompt's metadata, nothing else. The part
``style`` of rows that name a style probe reads downloaded pictures to fit it on, and writes ``style.parquet``.

    python -m stages.score --params params.yaml --row ta_ia [--part geneval_shapes]
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from pipeline.dag import units
from pipeline.dag.units import MANIFEST, benchmark_part
from pipeline.data.files import FINGERPRINT_JSON, METRICS_JSON, STYLE_PARQUET, VERDICTS_PARQUET
from pipeline.params.references import STYLE
from pipeline.params.schema import DpgShapesBenchmark
from pipeline.runner.command import main
from pipeline.runner.job import Job

INTERVAL_LEVEL = 0.95


def make(job: Job) -> None:
    """Judge one benchmark, or the style of one benchmark's pictures."""
    from pipeline.store.embedded import write_fingerprint_json

    benchmark = job.unit_id.part
    folder = job.out / benchmark
    folder.mkdir()
    metrics = score_part(job, benchmark)
    table = STYLE_PARQUET if benchmark == STYLE else VERDICTS_PARQUET
    text = json.dumps(metrics, indent=1, sort_keys=True) + "\n"
    (folder / METRICS_JSON).write_text(text)
    write_fingerprint_json(folder, job.fingerprint, [METRICS_JSON, table])
    assert (folder / FINGERPRINT_JSON).is_file()


def score_part(job: Job, part: str) -> dict[str, Any]:
    """The metrics of one part, its table written beside: the style score, or a benchmark by its kind."""
    if part == STYLE:
        return score_style(job)
    entry = job.plan.params.sections["generate"].tables["benchmarks"][part]
    if hasattr(entry, "captions"):
        return score_captions(job, part)
    if isinstance(entry, DpgShapesBenchmark):
        return score_questions(job, part)
    return score_shapes(job, part)


def generated_rows(job: Job, benchmark: str) -> list[dict[str, Any]]:
    """All rows of the benchmark's pictures, in order."""
    from pipeline.data.schema import GENERATED, Column
    from pipeline.data.shards import Shard

    entry = job.plan.params.sections["generate"].tables["benchmarks"][benchmark]
    columns = [Column.PROMPT_ID, Column.IMAGE_INDEX, Column.PROMPT, Column.IMAGE]
    return [
        row
        for shard in range(entry.num_shards)
        for row in Shard(
            job.input(units.unit_id(job.row_params.images, benchmark_part(benchmark, shard))), GENERATED
        ).rows(columns)
    ]


def picture_of(data: bytes) -> Any:
    """A generated picture; it was made or checked by this pipeline."""
    from pipeline.data.images import MAX_PIXELS_CEILING, decode

    return decode(data, max_pixels=MAX_PIXELS_CEILING)


def check_prompt(benchmark: str, row: dict[str, Any], metadata: dict[str, Any]) -> None:
    """A generated row must be of a prompt of its benchmark."""
    from pipeline.data.schema import Column

    prompt_id = row[Column.PROMPT_ID]
    if prompt_id not in metadata or metadata[prompt_id]["prompt"] != row[Column.PROMPT]:
        raise AssertionError(f"{benchmark}: the picture {prompt_id} was not drawn for this benchmark's prompt")


def seen(detections: Any) -> list[dict[str, Any]]:
    """What the judge saw, for the verdict's ``detail``."""
    return [
        {"class": d.class_name, "color": d.color, "score": round(d.score, 4), "box": [round(v, 1) for v in d.box]}
        for d in detections
    ]


def bootstrap_of(job: Job) -> Any:
    """How the row's intervals are drawn."""
    from pipeline.evaluation.intervals import Bootstrap

    return Bootstrap(job.row_params.num_bootstrap, INTERVAL_LEVEL, job.plan.params.seeds.generate)


def score_shapes(job: Job, benchmark: str) -> dict[str, Any]:
    """GenEval's rules over the exact detector of shapes and colours."""
    from pipeline.data.schema import VERDICTS, Column
    from pipeline.data.shards import ShardBuilder
    from pipeline.demo.judge import detector
    from pipeline.evaluation import geneval, geneval_scores
    from pipeline.evaluation.prompts import PROMPT_ID, prompts_of

    entry = job.plan.params.sections["generate"].tables["benchmarks"][benchmark]
    metadata = {prompt[PROMPT_ID]: prompt for prompt in prompts_of(job, benchmark)}
    builder, judged = ShardBuilder(VERDICTS), []
    for row in generated_rows(job, benchmark):
        prompt_id, index = row[Column.PROMPT_ID], row[Column.IMAGE_INDEX]
        check_prompt(benchmark, row, metadata)
        detections = detector.detect(picture_of(row[Column.IMAGE]))
        verdict = geneval.judge_image(metadata[prompt_id], detections, detector.classify_color, geneval.PUBLISHED_RULES)
        judged.append(geneval_scores.JudgedImage(prompt_id, index, verdict.correct))
        builder.add(
            prompt_id=prompt_id,
            image_index=index,
            task=metadata[prompt_id]["tag"],
            correct=verdict.correct,
            reason=verdict.reason,
            detail=json.dumps(seen(detections)),
        )
    builder.write(job.out / benchmark / VERDICTS_PARQUET, fingerprint=job.fingerprint, row_group_rows=1024)
    scores = geneval_scores.aggregate(
        judged,
        {prompt_id: prompt["tag"] for prompt_id, prompt in metadata.items()},
        entry.num_images,
        bootstrap_of(job),
    )
    return shapes_metrics(scores, judged, metadata)


def ends(interval: Any) -> list[float]:
    """Lowest and highest value of an interval."""
    return [interval.low, interval.high]


def shapes_metrics(scores: Any, judged: list[Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """The metrics file of ``geneval_shapes``."""
    counts = Counter(metadata[image.prompt_id]["tag"] for image in judged)
    return {
        "kind": "geneval_shapes",
        "overall": scores.overall,
        "interval": ends(scores.overall_interval),
        "tasks": {
            task: {"score": score, "interval": ends(scores.task_intervals[task]), "num_images": counts[task]}
            for task, score in scores.tasks.items()
        },
        "per_image": scores.images_correct,
        "any_of_prompt": scores.prompts_correct,
        "num_prompts": scores.num_prompts,
        "num_images": len(judged),
    }


def score_questions(job: Job, benchmark: str) -> dict[str, Any]:
    """DPG-Bench's rules over what the exact detector answers."""
    from pipeline.data.schema import VERDICTS, Column
    from pipeline.data.shards import ShardBuilder
    from pipeline.demo.judge import answers as dpg_judge
    from pipeline.evaluation import dpg
    from pipeline.evaluation.prompts import PROMPT_ID, prompts_of

    entry = job.plan.params.sections["generate"].tables["benchmarks"][benchmark]
    metadata = {prompt[PROMPT_ID]: prompt for prompt in prompts_of(job, benchmark)}
    questions = {prompt_id: prompt["questions"] for prompt_id, prompt in metadata.items()}
    builder, answered = ShardBuilder(VERDICTS), []
    for row in generated_rows(job, benchmark):
        prompt_id, index = row[Column.PROMPT_ID], row[Column.IMAGE_INDEX]
        check_prompt(benchmark, row, metadata)
        sight = dpg_judge.look(picture_of(row[Column.IMAGE]))
        answers = dpg_judge.answers(questions[prompt_id], sight)
        answered.append(dpg.AnsweredImage(prompt_id, index, answers))
        scored = dpg.score_image(questions[prompt_id], answers)
        detail = dpg.answers_detail(questions[prompt_id], answers)
        detail |= {"background": sight.background, "seen": seen(sight.detections)}
        builder.add(
            prompt_id=prompt_id,
            image_index=index,
            task=metadata[prompt_id]["tag"],
            correct=all(scored.counts),
            reason=dpg.failures(questions[prompt_id], scored),
            detail=json.dumps(detail),
        )
    builder.write(job.out / benchmark / VERDICTS_PARQUET, fingerprint=job.fingerprint, row_group_rows=1024)
    scores = dpg.aggregate(
        questions, answered, entry.num_images, bootstrap_of(job), only_last_image_in_categories=False
    )
    return questions_metrics(scores)


def questions_metrics(scores: Any) -> dict[str, Any]:
    """The metrics file of ``dpg_shapes``."""
    return {
        "kind": "dpg_shapes",
        "overall": scores.overall,
        "interval": ends(scores.overall_interval),
        "categories": {
            name: {
                "score": score,
                "interval": ends(scores.category_intervals[name]),
                "num_questions": scores.category_questions[name],
            }
            for name, score in scores.categories.items()
        },
        "details": scores.details,
        "per_image": scores.images_right,
        "num_prompts": scores.num_prompts,
        "num_images": scores.num_prompts * scores.num_images,
    }


def score_captions(job: Job, benchmark: str) -> dict[str, Any]:
    """Distances between generated and real pictures, on the features that the parameters name."""
    from pipeline.data.schema import VERDICTS, Column
    from pipeline.data.shards import ShardBuilder
    from pipeline.encoders.loading import choose_device, resolve_model
    from pipeline.evaluation.features import VisionTowerFeatures

    entry = job.table_entry("feature_extractors", job.row_params.features)
    rows = generated_rows(job, benchmark)
    builder = ShardBuilder(VERDICTS)
    for row in rows:
        builder.add(prompt_id=row[Column.PROMPT_ID], image_index=row[Column.IMAGE_INDEX], task=benchmark)
    builder.write(job.out / benchmark / VERDICTS_PARQUET, fingerprint=job.fingerprint, row_group_rows=1024)
    metrics: dict[str, Any] = {"kind": "captions", "num_generated": len(rows), "num_real": None, "distances": {}}
    if job.row_params.real is None:
        return metrics
    execution = job.plan.params.execution
    device = str(choose_device(execution))
    extract = VisionTowerFeatures(resolve_model(entry.model, entry.revision), device)
    generated = features_of(extract, (picture_of(row[Column.IMAGE]) for row in rows), entry, execution)
    real = features_of(extract, real_pictures(job, entry.side_px), entry, execution)
    metrics["num_real"] = len(real)
    metrics["features"] = {"name": job.row_params.features, "demo": entry.demo, "dim": int(generated.shape[1])}
    metrics["distances"] = distances(job, generated, real)
    return metrics


def score_style(job: Job) -> dict[str, Any]:
    """How aesthetic the pictures look to a probe on the features that the parameters name."""
    from functools import partial

    from pipeline.encoders.loading import choose_device, resolve_model
    from pipeline.evaluation.features import VisionTowerFeatures
    from pipeline.evaluation.style import judge_style

    features, execution = job.table_entry("feature_extractors", job.row_params.features), job.plan.params.execution
    extract = VisionTowerFeatures(resolve_model(features.model, features.revision), str(choose_device(execution)))
    rows = generated_rows(job, job.table_entry("style_probes", job.row_params.style).benchmark)
    see = partial(features_of, extract, entry=features, execution=execution)
    return judge_style(job, rows, see, features.side_px, bootstrap_of(job))


def real_pictures(job: Job, side_px: int) -> Any:
    """Square views of all whole pictures of the real set."""
    from pipeline.data.image_rows import image_rows
    from pipeline.data.schema import IMAGES
    from pipeline.data.shards import Shard

    job.input(units.unit_id(job.row_params.real, MANIFEST))
    for path in job.shard_paths(job.row_params.real):
        for row in image_rows(Shard(path, IMAGES), side_px):
            if row.view is not None:
                yield row.view


def features_of(extract: Any, pictures: Any, entry: Any, execution: Any) -> Any:
    """Features [n, dim] of pictures, in batches, each seen as a square view."""
    import numpy as np
    import torch

    from pipeline.data.images import square_view

    torch.set_num_threads(execution.num_threads)
    views = [square_view(picture, entry.side_px) for picture in pictures]
    size = execution.inference_batch_size
    return np.concatenate([extract(views[i : i + size]) for i in range(0, len(views), size)])


def distances(job: Job, generated: Any, real: Any) -> dict[str, Any]:
    """KID and, where there are enough pictures, the Frechet distance, each under a name with its features."""
    from pipeline.errors import Refusal
    from pipeline.evaluation.distance import frechet_distance, kid

    found: dict[str, Any] = {}
    name = job.row_params.features
    try:
        value, std = kid(
            generated,
            real,
            subset_size=job.row_params.kid_subset_size,
            num_subsets=job.row_params.kid_num_subsets,
            seed=job.plan.params.seeds.generate,
        )
        found[f"kid_{name}"] = {"value": value, "std": std}
    except Refusal as refusal:
        found[f"kid_{name}"] = {"refused": str(refusal)}
    try:
        found[f"fid_{name}"] = {"value": frechet_distance(generated, real)}
    except Refusal as refusal:
        found[f"fid_{name}"] = {"refused": str(refusal)}
    return found


if __name__ == "__main__":
    sys.exit(main("score", make))
