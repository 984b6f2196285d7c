"""Generate: draw the pictures of a model's benchmarks, or take in pictures made elsewhere.

Reads a model, which names its autoencoder and text encoder, and the captions of a benchmark of captions. Writes one
shard of pictures per part, and a manifest per benchmark. A picture's noise comes from benchmark, prompt and image
index, never from the model, so that models are compared on the same noise.

    python -m stages.generate --params params.yaml --row ta_ia [--part geneval_shapes.0|geneval_shapes.manifest]
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline.dag import units
from pipeline.dag.units import MANIFEST, MODEL, split_benchmark
from pipeline.data.files import MODEL_FOLDER, PIPELINE_JSON, REFERENCES_JSON
from pipeline.params.references import split_reference
from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Make one part of a model's pictures."""
    from pipeline.data.schema import GENERATED
    from pipeline.runner.shards import make_manifest

    benchmark, part = split_benchmark(job.unit_id.part)
    if part == MANIFEST:
        shards = [need for need in job.plan.unit(job.unit_id).needs if need.stage == "generate"]
        make_manifest(job, GENERATED, shards, folder=benchmark)
    else:
        make_shard(job, benchmark, int(part))


def make_shard(job: Job, benchmark: str, shard: int) -> None:
    """Draw one run of a benchmark's prompts, all images of each."""
    from pipeline.data.batches import runs_of
    from pipeline.data.schema import GENERATED, Column
    from pipeline.data.writer import RowBatch
    from pipeline.digest import digest_coordinates
    from pipeline.errors import Reject
    from pipeline.evaluation.benchmark import prompts_of, run_of_shard
    from pipeline.runner.shards import write_shard

    entry = job.plan.params.sections["generate"].tables["benchmarks"][benchmark]
    prompts = run_of_shard(prompts_of(job, benchmark), shard, entry.num_shards)
    seed = job.plan.params.seeds.generate
    wanted: list[dict[str, Any]] = [
        {
            Column.PROMPT_ID: prompt[Column.PROMPT_ID],
            Column.IMAGE_INDEX: index,
            Column.SEED: digest_coordinates(seed, "generate", benchmark, prompt[Column.PROMPT_ID], index),
            Column.PROMPT: prompt[Column.PROMPT],
        }
        for prompt in prompts
        for index in range(entry.num_images)
    ]
    draw, cut_prompts = drawing(job, benchmark)

    def make_pictures(start: int, stop: int) -> RowBatch:
        batch, rows = RowBatch(GENERATED), wanted[start:stop]
        for row, data in zip(rows, draw(rows), strict=True):
            if isinstance(data, Reject):
                raise data
            batch.add(**row, image=data)
        num_cut = sum(row[Column.PROMPT] in cut_prompts for row in rows)
        batch.num_truncated = num_cut or None  # a shard without any says nothing of them
        return batch

    runs = runs_of(len(wanted), job.plan.params.execution.inference_batch_size)
    facts = write_shard(job, GENERATED, runs, make_pictures)
    if facts.num_truncated:
        job.log.info(f"the prompts of {facts.num_truncated} pictures are longer than the model reads: ends were cut")
    job.log.info(f"{len(prompts)} prompts")


def drawing(job: Job, benchmark: str) -> tuple[Any, set[str]]:
    """What turns rows into the pictures of each, and the prompts that it has cut so far."""
    if job.row_params.is_import:
        return pictures_made_elsewhere(job, benchmark), set()
    if job.plan.params.row(*split_reference(job.row_params.model)).is_pipeline:
        return drawn_by_pipeline(job), set()
    return drawn_by_model(job)


def drawn_by_pipeline(job: Job) -> Any:
    """Rows -> PNG bytes, or a reject, of each, by a pipeline of diffusers."""
    from pipeline.data.images import encode_png
    from pipeline.errors import Reject
    from pipeline.interop import diffusers_folder

    folder = job.input(units.unit_id(job.row_params.model, MODEL), f"{MODEL_FOLDER}/{PIPELINE_JSON}").parent
    record = diffusers_folder.read(folder)
    model = diffusers_folder.open_record(record, job.plan.params.execution, job.plan.digests.model)

    def draw(rows: list[dict[str, Any]]) -> list[Any]:
        prompts, seeds = [row["prompt"] for row in rows], [row["seed"] for row in rows]
        pictures = model(prompts, seeds, job.row_params.side_px, job.row_params.sampler)
        return [picture if isinstance(picture, Reject) else encode_png(picture) for picture in pictures]

    return draw


def drawn_by_model(job: Job) -> tuple[Any, set[str]]:
    """Rows -> PNG bytes, or a reject, of each; and the prompts that the model has cut so far."""
    import numpy as np

    from pipeline.data.images import encode_png
    from pipeline.diffusion.path import draw_noise
    from pipeline.errors import Reject
    from pipeline.inference.text_to_image import TextToImage

    folder = job.input(units.unit_id(job.row_params.model, MODEL), f"{MODEL_FOLDER}/{REFERENCES_JSON}").parent
    model = TextToImage(folder, job.plan.params.execution, job.plan.digests.model)
    shape = model.latent_shape(job.row_params.side_px)

    def draw(rows: list[dict[str, Any]]) -> list[Any]:
        noise = np.stack([draw_noise(shape, row["seed"]) for row in rows])
        pictures = model([row["prompt"] for row in rows], noise, job.row_params.sampler)
        return [picture if isinstance(picture, Reject) else encode_png(picture) for picture in pictures]

    return draw, model.cut_prompts


def pictures_made_elsewhere(job: Job, benchmark: str) -> Any:
    """Rows -> bytes of ``<folder>/<benchmark>/<prompt id>/<image index>.png``; a missing one is refused."""
    from pathlib import Path

    from pipeline.data.images import decode
    from pipeline.data.schema import Column
    from pipeline.errors import Refusal, Reject

    folder = Path(job.row_params.import_) / benchmark

    def read(rows: list[dict[str, Any]]) -> list[bytes]:
        pictures = []
        for row in rows:
            path = folder / row[Column.PROMPT_ID] / f"{row[Column.IMAGE_INDEX]}.png"
            try:
                data = path.read_bytes()
                decode(data, max_pixels=job.row_params.max_image_pixels)
            except OSError as error:
                raise Refusal(
                    f"{path}: cannot be read ({error.strerror}); a benchmark needs all of its pictures"
                ) from error
            except Reject as reject:
                raise Refusal(f"{path}: {reject}; a benchmark needs all of its pictures") from reject
            pictures.append(data)
        return pictures

    return read


if __name__ == "__main__":
    sys.exit(main("generate", make))
