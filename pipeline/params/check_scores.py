"""What rows of score mean together with the pictures, judges, metrics and sets that they name."""

from __future__ import annotations

from pipeline.params import benchmarks, schema, scoring
from pipeline.params.check_where import Where, known_model, named_by_kind, once, tag
from pipeline.params.references import STYLE


def check_score(where: Where, row: schema.ScoreRow) -> None:
    """Raise Refusal where a row of score cannot be judged as it says."""
    names = where.reference("images", row.images, ("generate",)).benchmarks
    drawn = {name: where.table("images", name, "generate/benchmarks") for name in names}
    if row.real is not None:
        where.reference("real", row.real, ("download",))
        if not any(benchmark.compares_with_real for benchmark in drawn.values()):
            why = f"{row.images} has no pictures for captions to compare them with"
            raise where.refuse("real", row.real, why)
    if (row.real is None) != (row.metrics is None):
        raise where.refuse("metrics", row.metrics, "real pictures and metrics go together: name both, or neither")
    for name in once(where, "metrics", row.metrics or [], "metric"):
        named_by_kind(where, "metrics", name, where.table("metrics", name, "metrics"))
    for role in benchmarks.ROLES:
        _judge(where, role, getattr(row, role), drawn)
    _pretrained(where, "features", where.table("features", row.features, "feature_extractors"))
    if row.style is not None:
        _style(where, row, where.table("style", row.style, "style_probes"))


def _judge(where: Where, role: benchmarks.Role, name: str | None, drawn: dict[str, benchmarks.Benchmark]) -> None:
    """A judge can be what it is named as, and one is named where a benchmark asks for it."""
    asking = [benchmark for benchmark, entry in drawn.items() if entry.needs_judge == role]
    if name is not None:
        judge = where.table(role, name, "judges")
        if role not in judge.roles:
            raise where.refuse(role, name, f"is of kind {tag(judge)}, which can be no {role}; name another judge")
        _pretrained(where, role, judge)
    elif asking:
        raise where.refuse(role, None, f"{asking[0]} is judged by one: name an entry of score.judges")


def _pretrained(where: Where, key: str, entry: scoring.Judge | scoring.Features) -> None:
    if entry.pretrained is not None:
        known_model(where, key, *entry.pretrained)


def _style(where: Where, row: schema.ScoreRow, probe: scoring.StyleProbe) -> None:
    """The probe is asked about pictures that there are, and checked on pictures that it was not fitted on."""
    drawn = where.reference("images", row.images, ("generate",)).benchmarks
    if STYLE in drawn:
        raise where.refuse("images", row.images, f"has a benchmark called {STYLE}, as this score is")
    if probe.benchmark not in drawn:
        why = f"{row.images} has no pictures of {probe.benchmark}; it has {', '.join(drawn)}"
        raise where.refuse("style", row.style, why)
    asked = where.table("style.benchmark", probe.benchmark, "generate/benchmarks")
    if not asked.has_geneval_tasks:
        raise where.refuse("style", row.style, f"{probe.benchmark} has not GenEval's tasks; name one of geneval_shapes")
    for key in ("plain", "aesthetic"):
        fitted, held = getattr(probe, key), getattr(probe, f"heldout_{key}")
        fitted_row = where.reference(f"style.{key}", fitted, ("download",))
        held_row = where.reference(f"style.heldout_{key}", held, ("download",))
        for number, asked_row in (("num_fitted", fitted_row), ("num_heldout", held_row)):
            wanted = getattr(probe, number)
            if isinstance(asked_row.num_rows, int) and wanted > asked_row.num_rows:
                raise where.refuse(f"style.{number}", wanted, f"a set of {asked_row.num_rows} rows has not so many")
        if fitted_row.heldout != held and held_row.heldout != fitted:
            why = f"{held} may hold pictures of {fitted}: one of the two must name the other as heldout"
            raise where.refuse(f"style.heldout_{key}", held, why)
