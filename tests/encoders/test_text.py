"""Text embeddings by a tiny random T5: lengths, batches, truncation, strict loading."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_execution import cpu_execution
from safetensors.torch import load_file, save_file
from tiny_models import DIM, make_tiny_autoencoder, make_tiny_text_encoder, tiny_t5_config

from pipeline.encoders.text import TextEmbedding, TextEncoder, load_tokenizer
from pipeline.errors import Refusal, Reject
from pipeline.params.encoders import TextEncoder as TextEncoderParams

TEXTS = ["a red dog on the grass", "", "a cat", "an image of a tench", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_text_encoder(tmp_path_factory.mktemp("text_encoder"))


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "text_encoder"))


def load(folder: Path, *, batch_size: int = 3, max_text_tokens: int = 64, attention: Any = "matmul") -> TextEncoder:
    execution = cpu_execution(inference_batch_size=batch_size, attention=attention)
    return TextEncoder.open(TextEncoderParams(model=str(folder), max_text_tokens=max_text_tokens), execution)


def whole(rows: list[TextEmbedding | Reject]) -> list[TextEmbedding]:
    assert all(isinstance(row, TextEmbedding) for row in rows)
    return [row for row in rows if isinstance(row, TextEmbedding)]


def test_embeddings_are_the_models_own_and_as_long_as_their_texts(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoTokenizer, T5EncoderModel

    rows = whole(load(folder).encode(TEXTS))
    model, tokenizer = T5EncoderModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, row in zip(TEXTS, rows, strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        np.testing.assert_allclose(row.embedding, expected, atol=1e-5)
        assert row.embedding.shape == (len(text) + 1, DIM)  # a token per byte, and the end token
        assert row.embedding.dtype == np.float32
        assert not row.truncated


@pytest.mark.parametrize("attention", ["matmul", "sdpa"])
def test_embeddings_do_not_depend_on_the_batch(folder: Path, attention: str) -> None:
    together = whole(load(folder, batch_size=5, attention=attention).encode(TEXTS))
    alone = whole(load(folder, batch_size=1, attention=attention).encode(TEXTS))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-5)
    assert load(folder).encode([]) == []


def test_long_texts_are_cut_and_flagged(folder: Path) -> None:
    rows = whole(load(folder, max_text_tokens=8).encode(["1234567", "12345678", "123456789"]))
    assert [(len(row.embedding), row.truncated) for row in rows] == [(8, False), (8, True), (8, True)]
    np.testing.assert_allclose(rows[0].embedding, rows[1].embedding, atol=1e-6)  # cut, and ended by the end token


def test_the_unconditional_embedding_is_the_empty_texts_first_token(folder: Path) -> None:
    encoder = load(folder)
    unconditional = encoder.unconditional()
    assert unconditional.shape == (1, encoder.dim)
    (empty,) = whole(encoder.encode([""]))
    np.testing.assert_array_equal(unconditional, empty.embedding[:1])
    assert np.abs(unconditional - whole(encoder.encode(["x"]))[0].embedding[:1]).max() > 1e-3


def test_embeddings_that_are_no_numbers_are_one_rows_reject(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    encoder = load(folder)
    with torch.no_grad():
        encoder._model.shared.weight[encoder._tokenizer("z")["input_ids"][0]] = torch.inf
    rows = encoder.encode(["abc", "z", "de"])
    assert [row.reason if isinstance(row, Reject) else "" for row in rows] == ["", "not_finite", ""]


def test_a_text_without_tokens_is_rejected_and_has_no_unconditional(folder: Path) -> None:
    encoder = load(folder)
    encoder._tokenizer.backend_tokenizer.post_processor = None  # no end token any more
    rows = encoder.encode(["a", "", "b"])
    assert [row.reason if isinstance(row, Reject) else len(row.embedding) for row in rows] == [1, "no_tokens", 1]
    with pytest.raises(Refusal, match="the empty text has no embedding"):
        encoder.unconditional()


def test_a_whole_t5_gives_its_encoder(folder: Path, own_folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from transformers import T5ForConditionalGeneration

    encoder_weights = load_file(folder / "model.safetensors")
    torch.manual_seed(1)
    model = T5ForConditionalGeneration(tiny_t5_config(encoder_weights["shared.weight"].shape[0]))
    model.load_state_dict({**model.state_dict(), **encoder_weights}, strict=True)
    model.save_pretrained(own_folder)
    saved = load_file(own_folder / "model.safetensors")
    assert any(name.startswith("decoder.block") for name in saved)
    # flan-t5's files hold a head of their own, which this library no longer writes
    head = {"lm_head.weight": torch.zeros_like(saved["shared.weight"])}
    save_file({**saved, **head}, own_folder / "model.safetensors", {"format": "pt"})
    for one, other in zip(whole(load(folder).encode(TEXTS)), whole(load(own_folder).encode(TEXTS)), strict=True):
        np.testing.assert_array_equal(one.embedding, other.embedding)


def test_weights_that_do_not_match_are_refused(own_folder: Path) -> None:
    path = own_folder / "model.safetensors"
    weights = load_file(path)
    name = "encoder.final_layer_norm.weight"
    save_file({key: value for key, value in weights.items() if key != name}, path, {"format": "pt"})
    with pytest.raises(Refusal, match=f"1 missing weights, first {name}"):
        load(own_folder)
    save_file({**weights, "encoder.extra": weights[name].clone()}, path, {"format": "pt"})
    with pytest.raises(Refusal, match=r"1 unexpected weights, first encoder\.extra"):
        load(own_folder)
    save_file({**weights, name: weights[name][:3].clone()}, path, {"format": "pt"})
    with pytest.raises(Refusal, match=own_folder.name):
        load(own_folder)


def test_another_kind_of_model_or_tokenizer_is_refused(own_folder: Path, tmp_path: Path) -> None:
    autoencoder = make_tiny_autoencoder(tmp_path / "autoencoder")
    with pytest.raises(Refusal, match="no file that its tokenizer could come from"):
        load(autoencoder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(own_folder / name, autoencoder)
    with pytest.raises(Refusal, match="cannot be loaded"):
        load(autoencoder)
    config = tiny_t5_config(vocab_size=40)
    config.save_pretrained(own_folder)
    with pytest.raises(Refusal, match=r"tokenizer of \d+ tokens for a model of 40"):
        load(own_folder)


@pytest.mark.parametrize("kept", [[], ["tokenizer_config.json"]])
def test_a_t5_without_its_tokenizers_files_is_refused_and_not_given_another(own_folder: Path, kept: list[str]) -> None:
    for name in {"tokenizer.json", "tokenizer_config.json"} - set(kept):
        (own_folder / name).unlink()
    with pytest.raises(
        Refusal, match=rf"{own_folder}: no file that its tokenizer could come from \(.*\); save"
    ) as refused:
        load(own_folder)
    assert "\n" not in str(refused.value)


def test_a_bundles_text_encoder_alone_is_refused_with_the_place_of_its_tokenizer(own_folder: Path) -> None:
    tokenizer = own_folder.with_name("tokenizer")
    tokenizer.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (own_folder / name).rename(tokenizer / name)
    with pytest.raises(Refusal, match=f"copy the files of {tokenizer} there"):
        load(own_folder)
    assert load_tokenizer(tokenizer)("a")["input_ids"]


def test_an_encoder_that_embeds_all_words_alike_is_refused(own_folder: Path) -> None:
    path = own_folder / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "shared.weight": weights["shared.weight"] * 0 + 1}, path, {"format": "pt"})
    with pytest.raises(Refusal, match=f"{own_folder}: embeds 'dog' and 'red' alike"):
        load(own_folder)
    save_file({**weights, "shared.weight": weights["shared.weight"] / 0}, path, {"format": "pt"})
    with pytest.raises(Refusal, match=f"{own_folder}: embeds 'dog' in values that are no numbers"):
        load(own_folder)
