"""Prompts of the benchmark of held-out captions: each caption of pictures the model never saw is one prompt."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.errors import Refusal


def prompts(rows: Iterable[tuple[str, str | None]]) -> list[dict[str, str]]:
    """One prompt per captioned picture, in the order of the rows.

    Args:
        rows: (key, caption) of a caption set; a rejected row has the caption None and is left out.

    Returns:
        dicts with ``prompt_id`` (the picture's key) and ``prompt`` (its caption, as it is).

    Raises:
        Refusal: a key stands there twice, or no row has a caption.
    """
    prompt_of_key: dict[str, str] = {}
    for key, caption in rows:
        if caption is None:
            continue
        if key in prompt_of_key:
            raise Refusal(f"caption set: key {key} stands there twice; keep one caption per picture")
        prompt_of_key[key] = caption
    if not prompt_of_key:
        raise Refusal("caption set: no row has a caption, so the benchmark has no prompts; look at its rejects")
    return [{"prompt_id": key, "prompt": prompt} for key, prompt in prompt_of_key.items()]
