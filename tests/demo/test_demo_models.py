"""The committed demo models load through their official classes and see, say and draw as well as their cards say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, T5EncoderModel

from pipeline.demo.judge.detector import detect
from pipeline.demo.models.__main__ import MODELS, shortened
from pipeline.demo.models.autoencoder import build, psnr_db, quality_of, reconstruct, to_tensor
from pipeline.demo.models.pictures import heldout
from pipeline.demo.models.recipes import AUTOENCODER, NUM_HELDOUT, VLM
from pipeline.demo.models.vlm_parts import Wording, build_processor
from pipeline.demo.models.vlm_quality import captions_of, colored_shapes, share_right
from pipeline.demo.models.words import corpus
from pipeline.demo.world.world import COLORS, SHAPES
from pipeline.digest import sha256_of_file

FOLDER = Path(__file__).parents[2] / "data" / "demo_models"
MAX_BYTES = 12_100_000
NUM_EACH = 100


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures():
    return heldout(NUM_EACH)


def card_of(name: str) -> str:
    return (FOLDER / name / "card.md").read_text()


def test_all_models_are_there_and_small():
    assert sorted(path.name for path in FOLDER.iterdir() if not path.name.startswith(".")) == sorted(MODELS)
    files = [path for name in MODELS for path in (FOLDER / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES


@pytest.mark.parametrize("name", MODELS)
def test_cards_name_the_weights_and_how_they_were_made(name):
    card = card_of(name)
    weights = list((FOLDER / name).glob("*.safetensors"))
    assert len(weights) == 1
    assert f"`{weights[0].name}`, {weights[0].stat().st_size} bytes, sha256 `{sha256_of_file(weights[0])}`" in card
    assert all(word in card for word in ("held-out quality", "seeds of", "minutes", "_steps", "_rate"))
    assert len((FOLDER / name / "log.tsv").read_text().splitlines()) > 5


def test_autoencoder_draws_what_it_is_shown_and_latents_have_unit_spread():
    model = AutoencoderKL.from_pretrained(FOLDER / "autoencoder", torch_dtype=torch.float32).eval()
    quality, latents = quality_of(model, NUM_EACH)
    assert latents.shape == (5 * NUM_EACH, 4, 8, 8)
    assert quality["PSNR of plain singles, dB"] >= 24.0
    assert quality["PSNR of aesthetic singles, dB"] >= 24.0
    assert quality["PSNR of plain pairs, dB"] >= 22.0
    assert float(latents.std()) * model.config.scaling_factor == pytest.approx(1.0, abs=0.05)
    assert f"{model.config.scaling_factor:.5f} = 1 / standard deviation" in card_of("autoencoder")


def test_an_error_of_one_level_is_48_db():
    assert psnr_db((2 / 255) ** 2) == pytest.approx(48.13, abs=0.01)  # 20 log10(255)


def test_judge_still_recognises_single_objects_after_the_autoencoder(pictures):
    model = AutoencoderKL.from_pretrained(FOLDER / "autoencoder", torch_dtype=torch.float32).eval()
    shown = pictures["plain singles"][:30]
    _, decoded = reconstruct(model, to_tensor(shown))
    pixels = ((decoded.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    found = [
        {(seen.color, seen.class_name) for seen in detect(Image.fromarray(image)) if seen.score >= 0.3}
        for image in pixels
    ]
    right = [seen == {(one.visible[0].color, one.visible[0].shape)} for seen, one in zip(found, shown, strict=True)]
    assert np.mean(right) >= 0.95


def test_untrained_autoencoder_already_carries_colours(pictures):
    quality, _ = quality_of(build(AUTOENCODER).eval(), 10)
    assert min(quality.values()) > 13.0  # diffusers' own start: below 8


def test_text_encoder_tells_sentences_apart():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "text_encoder")
    encoder = T5EncoderModel.from_pretrained(FOLDER / "text_encoder", dtype=torch.float32).eval()
    words = "a photo of an image two three four circles " + " ".join((*SHAPES, *COLORS))
    assert all(len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1 for word in words.split())
    texts = ["a photo of a red ring", "A photo of a red ring", "a photo of a blue ring", "zebra crossing, 1907"]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    assert tokenizer.decode(inputs["input_ids"][3], skip_special_tokens=True).strip() == texts[3]  # no unknown words
    with torch.no_grad():
        states = encoder(**inputs).last_hidden_state
    assert torch.equal(states[0], states[1])
    assert not torch.allclose(states[0, 5], states[2, 5], atol=0.05)  # "ring" knows the colour before it


@pytest.mark.parametrize(
    ("kind", "bar"),
    [
        ("plain singles", 0.90),
        ("aesthetic singles", 0.90),
        ("plain several", 0.90),
        ("plain pairs", 0.80),
        ("plain pairs, some of several", 0.75),
    ],
)
def test_captioner_names_what_can_be_seen(pictures, kind, bar):
    captions = captions_of(FOLDER / "vlm", pictures[kind], "full")
    assert share_right(pictures[kind], captions) >= bar
    assert share_right(pictures[kind], [*captions[1:], captions[0]]) < 0.2  # other pictures' captions are wrong


def test_instructions_choose_the_form(pictures):
    shown = pictures["plain singles"][:20]
    full, brief, name = (captions_of(FOLDER / "vlm", shown, word) for word in ("full", "brief", "name"))
    assert all("background" in text for text in full)
    assert len({re.sub("|".join((*SHAPES, *COLORS)), "", text) for text in brief}) > 1  # not one form alone
    assert not any(colored_shapes(text) for text in name)
    assert all(any(shape in text for shape in SHAPES) for text in name)
    assert np.mean([len(text) for text in full]) > np.mean([len(text) for text in brief])


def test_answers_do_not_depend_on_the_batch(pictures):
    """Left padding: prompts of unlike length side by side give what each gives alone."""
    processor = AutoProcessor.from_pretrained(FOLDER / "vlm")
    model = AutoModelForImageTextToText.from_pretrained(FOLDER / "vlm", dtype=torch.float32).eval()
    images = [Image.fromarray(picture.pixels) for picture in pictures["plain singles"][:2]]
    prompts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}],
            add_generation_prompt=True,
        )
        for text in ("name", "describe this image")
    ]

    def ask(chosen):
        inputs = processor(
            images=[images[number] for number in chosen],
            text=[prompts[number] for number in chosen],
            return_tensors="pt",
            padding=True,
        )
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=48)[:, inputs["input_ids"].shape[1] :]
        assert all(model.generation_config.eos_token_id in row for row in tokens.tolist())
        return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    assert ask([0, 1]) == ask([0]) + ask([1])


def test_training_prompts_are_the_processors():
    processor = build_processor(VLM)
    wording = Wording(processor, 65, 2.0)
    tokens, mask, labels, _ = wording.batch(["full"], ["a red ring"])
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "full"}]}
    prompt = processor.apply_chat_template([message], add_generation_prompt=True)
    image = Image.new("RGB", (64, 64))
    asked = processor(images=[image], text=[prompt], return_tensors="pt")["input_ids"][0]
    assert torch.equal(tokens[0, : len(asked)], asked)
    assert labels[0, : len(asked)].eq(-100).all()
    answer = tokens[0, len(asked) : int(mask.sum())]
    assert processor.tokenizer.decode(answer, skip_special_tokens=True).strip() == "a red ring"


def test_a_caption_too_long_for_training_is_refused():
    wording = Wording(build_processor(VLM), 65, 2.0)
    with pytest.raises(ValueError, match="raise MAX_TEXT_TOKENS"):
        wording.batch(["full"], ["a red ring and " * 20])


def test_captions_are_read_with_numbers():
    text = "a photo of three red rings and a small blue moon, the blue moon is left of the red rings"
    assert colored_shapes(text) == {(3, "red", "ring"), (1, "blue", "moon")}
    assert colored_shapes("two red ring and a blue moons") == frozenset()


@pytest.mark.parametrize("kind", ["plain pairs", "plain pairs, some of several"])
def test_truth_of_pairs_follows_what_is_left_to_see(kind):
    counts = {kind: [0, 0] for kind in ("half", "quarter", "ninth", "sixteenth")}
    for picture in heldout(200)[kind]:
        counts[picture.kind][0] += 1
        counts[picture.kind][1] += len({thing.shape for thing in picture.visible}) == 2
        shown = {number for number in np.unique(picture.owners) if number}
        visible = {picture.things.index(thing) + 1 for thing in picture.visible}
        assert visible <= shown
    rates = {kind: both / drawn for kind, (drawn, both) in counts.items()}
    assert rates["half"] < 0.4
    assert 0.55 < rates["quarter"] < rates["sixteenth"]


def test_held_out_sentences_repeat_and_recipes_shrink():
    assert list(corpus(50, 7, 64)) == list(corpus(50, 7, 64)) != list(corpus(50, 8, 64))
    short = shortened(AUTOENCODER, 0.001)
    assert (short.num_crop_steps, short.num_noise_steps, short.widths) == (2, 1, AUTOENCODER.widths)
    assert NUM_HELDOUT >= NUM_EACH
