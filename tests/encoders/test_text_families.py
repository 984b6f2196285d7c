"""Every family of text encoders: the official class's numbers, no trace of padding, lengths, cuts, empty captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_execution import cpu_execution
from safetensors.torch import load_file, save_file
from tiny_text_families import BY_NAME, CHAT, FAMILIES, MAX_POSITIONS, NUM_BEHIND, WIDTH, TextFamily

from pipeline.encoders.text import LoadedTextEncoder, TextEmbedding
from pipeline.errors import Refusal, Reject
from pipeline.params.encoders import ClipTextEncoder, DecoderTextEncoder, TextEncoder
from pipeline.params.kinds import TEXT_ENCODERS

pytestmark = pytest.mark.contract

# Letters and blanks alone, which all of these tokenizers know; of many lengths.
TEXTS = ["a red dog on the house", "", "a dog", "red", "the house of the dog on the red house"]
# Largest difference of one text's values in a batch and alone, as a share of their range (measured: 3e-7 in float32,
# 5e-3 to 9e-3 in bfloat16 through SDPA; with the plain product of matrices a row's sums are those of the row alone).
TOLERANCE = {"float32": 3e-6, "bfloat16": 2e-2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("text")
    return {family.name: family.make(top / family.name) for family in FAMILIES}


def opened(family: TextFamily, folder: Path, *, batch_size: int = 5, attention: Any = "sdpa", **values: Any) -> Any:
    execution = cpu_execution(inference_batch_size=batch_size, attention=attention)
    entry = family.entry(folder, **values)
    return TEXT_ENCODERS.class_of(entry).open(entry, execution)


def encoded(encoder: Any, texts: list[str] = TEXTS) -> list[TextEmbedding]:
    rows = encoder.encode(texts)
    assert not [row for row in rows if isinstance(row, Reject)]
    return list(rows)


def worst(some: list[TextEmbedding], others: list[TextEmbedding]) -> float:
    """The largest difference as a share of the values' range, pooled vectors among them."""
    shares = []
    for one, other in zip(some, others, strict=True):
        for a, b in ((one.embedding, other.embedding), (one.pooled, other.pooled)):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert a.shape == b.shape
                shares.append(float(np.abs(a - b).max() / (b.max() - b.min())))
    return max(shares)


families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@families
def test_a_family_is_encoded_alone_as_in_a_batch(family: TextFamily, folders: dict[str, Path]) -> None:
    for dtype, attention in (("float32", "sdpa"), ("bfloat16", "sdpa"), ("bfloat16", "matmul")):
        values = {"dtype": dtype, "attention": attention}
        together = encoded(opened(family, folders[family.name], **values))
        alone = encoded(opened(family, folders[family.name], batch_size=1, **values))
        assert worst(together, alone) <= TOLERANCE[dtype], (dtype, attention)
    lengths = [len(row.embedding) for row in together]
    assert lengths[1] == family.num_empty
    assert lengths[4] > lengths[0] > lengths[2] > lengths[1]
    assert {row.embedding.shape[1] for row in together} == {WIDTH}
    assert {row.embedding.dtype for row in together} == {np.dtype("float32")}


@families
def test_a_leaked_padding_would_be_seen(
    family: TextFamily, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above promises is no matter of course: padding that may be looked at changes the short texts."""
    import torch

    encoder = opened(family, folders[family.name])
    alone = encoded(opened(family, folders[family.name], batch_size=1))
    assert worst(encoded(encoder), alone) <= TOLERANCE["float32"]
    states = type(encoder)._states
    is_causal = isinstance(encoder._params, DecoderTextEncoder | ClipTextEncoder)

    def leaking(self: Any, ids: Any, mask: Any) -> Any:
        if not is_causal:
            return states(self, ids, mask * 0 + 1)
        # These never look to the right: for them it is padding on the left that leaks, as it moves every word.
        lengths = mask.sum(dim=1).tolist()
        rolled = [row.roll(len(row) - length) for row, length in zip(ids, lengths, strict=True)]
        hidden, pooled = states(self, mask.new_tensor([row.tolist() for row in rolled]), mask * 0 + 1)
        back = [row.roll(length - len(row), dims=0) for row, length in zip(hidden, lengths, strict=True)]
        return torch.stack(back), pooled

    monkeypatch.setattr(type(encoder), "_states", leaking)
    assert worst(encoded(encoder), alone) > 100 * TOLERANCE["float32"]


@families
def test_a_family_gives_what_its_official_class_gives(family: TextFamily, folders: dict[str, Path]) -> None:
    import torch
    import transformers

    folder = folders[family.name]
    text = TEXTS[0]
    encoder = opened(family, folder)
    (row,) = encoded(encoder, [text])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    template = family.values.get("template", "{caption}")
    inputs = tokenizer(template.format(caption=text), return_tensors="pt")
    pooled = None
    with torch.no_grad():
        if family.kind is TextEncoder:
            whole = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
            hidden = whole.get_encoder()(**inputs).last_hidden_state[0]
        elif family.kind is DecoderTextEncoder:
            inputs.pop("token_type_ids", None)
            whole = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
            hidden = whole(**inputs, output_hidden_states=True).hidden_states[family.values["layer"]][0]
            before = template.partition("{caption}")[0]
            hidden = hidden[len(tokenizer(before)["input_ids"]) :]
        elif family.name == "clip":
            inputs.pop("token_type_ids", None)
            whole = transformers.CLIPModel.from_pretrained(folder).eval()
            output = whole.text_model(**inputs)
            hidden, pooled = output.last_hidden_state[0], whole.text_projection(output.pooler_output)[0]
        elif family.kind is ClipTextEncoder:
            inputs.pop("token_type_ids", None)
            is_projected = family.name == "clip-projected"
            name = "CLIPTextModelWithProjection" if is_projected else "CLIPTextModel"
            output = getattr(transformers, name).from_pretrained(folder).eval()(**inputs)
            hidden, pooled = (
                output.last_hidden_state[0],
                (output.text_embeds if is_projected else output.pooler_output)[0],
            )
        else:
            inputs.pop("token_type_ids", None)
            hidden = transformers.AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state[0]
            pooled = hidden.mean(dim=0)
    np.testing.assert_allclose(row.embedding, hidden.numpy(), atol=2e-5, rtol=1e-4)
    assert (pooled is None) == (encoder.pooled_dim is None)
    if pooled is not None:
        assert row.pooled is not None
        np.testing.assert_allclose(row.pooled, pooled.numpy(), atol=2e-5, rtol=1e-4)
        assert row.pooled.shape == (encoder.pooled_dim,)


@families
def test_a_long_text_is_cut_and_keeps_its_end(family: TextFamily, folders: dict[str, Path]) -> None:
    limit = NUM_BEHIND + 4 if family.name == "qwen3" else 6
    encoder = opened(family, folders[family.name], max_text_tokens=limit)
    short, long = encoded(encoder, ["a", TEXTS[4]])
    assert (short.truncated, long.truncated) == (False, True)
    assert len(long.embedding) == limit
    whole = opened(family, folders[family.name])
    (ids,) = encoder._tokenize([TEXTS[4]], limit)
    (full,) = whole._tokenize([TEXTS[4]], 60)
    if not family.name.startswith(("llama", "gemma")):  # which have no end token
        assert ids.ids[-1] == full.ids[-1]
    if family.name == "qwen3":
        assert ids.ids[-NUM_BEHIND:] == full.ids[-NUM_BEHIND:]
        before = CHAT.partition("{caption}")[0]
        assert ids.first == full.first == len(encoder._tokenizer(before)["input_ids"])


@families
def test_the_empty_caption_is_the_unconditional(family: TextFamily, folders: dict[str, Path]) -> None:
    encoder: LoadedTextEncoder = opened(family, folders[family.name])
    empty, word = encoded(encoder, ["", "dog"])
    assert len(empty.embedding) == family.num_empty
    np.testing.assert_allclose(encoder.unconditional(), empty.embedding, atol=1e-5)
    pooled = encoder.empty().pooled
    assert (pooled is None) == (encoder.pooled_dim is None)
    if pooled is not None and word.pooled is not None:
        assert np.abs(pooled - word.pooled).max() > 1e-3


@families
def test_weights_that_do_not_match_are_refused(family: TextFamily, folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(folders[family.name], tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if "layer" in name.lower() and not name.startswith(("vision", "dec")))
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(Refusal, match=r"1 missing weights, first"):
        opened(family, folder)
    save_file({**weights, "surplus.weight": weights[name].clone()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(Refusal, match=r"1 unexpected weights, first surplus"):
        opened(family, folder)


def test_each_layer_of_a_umt5_has_relative_positions_of_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(folders["umt5"], tmp_path / "umt5"))
    weights = load_file(folder / "model.safetensors")
    names = [name for name in weights if name.startswith("encoder.") and "relative_attention_bias" in name]
    assert len(names) == 3
    before = encoded(opened(BY_NAME["umt5"], folder))
    weights[sorted(names)[-1]] *= -3
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert worst(encoded(opened(BY_NAME["umt5"], folder)), before) > 1e-3


def test_a_template_is_cut_before_the_caption_and_kept_behind_it(folders: dict[str, Path]) -> None:
    family, folder = BY_NAME["qwen3"], folders["qwen3"]
    (plain,) = encoded(opened(family, folder, template="{caption}\n"), ["red dog"])
    (chat,) = encoded(opened(family, folder), ["red dog"])
    assert len(plain.embedding) == len("red dog") + 1
    assert len(chat.embedding) == len("red dog") + NUM_BEHIND
    # What stands before the caption is read nevertheless.
    assert np.abs(chat.embedding[: len("red dog")] - plain.embedding[:-1]).max() > 1e-2
    # What it gives is the same for every caption, and so tells nothing.
    encoder = opened(family, folder)
    tokens = encoder._tokenize(["red dog", "a house"], 48)
    heads = [encoder._states(*_alone(one.ids))[0][0, : one.first] for one in tokens]
    np.testing.assert_allclose(heads[0].detach().numpy(), heads[1].detach().numpy(), atol=1e-5)


def _alone(ids: list[int]) -> tuple[Any, Any]:
    import torch

    return torch.tensor([ids]), torch.ones((1, len(ids)), dtype=torch.long)


def test_what_a_decoder_cannot_do_is_refused(folders: dict[str, Path]) -> None:
    qwen, llama = BY_NAME["qwen3"], BY_NAME["llama"]
    with pytest.raises(Refusal, match=r"reads an empty caption as no token at all; give the entry a template"):
        opened(qwen, folders["qwen3"], template="{caption}")
    with pytest.raises(Refusal, match=r"has 4 hidden states, embeddings included; layer = -5"):
        opened(llama, folders["llama"], layer=-5)
    with pytest.raises(Refusal, match=rf"the template has {NUM_BEHIND} tokens behind the caption"):
        opened(qwen, folders["qwen3"], max_text_tokens=NUM_BEHIND)
    with pytest.raises(Refusal, match=r"has positions for 199 tokens; max_text_tokens = 200 is more"):
        opened(llama, folders["llama"], max_text_tokens=200)
    for name in ("bert", "t5", "clip"):
        with pytest.raises(Refusal, match=r"kind decoder takes language models of text alone"):
            opened(llama, folders[name])


@pytest.mark.parametrize(("kind", "model"), [("t5", "clip"), ("clip", "bert"), ("minilm", "qwen3")])
def test_a_model_of_another_kind_is_refused(folders: dict[str, Path], kind: str, model: str) -> None:
    with pytest.raises(Refusal, match=rf"{folders[model]}: holds a model of type \w+; kind \w+ takes"):
        opened(BY_NAME[kind], folders[model])


def test_a_limit_beyond_a_models_positions_is_refused(folders: dict[str, Path]) -> None:
    for name, known in (("clip", MAX_POSITIONS), ("bert", MAX_POSITIONS), ("xlm-r", MAX_POSITIONS - 1)):
        opened(BY_NAME[name], folders[name], max_text_tokens=known)
        with pytest.raises(Refusal, match=rf"has positions for {known} tokens"):
            opened(BY_NAME[name], folders[name], max_text_tokens=known + 1)


def test_a_clip_whose_tokenizer_ends_no_text_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(folders["clip"], tmp_path / "clip"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(Refusal, match=r"does not end a text with the model's end token"):
        opened(BY_NAME["clip"], folder)


def test_float16_that_overflows_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    family = BY_NAME["llama"]
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "llama"))
    assert len(encoded(opened(family, folder, dtype="float16"))) == len(TEXTS)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1e6  # more than float16 has
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert len(encoded(opened(family, folder))) == len(TEXTS)
    with pytest.raises(Refusal, match=r"values that are no numbers"):
        opened(family, folder, dtype="float16")


def test_a_pipelines_tokenizer_is_found_beside_its_text_encoder(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folders["clip"], tmp_path / "text_encoder_2")
    (tmp_path / "tokenizer_2").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "text_encoder_2" / name).rename(tmp_path / "tokenizer_2" / name)
    family = BY_NAME["clip"]
    rows = encoded(opened(family, tmp_path, subfolder="text_encoder_2"))
    assert worst(rows, encoded(opened(family, folders["clip"]))) == 0
    with pytest.raises(Refusal, match=r"copy the files of .*tokenizer_2 there"):
        opened(family, tmp_path / "text_encoder_2")
