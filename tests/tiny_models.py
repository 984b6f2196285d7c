"""Random models of the real kinds, too small to be any good, written as folders within a second each.

They are made by the libraries' official classes from fixed seeds, so a folder's weights are the same every time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE_PX = 64
PATCH_PX = 16
DIM = 32
SCALING_FACTOR = 0.18
CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}:{% endif %}"
)


def make_tiny_vlm(folder: Path) -> Path:
    """A LLaVA for pictures of 64 px over printable ASCII; its random captions run to any token limit."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        GenerationConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = byte_tokenizer(["<pad>", "<s>", "</s>", "<image>"], bytes(range(32, 127)), add_end=False)
    size = {"hidden_size": DIM, "intermediate_size": 2 * DIM, "num_hidden_layers": 2, "num_attention_heads": 2}
    # Wide initial weights: with the usual ones the two pictures of a test would get one caption.
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **size, image_size=SIDE_PX, patch_size=PATCH_PX, projection_dim=DIM, initializer_factor=4.0
        ),
        text_config=LlamaConfig(
            **size,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
            initializer_range=0.4,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    model.save_pretrained(folder)
    side = {"height": SIDE_PX, "width": SIDE_PX}
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": SIDE_PX}, crop_size=side),
        tokenizer=tokenizer,
        patch_size=PATCH_PX,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def make_tiny_autoencoder(folder: Path) -> Path:
    """An AutoencoderKL of 8x and 4 channels whose file states the scaling factor 0.18."""
    import torch
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=SIDE_PX,
            scaling_factor=SCALING_FACTOR,
        )
    model.save_pretrained(folder)
    return folder


def make_tiny_text_encoder(folder: Path) -> Path:
    """The encoder of a T5 in the style of flan-t5, over ASCII and an end token."""
    import torch
    from transformers import T5EncoderModel

    tokenizer = byte_tokenizer(["<pad>", "</s>", "<unk>"], bytes(range(128)), add_end=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = T5EncoderModel(tiny_t5_config(len(tokenizer)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_t5_config(vocab_size: int) -> Any:
    """The configuration of ``make_tiny_text_encoder``'s model."""
    from transformers import T5Config

    return T5Config(
        vocab_size=vocab_size,
        d_model=DIM,
        d_kv=16,
        d_ff=2 * DIM,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
    )


def byte_tokenizer(special_tokens: list[str], known_bytes: bytes, *, add_end: bool, **named: Any) -> Any:
    """One token per byte, special tokens first; ``add_end`` puts the end token behind every text.

    ``named``: what the tokenizer calls some of them (``eos_token``, ...), where they are not called as usual.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = {letter for byte in known_bytes.decode("latin-1") for letter in to_letters.pre_tokenize_str(byte)[0][0]}
    tokens = [*special_tokens, *sorted(letters)]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if named:
        tokenizer.add_special_tokens(special_tokens)
    if add_end:
        end = ("</s>", tokens.index("</s>"))
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[end])
    names = {"<pad>": "pad_token", "<s>": "bos_token", "</s>": "eos_token", "<unk>": "unk_token"}
    usual = {names[token]: token for token in special_tokens if token in names}
    if not named:
        named = {"additional_special_tokens": [token for token in special_tokens if token not in names]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="right", **{**usual, **named})
