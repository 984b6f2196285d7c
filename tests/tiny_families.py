"""Tiny random models of the families of vision-language models, as folders made by transformers' official classes.

Special tokens and the form of the chat templates are those of the published models; weights are random and wide, so
that pictures matter, and tokens are bytes. One line of ``FAMILIES`` each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiny_models import byte_tokenizer

SIDE_PX = 64  # of the views that tests show them
PRINTABLE = bytes(range(32, 127)) + b"\n"
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = {"initializer_range": 0.4}
SQUARE = {"height": 32, "width": 32}  # what most of the vision towers here see at once
PINPOINTS = [[32, 64], [64, 32], [64, 64]]
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}

_IM = "{% for message in messages %}"
_END = "{% endfor %}"
_PICTURES = "{% for part in message['content'] if part['type'] == 'image' %}"
_TEXTS = "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
_ASK = "{% if add_generation_prompt %}"


def _template(head: str, picture: str, between: str, tail: str, ask: str) -> str:
    """A chat template: what opens a message, a picture, what stands before the text, what closes, and who is asked."""
    return f"{_IM}{head}{_PICTURES}{picture}{_END}{between}{_TEXTS}{tail}{_END}{_ASK}{ask}{{% endif %}}"


def _chatml(picture: str, start: str = "<|im_start|>user\n", between: str = "") -> str:
    return _template(start, picture, between, "<|im_end|>\n", "<|im_start|>assistant\n")


QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
QWEN_TOKENS += ["<|image_pad|>", "<|video_pad|>"]
QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
IDEFICS_TOKENS = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>"]
IDEFICS_TOKENS += ["<global-img>", *(f"<row_{row + 1}_col_{column + 1}>" for row in range(6) for column in range(6))]
IDEFICS_TEMPLATE = "<|im_start|>" + _template(
    "{{ message['role'] | capitalize }}:", "<image>", " ", "<end_of_utterance>\n", "Assistant:"
)
GEMMA_TOKENS = ["<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]
INTERNVL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: for people.
        tokens: its special tokens.
        named: what its tokenizer calls some of them.
        template: its chat template.
        make: tokenizer and ids of tokens -> model class, configuration, processor.
        needs: packages that its processor wants beside those of the project.
        num_image_tokens: that a picture of ``SIDE_PX`` has in its prompts.
        image_token: what stands for one of them.
    """

    name: str
    tokens: list[str]
    named: dict[str, Any]
    template: str
    make: Callable[[Any, Callable[[str], int], str], tuple[Any, Any, Any]]
    num_image_tokens: int
    image_token: str
    needs: tuple[str, ...] = field(default=())


def make_tiny_family(family: Family, folder: Path) -> Path:
    """Write a family's model and processor into a folder."""
    import torch
    from transformers import GenerationConfig

    tokenizer = byte_tokenizer(family.tokens, PRINTABLE, add_end=False, **family.named)
    model_class, config, processor = family.make(tokenizer, tokenizer.convert_tokens_to_ids, family.template)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config).eval()
        with torch.no_grad():  # some classes start parameters at 0 that training moves, such as what closes a row
            for parameter in model.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.2)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _text(kind: str, tokenizer: Any, **more: Any) -> Any:
    import transformers

    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    values = {**SIZE, **WIDE, **ends, "pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer), **more}
    return getattr(transformers, kind)(tie_word_embeddings=False, **values)


def _llava_next(text: str) -> Callable[[Any, Callable[[str], int], str], tuple[Any, Any, Any]]:
    def make(tokenizer: Any, number: Callable[[str], int], template: str) -> tuple[Any, Any, Any]:
        import transformers as tf

        vision = tf.CLIPVisionConfig(**SIZE, image_size=32, patch_size=8, projection_dim=32, initializer_factor=4.0)
        config = tf.LlavaNextConfig(
            vision_config=vision,
            text_config=_text(text, tokenizer, num_key_value_heads=2),
            image_token_index=number("<image>"),
            image_grid_pinpoints=PINPOINTS,
            vision_feature_layer=-2,
        )
        pictures = tf.LlavaNextImageProcessorPil(
            size={"shortest_edge": 32}, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS
        )
        processor = tf.LlavaNextProcessor(
            pictures,
            tokenizer,
            patch_size=8,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=template,
        )
        return tf.LlavaNextForConditionalGeneration, config, processor

    return make


def _llava_onevision(tokenizer: Any, number: Callable[[str], int], template: str) -> tuple[Any, Any, Any]:
    import transformers as tf

    vision = tf.SiglipVisionConfig(**SIZE, image_size=32, patch_size=8, vision_use_head=False)
    config = tf.LlavaOnevisionConfig(
        vision_config=vision,
        text_config=_text("Qwen2Config", tokenizer, num_key_value_heads=2),
        image_token_index=number("<image>"),
        video_token_index=number("<video>"),
        image_grid_pinpoints=PINPOINTS,
    )
    processor = tf.LlavaOnevisionProcessor(
        tf.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=PINPOINTS),
        tokenizer,
        tf.LlavaOnevisionVideoProcessor(size=SQUARE),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=template,
    )
    return tf.LlavaOnevisionForConditionalGeneration, config, processor


def _qwen(name: str, vision: dict[str, Any], pixels: str) -> Callable[..., tuple[Any, Any, Any]]:
    def make(tokenizer: Any, number: Callable[[str], int], template: str) -> tuple[Any, Any, Any]:
        import transformers as tf

        tower = {"hidden_size": 32, "intermediate_size": 64, "depth": 2, "num_heads": 2, "patch_size": 8, **WIDE}
        text = _text(f"{name}TextConfig", tokenizer, num_key_value_heads=2, head_dim=16, rope_parameters=MROPE)
        config = getattr(tf, f"{name}Config")(
            vision_config={**tower, "out_hidden_size": 32, **vision},
            text_config=text.to_dict(),
            image_token_id=number("<|image_pad|>"),
            video_token_id=number("<|video_pad|>"),
            vision_start_token_id=number("<|vision_start|>"),
            vision_end_token_id=number("<|vision_end|>"),
        )
        size = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
        patches = {"patch_size": 8, "merge_size": 2, "size": size}
        processor = getattr(tf, f"{name}Processor")(
            tf.Qwen2VLImageProcessor(**patches),
            tokenizer,
            getattr(tf, pixels)(**patches),
            chat_template=template,
        )
        return getattr(tf, f"{name}ForConditionalGeneration"), config, processor

    return make


def _idefics(name: str) -> Callable[..., tuple[Any, Any, Any]]:
    def make(tokenizer: Any, number: Callable[[str], int], template: str) -> tuple[Any, Any, Any]:
        import transformers as tf

        config = getattr(tf, f"{name}Config")(
            vision_config={**SIZE, **WIDE, "image_size": 32, "patch_size": 8},
            text_config=_text("LlamaConfig", tokenizer, num_key_value_heads=2).to_dict(),
            image_token_id=number("<image>"),
            scale_factor=2,
            pad_token_id=tokenizer.pad_token_id,
        )
        tiles = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}, "do_image_splitting": True}
        if name == "Idefics3":
            processor = tf.Idefics3Processor(
                tf.Idefics3ImageProcessorPil(**tiles), tokenizer, image_seq_len=4, chat_template=template
            )
        else:
            films = tf.SmolVLMVideoProcessor(size={"longest_edge": 32}, max_image_size={"longest_edge": 32})
            processor = tf.SmolVLMProcessor(
                tf.SmolVLMImageProcessor(**tiles), tokenizer, films, image_seq_len=4, chat_template=template
            )
        return getattr(tf, f"{name}ForConditionalGeneration"), config, processor

    return make


def _gemma3(tokenizer: Any, number: Callable[[str], int], template: str) -> tuple[Any, Any, Any]:
    import transformers as tf

    config = tf.Gemma3Config(
        vision_config=tf.SiglipVisionConfig(**SIZE, image_size=32, patch_size=8, vision_use_head=False).to_dict(),
        text_config=_text(
            "Gemma3TextConfig",
            tokenizer,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        ).to_dict(),
        mm_tokens_per_image=4,
        boi_token_index=number("<start_of_image>"),
        eoi_token_index=number("<end_of_image>"),
        image_token_index=number("<image_soft_token>"),
        tie_word_embeddings=False,
    )
    pictures = tf.Gemma3ImageProcessorPil(size=SQUARE, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor = tf.Gemma3Processor(pictures, tokenizer, chat_template=template, image_seq_length=4)
    return tf.Gemma3ForConditionalGeneration, config, processor


def _internvl(tokenizer: Any, number: Callable[[str], int], template: str) -> tuple[Any, Any, Any]:
    import transformers as tf

    config = tf.InternVLConfig(
        vision_config={**SIZE, **WIDE, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config=_text("Qwen2Config", tokenizer, num_key_value_heads=2).to_dict(),
        image_token_id=number("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    processor = tf.InternVLProcessor(
        tf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer,
        tf.InternVLVideoProcessor(size=SQUARE),
        image_seq_length=4,
        chat_template=template,
    )
    return tf.InternVLForConditionalGeneration, config, processor


LLAMA3_TOKENS = ["<pad>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"]
LLAMA3_NAMES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<pad>"}
QWEN_NAMES = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
FILMS = ("torchvision",)  # what reads films wants it, and these families' processors are given one
FAMILIES = (
    Family(
        "llava-next-mistral",
        ["<pad>", "<s>", "</s>", "<image>"],
        {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        _template("[INST] ", "<image>\n", "", " [/INST]", ""),
        _llava_next("MistralConfig"),
        16 + 8 * 8 + 8,
        "<image>",
    ),
    Family(
        "llava-next-llama3",
        LLAMA3_TOKENS,
        LLAMA3_NAMES,
        _template(
            "<|start_header_id|>user<|end_header_id|>\n\n",
            "<image>\n",
            "",
            "<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        _llava_next("LlamaConfig"),
        16 + 8 * 8 + 8,
        "<image>",
    ),
    Family(
        "gemma-3",
        ["<pad>", "<eos>", "<bos>", *GEMMA_TOKENS],
        {
            **{"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
            "extra_special_tokens": {
                "boi_token": "<start_of_image>",
                "eoi_token": "<end_of_image>",
                "image_token": "<image_soft_token>",
            },
        },
        "<bos>"
        + _template("<start_of_turn>user\n", "<start_of_image>", "", "<end_of_turn>\n", "<start_of_turn>model\n"),
        _gemma3,
        4,
        "<image_soft_token>",
    ),
    Family(
        "smolvlm",  # the first, of Idefics 3's classes
        IDEFICS_TOKENS,
        {"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|endoftext|>"},
        IDEFICS_TEMPLATE,
        _idefics("Idefics3"),
        5 * 4,
        "<image>",
    ),
    Family(
        "smolvlm-2",
        IDEFICS_TOKENS,
        {"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|endoftext|>"},
        IDEFICS_TEMPLATE,
        _idefics("SmolVLM"),
        5 * 4,
        "<image>",
        (*FILMS, "num2words"),
    ),
    Family(
        "llava-onevision",
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"],
        QWEN_NAMES,
        _chatml("<image>", "<|im_start|>user ", "\n"),
        _llava_onevision,
        16 + 8 * 8 + 8,
        "<image>",
        FILMS,
    ),
    Family(
        "qwen2.5-vl",
        QWEN_TOKENS,
        QWEN_NAMES,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + _chatml(QWEN_PICTURE),
        _qwen("Qwen2_5_VL", {"window_size": 32, "fullatt_block_indexes": [1]}, "Qwen2VLVideoProcessor"),
        16,
        "<|image_pad|>",
        FILMS,
    ),
    Family(
        "qwen3-vl",
        QWEN_TOKENS,
        QWEN_NAMES,
        _chatml(QWEN_PICTURE),
        _qwen("Qwen3VL", {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}, "Qwen3VLVideoProcessor"),
        16,
        "<|image_pad|>",
        FILMS,
    ),
    Family(
        "internvl",
        INTERNVL_TOKENS,
        {
            **QWEN_NAMES,
            "extra_special_tokens": {
                "start_image_token": "<img>",
                "end_image_token": "</img>",
                "context_image_token": "<IMG_CONTEXT>",
                "video_token": "<video>",
            },
        },
        _chatml("<IMG_CONTEXT>\n"),
        _internvl,
        5 * 4,
        "<IMG_CONTEXT>",
        FILMS,
    ),
)
