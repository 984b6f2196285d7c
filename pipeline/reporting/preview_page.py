"""The page of a preview: one self-contained file without scripts."""

from __future__ import annotations

import base64
import io
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.schema import FinishReason
from pipeline.errors import Reject
from pipeline.params.load import Params
from pipeline.reporting.page import TEMPLATES, duration, environment, short_seconds
from pipeline.reporting.preview import Preview
from pipeline.reporting.preview_timing import Projection, Timing
from pipeline.reporting.provenance import Machine

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.captioners.base import Caption

SHOWN_SIDE_PX = 384  # of a picture, at most
PLAIN_VIEW_PX = 256  # where no captioner looks
QUALITY = 85
ENDINGS = {
    FinishReason.STOP.value: "ended by itself",
    FinishReason.LENGTH.value: "cut at the token limit",
    FinishReason.TEMPLATE.value: "not generated",
}


@dataclass(frozen=True)
class SetSummary:
    """One caption set of the preview, counted.

    Attributes:
        endings: (why captions ended, number), the commonest first.
        rejects: (reason, number), the commonest first.
        tokens: (fewest, median, most) that captions have; None where none were generated.
        words: the same of their words; None where there is no caption.
    """

    name: str
    captioner: str
    num_captions: int
    endings: list[tuple[str, int]]
    rejects: list[tuple[str, int]]
    tokens: tuple[int, float, int] | None
    words: tuple[int, float, int] | None


def page(params: Params, row: str, made: Preview, projection: Projection, here: Machine) -> str:
    """The page.

    Args:
        params: of the run.
        row: of recaption, as it was asked for.
        made: what was captioned.
        projection: of the whole set.
        here: the machine that it was made on.
    """
    device = ", ".join(here.gpus) if here.gpus and params.execution.device != "cpu" else here.cpu
    return (
        environment()
        .get_template("preview.html")
        .render(
            row=row,
            params=params,
            images=params.row("recaption", made.sets[0]).images,
            made=made,
            summaries=[_summary(params, made, number) for number in range(len(made.sets))],
            projection=projection,
            pace=pace(made.timing),
            duration_range=duration_range(projection),
            on_what=on_what(made),
            device=device,
            num_threads=params.execution.num_threads,
            pictures=[_data_url(one.picture.view(_view_px(params, made))) for one in made.pictures],
            endings=ENDINGS,
            is_reject=lambda caption: isinstance(caption, Reject),
            style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def pace(timing: Timing) -> str:
    """Seconds a picture, with their range where there is one."""
    lowest, highest = timing.per_picture_range
    range_ = f" ({short_seconds(lowest)} to {short_seconds(highest)})" if len(timing.batches) > 1 else ""
    return f"{short_seconds(timing.per_picture)} a picture{range_}"


def duration_range(projection: Projection) -> str:
    """The likely time of the whole set, with its range where there is one."""
    lowest, highest = duration(projection.lowest_seconds), duration(projection.highest_seconds)
    range_ = f" ({lowest} to {highest})" if lowest != highest else ""
    return f"about {duration(projection.seconds)}{range_}"


def on_what(made: Preview) -> str:
    """What the projected time is of."""
    if not made.servers:
        return "on one such device"
    return f"with {len(made.servers)} such servers" if len(made.servers) > 1 else "with one such server"


def _captioner(params: Params, row: str) -> Any:
    return params.sections["recaption"].tables["captioners"][params.row("recaption", row).captioner]


def _view_px(params: Params, made: Preview) -> int:
    """The side at which the captioner sees pictures."""
    sides = [side for row in made.sets if (side := _captioner(params, row).view_side_px) is not None]
    return max(sides, default=PLAIN_VIEW_PX)


def _summary(params: Params, made: Preview, number: int) -> SetSummary:
    each: list[Caption | Reject] = [one.captions[number] for one in made.pictures]
    captions = [one for one in each if not isinstance(one, Reject)]
    rejects = [one for one in each if isinstance(one, Reject)]
    tokens = [one.num_generated_tokens for one in captions if one.num_generated_tokens]
    return SetSummary(
        name=made.sets[number],
        captioner=_captioner(params, made.sets[number]).captioner_name,
        num_captions=len(captions),
        endings=Counter(str(one.finish_reason) for one in captions).most_common(),
        rejects=Counter(one.reason for one in rejects).most_common(),
        tokens=_spread(tokens),
        words=_spread([len(one.text.split()) for one in captions]),
    )


def _spread(numbers: list[int]) -> tuple[int, float, int] | None:
    return (min(numbers), float(np.median(numbers)), max(numbers)) if numbers else None


def _data_url(image: Image.Image) -> str:
    image = image.copy()
    image.thumbnail((SHOWN_SIDE_PX, SHOWN_SIDE_PX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
