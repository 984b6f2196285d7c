"""Captions by a tiny random LLaVA: batching, padding, endings, strict loading."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import SIDE_PX, make_tiny_vlm

from pipeline.captioners.base import Caption
from pipeline.captioners.local import LocalVlm, check_left_padding
from pipeline.data.randomness import generator
from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal, Reject
from pipeline.params.captioners import LocalCaptioner
from pipeline.params.schema import Execution

INSTRUCTIONS = ["full", "a brief one, please", "x", "name only", "full", "describe this image in a few words"]
MAX_NEW_TOKENS = 12


@pytest.fixture(scope="module")
def vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm"))


@pytest.fixture
def own_folder(vlm_folder: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(vlm_folder, tmp_path / "vlm"))


def params(folder: Path) -> LocalCaptioner:
    return LocalCaptioner(
        model=str(folder),
        side_px=SIDE_PX,
        instructions={"full": 1.0},
        max_new_tokens=MAX_NEW_TOKENS,
        cut_at_full_stop=False,
        loop_ngram_words=2,
        loop_max_repeats=3,
        dtype="float32",
    )


def execution(batch_size: int) -> Execution:
    return Execution(
        store="store",
        device="cpu",
        num_threads=1,
        num_workers=0,
        inference_batch_size=batch_size,
        attention="matmul",
        gradient_checkpointing=False,
        num_processes={},
        checkpoint_every=1,
    )


def pictures(num_images: int) -> list[Image.Image]:
    colours = generator(0, "colours").integers(0, 256, (num_images, 1, 1, 3), dtype=np.uint8)
    return [Image.fromarray(np.broadcast_to(colour, (SIDE_PX, SIDE_PX, 3)).copy()) for colour in colours]


def end_often(folder: Path) -> None:
    """Make every eighth token an end token, so that the rows of a batch end at different steps."""
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    config["eos_token_id"] = list(range(2, 99, 8))
    path.write_text(json.dumps(config))


def texts(rows: list[Caption | Reject]) -> list[str]:
    return [row.text if isinstance(row, Caption) else row.reason for row in rows]


def test_a_batch_gives_what_single_pictures_give(own_folder: Path) -> None:
    end_often(own_folder)
    images = pictures(len(INSTRUCTIONS))
    together = LocalVlm(params(own_folder), execution(4)).caption(images, INSTRUCTIONS)
    alone = LocalVlm(params(own_folder), execution(1)).caption(images, INSTRUCTIONS)
    assert [repr(row) for row in together] == [repr(row) for row in alone]
    captions = [row for row in together if isinstance(row, Caption)]
    assert {row.finish_reason for row in captions} == {FinishReason.STOP, FinishReason.LENGTH}
    assert all(row.num_generated_tokens < MAX_NEW_TOKENS for row in captions if row.finish_reason == FinishReason.STOP)
    assert [row.instruction for row in captions] == [
        instruction for row, instruction in zip(together, INSTRUCTIONS, strict=True) if isinstance(row, Caption)
    ]


def test_a_caption_that_meets_the_limit_says_so(vlm_folder: Path) -> None:
    rows = LocalVlm(params(vlm_folder), execution(4)).caption(pictures(3), ["full"] * 3)
    assert [(row.finish_reason, row.num_generated_tokens) for row in rows if isinstance(row, Caption)] == [
        (FinishReason.LENGTH, MAX_NEW_TOKENS)
    ] * 3
    assert len(set(texts(rows))) == 3  # the model sees the pictures


def test_greedy_decoding_overrules_the_models_own_settings(vlm_folder: Path, own_folder: Path) -> None:
    path = own_folder / "generation_config.json"
    config = {**json.loads(path.read_text()), "do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0}
    path.write_text(json.dumps(config))
    plain = LocalVlm(params(vlm_folder), execution(4)).caption(pictures(2), ["full"] * 2)
    assert LocalVlm(params(own_folder), execution(4)).caption(pictures(2), ["full"] * 2) == plain


def test_the_prompt_is_the_chat_template_and_is_padded_on_the_left(vlm_folder: Path) -> None:
    saved = json.loads((vlm_folder / "tokenizer_config.json").read_text())
    assert saved["padding_side"] == "right"  # as saved; the captioner must force the other
    vlm = LocalVlm(params(vlm_folder), execution(4))
    inputs = vlm._prompts(pictures(2), ["hi", "hello"])
    decoded = vlm._tokenizer.batch_decode(inputs["input_ids"])
    num_image_tokens = (SIDE_PX // 16) ** 2 + 1
    image = "<image>" * num_image_tokens
    assert [text.replace(" ", "") for text in decoded] == [f"<pad><pad><pad><s>{image}hi:", f"<s>{image}hello:"]
    assert inputs["attention_mask"].sum(dim=1).tolist() == [num_image_tokens + 4, num_image_tokens + 7]


def test_right_padding_is_refused(vlm_folder: Path) -> None:
    vlm = LocalVlm(params(vlm_folder), execution(4))
    vlm._tokenizer.padding_side = "right"
    with pytest.raises(Refusal, match="padded on the right"):
        vlm.caption(pictures(2), ["full", "a longer one"])
    torch = pytest.importorskip("torch")
    check_left_padding(torch.tensor([[0, 1], [1, 1]]))
    with pytest.raises(Refusal, match="padded on the right"):
        check_left_padding(torch.tensor([[1, 0], [1, 1]]))


def test_empty_captions_and_loops_keep_their_places(vlm_folder: Path) -> None:
    vlm = LocalVlm(params(vlm_folder), execution(4))
    end = vlm._tokenizer.eos_token_id
    letters = vlm._tokenizer("a b a b a b a b")["input_ids"]
    empty, loop = vlm._read([end, end, end], "full"), vlm._read([*letters, end], "full")
    assert isinstance(empty, Reject)
    assert isinstance(loop, Reject)
    assert (empty.reason, loop.reason) == ("empty_caption", "loop")
    kept = vlm._read([*letters[:3], end, vlm._tokenizer.pad_token_id], "full")
    assert kept == Caption("a b", "full", FinishReason.STOP, 3)
    assert vlm._read([*letters[:3], end, end, end], "full") == kept  # padded with the end token itself


def test_wrong_numbers_and_sizes_are_errors(vlm_folder: Path) -> None:
    vlm = LocalVlm(params(vlm_folder), execution(4))
    with pytest.raises(ValueError, match="1 pictures and 2 instructions"):
        vlm.caption(pictures(1), ["full"] * 2)
    with pytest.raises(ValueError, match="square views"):
        vlm.caption([Image.new("RGB", (SIDE_PX, SIDE_PX + 1))], ["full"])


def test_missing_and_unexpected_weights_are_refused(own_folder: Path) -> None:
    path = own_folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "projector" in name)
    save_file({key: value for key, value in weights.items() if key != name}, path, {"format": "pt"})
    with pytest.raises(Refusal, match=r"1 missing weights, first .*projector"):
        LocalVlm(params(own_folder), execution(4))
    save_file({**weights, "extra.weight": weights[name].clone()}, path, {"format": "pt"})
    with pytest.raises(Refusal, match=r"1 unexpected weights, first extra\.weight"):
        LocalVlm(params(own_folder), execution(4))


def test_a_damaged_weight_file_is_refused(own_folder: Path) -> None:
    (own_folder / "model.safetensors").write_bytes(b"no safetensors at all")
    with pytest.raises(Refusal, match="cannot be loaded"):
        LocalVlm(params(own_folder), execution(4))


def test_a_processor_without_a_chat_template_is_refused(own_folder: Path) -> None:
    (own_folder / "chat_template.jinja").unlink()
    with pytest.raises(Refusal, match="no chat template"):
        LocalVlm(params(own_folder), execution(4))


def test_the_provenance_follows_the_chat_template(vlm_folder: Path, own_folder: Path) -> None:
    template = own_folder / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    before = LocalVlm(params(vlm_folder), execution(4)).provenance()
    after = LocalVlm(params(own_folder), execution(4)).provenance()
    assert before["engine"] == after["engine"]
    assert before["chat_template"] != after["chat_template"]
