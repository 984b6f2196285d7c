"""Parts without weights: what is made up by the library, and what tells no words apart, is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import make_tiny_vlm

from pipeline.encoders import parts
from pipeline.encoders.text import load_tokenizer
from pipeline.errors import Refusal

DEMO = Path(__file__).resolve().parents[2] / "data/demo_models"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def save_tokenizer(folder: Path, kind: str, known: str = ALPHABET) -> Path:
    """A tokenizer of one of the usual kinds, whose pieces are these letters and a few words made of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    words = [word for word in ("red", "dog", "house") if set(word) <= set(known)]
    if kind == "unigram":  # as sentencepiece makes it
        pieces = [(token, 0.0) for token in special] + [(f"▁{word}", -1.0) for word in words]
        pieces += [(letter, -5.0) for letter in ["▁", *known]]
        tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    elif kind == "wordpiece":
        tokens = [*special, *words, *known, *(f"##{letter}" for letter in known)]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        vocabulary = {token: number for number, token in enumerate([*special, *known])}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "bpe"])
def test_real_kinds_of_tokenizers_pass(tmp_path: Path, kind: str) -> None:
    tokenizer = load_tokenizer(save_tokenizer(tmp_path, kind))
    assert len({tuple(tokenizer(word)["input_ids"]) for word in parts.PROBE_WORDS}) == len(parts.PROBE_WORDS)


def test_the_demos_tokenizers_pass() -> None:
    for name in ("text_encoder", "vlm"):
        assert len(load_tokenizer(DEMO / name)) > 500


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "bpe"])
def test_a_tokenizer_that_knows_few_words_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Refusal, match=f"{tmp_path}: its tokenizer does not know 4 of 5 plain English words"):
        load_tokenizer(save_tokenizer(tmp_path, kind, known="red"))


@pytest.mark.parametrize(
    ("class_name", "files"),
    [
        ("T5Tokenizer", "tokenizer.json or spiece.model"),
        ("CLIPTokenizer", "tokenizer.json or vocab.json with merges.txt"),
        ("BertTokenizer", "tokenizer.json or vocab.txt"),
        ("LlamaTokenizer", "tokenizer.json or tokenizer.model"),
    ],
)
def test_what_the_library_makes_up_without_a_vocabulary_is_refused(tmp_path: Path, class_name: str, files: str) -> None:
    import transformers

    made_up = getattr(transformers, class_name).from_pretrained(tmp_path, local_files_only=True)
    assert len(made_up) < 110  # so it does not complain itself
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name}))
    with pytest.raises(Refusal, match=rf"{tmp_path}: no file that its tokenizer could come from \({files}\)"):
        load_tokenizer(tmp_path)


def test_half_of_a_vocabulary_is_none(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(Refusal, match=r"vocab\.json with merges\.txt"):
        parts.check_tokenizer_files(tmp_path, CLIPTokenizer)
    (tmp_path / "merges.txt").write_text("")
    parts.check_tokenizer_files(tmp_path, CLIPTokenizer)


def test_a_tokenizer_of_bytes_needs_no_file(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)("dog")["input_ids"] == [103, 114, 106, 1]


def test_a_pipelines_text_encoder_names_the_folder_of_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "text_encoder_2").mkdir()
    (tmp_path / "tokenizer_2").mkdir()
    (tmp_path / "tokenizer_2" / "tokenizer.json").write_text("{}")
    with pytest.raises(Refusal, match=f"copy the files of {tmp_path / 'tokenizer_2'} there"):
        load_tokenizer(tmp_path / "text_encoder_2")


def test_a_tokenizer_that_gives_two_words_one_id_is_refused(tmp_path: Path) -> None:
    class Deaf:
        unk_token_id = None

        def __init__(self) -> None:
            self.vocab_files_names: dict[str, str] = {}

        def __call__(self, word: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [len(word)]}

    with pytest.raises(Refusal, match=r"gives 'dog' and 'red' the same ids \[3\]"):
        parts.prove_tokenizer(Deaf(), tmp_path)


def test_embeddings_must_differ_and_be_numbers(tmp_path: Path) -> None:
    vectors = list(np.eye(len(parts.PROBE_WORDS), dtype=np.float32))
    parts.prove_embeddings(vectors, tmp_path)
    with pytest.raises(Refusal, match="embeds 'red' and 'seven' alike"):
        parts.prove_embeddings([*vectors[:3], vectors[1] * (1 + 1e-7), vectors[4]], tmp_path)
    with pytest.raises(Refusal, match="embeds 'dog' in values that are no numbers"):
        parts.prove_embeddings([vectors[0] * np.nan, *vectors[1:]], tmp_path)


@pytest.mark.parametrize("content", [None, "{}", '{"processor_class": "LlavaProcessor"}', "[]", "{"])
def test_an_image_processor_without_its_values_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(Refusal, match=f"{tmp_path}: no file that says how its image processor prepares pictures"):
        parts.check_image_processor_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"}),
        ("preprocessor_config.json", {"feature_extractor_type": "CLIPFeatureExtractor"}),  # as in 2022
        ("processor_config.json", {"image_processor": {"size": {"height": 8, "width": 8}}}),
    ],
)
def test_an_image_processor_with_its_values_passes(tmp_path: Path, name: str, content: dict[str, Any]) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    parts.check_image_processor_files(tmp_path)


def test_schedulers_and_configurations_come_from_files(tmp_path: Path) -> None:
    for check, name in (
        (parts.check_scheduler_file, "scheduler_config.json"),
        (parts.check_configuration, "config.json"),
    ):
        for content in (None, "{}"):
            if content is not None:
                (tmp_path / name).write_text(content)
            with pytest.raises(Refusal, match=f"{tmp_path}: no {name}"):
                check(tmp_path)
        (tmp_path / name).write_text('{"_class_name": "DDIMScheduler"}')
        check(tmp_path)


def test_a_vision_tower_without_the_values_of_its_image_processor_is_refused(tmp_path: Path) -> None:
    from pipeline.evaluation.features import VisionTowerFeatures

    make_tiny_vlm(tmp_path)
    (tmp_path / "processor_config.json").unlink()
    with pytest.raises(Refusal, match=f"{tmp_path}: no file that says how its image processor prepares pictures"):
        VisionTowerFeatures(tmp_path, "cpu")
    (tmp_path / "model.safetensors").write_bytes(b"no safetensors at all")
    with pytest.raises(Refusal, match=f"{tmp_path}: cannot be loaded"):
        VisionTowerFeatures(tmp_path, "cpu")
