"""The report's one job: read the store, write the page, the text for the terminal, metrics and plots."""

from __future__ import annotations

from pipeline.data.files import METRICS_JSON, REPORT_FILES
from pipeline.reporting.augmented import augmented_datasets
from pipeline.reporting.captions import captioned_datasets
from pipeline.reporting.charts import charts
from pipeline.reporting.costs import stage_costs
from pipeline.reporting.curves import curves_csv, read_curves
from pipeline.reporting.datasets import datasets
from pipeline.reporting.differences import pairs_by_benchmark
from pipeline.reporting.encoders import image_encoders
from pipeline.reporting.finetuning import finetunings
from pipeline.reporting.page import Content, report_html
from pipeline.reporting.pictures import BUDGET_BYTES, PictureBook
from pipeline.reporting.provenance import execution_values, machine, models_used, trained_models
from pipeline.reporting.real import RealPictures
from pipeline.reporting.rows import count_rows
from pipeline.reporting.scores import metrics_text, read_scores, tasks_csv
from pipeline.reporting.side_by_side import compare
from pipeline.reporting.summary import report_md
from pipeline.runner.job import Job
from pipeline.store.embedded import write_fingerprint_json

HTML, MARKDOWN, _, TASKS_CSV, CURVES_CSV = REPORT_FILES


def write_report(job: Job) -> None:
    """Write all files of the report below ``job.out``.

    Raises:
        Refusal: an input is not made, or not what its stage writes.
    """
    params = job.plan.params
    scores, curves, rows = read_scores(job), read_curves(job), count_rows(job)
    page = job.plan.shown_folder(job.unit_id) / HTML
    texts = {
        METRICS_JSON: metrics_text(params.run, scores),
        TASKS_CSV: tasks_csv(scores),
        CURVES_CSV: curves_csv(curves),
        MARKDOWN: report_md(params.run, scores, rows, page.relative_to(job.plan.layout.project).as_posix()),
    }
    book = PictureBook(BUDGET_BYTES)
    real = RealPictures(job, book)
    comparisons = compare(job, scores, real, book)
    captioned, augmented = captioned_datasets(job, real), augmented_datasets(job, real)
    pictures, side_px = book.urls()
    texts[HTML] = report_html(
        Content(
            run=params.run,
            scores=scores,
            pairs=pairs_by_benchmark(job, scores),
            finetunings=finetunings(job, scores),
            comparisons=comparisons,
            charts=charts(curves),
            datasets=datasets(job),
            captioned=captioned,
            augmented=augmented,
            image_encoders=image_encoders(job),
            rows=rows,
            costs=stage_costs(job),
            models=trained_models(job),
            used_models=models_used(job, rows),
            execution=execution_values(job),
            machine=machine(job.plan.layout.project),
            parameters=params.resolved,
            fingerprint=job.fingerprint,
            pictures=pictures,
            picture_side_px=side_px,
        )
    )
    for name in REPORT_FILES:
        (job.out / name).parent.mkdir(parents=True, exist_ok=True)
        (job.out / name).write_text(texts[name], encoding="utf-8")
    write_fingerprint_json(job.out, job.fingerprint, list(REPORT_FILES))
    job.log.info(f"{len(scores)} models, {len(pictures)} pictures, {len(texts[HTML]) / 1e6:.1f} MB: {page}")
