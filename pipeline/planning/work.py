"""The work of a run, unit by unit, as the table of rates calls it: what computes, at which size, on how many rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.dag.stages import BY_NAME, STAGES
from pipeline.dag.units import MANIFEST, MODEL, UNCONDITIONAL, UnitId, split_benchmark
from pipeline.params.load import Params
from pipeline.params.references import STYLE, data_of_model, num_shards_of, side_table, split_reference
from pipeline.planning.counts import Counts, source_kind
from pipeline.planning.model_facts import latent_facts, text_dim
from pipeline.planning.names import forward_flops, latent_size, network_name, picture_size, training_flops
from pipeline.planning.ranges import Range, exactly

MAX_VALIDATION_ROWS = 1024  # as ``training.validation`` has it
FLOAT32 = "float32"
NO_MODEL = ""


SUM = "score.sum"  # of verdicts that are made before


@dataclass(frozen=True)
class Key:
    """What a rate is known by (see ``rates.Rate``)."""

    work: str
    model: str
    size: str
    precision: str = FLOAT32


@dataclass(frozen=True)
class Work:
    """One unit of work.

    Attributes:
        unit_id: which.
        key: what its rate is called.
        rows: that it goes through, as rates count them; None: not known.
        flops_per_row: of one row; None: not known, or no matter.
        tokens_per_row: of work on texts.
        num_devices: GPUs that it computes on where there are any.
        why_unknown: what is not known, and what to do, where ``rows`` or operations are not.
    """

    unit_id: UnitId
    key: Key
    rows: Range | None
    flops_per_row: Range | None = None
    tokens_per_row: Range | None = None
    num_devices: int = 0
    why_unknown: str = ""


def counts_rows(work: Work) -> bool:
    """Are its rows those of its row of parameters? Not those that a whole counts once more."""
    return work.unit_id.is_shard or (work.unit_id.stage in ("train", "finetune", "score") and work.key.work != SUM)


class Works:
    """All work of a set of parameters."""

    def __init__(self, params: Params, counts: Counts) -> None:
        self.params, self.counts = params, counts

    def all(self) -> Iterator[Work]:
        """Every unit, stage by stage."""
        for stage in STAGES:
            for row in self.params.rows(stage.name):
                for part in stage.part_names(self.params, row):
                    yield self.of(UnitId(stage.name, row, part))

    def of(self, unit_id: UnitId) -> Work:
        """One unit."""
        stage, _, part = unit_id
        if stage in ("train", "finetune"):
            return self._training(unit_id)
        inner = split_benchmark(part)[1] if stage == "generate" else part
        if stage == "generate" and inner != MANIFEST:
            return self._drawing(unit_id)
        if stage == "score":
            return self._scoring(unit_id)
        if unit_id.is_shard:
            return self._shard(unit_id)
        rows = self._rows_of_whole(unit_id)
        return Work(unit_id, Key(f"{stage}.{inner}", NO_MODEL, ""), rows, why_unknown=_ask_rows(self.counts, unit_id))

    def _rows_of_whole(self, unit_id: UnitId) -> Range | None:
        if unit_id.part in (UNCONDITIONAL, "report"):
            return exactly(1)
        if unit_id.stage == "generate":
            return self.counts.drawn(split_benchmark(unit_id.part)[0])
        return self.counts.pictures(unit_id.reference)

    def _shard(self, unit_id: UnitId) -> Work:
        stage, row_name, part = unit_id
        row, whole = self.params.row(stage, row_name), self.counts.pictures(unit_id.reference)
        rows = None if whole is None else whole.times(1.0 / num_shards_of(self.params, unit_id.reference))
        key, tokens, unknown = self._shard_key(unit_id, row), None, ""
        if stage == "encode_text":
            tokens = self.counts.text_tokens(unit_id.reference)
        if rows is None:
            unknown = _ask_rows(self.counts, unit_id)
        devices = BY_NAME[stage].num_gpus(self.params, row_name, part)
        return Work(unit_id, key, rows, tokens_per_row=tokens, num_devices=devices, why_unknown=unknown)

    def _shard_key(self, unit_id: UnitId, row: Any) -> Key:
        stage = unit_id.stage
        if stage == "download":
            side = getattr(row, "side_px", None)
            return Key(stage, source_kind(row), picture_size(side) if side else "")
        if stage == "augment":
            return Key(stage, source_kind(row), picture_size(row.side_px))
        if stage == "recaption":
            return captioner_key(self.params, row)
        if stage == "encode_images":
            entry = side_table(self.params, stage, "autoencoders")[row.autoencoder]
            return Key(stage, entry.model, picture_size(row.side_px), getattr(entry, "dtype", None) or FLOAT32)
        entry = side_table(self.params, stage, "encoders")[row.encoder]
        captions = captioner_key(self.params, self.params.row(*split_reference(row.captions)))
        size = f"captions by {captions.model}" if captions.model else f"captions by {captions.size}"
        return Key(stage, entry.model, size, getattr(entry, "dtype", None) or FLOAT32)

    def shape(self, stage: str, row: str) -> tuple[int, int, int, Range] | str:
        """(channels, side, text width, tokens) that a model is trained on; else what is not known."""
        latents, texts = data_of_model(self.params, stage, row)
        latent_row = self.params.row(*split_reference(latents))
        entry = side_table(self.params, "encode_images", "autoencoders")[latent_row.autoencoder]
        facts = latent_facts(entry)
        if facts is None:
            return f"channels of {entry.model}: neither a folder here nor in the cache; fetch its files first"
        encoder = side_table(self.params, "encode_text", "encoders")[
            self.params.row(*split_reference(min(texts))).encoder
        ]
        dim = text_dim(encoder)
        if dim is None:
            return f"width of {encoder.model}: neither a folder here nor in the cache; fetch its files first"
        weight = sum(texts.values())
        tokens = exactly(0)
        for reference, share in texts.items():
            tokens = tokens.plus(self.counts.text_tokens(reference).times(share / weight))
        return facts.channels, latent_row.side_px // facts.factor, dim[0], tokens

    def network(self, stage: str, row: str) -> Any:
        """The network of a model; of a finetuned one that of the model it starts from; None: made elsewhere."""
        values = self.params.row(stage, row)
        while not values.is_import and not hasattr(values, "network"):
            values = self.params.row(*split_reference(values.model))
        return getattr(values, "network", None)

    def forward(self, stage: str, row: str) -> tuple[Key, Range | None, str]:
        """(network and size of a model, operations of one of its passes, what is not known)."""
        network = self.network(stage, row)
        if network is None:
            return Key(stage, "a model made elsewhere", ""), None, "a model made elsewhere: its cost is not known"
        shape = self.shape(stage, row)
        if isinstance(shape, str):
            return Key(stage, network_name(network), ""), None, shape
        channels, side, dim, tokens = shape
        key = Key(stage, network_name(network), latent_size(channels, side))
        flops = [
            forward_flops(network, channels=channels, side=side, text_dim=dim, num_text_tokens=round(number))
            for number in tokens[:3]
        ]
        low, middle, high = flops
        if low is None or middle is None or high is None:
            return key, None, f"operations of {key.model}: a kind of network whose cost is not counted"
        return key, Range(low, middle, high), ""

    def _training(self, unit_id: UnitId) -> Work:
        stage, name, _ = unit_id
        row = self.params.row(stage, name)
        if row.is_import:
            return Work(unit_id, Key(f"{stage}.import", NO_MODEL, ""), exactly(1))
        named, forward, unknown = self.forward(stage, name)
        key = Key("train", named.model, named.size, row.precision)
        network = self.network(stage, name)
        share = network.first_pass_share() or 0.0 if network is not None else 0.0
        execution = self.params.execution
        per_pass = training_flops(1.0, first_pass_share=share, gradient_checkpointing=execution.gradient_checkpointing)
        rows = exactly(row.num_steps * row.batch_size)
        if row.validation is not None:
            held = self.counts.pictures(row.validation.latents)
            points = -(-row.num_steps // row.validate_every_steps)
            number = MAX_VALIDATION_ROWS if held is None else min(MAX_VALIDATION_ROWS, held.middle)
            rows = rows.plus(exactly(points * number * (1.0 + share) / per_pass))
        devices = BY_NAME[stage].num_gpus(self.params, name, MODEL)
        flops = None if forward is None else forward.times(per_pass)
        return Work(unit_id, key, rows, flops_per_row=flops, num_devices=devices, why_unknown=unknown)

    def _drawing(self, unit_id: UnitId) -> Work:
        stage, name, part = unit_id
        row, (benchmark, _) = self.params.row(stage, name), split_benchmark(part)
        entry = side_table(self.params, stage, "benchmarks")[benchmark]
        whole = self.counts.drawn(benchmark)
        rows = None if whole is None else whole.times(1.0 / entry.num_shards)
        if row.is_import:
            return Work(unit_id, Key(f"{stage}.import", NO_MODEL, ""), rows)
        named, forward, unknown = self.forward(*split_reference(row.model))
        passes = num_passes(row.sampler)
        size = f"{named.size}, {passes:g} passes" if passes else named.size
        key = Key(stage, named.model, size, FLOAT32)
        flops = None if forward is None or not passes else forward.times(passes)
        if rows is None:
            unknown = f"number of pictures of {benchmark}"
        devices = BY_NAME[stage].num_gpus(self.params, name, part)
        return Work(unit_id, key, rows, flops_per_row=flops, num_devices=devices, why_unknown=unknown)

    def _scoring(self, unit_id: UnitId) -> Work:
        stage, name, part = unit_id
        row = self.params.row(stage, name)
        devices = BY_NAME[stage].num_gpus(self.params, name, part)
        if part == STYLE:
            probe = side_table(self.params, stage, "style_probes")[row.style]
            drawn = self.counts.drawn(probe.benchmark)
            rows = None if drawn is None else drawn.plus(exactly(2 * (probe.num_fitted + probe.num_heldout)))
            return Work(unit_id, Key(f"{stage}.{STYLE}", row.features, ""), rows, num_devices=devices)
        benchmark, shard = split_benchmark(part)
        entry = side_table(self.params, "generate", "benchmarks")[benchmark or shard]
        rows = self.counts.drawn(benchmark or shard)
        kind = source_kind(entry)
        if benchmark:
            rows = None if rows is None else rows.times(1.0 / entry.num_shards)
            judge = getattr(row, str(entry.needs_judge))
            return Work(unit_id, Key(stage, f"{kind} by {judge}", ""), rows, num_devices=devices)
        if entry.needs_judge is not None:  # its shards are judged: this adds up
            return Work(unit_id, Key(SUM, kind, ""), rows, num_devices=devices)
        if entry.compares_with_real and row.real is not None:
            real = self.counts.pictures(row.real)
            rows = None if rows is None or real is None else rows.plus(real)
        return Work(unit_id, Key(stage, f"{kind} by {row.features}", ""), rows, num_devices=devices)


def num_passes(sampler: Any) -> float:
    """Passes of a network for one picture, of text and negative condition each one; 0: a scheduler of its own."""
    interval = getattr(sampler, "guidance_interval", None)
    if interval is None:
        return 0.0
    low, high = interval

    def at(t: float) -> int:
        return 2 if sampler.guidance_scale not in (0.0, 1.0) and low <= t <= high else 1

    times = [1 - step / sampler.num_steps for step in range(sampler.num_steps)]
    ahead = times[1:] if source_kind(sampler) == "heun" else []  # its last step is Euler's
    return float(sum(map(at, times)) + sum(map(at, ahead)))


def captioner_key(params: Params, row: Any) -> Key:
    """What a captioner's rate is called: its model and limits, or its kind where it has no model here."""
    entry = side_table(params, "recaption", "captioners")[row.captioner]
    kind = source_kind(entry)
    model = entry.served_model or (entry.pretrained[0] if entry.pretrained else NO_MODEL)
    side = entry.view_side_px
    size = ", ".join(
        part
        for part in (
            kind if not model else "served" if entry.served_model else "",
            picture_size(side) if side else "",
            f"{entry.max_new_tokens} tokens" if entry.generates else "",
        )
        if part
    )
    return Key("recaption", model, size, getattr(entry, "dtype", None) or FLOAT32)


def _ask_rows(counts: Counts, unit_id: UnitId) -> str:
    """Which row of download has a number that nobody told."""
    from pipeline.params.references import base_of, origin

    reference = base_of(counts.params, origin(counts.params, unit_id.reference)) if unit_id.stage != "generate" else ""
    return f"number of pictures: say --rows {reference}=N" if reference else ""
