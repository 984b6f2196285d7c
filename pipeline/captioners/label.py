"""Captions from the class name alone, such as "an image of a tench": what the text augmentation is compared with."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Self

from pipeline.captioners.base import Caption, Picture, Provenance, Setting
from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal, Reject
from pipeline.params.captioners import LabelCaptioner as LabelParams
from pipeline.sources.names import how_to_name, is_id

PLACEHOLDER = "class_name"


class LabelCaptioner:
    """Writes each picture's class name into a template.

    Args:
        params: the captioner's parameters; ``{class_name}`` stands in the template, and nothing else in braces.
        num_in_flight: see ``Captioner``.

    Raises:
        Refusal: the template has another placeholder, none, or a brace left open.
    """

    def __init__(self, params: LabelParams, num_in_flight: int) -> None:
        """Check the template."""
        _check_template(params.template)
        self._template = params.template
        self.num_in_flight = num_in_flight

    @classmethod
    def open(cls, params: LabelParams, setting: Setting) -> Self:
        """As ``Captioner.open``."""
        return cls(params, setting.execution.inference_batch_size)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """One caption per row, in order; ``Reject("no_class_name")`` where a row has none.

        Raises:
            Refusal: a class name is an id (``n01440764``); download refuses those first, but not where its index was
                made before a row with this captioner was added.
        """
        return [self._caption_one(picture.class_name) for picture in pictures]

    def provenance(self) -> Provenance:
        """As ``Captioner.provenance``."""
        return Provenance(captioner="label")

    def _caption_one(self, class_name: str | None) -> Caption | Reject:
        if class_name is None or not class_name.strip():
            return Reject("no_class_name", "the row has no class name to put into the template")
        if is_id(class_name):
            raise Refusal(
                f"class {class_name.strip()!r} is an id and no word to caption with: {how_to_name(class_name)}"
            )
        text = self._template.format(class_name=class_name.strip()).strip()
        return Caption(text, self._template, FinishReason.TEMPLATE, 0)


def _check_template(template: str) -> None:
    try:
        fields = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise Refusal(f"template {template!r}: {error}; write {{{{ and }}}} for braces that stay") from error
    if not fields:
        raise Refusal(f"template {template!r}: holds no {{{PLACEHOLDER}}}; all captions would be the same")
    for _, name, format_spec, conversion in fields:
        if name != PLACEHOLDER or format_spec or conversion:
            raise Refusal(f"template {template!r}: only {{{PLACEHOLDER}}} may stand in braces, found {{{name}}}")
