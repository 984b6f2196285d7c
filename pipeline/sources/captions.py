"""Captions that come with pictures: what may be one, whatever file it stands in."""

from __future__ import annotations

from typing import Any

from pipeline.errors import Refusal

MAX_CAPTION_CHARACTERS = 1 << 16


def checked_caption(text: str, where: object) -> str:
    """A caption without the blanks around it; empty where nothing is left.

    Raises:
        Refusal: it is too long, or holds half a character, as JSON may; ``where`` is named.
    """
    if len(text) > MAX_CAPTION_CHARACTERS:
        raise Refusal(
            f"{where}: a caption of {len(text)} characters, allowed are {MAX_CAPTION_CHARACTERS}; shorten or remove it"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(f"{where}: a caption with half a character at {error.start}; write it as UTF-8") from None
    return text.strip()


def captions_in(value: Any, where: object) -> tuple[str, ...]:
    """The captions in a JSON value: a text, a list of texts, or null; empty ones are none.

    Raises:
        Refusal: anything else, or as ``checked_caption``.
    """
    values = value if isinstance(value, list) else [] if value is None else [value]
    for one in values:
        if not isinstance(one, str):
            raise Refusal(f"{where}: a caption must be a text, a list of texts or null, not {one!r:.60}")
    return tuple(text for one in values if (text := checked_caption(one, where)))
