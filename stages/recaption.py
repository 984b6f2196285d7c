"""Recaption: write a caption for each picture, with a vision-language model or from its class name.

Reads image shards. Writes one caption shard per part and the manifest. Finished batches survive a kill.

    python -m stages.recaption --params params.yaml --row cutmix-vlm [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.dag.units import MANIFEST
from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Make one part of a caption set."""
    from pipeline.data.schema import CAPTIONS
    from pipeline.runner.shards import make_manifest

    if job.unit_id.part == MANIFEST:
        make_manifest(job, CAPTIONS, shard_units(job.plan.params, job.unit_id.reference))
    else:
        make_shard(job)


def make_shard(job: Job) -> None:
    """Caption the whole rows of one image shard."""
    from pipeline.data.batches import resumable_batches
    from pipeline.data.schema import CAPTIONS, IMAGES, Column
    from pipeline.data.shards import ShardBuilder
    from pipeline.errors import Reject
    from pipeline.runner.shards import finish_shard, open_input

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    keys = [row[Column.KEY] for row in shard.rows([Column.KEY])]
    whole = [number for number, is_whole in enumerate(shard.valid_rows()) if is_whole]
    entry = job.table_entry("captioners", job.row_params.captioner)
    if job.row_params.captions is not None:
        whole, caption = by_shuffling(job)
    elif hasattr(entry, "template"):
        caption = by_label(shard, entry, whole)
    else:
        caption = by_model(job, shard, entry, whole, keys)
    progress = job.log.progress(len(whole), str(job.unit_id))
    batch_size = job.plan.params.execution.inference_batch_size
    found = resumable_batches(job.work, len(whole), batch_size, caption, progress.advance)
    progress.close()
    captions = dict(zip(whole, found, strict=True))
    builder = ShardBuilder(CAPTIONS)
    name = entry.model if hasattr(entry, "model") else entry.__struct_config__.tag
    for number, key in enumerate(keys):
        values = captions.get(number)
        if values is None:
            builder.add_null_upstream(key=key, captioner=name)
        elif "reject" in values:
            builder.add_rejected(Reject(*values["reject"]), key=key, captioner=name)
        else:
            builder.add(key=key, captioner=name, scores=[], **values)
    finish_shard(job, builder)
    job.log.info(f"{len(keys)} rows, {len(builder.rejects)} rejected")


def by_label(shard: Any, entry: Any, whole: list[int]) -> Any:
    """(start, stop) -> captions of those whole rows, from their class names."""
    from pipeline.captioners.label import LabelCaptioner
    from pipeline.data.schema import Column

    captioner = LabelCaptioner(entry)
    names = [row[Column.CLASS_NAME] for row in shard.rows([Column.CLASS_NAME])]
    return lambda start, stop: as_json(captioner.caption([names[i] for i in whole[start:stop]]))


def by_shuffling(job: Job) -> tuple[list[int], Any]:
    """Rows that have a caption in the other set, and (start, stop) -> for each of them that of another row."""
    from pipeline.captioners.shuffled import partners
    from pipeline.data.schema import CAPTIONS, Column
    from pipeline.runner.shards import open_input

    other = open_input(job, units.unit_id(job.row_params.captions, job.unit_id.part), CAPTIONS)
    columns = [Column.CAPTION, Column.INSTRUCTION, Column.FINISH_REASON, Column.NUM_GENERATED_TOKENS]
    rows = other.rows(columns)
    whole = [number for number, is_whole in enumerate(other.valid_rows()) if is_whole]
    taken = partners(len(whole), job.plan.params.seeds.data, job.row_params.images, int(job.unit_id.part))
    return whole, lambda start, stop: [rows[whole[taken[i]]] for i in range(start, stop)]


def by_model(job: Job, shard: Any, entry: Any, whole: list[int], keys: list[str]) -> Any:
    """(start, stop) -> captions of those whole rows, by a vision-language model; loaded when first needed."""
    from pipeline.captioners.base import draw_instruction
    from pipeline.data.image_rows import row_view
    from pipeline.data.schema import Column

    sizes = shard.rows([Column.WIDTH_PX, Column.HEIGHT_PX])
    loaded: list[Any] = []

    def caption(start: int, stop: int) -> list[dict[str, Any]]:
        if not loaded:
            from pipeline.captioners.local import LocalVlm

            loaded.append(LocalVlm(entry, job.plan.params.execution))
        rows = whole[start:stop]
        views = [row_view(shard, i, sizes[i], entry.side_px) for i in rows]
        told = [draw_instruction(entry.instructions, job.plan.params.seeds.data, keys[i]) for i in rows]
        return as_json(loaded[0].caption(views, told))

    return caption


def as_json(captions: list[Any]) -> list[dict[str, Any]]:
    """Captions and rejects as JSON values, which finished batches are kept as."""
    from pipeline.errors import Reject

    return [
        {"reject": [c.reason, c.detail]}
        if isinstance(c, Reject)
        else {
            "caption": c.text,
            "instruction": c.instruction,
            "finish_reason": str(c.finish_reason),
            "num_generated_tokens": c.num_generated_tokens,
        }
        for c in captions
    ]


if __name__ == "__main__":
    sys.exit(main("recaption", make))
