"""What a bundle says beside its weights: where it comes from, how it draws unless asked otherwise, and its card."""

from __future__ import annotations

import json
from typing import Literal

import msgspec

from pipeline.interop.references import References, prediction_of
from pipeline.params.schema import Sampler
from pipeline.params.types import Count, Strict

PROVENANCE_VERSION, USAGE_VERSION = 1, 1
# First line of a licence -> its name in the front matter of cards on the Hub.
LICENCES = {"MIT License": "mit", "Apache License": "apache-2.0"}


class Score(Strict, frozen=True, kw_only=True):
    """One number of a benchmark.

    Attributes:
        row: of the stage score.
        benchmark: its name, which carries the method.
        what: which number of it, such as ``overall``.
        value: the number.
        interval: its 95 % interval; None: it has none.
    """

    row: str
    benchmark: str
    what: str
    value: float
    interval: tuple[float, float] | None


class Provenance(Strict, frozen=True, kw_only=True):
    """Where a model comes from: the content of ``provenance.json``.

    Attributes:
        schema: version of this file's form.
        model: its row, such as ``train/ta_ia``.
        run: the name of the run.
        recipes: (row, one line) of the model and of those that it starts from, the first one in front.
        num_steps: training steps of all of them together; None: one was made elsewhere.
        datasets: (row, what it is, fingerprint of its manifest) of the pictures that they were trained on.
        scores: where it was scored.
        licence: first line of the licence of the project that made it.
        num_parameters: of the network.
        weights_sha256: of the network's file.
        fingerprint: of the result that the model is.
        packages: versions of those that wrote it.
    """

    schema: int
    model: str
    run: str
    recipes: list[tuple[str, str]]
    num_steps: int | None
    datasets: list[tuple[str, str, str]]
    scores: list[Score]
    licence: str
    num_parameters: int
    weights_sha256: str
    fingerprint: str
    packages: dict[str, str]


class Usage(Strict, frozen=True, kw_only=True):
    """How a bundle draws unless asked otherwise: the content of ``usage.json``.

    Attributes:
        schema: version of this file's form.
        side_px: of the pictures.
        sampler: solver, steps and guidance.
        inference_batch_size: pictures that are drawn together; smaller batches are filled up to it.
        attention: how attention is computed.
    """

    schema: int
    side_px: Count
    sampler: Sampler
    inference_batch_size: Count
    attention: Literal["matmul", "sdpa"]


def card(provenance: Provenance, references: References, usage: Usage) -> str:
    """The text of ``README.md``, in Markdown with the front matter that the Hub reads."""
    blocks = [
        _front_matter(provenance),
        f"# {references.arm}, seed {references.seed}",
        f"A text-to-image model of {provenance.num_parameters:,} parameters, `{provenance.model}` of the run "
        f"`{provenance.run}`. It predicts: {prediction_of(references)}.",
        _use(),
        f"Unless asked otherwise it draws {usage.side_px} x {usage.side_px} pixels with the sampler "
        f"`{json.dumps(msgspec.to_builtins(usage.sampler), sort_keys=True)}`.",
        "## Training",
        _training(provenance),
        "## Data",
        _data(provenance),
        "## Scores",
        _scores(provenance),
        "## Licence",
        f"Code and weights: {provenance.licence}. The pictures that it was trained on, the autoencoder and the text "
        "encoder have licences of their own, which the parameters do not name: look them up before you pass this on.",
        "## Provenance",
        _hashes(provenance, references),
    ]
    return "\n\n".join(blocks) + "\n"


def _front_matter(provenance: Provenance) -> str:
    name = LICENCES.get(provenance.licence)
    licence = [f"license: {name}"] if name else ["license: other", f"license_name: {json.dumps(provenance.licence)}"]
    return "\n".join(["---", *licence, "library_name: diffusers", "pipeline_tag: text-to-image", "---"])


def _use() -> str:
    return (
        "```python\n"
        "from pipeline.inference.bundle import TextToImagePipeline\n\n"
        'picture = TextToImagePipeline.from_pretrained("<this folder>")("<a prompt>", seed=0).images[0]\n'
        "```"
    )


def _training(provenance: Provenance) -> str:
    lines = [f"- `{row}`: {line}" for row, line in provenance.recipes]
    if provenance.num_steps is not None:
        lines.append(f"- training steps in all: {provenance.num_steps:,}")
    return "\n".join(lines)


def _data(provenance: Provenance) -> str:
    if not provenance.datasets:
        return "It was made elsewhere: its data are not known here."
    return "\n".join(f"- `{row}`: {what}; manifest `{mark}`" for row, what, mark in provenance.datasets)


def _scores(provenance: Provenance) -> str:
    if not provenance.scores:
        return "It was not scored."
    head = ["| row | benchmark | what | value | 95 % interval |", "|---|---|---|---:|---|"]
    return "\n".join(head + [_score_line(score) for score in provenance.scores])


def _score_line(score: Score) -> str:
    interval = "" if score.interval is None else f"{score.interval[0]:.3f} - {score.interval[1]:.3f}"
    return f"| {score.row} | {score.benchmark} | {score.what} | {score.value:.4g} | {interval} |"


def _hashes(provenance: Provenance, references: References) -> str:
    lines = [
        ("network, sha256", provenance.weights_sha256),
        ("result", provenance.fingerprint),
        (f"autoencoder {references.autoencoder.model}", references.autoencoder_identity),
        (f"text encoder {references.text_encoder.model}", references.text_encoder_identity),
    ]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(provenance.packages.items()))
    return "\n".join([*(f"- {what}: `{mark}`" for what, mark in lines), f"- written with {packages}"])
