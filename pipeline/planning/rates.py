"""Rates: how fast a device does a stage's work, each with where it comes from.

A file of rates is JSON, ``{"schema": 1, "rates": [...]}``, of which every entry is a ``Rate``, for example

    {"work": "encode_images", "model": "stabilityai/sd-vae-ft-ema", "size": "256 px",
     "device": "NVIDIA H200", "precision": "bfloat16", "kind": "measured", "date": "2026-12-01",
     "source": "python -m perf.gpu, random weights, batch 64, median of 5",
     "rows_per_second": 700.0, "lowest": 690.0, "highest": 715.0}

``pipeline/planning/rates.json`` is the table of this project. ``python -m pipeline.planning.measure`` writes one of the
machine that it runs on to ``reports/rates.json``, which is preferred where it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pipeline.errors import Refusal
from pipeline.params.types import Count, NotNegative, Positive, Text

SCHEMA = 1
TABLE = Path(__file__).with_name("rates.json")
LOCAL = Path("reports/rates.json")  # below the project's folder; of this machine, so git does not know it


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How fast one device does one kind of work.

    A row is a picture of download, augment and encode_images, a caption of recaption and encode_text, a sample of a
    training step of train and finetune, a drawn picture of generate and score.

    Attributes:
        work: the stage.
        model: what computes: a model's Hub id or folder, a network as ``names.network_name`` writes it, a kind of
            source; "" where nothing does.
        size: at which size, as ``names`` writes it: ``256 px``, ``4x32x32``.
        device: as its driver names it (``NVIDIA H200``); of a processor ``CPU`` and its name.
        precision: what it computes in: float32 | bfloat16 | float16.
        kind: measured: by ``source`` on such a device; published: by others, read in ``source``.
        date: of the measurement, or when ``source`` was read: YYYY-MM-DD.
        source: the command and its setting, or the publication.
        rows_per_second: of one device (of a CPU: of one job with ``execution.num_threads``), once it runs.
        lowest, highest: the slowest and the fastest of the measurements, in rows per second.
        flops_per_row: matrix products of a row as ``names`` counts them; a rate that has them stands for other sizes
            too, at equal operations per second.
        tokens_per_row: mean text tokens of a row, of work on texts.
        bytes_per_row: mean bytes that a row's result took in the store.
        fixed_seconds: of a job, that do not hang on its rows: imports, models that are loaded.
        cpu_seconds_per_row, fixed_cpu_seconds: the same work in seconds of processors, children included.
        batch_size: rows that are computed together.
        compiled: by ``execution.compile``.
    """

    work: Text
    model: str
    size: str
    device: Text
    precision: Literal["float32", "bfloat16", "float16"]
    kind: Literal["measured", "published"]
    date: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}\Z")]
    source: Text
    rows_per_second: Positive
    lowest: Positive
    highest: Positive
    flops_per_row: Positive | None = None
    tokens_per_row: Positive | None = None
    bytes_per_row: NotNegative | None = None
    fixed_seconds: NotNegative | None = None
    cpu_seconds_per_row: NotNegative | None = None
    fixed_cpu_seconds: NotNegative | None = None
    batch_size: Count | None = None
    compiled: bool = False


class RateFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of rates."""

    schema: int
    rates: list[Rate]


def read(path: Path) -> list[Rate]:
    """The rates of a file.

    Raises:
        Refusal: it cannot be read, is no file of rates, or one of its ranges does not hold its rate.
    """
    try:
        content = msgspec.json.decode(path.read_bytes(), type=RateFile)
    except OSError as error:
        raise Refusal(f"{path}: cannot be read ({error.strerror}); name a file of rates") from error
    except msgspec.DecodeError as error:
        raise Refusal(f"{path}: is no file of rates ({error}); measure it anew or mend it") from error
    if content.schema != SCHEMA:
        raise Refusal(f"{path}: schema {content.schema}, known is {SCHEMA}; measure it anew")
    for number, rate in enumerate(content.rates):
        if not rate.lowest <= rate.rows_per_second <= rate.highest:
            raise Refusal(
                f"{path}: rates[{number}] ({rate.work}): {rate.rows_per_second} rows a second are not within "
                f"{rate.lowest} and {rate.highest}; lowest and highest are the range"
            )
    return content.rates


def write(path: Path, rates: list[Rate]) -> None:
    """Write a file of rates, one entry a line."""
    lines = ",\n".join(f"  {msgspec.json.encode(rate, order='deterministic').decode()}" for rate in rates)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'{{"schema": {SCHEMA}, "rates": [\n{lines}\n]}}\n' if rates else f'{{"schema": {SCHEMA}, "rates": []}}\n'
    )


def known(project: Path) -> list[Rate]:
    """All rates that a plan may use: of this machine first, where they were measured, then of the project's table."""
    local = project / LOCAL
    return [*(read(local) if local.is_file() else []), *read(TABLE)]
