"""What a row of score is made of: verdicts, shard by shard, what those on a benchmark add up to, and the style.

Verdicts are units of their own, a shard of them for a shard of pictures: a judge of real pictures takes a second for
each, and a run that was killed, or a picture that is drawn anew, must not cost all of them. A benchmark without a judge
has none.
"""

from __future__ import annotations

from pipeline.dag import units
from pipeline.dag.units import MANIFEST, Unit, UnitId, benchmark_part, shard_file, split_benchmark
from pipeline.data.files import FINGERPRINT_JSON, METRICS_JSON, STYLE_PARQUET, VERDICTS_PARQUET
from pipeline.params.benchmarks import ROLES, Benchmark
from pipeline.params.load import Params
from pipeline.params.references import STYLE, side_table, split_reference

_OF_SUMS = frozenset({"num_bootstrap"})
_OF_COMPARISONS = frozenset({"real", "metrics", "features"})
_OF_A_PART = frozenset({*ROLES, *_OF_COMPARISONS, "style"})


def judged_benchmarks(params: Params, row: str) -> list[str]:
    """The benchmarks that a row of score judges: those that its pictures were drawn for."""
    names: list[str] = list(params.row("generate", split_reference(params.row("score", row).images)[1]).benchmarks)
    return names


def results_of(params: Params, row: str) -> list[str]:
    """The parts that say something of the model: a benchmark each, and the style."""
    return [*judged_benchmarks(params, row), *([STYLE] if params.row("score", row).style else [])]


def part_names(params: Params, row: str) -> list[str]:
    """As of ``Stage``: the shards of verdicts of a benchmark before what they add up to."""
    judged = judged_benchmarks(params, row)
    shards = [benchmark_part(name, number) for name in judged for number in range(num_verdict_shards(params, name))]
    return [*shards, *results_of(params, row)]


def num_verdict_shards(params: Params, benchmark: str) -> int:
    """Shards of verdicts of a benchmark: as many as of its pictures, none where nothing is judged."""
    entry = _entry(params, benchmark)
    return 0 if entry.needs_judge is None else entry.num_shards


def num_gpus(params: Params, row: str, part: str) -> int:
    """As of ``Stage``: a judge says whether it computes on one; features of pictures do."""
    if part == STYLE:
        return 1
    benchmark, shard = split_benchmark(part)
    if not benchmark:
        return int(_compares(params, row, shard))
    return int(side_table(params, "score", "judges")[_judge_of(params, row, benchmark)].pretrained is not None)


def unit(params: Params, row: str, part: str) -> Unit:
    """As of ``Stage``."""
    values = params.row("score", row)
    unit_id = UnitId("score", row, part)
    if part == STYLE:
        probe = side_table(params, "score", "style_probes")[values.style]
        sets = (probe.plain, probe.aesthetic, probe.heldout_plain, probe.heldout_aesthetic)
        pictures = units.unit_id(values.images, benchmark_part(probe.benchmark, MANIFEST))
        names = tuple(f"{STYLE}/{name}" for name in (FINGERPRINT_JSON, METRICS_JSON, STYLE_PARQUET))
        return Unit(unit_id, names, (pictures, *(units.unit_id(one, MANIFEST) for one in sets)))
    benchmark, shard = split_benchmark(part)
    if benchmark:
        return Unit(unit_id, (f"{benchmark}/{shard_file(shard)}",), (units.unit_id(values.images, part),))
    needs = [unit_id._replace(part=benchmark_part(part, number)) for number in range(num_verdict_shards(params, part))]
    needs.append(units.unit_id(values.images, benchmark_part(part, MANIFEST)))
    needs += [units.unit_id(values.real, MANIFEST)] if _compares(params, row, part) else []
    files = tuple(f"{part}/{name}" for name in (FINGERPRINT_JSON, METRICS_JSON, VERDICTS_PARQUET))
    return Unit(unit_id, files, tuple(needs))


def unread(params: Params, row: str, part: str) -> frozenset[str]:
    """As of ``Stage``: another judge, metric, probe or encoder than those that a part asks leaves it as it is."""
    benchmark, rest = split_benchmark(part)
    if part == STYLE:
        return _OF_A_PART - {"style", "features"}
    if benchmark:
        return (_OF_A_PART - {_entry(params, benchmark).needs_judge}) | _OF_SUMS
    return (
        _OF_A_PART - {_entry(params, rest).needs_judge} - (_OF_COMPARISONS if _compares(params, row, rest) else set())
    )


def _entry(params: Params, benchmark: str) -> Benchmark:
    entry: Benchmark = side_table(params, "generate", "benchmarks")[benchmark]
    return entry


def _judge_of(params: Params, row: str, benchmark: str) -> str:
    return str(getattr(params.row("score", row), str(_entry(params, benchmark).needs_judge)))


def _compares(params: Params, row: str, benchmark: str) -> bool:
    return _entry(params, benchmark).compares_with_real and params.row("score", row).real is not None
