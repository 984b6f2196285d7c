"""Drawn captions hang on the picture's key alone; a second try is made where other words may help, and only there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from test_local import INSTRUCTIONS, captions_of, execution, params, pictures, texts
from tiny_models import make_tiny_vlm

from pipeline.captioners.base import Caption
from pipeline.captioners.decoding import SeededDraws, draw_numbers
from pipeline.captioners.local import LocalVlm
from pipeline.captioners.prompts import Asked
from pipeline.data.randomness import Coordinates
from pipeline.errors import Reject
from pipeline.params.captioners import Decoding, LocalCaptioner

WILD = Decoding(temperature=1.5, top_p=1.0)
EMPTY = (1, 4)


@pytest.fixture(scope="module")
def vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm"))


def drawing(folder: Path, decoding: Decoding) -> LocalCaptioner:
    return structs.replace(params(folder), decoding=decoding)


def draws(decoding: Decoding, scores: torch.Tensor, numbers: torch.Tensor) -> list[int]:
    chosen = SeededDraws(decoding, numbers)(torch.zeros(len(scores), 1, dtype=torch.long), scores)
    assert torch.equal(chosen.isfinite().sum(dim=-1), torch.ones(len(scores), dtype=torch.long))
    tokens: list[int] = chosen.argmax(dim=-1).tolist()
    return tokens


def test_tokens_are_drawn_by_their_probability() -> None:
    num_rows, probabilities = 20000, torch.tensor([0.5, 0.0, 0.3, 0.2])
    numbers = torch.from_numpy(np.random.default_rng(0).random((num_rows, 1)))
    scores = probabilities.log().expand(num_rows, -1)
    counts = np.bincount(draws(Decoding(temperature=1.0, top_p=1.0), scores, numbers), minlength=4) / num_rows
    assert counts == pytest.approx(probabilities.numpy(), abs=0.02)
    assert counts[1] == 0
    flat = np.bincount(draws(Decoding(temperature=100.0, top_p=1.0), scores, numbers), minlength=4) / num_rows
    assert flat == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.02)
    nucleus = np.bincount(draws(Decoding(temperature=1.0, top_p=0.7), scores, numbers), minlength=4) / num_rows
    assert nucleus == pytest.approx([0.625, 0, 0.375, 0], abs=0.02)
    assert set(draws(Decoding(temperature=1e-4, top_p=1.0), scores, numbers)) == {0}


def test_numbers_belong_to_a_picture_and_an_attempt() -> None:
    pictures = [Coordinates(0, "recaption", key) for key in "abc"]
    numbers = draw_numbers(pictures, 0, 5)
    assert np.array_equal(draw_numbers(pictures[1:2], 0, 5)[0], numbers[1])
    assert np.array_equal(draw_numbers(pictures[1:2], 0, 3)[0], numbers[1, :3])
    assert len(np.unique(np.concatenate([numbers, draw_numbers(pictures, 1, 5)]))) == 30


def test_drawn_captions_do_not_hang_on_their_batch(vlm_folder: Path) -> None:
    images = pictures(len(INSTRUCTIONS))
    together = captions_of(LocalVlm(drawing(vlm_folder, WILD), execution(4)), images, INSTRUCTIONS)
    alone = captions_of(LocalVlm(drawing(vlm_folder, WILD), execution(1)), images, INSTRUCTIONS)
    assert [repr(row) for row in together] == [repr(row) for row in alone]
    greedy = captions_of(LocalVlm(params(vlm_folder), execution(4)), images, INSTRUCTIONS)
    assert len(set(texts(together)) - set(texts(greedy))) >= 5
    nearly = Decoding(temperature=1e-4, top_p=1.0)
    assert texts(captions_of(LocalVlm(drawing(vlm_folder, nearly), execution(4)), images, INSTRUCTIONS)) == texts(
        greedy
    )


def test_equal_pictures_of_other_keys_draw_other_captions(vlm_folder: Path) -> None:
    vlm = LocalVlm(drawing(vlm_folder, WILD), execution(4))
    image, keys = pictures(1) * 3, [Coordinates(0, key) for key in "aba"]
    first, second, third = texts(vlm.caption(image, ["full"] * 3, keys))
    assert first == third != second


@pytest.fixture
def ending_folder(vlm_folder: Path, tmp_path: Path) -> Path:
    """A model that greedily ends at once on the pictures 1 and 4: their first tokens are end tokens."""
    vlm = LocalVlm(params(vlm_folder), execution(6))
    greedy = captions_of(vlm, pictures(6), ["full"] * 6)
    folder = Path(shutil.copytree(vlm_folder, tmp_path / "vlm"))
    path = folder / "generation_config.json"
    first = [vlm._tokenizer(texts(greedy)[place][0])["input_ids"][0] for place in EMPTY]
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": first}))
    return folder


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_empty_captions_are_written_once_more_and_the_others_are_as_ever(ending_folder: Path, batch_size: int) -> None:
    images, instructions = pictures(6), ["full"] * 6
    vlm = LocalVlm(params(ending_folder), execution(6))
    once = captions_of(vlm, images, instructions)
    assert [place for place, row in enumerate(once) if isinstance(row, Reject)] == list(EMPTY)
    asked = [Asked(image, "full", Coordinates(0, number)) for number, image in enumerate(images)]
    second = vlm._attempt(asked, WILD, 1)
    retrying = structs.replace(params(ending_folder), retry=WILD)
    rows = captions_of(LocalVlm(retrying, execution(batch_size)), images, instructions)
    expected = [second[place] if place in EMPTY else once[place] for place in range(6)]
    assert [repr(row) for row in rows] == [repr(row) for row in expected]
    assert all(isinstance(row, Caption) for row in rows)


def test_what_is_no_caption_twice_is_rejected_and_says_so(ending_folder: Path) -> None:
    nearly_greedy = Decoding(temperature=1e-4, top_p=1.0)
    vlm = LocalVlm(structs.replace(params(ending_folder), retry=nearly_greedy), execution(6))
    rows = captions_of(vlm, pictures(6), ["full"] * 6)
    details = [(row.reason, row.detail) for row in rows if isinstance(row, Reject)]
    assert details == [("empty_caption", "0 tokens generated, none of them text; written twice")] * len(EMPTY)


def test_what_other_words_cannot_mend_is_not_tried_again(vlm_folder: Path) -> None:
    vlm = LocalVlm(structs.replace(params(vlm_folder), retry=WILD), execution(6))
    with torch.no_grad():
        vlm._model.get_input_embeddings().weight[vlm._tokenizer.convert_tokens_to_ids("z")] = torch.nan
    rows = captions_of(vlm, pictures(2), ["z", "full"])
    assert isinstance(rows[0], Reject)
    assert (rows[0].reason, "twice" in rows[0].detail) == ("not_finite", False)


def test_a_second_try_that_could_only_say_the_same_is_a_fault(vlm_folder: Path) -> None:
    greedy = Decoding(temperature=0.0, top_p=0.5)
    fault = structs.replace(params(vlm_folder), retry=greedy).fault()
    assert fault is not None
    assert (fault.key, fault.why) == (".retry", "would give the same caption again; raise its temperature")
    assert structs.replace(params(vlm_folder), decoding=WILD, retry=greedy).fault() is None
    assert structs.replace(params(vlm_folder), retry=WILD).fault() is None
