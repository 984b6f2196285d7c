"""Write a model that was made as a folder to hand on: ``make bundle MODEL=train/ta_ia OUT=ta_ia``.

    python -m pipeline.inference.bundle_command --model train/ta_ia --out ta_ia [--params params/demo.yaml]

The folder holds network, autoencoder, text encoder and tokenizer, how pictures are drawn, and a card; see
``pipeline/inference/bundle.py``. Nothing of the run is changed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.dag.plan import Plan
from pipeline.dag.score_units import results_of
from pipeline.dag.units import MANIFEST, MODEL, UnitId
from pipeline.data.files import METRICS_JSON, MODEL_FOLDER, WEIGHTS
from pipeline.errors import Refusal, exit_status
from pipeline.layout import PARAMS_YAML
from pipeline.params.check import project_params
from pipeline.params.fits import drawing_rows, kind_of
from pipeline.params.load import Params
from pipeline.params.references import STYLE, origin, split_reference, training_references
from pipeline.reporting.lineage import chain_of, recipe_in_words

if TYPE_CHECKING:
    from pipeline.inference.card import Provenance, Score, Usage

LICENCE = Path(__file__).resolve().parents[2] / "LICENSE"
PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "numpy")
MODEL_STAGES = ("train", "finetune")


def main(arguments: list[str] | None = None) -> int:
    """Parse, write; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.inference.bundle_command", description="Write a model as a folder."
    )
    parser.add_argument("--model", required=True, help="a row of train or finetune, such as train/ta_ia or ta_ia")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write; must not be there")
    parser.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    parsed = parser.parse_args(arguments)

    def act() -> None:
        project = Path.cwd()
        print(bundle(Plan(project_params(parsed.params, project), project), parsed.model, parsed.out))

    return exit_status(act)


def bundle(plan: Plan, model: str, out: Path) -> str:
    """Write the bundle of a model; returns a line on what was written.

    Raises:
        Refusal: no such model, it is not made, it is a diffusers folder already, or ``out`` is there.
    """
    reference = model_reference(plan.params, model)
    if plan.params.row(*split_reference(reference)).is_pipeline:
        raise Refusal(f"{reference}: is taken in from a diffusers folder; copy that folder")
    unit_id = units.unit_id(reference, MODEL)
    if not plan.is_made(unit_id):
        raise Refusal(f"{reference}: is not made; run snakemake, or the stage {unit_id.stage}, first")
    if out.exists():
        raise Refusal(f"{out}: is there already; name another folder, or remove it")

    from pipeline.inference.bundle import TextToImagePipeline

    model_provenance = provenance(plan, unit_id)
    folder = plan.made_folder(unit_id) / MODEL_FOLDER
    pipeline = TextToImagePipeline.of_model(
        folder, usage(plan, folder, reference), model_provenance, plan.digests.model, reference
    )
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(partial)
    partial.rename(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return f"{out}: {reference} as a pipeline of {size / 1e6:.1f} MB"


def model_reference(params: Params, model: str) -> str:
    """``<stage>/<row>`` of a model named so, or by its row alone where only one stage has it. Raises Refusal."""
    references = [f"{stage}/{row}" for stage in MODEL_STAGES for row in params.rows(stage)]
    matches = [reference for reference in references if model in (reference, split_reference(reference)[1])]
    if len(matches) == 1:
        return matches[0]
    why = (
        f"is one of {' and '.join(matches)}; name the stage too"
        if matches
        else f"no such model; {_some_of(references)}"
    )
    raise Refusal(f"{params.source}: --model {model}: {why}")


def usage(plan: Plan, folder: Path, reference: str) -> Usage:
    """How the model is drawn with: as by the first row of generate that draws with it, else with one of its objective.

    Raises:
        Refusal: generate has no row that fits.
    """
    from pipeline.inference.card import USAGE_VERSION, Usage
    from pipeline.interop import references

    objective = references.objective_kind(references.read(folder))
    fitting = drawing_rows(plan.params, objective)
    row = next((row for row in fitting if row.model == reference), fitting[0])
    return Usage(
        schema=USAGE_VERSION,
        side_px=row.side_px,
        sampler=row.sampler,
        inference_batch_size=plan.params.execution.inference_batch_size,
        attention=plan.params.execution.attention,
    )


def provenance(plan: Plan, unit_id: UnitId) -> Provenance:
    """Where a made model comes from."""
    from pipeline.inference.card import PROVENANCE_VERSION, Provenance
    from pipeline.reporting.provenance import count_parameters

    params, fingerprint = plan.params, plan.made(unit_id)
    assert fingerprint is not None
    chain = chain_of(params, unit_id.reference)
    rows = [params.row(*split_reference(model)) for model in chain]
    return Provenance(
        schema=PROVENANCE_VERSION,
        model=unit_id.reference,
        run=params.run,
        recipes=[(model, _recipe(params, model)) for model in chain],
        num_steps=None if any(row.is_import for row in rows) else sum(row.num_steps for row in rows),
        datasets=list(_datasets(plan, chain)),
        scores=list(scores(plan, unit_id.reference)),
        licence=LICENCE.read_text(encoding="utf-8").splitlines()[0].strip(),
        num_parameters=count_parameters(plan.store.entry(fingerprint) / WEIGHTS),
        weights_sha256=plan.store.job_record(fingerprint)["files"][WEIGHTS]["sha256"],
        fingerprint=fingerprint,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
    )


def scores(plan: Plan, reference: str) -> Iterator[Score]:
    """All numbers of a model that the store has, in the order of the rows of score."""
    from pipeline.inference.card import Score

    for row in plan.params.rows("score"):
        images = split_reference(plan.params.row("score", row).images)[1]
        drawn = plan.params.row("generate", images)
        if drawn.is_import or drawn.model != reference:
            continue
        for benchmark in results_of(plan.params, row):
            fingerprint = plan.made(UnitId("score", row, benchmark))
            if fingerprint is None:
                continue
            metrics = json.loads((plan.store.entry(fingerprint) / benchmark / METRICS_JSON).read_text())
            for what, value, interval in numbers_of(metrics):
                yield Score(row=row, benchmark=benchmark, what=what, value=value, interval=interval)


def numbers_of(metrics: dict[str, Any]) -> Iterator[tuple[str, float, tuple[float, float] | None]]:
    """Numbers of a result of score: (which, value, its 95 % interval or None)."""
    if "overall" in metrics:
        yield "overall", metrics["overall"], tuple(metrics["interval"])
    for parts in ("tasks", "categories"):
        for part, score in metrics.get(parts, {}).items():
            yield part, score["score"], tuple(score["interval"])
    if metrics["kind"] == STYLE:
        yield f"{metrics['probe']} on {metrics['benchmark']}", metrics["score"], tuple(metrics["interval"])
    for name, distance in metrics.get("distances", {}).items():
        if "value" in distance:
            yield name, distance["value"], None


def _datasets(plan: Plan, chain: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Rows of download and augment that the models of a chain were trained on; never a path of this machine."""
    params, listed = plan.params, set()
    for model in chain:
        if params.row(*split_reference(model)).is_import:
            continue
        validation = params.row(*split_reference(model)).validation
        held_out = validation.latents if validation else None
        for reference in training_references(params, *split_reference(model)):
            if split_reference(reference)[0] != "encode_images" or reference == held_out:
                continue
            home = origin(params, reference)
            fingerprint = plan.made(units.unit_id(home, MANIFEST))
            if home not in listed:
                listed.add(home)
                yield home, _dataset_in_words(params, home), fingerprint or "not in the store"


def _dataset_in_words(params: Params, home: str) -> str:
    stage, name = split_reference(home)
    row = params.row(stage, name)
    if stage == "augment":
        return f"{kind_of(row)} of {row.images}"
    return f"{row.num_rows} rows of the source {kind_of(row)}, revision {row.revision}"


def _recipe(params: Params, model: str) -> str:
    """As the page says it, but for the folder of a model made elsewhere, which is a place on this machine."""
    row = params.row(*split_reference(model))
    if row.is_import:
        return f"taken in from {row.import_} at {row.revision}" if row.revision else "taken in from a folder"
    return recipe_in_words(params, model)


def _some_of(references: list[str]) -> str:
    return f"there are {', '.join(references)}" if references else "train and finetune have no rows"


if __name__ == "__main__":
    sys.exit(main())
