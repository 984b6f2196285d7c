"""Each family of vision-language models, tiny and random, through the real captioner: what all of them must keep.

``make contract-vlm`` runs this table where torchvision is installed too; without it those that want it are skipped.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image
from test_local import captions_of, execution, params
from tiny_families import FAMILIES, SIDE_PX, Family, make_tiny_family

from pipeline.captioners.base import Caption
from pipeline.captioners.local import LocalVlm
from pipeline.captioners.prompts import check_left_padding
from pipeline.params.captioners import LocalCaptioner

INSTRUCTIONS = ["full", "a brief one, please", "x", "name only", "full", "describe this image in a few words"]
MAX_NEW_TOKENS = 10


def is_served(family: Family) -> bool:
    return all(importlib.util.find_spec(package) for package in family.needs)


pytestmark = [pytest.mark.contract]
EACH = [
    pytest.param(
        family,
        id=family.name,
        marks=pytest.mark.skipif(not is_served(family), reason=f"needs {', '.join(family.needs)}: make contract-vlm"),
    )
    for family in FAMILIES
]


@pytest.fixture(scope="module", params=EACH)
def family(request: pytest.FixtureRequest) -> Family:
    one: Family = request.param
    return one


@pytest.fixture(scope="module")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_family(family, tmp_path_factory.mktemp(family.name))


def values(folder: Path) -> LocalCaptioner:
    return structs.replace(params(folder), side_px=SIDE_PX, max_new_tokens=MAX_NEW_TOKENS)


def drawn_pictures(number: int) -> list[Image.Image]:
    """A disc each, of its own place and colour."""
    down, right = np.mgrid[:SIDE_PX, :SIDE_PX]
    images = []
    for i in range(number):
        inside = (down - 12 - 7 * i) ** 2 + (right - 52 + 6 * i) ** 2 < 200
        colours = np.random.default_rng(i).integers(0, 256, (2, 3), dtype=np.uint8)
        images.append(Image.fromarray(np.where(inside[..., None], *colours)))
    return images


def answers(vlm: LocalVlm, images: list[Image.Image], at_once: int) -> list[list[int]]:
    """The tokens of each answer."""
    rows: list[list[int]] = []
    for start in range(0, len(images), at_once):
        inputs = vlm._prompts(images[start : start + at_once], INSTRUCTIONS[start : start + at_once])
        tokens, are_finite = vlm._generate(inputs, vlm._params.decoding, None)
        assert all(all(row) for row in are_finite)
        rows += [row[: vlm._num_tokens(row)] for row in tokens]
    return rows


def test_a_batch_gives_the_tokens_of_single_pictures(folder: Path) -> None:
    vlm, images = LocalVlm(values(folder), execution(6)), drawn_pictures(6)
    together = answers(vlm, images, 6)
    assert together == answers(vlm, images, 1)
    assert together == answers(vlm, images, 4)
    assert len({tuple(row) for row in answers(vlm, images, 6)}) >= 4
    assert len({tuple(row) for row in answers(vlm, images[:1] * 6, 6)}) >= 3  # what it is told matters


def test_pictures_of_one_instruction_get_captions_of_their_own(folder: Path) -> None:
    images = drawn_pictures(8)
    rows = captions_of(LocalVlm(values(folder), execution(8)), images, ["full"] * 8)
    captions = [row for row in rows if isinstance(row, Caption)]
    assert len(captions) >= 5  # a random model writes nothing but marks now and then
    assert len({row.text for row in captions}) >= 4
    assert all(1 <= row.num_generated_tokens <= MAX_NEW_TOKENS for row in captions)


def test_prompts_are_padded_on_the_left_and_hold_the_picture_where_the_template_has_it(
    family: Family, folder: Path
) -> None:
    saved = json.loads((folder / "tokenizer_config.json").read_text())
    assert saved["padding_side"] == "right"  # as saved; the captioner must force the other
    vlm = LocalVlm(values(folder), execution(4))
    inputs = vlm._prompts(drawn_pictures(2), ["hi", "hello"])
    check_left_padding(inputs["attention_mask"])
    assert inputs["attention_mask"][:, 0].tolist() == [0, 1]
    number = vlm._tokenizer.convert_tokens_to_ids(family.image_token)
    assert (inputs["input_ids"] == number).sum(dim=1).tolist() == [family.num_image_tokens] * 2
    texts = vlm._tokenizer.batch_decode(inputs["input_ids"])
    assert ["hi" in texts[0], "hello" in texts[1]] == [True, True]


def test_prompts_are_what_the_chat_template_gives(folder: Path) -> None:
    vlm, images = LocalVlm(values(folder), execution(4)), drawn_pictures(6)
    wanted = templated(vlm._processor, images)
    found = vlm._prompts(images, INSTRUCTIONS)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(torch.as_tensor(found[name]), torch.as_tensor(value)), name


def templated(processor: Any, images: list[Image.Image]) -> Any:
    contents = [
        [{"type": "image", "image": image}, {"type": "text", "text": instruction}]
        for image, instruction in zip(images, INSTRUCTIONS, strict=True)
    ]
    return processor.apply_chat_template(
        [[{"role": "user", "content": content}] for content in contents],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )


def test_half_precision_captions_too(folder: Path) -> None:
    vlm = LocalVlm(structs.replace(values(folder), dtype="bfloat16"), execution(4))
    assert vlm._model.dtype == torch.bfloat16
    rows = captions_of(vlm, drawn_pictures(4), INSTRUCTIONS[:4])
    assert len(rows) == 4
    assert any(isinstance(row, Caption) for row in rows)
