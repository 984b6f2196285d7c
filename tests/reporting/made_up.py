"""A whole run in a store of its own, made up in a second: real manifests, shards, fingerprints and job records.

Nothing is trained or drawn by a model. Texts from outside (captions, class names, reasons, prompts) are hostile.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

from pipeline.dag.plan import Plan
from pipeline.dag.stages import partner_shard
from pipeline.dag.units import INDEX, MANIFEST, MODEL, UNCONDITIONAL, UnitId, split_benchmark
from pipeline.data.files import FINGERPRINT_JSON, METRICS_JSON
from pipeline.data.images import encode_png
from pipeline.data.schema import CAPTIONS, GENERATED, IMAGES, LATENTS, STYLES, TEXT, VERDICTS, Meta, Table
from pipeline.data.schema import INDEX as INDEX_TABLE
from pipeline.data.writer import RowBatch
from pipeline.digest import digest_json, sha256_of_bytes, sha256_of_file
from pipeline.errors import Reject
from pipeline.evaluation.benchmark import run_of_shard
from pipeline.evaluation.dpg import AnsweredImage, Question, aggregate, answers_detail, failures, score_image
from pipeline.evaluation.geneval import TASKS
from pipeline.evaluation.intervals import Bootstrap
from pipeline.interop import references
from pipeline.params.check import check
from pipeline.params.load import convert
from pipeline.params.references import STYLE, num_shards_of, origin, split_reference
from pipeline.runner.job import Job
from pipeline.runner.log import JobLog
from pipeline.runner.shards import make_manifest
from pipeline.store.embedded import write_fingerprint_json
from pipeline.store.store import Partial, relative_files

PROJECT = Path(__file__).resolve().parents[2]
HOSTILE = '<script>alert("x")</script>'
NUM_ROWS = 12
SIDE_PX = 64
SECONDS = 2.5
COLORS = ("#c33", "#36c", "#393", "#c80")
DPG_QUESTIONS = (
    Question(1, (), "entity", "entity - whole", f"Is there a {HOSTILE}?"),
    Question(2, (1,), "attribute", "attribute - color", "Is it red?"),
    Question(3, (1,), "relation", "relation - spatial", "Is it left?"),
    Question(4, (), "global", "global", "Is the background black?"),
)
SHARE_CORRECT = {"aio": 0.3, "ta_ia": 0.7, "ta_ia+aesthetic": 0.6}
STYLE_SCORE = {"ta_ia": 0.2, "ta_ia+aesthetic": 0.8}


def parameters(**changes: dict[str, Any]) -> dict[str, Any]:
    """The demo's parameters in small; ``changes`` replace keys of sections."""
    raw: dict[str, Any] = yaml.safe_load((PROJECT / "params/demo.yaml").read_text())
    raw["run"] = "made_up"
    for row in raw["download"]["rows"].values():
        row |= {"num_rows": NUM_ROWS, "num_shards": 2 if "heldout" in row else 1}
    raw["generate"]["benchmarks"]["geneval_shapes"] |= {"num_prompts_per_task": 3, "num_images": 2, "num_shards": 2}
    raw["generate"]["benchmarks"]["dpg_shapes"] |= {"num_prompts": 4, "num_images": 2, "num_shards": 2}
    raw["score"]["style_probes"]["demo_style"] |= {"num_fitted": NUM_ROWS, "num_heldout": NUM_ROWS}
    raw["report"] |= {"num_pictures": 18, "num_captions": 6}
    for section in ("download", "augment", "recaption", "encode_images", "encode_text"):
        raw[section]["max_reject_fraction"] = 1.0
    for section, keys in changes.items():
        raw[section] |= keys
    return raw


NOTHING_TRAINED = {
    section: {"rows": {}} for section in ("encode_images", "encode_text", "train", "finetune", "generate", "score")
} | {"report": {"rows": {"main": {"scores": []}}}}
ONLY_LABELS = {
    **NOTHING_TRAINED,
    "augment": {"rows": {}},
    "recaption": {"rows": {"imagenet-label": {"images": "download/imagenet", "captioner": "label"}}},
}


class MadeUpRun:
    """Makes all results of a run but the report.

    Args:
        project: an empty folder.
        raw: parameters.
    """

    def __init__(
        self, project: Path, raw: dict[str, Any], skip: Callable[[UnitId], bool] = lambda unit_id: False
    ) -> None:
        for name in ("vlm", "autoencoder", "text_encoder"):
            folder = project / "data/demo_models" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(json.dumps({"name": name}))
        (project / "requirements.lock").write_text("numpy==0.0.1\n")
        params = convert(raw, "params/made_up.yaml")
        check(params)
        self.plan = Plan(params, project)
        self.lines = io.StringIO()
        for unit_id in self.plan.unit_ids():
            if unit_id.stage != "report" and not skip(unit_id):
                self.make(unit_id, _MAKERS[unit_id.stage])

    def make(self, unit_id: UnitId, maker: Callable[[Job], None]) -> Path:
        """Make one result by ``maker``; returns its folder in the store."""
        plan = self.plan
        fingerprint, work_name = plan.fingerprints.of(unit_id), plan.fingerprints.work_name(unit_id)
        assert fingerprint is not None
        assert work_name is not None
        if not plan.store.has(fingerprint):
            with plan.store.locked(work_name, print) as partial:
                row = plan.params.row(unit_id.stage, unit_id.row)
                maker(Job(plan, unit_id, row, fingerprint, partial, JobLog(self.lines, io.StringIO())))
                plan.store.commit(fingerprint, partial, SECONDS)
            plan.fingerprints.forget_unknowns()
        return plan.store.entry(fingerprint)


def job_of(plan: Plan, unit_id: UnitId) -> Job:
    """A job that reads the store and writes nothing."""
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    nowhere = Partial(work=plan.store.root / "nowhere", out=plan.store.root / "nowhere/out")
    return Job(plan, unit_id, plan.params.row(*unit_id[:2]), fingerprint, nowhere, JobLog(io.StringIO(), io.StringIO()))


def picture(*coordinates: object, side_px: int = SIDE_PX) -> bytes:
    """A picture that follows from its coordinates: one shape on a grey ground."""
    rng = np.random.default_rng(int(digest_json([str(c) for c in coordinates])[:8], 16))
    image = Image.new("RGB", (side_px, side_px), (225, 225, 222))
    left, top = rng.integers(4, side_px // 3, 2)
    box = (left, top, left + side_px // 2, top + side_px // 2)
    pen = ImageDraw.Draw(image)
    [pen.ellipse, pen.rectangle][int(rng.integers(2))](box, fill=COLORS[int(rng.integers(4))])
    return encode_png(image)


def _write(job: Job, builder: RowBatch) -> None:
    path = job.out / job.plan.unit(job.unit_id).files[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.write(path, fingerprint=job.fingerprint, row_group_rows=4)


def _manifest(job: Job, table: Table, folder: str = "") -> None:
    shards = [need for need in job.plan.unit(job.unit_id).needs if need.part not in (INDEX, MANIFEST, UNCONDITIONAL)]
    make_manifest(job, table, shards, folder)


def _keys(job: Job, reference: str, part: str) -> list[str]:
    """Keys of one shard of a data set; each shard has an equal run of rows."""
    home = origin(job.plan.params, reference)
    stage, row = split_reference(home)
    base = job.plan.params.row(stage, row).images if stage == "augment" else home
    number = NUM_ROWS // num_shards_of(job.plan.params, home)
    keys = [f"{split_reference(base)[1]}/{int(part) * number + i}" for i in range(number)]
    return [f"{key}#{row}" for key in keys] if stage == "augment" else keys


def _download(job: Job) -> None:
    if job.unit_id.part == INDEX:
        keys = [f"{job.unit_id.row}/{i}" for i in range(NUM_ROWS)]
        builder = RowBatch(INDEX_TABLE)
        for key in keys:
            builder.add(key=key, location=key, text=[])
        builder.write(job.out / "index.parquet", fingerprint=job.fingerprint, row_group_rows=64)
        content = {
            "fingerprint": job.fingerprint,
            "digest": digest_json(keys),
            "files": {"index.parquet": sha256_of_file(job.out / "index.parquet")},
        }
        (job.out / "index.json").write_text(json.dumps(content))
    elif job.unit_id.part == MANIFEST:
        _manifest(job, IMAGES)
    else:
        builder = RowBatch(IMAGES)
        for number, key in enumerate(_keys(job, job.unit_id.reference, job.unit_id.part)):
            name = HOSTILE if number == 0 else "circle"
            common = {"key": key, "label": number % 2, "class_name": name, "text": []}
            if job.unit_id.row == "imagenet" and job.unit_id.part == "0" and number == 2:
                builder.add_rejected(Reject("truncated", f"cut off, {HOSTILE}"), **common)
            else:
                data = picture(key)
                builder.add(**common, image=data, width_px=SIDE_PX, height_px=SIDE_PX, sha256=sha256_of_bytes(data))
        _write(job, builder)


def _augment(job: Job) -> None:
    if job.unit_id.part == MANIFEST:
        _manifest(job, IMAGES)
        return
    params = job.plan.params
    number = num_shards_of(params, job.row_params.images)
    other = partner_shard(params.seeds.data, job.unit_id.row, int(job.unit_id.part), number)
    partners = _keys(job, job.row_params.images, str(other))
    builder = RowBatch(IMAGES)
    for row, key in enumerate(_keys(job, job.unit_id.reference, job.unit_id.part)):
        if job.unit_id.part == "0" and row == 2:
            builder.add_null_upstream(key=key)
            continue
        kind, box = [("half", [32, 0, 64, 64]), ("quarter", [0, 32, 32, 64])][row % 2]
        data = picture(key)
        builder.add(
            key=key,
            image=data,
            width_px=SIDE_PX,
            height_px=SIDE_PX,
            text=[],
            sha256=sha256_of_bytes(data),
            augmentation={
                "kind": kind,
                "parents": [key.split("#")[0], partners[(row + 1) % len(partners)]],
                "box": box,
            },
        )
    _write(job, builder)


def _recaption(job: Job) -> None:
    if job.unit_id.part == MANIFEST:
        _manifest(job, CAPTIONS)
        return
    by_model = job.row_params.captioner == "vlm"
    builder = RowBatch(CAPTIONS)
    for row, key in enumerate(_keys(job, job.row_params.images, job.unit_id.part)):
        if key.startswith("imagenet/2") and len(key.split("#")[0]) == len("imagenet/2"):
            builder.add_null_upstream(key=key, captioner=job.row_params.captioner)
        elif by_model and row == 1:
            builder.add_rejected(Reject("loop", f"'{HOSTILE}' stands 9 times in it"), key=key, captioner="vlm")
        else:
            builder.add(
                key=key,
                caption=f"a large circle {HOSTILE} on a pale ground, number {row}"
                if by_model
                else f"an image of {HOSTILE}",
                captioner=job.row_params.captioner,
                instruction="full" if by_model else "an image of a {class_name}",
                finish_reason=("length" if row == 0 else "stop") if by_model else "template",
                num_generated_tokens=10 + row if by_model else 0,
                scores=[],
            )
    _write(job, builder)


def _encode(table: Table, field: str) -> Callable[[Job], None]:
    def make(job: Job) -> None:
        if job.unit_id.part == MANIFEST:
            _manifest(job, table)
            return
        keys = (
            [""] if job.unit_id.part == UNCONDITIONAL else _keys(job, getattr(job.row_params, field), job.unit_id.part)
        )
        size = Meta.CHANNELS if table is LATENTS else Meta.DIM
        builder = RowBatch(table, extra={Meta.DTYPE: "float16", size: "4"})
        for key in keys:
            builder.add(key=key, **dict.fromkeys(table.payload[:1], b"\x00"))
        _write(job, builder)

    return make


def _model(job: Job) -> None:
    from safetensors.numpy import save_file

    folder = job.out / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file(
        {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)},
        folder / "diffusion_pytorch_model.safetensors",
    )
    tables = job.plan.params.sections
    values = job.row_params
    while hasattr(values, "model"):
        values = job.plan.params.row(*split_reference(values.model))
    references.write(
        folder,
        references.References(
            schema=references.VERSION,
            arm=values.arm,
            seed=values.seed,
            autoencoder=tables["encode_images"].tables["autoencoders"]["demo"],
            autoencoder_identity="digest-of-the-autoencoder",
            text_encoder=tables["encode_text"].tables["encoders"]["demo"],
            text_encoder_identity="digest-of-the-text-encoder",
            shift=1.0,
        ),
    )
    if not hasattr(values, "import_"):
        (job.out / "curves").mkdir()
        steps = range(25, job.row_params.num_steps + 1, 25)
        for name, height in (("loss", 1.0), ("validation_loss", 1.1)):
            lines = [f"{step}\t{height * (0.2 + 2 * (step / 25) ** -0.7)}" for step in steps]
            (job.out / f"curves/{name}.tsv").write_text("\n".join([f"step\t{name}", *lines]) + "\n")
    write_fingerprint_json(job.out, job.fingerprint, relative_files(job.out))


def _prompts(job: Job, benchmark: str) -> list[tuple[str, str, str]]:
    """(prompt_id, task, prompt)."""
    if benchmark == "geneval_shapes":
        return [(f"{t * 3 + i:05d}", task, f"a {task} {HOSTILE}") for t, task in enumerate(TASKS) for i in range(3)]
    if benchmark == "dpg_shapes":
        return [(f"{i:05d}", ("one_object", "two_objects")[i % 2], f"a. b. {HOSTILE}") for i in range(4)]
    return [(f"heldout/{i}", benchmark, f"caption {HOSTILE}") for i in range(NUM_ROWS)]


def _num_images(job: Job, benchmark: str) -> int:
    number: int = job.plan.params.sections["generate"].tables["benchmarks"][benchmark].num_images
    return number


def _generate(job: Job) -> None:
    benchmark, part = split_benchmark(job.unit_id.part)
    if part == MANIFEST:
        shards = [need for need in job.plan.unit(job.unit_id).needs if need.stage == "generate"]
        make_manifest(job, GENERATED, shards, benchmark)
        return
    number = job.plan.params.sections["generate"].tables["benchmarks"][benchmark].num_shards
    prompts = _prompts(job, benchmark)
    length = len(prompts) // number
    builder = RowBatch(GENERATED)
    for prompt_id, _, prompt in prompts[int(part) * length : (int(part) + 1) * length]:
        for index in range(_num_images(job, benchmark)):
            data = picture(job.unit_id.row, prompt_id, index)
            builder.add(prompt_id=prompt_id, image_index=index, seed=7, prompt=prompt, image=data)
    _write(job, builder)


def _style(job: Job, folder: Path) -> None:
    """A prompt's pictures have the model's mean, a little more or less by the prompt's number."""
    score = STYLE_SCORE[split_reference(job.row_params.images)[1]]
    builder = RowBatch(STYLES)
    for prompt_id, task, _ in _prompts(job, "geneval_shapes"):
        for index in range(_num_images(job, "geneval_shapes")):
            style = score + 0.05 * (int(prompt_id) % 3 - 1)
            builder.add(prompt_id=prompt_id, image_index=index, task=task, style=style)
    builder.write(folder / "style.parquet", fingerprint=job.fingerprint, row_group_rows=1024)
    (folder / METRICS_JSON).write_text(json.dumps(style_metrics(score)))
    write_fingerprint_json(folder, job.fingerprint, [METRICS_JSON, "style.parquet"])


def style_metrics(score: float) -> dict[str, Any]:
    """Metrics of a style score; below 0 of one that was refused."""
    metrics = {"kind": "style", "probe": "demo_style", "features": "demo_vision", "benchmark": "geneval_shapes"}
    if score < 0:
        return {**metrics, "auc": 0.5, "refused": f"AUC 0.500 on held-out pictures {HOSTILE}"}
    return {**metrics, "auc": 0.9875, "score": score, "interval": [score - 0.03, score + 0.03]}


def _score(job: Job) -> None:
    benchmark, shard = split_benchmark(job.unit_id.part)
    if benchmark:
        number = job.plan.params.sections["generate"].tables["benchmarks"][benchmark].num_shards
        _write(job, _verdicts_of(job, benchmark, run_of_shard(_prompts(job, benchmark), int(shard), number)))
        return
    folder = job.out / shard
    folder.mkdir()
    if shard == STYLE:
        _style(job, folder)
        return
    rows = _verdicts_of(job, shard, _prompts(job, shard))
    rows.write(folder / "verdicts.parquet", fingerprint=job.fingerprint, row_group_rows=1024)
    share = SHARE_CORRECT[split_reference(job.row_params.images)[1]]
    if shard == "dpg_shapes":
        metrics = _metrics_of_questions(job, shard, share)
    else:
        metrics = shapes_metrics(share) if shard == "geneval_shapes" else captions_metrics(job, share)
    (folder / METRICS_JSON).write_text(json.dumps(metrics))
    write_fingerprint_json(folder, job.fingerprint, [METRICS_JSON, "verdicts.parquet"])
    assert (folder / FINGERPRINT_JSON).is_file()


def _verdicts_of(job: Job, benchmark: str, prompts: Sequence[tuple[str, str, str]]) -> RowBatch:
    share = SHARE_CORRECT[split_reference(job.row_params.images)[1]]
    shapes = benchmark == "geneval_shapes"
    builder = RowBatch(VERDICTS)
    for prompt_id, task, _ in prompts:
        if benchmark == "dpg_shapes":
            answers = dpg_answers(share, prompt_id)
            scored = score_image(DPG_QUESTIONS, answers)
            correct, reason = all(scored.counts), failures(DPG_QUESTIONS, scored)
            more = {"detail": json.dumps(answers_detail(DPG_QUESTIONS, answers))}
        else:
            correct = int(prompt_id) % 10 < 10 * share if shapes else None
            reason = "" if correct or not shapes else f"{HOSTILE}: expected at least 1, found 0"
            more = {}
        for index in range(_num_images(job, benchmark)):
            builder.add(prompt_id=prompt_id, image_index=index, task=task, correct=correct, reason=reason, **more)
    return builder


def dpg_answers(share: float, prompt_id: str) -> tuple[str, ...]:
    """Prompt n is right where 3 n % 10 is below the share; else the object is missing, though something is red."""
    return ("yes",) * 4 if 3 * int(prompt_id) % 10 < 10 * share else ("no", "yes", "no", "yes")


def _metrics_of_questions(job: Job, benchmark: str, share: float) -> dict[str, Any]:
    from pipeline.evaluation.dpg_benchmark import dpg_metrics

    prompts, number = _prompts(job, benchmark), _num_images(job, benchmark)
    answered = [
        AnsweredImage(prompt_id, index, dpg_answers(share, prompt_id))
        for prompt_id, _, _ in prompts
        for index in range(number)
    ]
    questions = {prompt_id: DPG_QUESTIONS for prompt_id, _, _ in prompts}
    scores = aggregate(questions, answered, number, Bootstrap(100, 0.95, 0), only_last_image_in_categories=False)
    return dpg_metrics("dpg_shapes", scores)


def shapes_metrics(share: float) -> dict[str, Any]:
    """Metrics of the six tasks that have this mean."""
    scores = {task: share + 0.02 * (number - 2.5) for number, task in enumerate(TASKS)}
    return {
        "kind": "geneval_shapes",
        "overall": share,
        "interval": [share - 0.04, share + 0.04],
        "tasks": {
            task: {"score": score, "interval": [score - 0.1, score + 0.1], "num_images": 6}
            for task, score in scores.items()
        },
        "per_image": share,
        "any_of_prompt": share + 0.1,
        "num_prompts": 18,
        "num_images": 36,
    }


def captions_metrics(job: Job, share: float) -> dict[str, Any]:
    """Metrics of a benchmark of captions."""
    features = {"name": job.row_params.features, "demo": True, "dim": 128}
    distances = {
        f"kid_{job.row_params.features}": {"value": 0.1 * share, "std": 0.01},
        f"fid_{job.row_params.features}": {"refused": f"12 images for 128 dimensions {HOSTILE}"},
    }
    return {"kind": "captions", "num_generated": 12, "num_real": 12, "features": features, "distances": distances}


_MAKERS: dict[str, Callable[[Job], None]] = {
    "download": _download,
    "augment": _augment,
    "recaption": _recaption,
    "encode_images": _encode(LATENTS, "images"),
    "encode_text": _encode(TEXT, "captions"),
    "train": _model,
    "finetune": _model,
    "generate": _generate,
    "score": _score,
}
assert MODEL == "model"
