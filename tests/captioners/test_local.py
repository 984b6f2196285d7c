"""Captions by a tiny random LLaVA: batching, padding, endings, strict loading."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from cpu_execution import cpu_execution
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import SIDE_PX, make_tiny_vlm

from pipeline.captioners.base import Caption
from pipeline.captioners.decoding import FiniteWatch
from pipeline.captioners.local import LocalVlm
from pipeline.captioners.prompts import Asked, check_left_padding
from pipeline.data.randomness import Coordinates, generator
from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal, Reject
from pipeline.params.captioners import Decoding, LocalCaptioner
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
        decoding=Decoding(temperature=0.0, top_p=1.0),
        cut_at_full_stop=False,
        loop_ngram_words=2,
        loop_max_repeats=3,
        dtype="float32",
    )


def execution(batch_size: int) -> Execution:
    return cpu_execution(inference_batch_size=batch_size)


def pictures(num_images: int) -> list[Image.Image]:
    colours = generator(0, "colours").integers(0, 256, (num_images, 1, 1, 3), dtype=np.uint8)
    return [Image.fromarray(np.broadcast_to(colour, (SIDE_PX, SIDE_PX, 3)).copy()) for colour in colours]


def end_often(folder: Path) -> None:
    """Make every eighth token an end token, so that the rows of a batch end at different steps."""
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    config["eos_token_id"] = list(range(2, 99, 8))
    path.write_text(json.dumps(config))


def captions_of(vlm: LocalVlm, images: list[Image.Image], instructions: list[str]) -> list[Caption | Reject]:
    return vlm.caption(images, instructions, [Coordinates(0, number) for number in range(len(images))])


def texts(rows: list[Caption | Reject]) -> list[str]:
    return [row.text if isinstance(row, Caption) else row.reason for row in rows]


def test_a_batch_gives_what_single_pictures_give(own_folder: Path) -> None:
    end_often(own_folder)
    images = pictures(len(INSTRUCTIONS))
    together = captions_of(LocalVlm(params(own_folder), execution(4)), images, INSTRUCTIONS)
    alone = captions_of(LocalVlm(params(own_folder), execution(1)), images, INSTRUCTIONS)
    assert [repr(row) for row in together] == [repr(row) for row in alone]
    captions = [row for row in together if isinstance(row, Caption)]
    assert {row.finish_reason for row in captions} == {FinishReason.STOP, FinishReason.LENGTH}
    assert all(row.num_generated_tokens < MAX_NEW_TOKENS for row in captions if row.finish_reason == FinishReason.STOP)
    assert [row.instruction for row in captions] == [
        instruction for row, instruction in zip(together, INSTRUCTIONS, strict=True) if isinstance(row, Caption)
    ]


def test_batches_are_of_pictures_that_are_told_the_same_and_order_stays(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_often(own_folder)
    images, instructions = pictures(10), ["full", "a brief one, please", "x"] * 3 + ["x"]
    vlm = LocalVlm(params(own_folder), execution(4))
    alone = [
        vlm.caption_batch([Asked(image, told, Coordinates(0))])[0]
        for image, told in zip(images, instructions, strict=True)
    ]
    told: list[list[str]] = []
    prompts = vlm._prompts

    def noting(some: list[Image.Image], instructions: list[str]) -> object:
        told.append(instructions)
        return prompts(some, instructions)

    monkeypatch.setattr(vlm, "_prompts", noting)
    assert [repr(row) for row in captions_of(vlm, images, instructions)] == [repr(row) for row in alone]
    assert told == [["x"] * 4, ["full"] * 3 + ["a brief one, please"], ["a brief one, please"] * 2]


def test_a_caption_that_meets_the_limit_says_so(vlm_folder: Path) -> None:
    rows = captions_of(LocalVlm(params(vlm_folder), execution(4)), pictures(3), ["full"] * 3)
    assert [(row.finish_reason, row.num_generated_tokens) for row in rows if isinstance(row, Caption)] == [
        (FinishReason.LENGTH, MAX_NEW_TOKENS)
    ] * 3
    assert len(set(texts(rows))) == 3  # the model sees the pictures


def test_greedy_decoding_overrules_the_models_own_settings(vlm_folder: Path, own_folder: Path) -> None:
    path = own_folder / "generation_config.json"
    config = {**json.loads(path.read_text()), "do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0}
    path.write_text(json.dumps(config))
    plain = captions_of(LocalVlm(params(vlm_folder), execution(4)), pictures(2), ["full"] * 2)
    assert captions_of(LocalVlm(params(own_folder), execution(4)), pictures(2), ["full"] * 2) == plain


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
        captions_of(vlm, pictures(2), ["full", "a longer one"])
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


def spoil(vlm: LocalVlm, token: str) -> None:
    """Make all that a model reads behind this token no number."""
    number = vlm._tokenizer.convert_tokens_to_ids(token)
    with torch.no_grad():
        vlm._model.get_input_embeddings().weight[number] = torch.nan


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_row_without_finite_numbers_is_rejected_and_the_others_are_as_ever(vlm_folder: Path, batch_size: int) -> None:
    images, instructions = pictures(4), ["full", "z", "a brief one, please", "zz"]
    right = captions_of(LocalVlm(params(vlm_folder), execution(4)), images, instructions)
    vlm = LocalVlm(params(vlm_folder), execution(batch_size))
    spoil(vlm, "z")
    rows = captions_of(vlm, images, instructions)
    for place in (1, 3):
        reject = rows[place]
        assert isinstance(reject, Reject)
        assert (reject.reason, reject.detail) == ("not_finite", "the model gave no finite number to choose token 1 by")
    assert [rows[0], rows[2]] == [right[0], right[2]]
    assert all(isinstance(row, Caption) for row in (rows[0], rows[2]))


def test_numbers_that_overflow_later_reject_a_row_too(vlm_folder: Path) -> None:
    images = pictures(3)
    vlm = LocalVlm(params(vlm_folder), execution(4))
    (right, *_) = captions_of(vlm, images, ["full"] * 3)
    assert isinstance(right, Caption)
    heads = vlm._model.lm_head.register_forward_hook(overflow_from_call(5))
    rows = captions_of(vlm, images, ["full"] * 3)
    heads.remove()
    details = [(row.reason, row.detail) for row in rows if isinstance(row, Reject)]
    assert details == [("not_finite", "the model gave no finite number to choose token 5 by")] * 3


def overflow_from_call(first: int) -> Callable[[object, object, torch.Tensor], torch.Tensor]:
    """A hook after which the largest number is infinite from its ``first`` call on."""
    calls = iter(range(1, 1000))

    def hook(module: object, inputs: object, logits: torch.Tensor) -> torch.Tensor:
        return logits * torch.inf if next(calls) >= first else logits

    return hook


def test_what_comes_behind_a_rows_end_rejects_nothing(own_folder: Path) -> None:
    end_often(own_folder)
    images, instructions = pictures(6), ["full"] * 6
    vlm = LocalVlm(params(own_folder), execution(6))
    right = captions_of(vlm, images, instructions)
    lengths = {row.num_generated_tokens for row in right if isinstance(row, Caption)}
    assert len(lengths) > 1  # shorter rows are padded while the longest goes on
    spoil(vlm, "<pad>")
    assert [repr(row) for row in captions_of(vlm, images, instructions)] == [repr(row) for row in right]


def test_a_watch_changes_no_number_and_lets_models_forbid_tokens() -> None:
    nan, inf = torch.nan, torch.inf
    steps = [[[1.0, 2.0], [nan, 9.0], [1.0, inf], [-inf, 3.0], [-inf, -inf]], [[0.0, 1.0]] * 5]
    watch = FiniteWatch()
    for step in steps:
        scores = torch.tensor(step)
        before = scores.clone()
        assert torch.equal(watch(torch.zeros(5, 1), scores).nan_to_num(), before.nan_to_num())
    assert watch.rows() == [[True, True], [False, True], [False, True], [True, True], [False, True]]


def test_wrong_numbers_and_sizes_are_errors(vlm_folder: Path) -> None:
    vlm = LocalVlm(params(vlm_folder), execution(4))
    with pytest.raises(ValueError, match="1 pictures, 2 instructions and 1 coordinates"):
        captions_of(vlm, pictures(1), ["full"] * 2)
    with pytest.raises(ValueError, match="square views"):
        captions_of(vlm, [Image.new("RGB", (SIDE_PX, SIDE_PX + 1))], ["full"])


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
    assert before.chat_template != after.chat_template
    assert replace(before, captioner="", chat_template=None) == replace(after, captioner="", chat_template=None)
    assert (before.engine, before.engine_version) == ("transformers", transformers.__version__)
    assert json.loads(before.as_json())["decoding"] == {"temperature": 0.0, "top_p": 1.0}


@pytest.mark.parametrize("kept", [[], ["tokenizer_config.json"]])
def test_a_model_without_its_tokenizers_file_is_refused(own_folder: Path, kept: list[str]) -> None:
    for name in {"tokenizer.json", "tokenizer_config.json"} - set(kept):
        (own_folder / name).unlink()
    with pytest.raises(Refusal, match=f"{own_folder}: no file that its tokenizer could come from"):
        LocalVlm(params(own_folder), execution(4))


def test_a_model_without_the_values_of_its_image_processor_is_refused(own_folder: Path) -> None:
    path = own_folder / "processor_config.json"
    stated = json.loads(path.read_text())
    del stated["image_processor"]
    path.write_text(json.dumps(stated))
    (own_folder / "preprocessor_config.json").write_text(json.dumps({"processor_class": "LlavaProcessor"}))
    with pytest.raises(Refusal, match=f"{own_folder}: no file that says how its image processor prepares pictures"):
        LocalVlm(params(own_folder), execution(4))


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize(
    ("model_type", "processor", "image_processor"),
    [
        ("qwen2_5_vl", "Qwen2_5_VLProcessor", "Qwen2VLImageProcessor"),  # its video processor needs it: an ImportError
        ("internvl", "InternVLProcessor", "GotOcr2ImageProcessor"),
        ("llama4", "Llama4Processor", "Llama4ImageProcessor"),  # a ValueError that does not say so
        ("lfm2_vl", "Lfm2VlProcessor", "Lfm2VlImageProcessor"),
        ("cohere2_vision", "Cohere2VisionProcessor", "Cohere2VisionImageProcessor"),
    ],
)
def test_a_family_that_needs_torchvision_says_what_to_install(
    own_folder: Path, model_type: str, processor: str, image_processor: str
) -> None:
    stated = {"processor_class": processor, "image_processor_type": image_processor}
    (own_folder / "processor_config.json").write_text(json.dumps({"processor_class": processor}))
    (own_folder / "preprocessor_config.json").write_text(json.dumps(stated))
    (own_folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(Refusal, match=f"{own_folder}: needs torchvision, .*run `pip install torchvision") as refused:
        LocalVlm(params(own_folder), execution(4))
    assert "\n" not in str(refused.value)


def test_a_model_that_needs_another_package_says_what_to_install(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    def load(*_: object, **__: object) -> None:
        raise ImportError("\nTimmWrapperModel requires the timm library but it was not found in your environment.\n")

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", load)
    with pytest.raises(Refusal, match=f"{own_folder}: needs timm, .*run `pip install timm`"):
        LocalVlm(params(own_folder), execution(4))
