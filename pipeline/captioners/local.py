"""Captions by a vision-language model run here: any chat model of transformers that reads pictures and writes text.

Decoding is greedy and batched. A batch is padded on the left and checked to be: right padding gives wrong captions in
silence. Prompts come from the processor's own chat template alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from pipeline.captioners.base import Caption, Picture, Setting, draw_instruction
from pipeline.captioners.checks import checked_caption
from pipeline.data.schema import FinishReason
from pipeline.digest import digest_json
from pipeline.encoders.loading import ATTENTION, choose_device, load_strictly, loaded_or_refused, quiet, resolve_model
from pipeline.encoders.parts import check_image_processor_files, check_tokenizer_files, prove_tokenizer
from pipeline.errors import Refusal, Reject
from pipeline.params.captioners import LocalCaptioner as LocalParams
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    import torch


class LocalCaptioner:
    """A vision-language model that is loaded for the first batch which nobody finished before; see ``Captioner``."""

    def __init__(self, params: LocalParams, setting: Setting) -> None:
        self._params, self._setting = params, setting
        self._model: LocalVlm | None = None
        self.num_in_flight = setting.execution.inference_batch_size

    @classmethod
    def open(cls, params: LocalParams, setting: Setting) -> Self:
        """As ``Captioner.open``."""
        return cls(params, setting)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """One caption per picture, under the instruction drawn for its key."""
        if self._model is None:
            self._model = LocalVlm(self._params, self._setting.execution)
        views = [picture.view(self._params.side_px) for picture in pictures]
        weights, seed = self._params.instructions or {}, self._setting.seed
        return self._model.caption(views, [draw_instruction(weights, seed, picture.key) for picture in pictures])


class LocalVlm:
    """A vision-language model with its processor, loaded strictly.

    Args:
        params: the captioner's parameters.
        execution: device, batch size and attention.

    Raises:
        Refusal: no such model, weights that do not match, no chat template, or no end token.
    """

    def __init__(self, params: LocalParams, execution: Execution) -> None:
        """Load model and processor, and settle how is decoded."""
        import torch
        import transformers

        quiet(transformers)
        self._params = params
        self._batch_size = execution.inference_batch_size
        self._device = choose_device(execution)
        self._folder = resolve_model(params.model, params.revision)
        check_tokenizer_files(self._folder)
        check_image_processor_files(self._folder)
        auto_processor: Any = transformers.AutoProcessor
        self._processor: Any = loaded_or_refused(
            lambda: auto_processor.from_pretrained(self._folder, local_files_only=True), self._folder
        )
        self._tokenizer = _tokenizer_of(self._processor, self._folder)
        prove_tokenizer(self._tokenizer, self._folder)
        self._dtype: torch.dtype = getattr(torch, params.dtype)
        model = load_strictly(
            transformers.AutoModelForImageTextToText.from_pretrained,
            self._folder,
            dtype=self._dtype,
            attn_implementation=ATTENTION[execution.attention],
        )
        self._model: Any = model.to(self._device).eval()
        self._end_token_ids = self._find_end_tokens()
        # A configuration of our own: the model's may ask for sampling, beams or penalties.
        generation_config: Any = transformers.GenerationConfig
        self._model.generation_config = generation_config(
            do_sample=False,
            num_beams=1,
            max_new_tokens=params.max_new_tokens,
            eos_token_id=sorted(self._end_token_ids),
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def provenance(self) -> dict[str, str]:
        """What a caption depends on beside parameters and weights: the engine and the chat template's digest."""
        import transformers

        return {
            "engine": f"transformers {transformers.__version__}",
            "chat_template": digest_json(self._processor.chat_template),
        }

    def caption(self, images: Sequence[Image.Image], instructions: Sequence[str]) -> list[Caption | Reject]:
        """One caption per picture, in order.

        ``Reject("not_finite")`` where the model gave no number to choose a token by, ``Reject("empty_caption")`` where
        it wrote nothing, ``Reject("no_letters")`` where it wrote no letter, ``Reject("loop")`` where it repeats itself.

        Args:
            images: square views of ``side_px``, RGB.
            instructions: what the model is told about each.

        Raises:
            ValueError: pictures and instructions differ in number, or a picture is no such view.
        """
        if len(images) != len(instructions):
            raise ValueError(f"{len(images)} pictures and {len(instructions)} instructions")
        view = ((self._params.side_px, self._params.side_px), "RGB")
        if others := {(image.size, image.mode) for image in images} - {view}:
            raise ValueError(f"pictures of {sorted(others)}; square views of {view} wanted")
        rows: list[Caption | Reject] = []
        for start in range(0, len(images), self._batch_size):
            batch = slice(start, start + self._batch_size)
            rows.extend(self._caption_batch(images[batch], instructions[batch]))
        return rows

    def _caption_batch(self, images: Sequence[Image.Image], instructions: Sequence[str]) -> list[Caption | Reject]:
        import torch
        from transformers import LogitsProcessorList

        inputs = self._prompts(images, instructions)
        check_left_padding(inputs["attention_mask"])
        watch = FiniteWatch()
        with torch.inference_mode():
            inputs = inputs.to(self._device, self._dtype)
            tokens = self._model.generate(**inputs, logits_processor=LogitsProcessorList([watch]))  # type: ignore[list-item]
        num_prompt_tokens = inputs["input_ids"].shape[1]
        rows = zip(tokens[:, num_prompt_tokens:].tolist(), watch.rows(), instructions, strict=True)
        return [
            self._not_finite(generated, are_finite) or self._read(generated, instruction)
            for generated, are_finite, instruction in rows
        ]

    def _prompts(self, images: Sequence[Image.Image], instructions: Sequence[str]) -> Any:
        conversations = [
            [
                {
                    "role": "user",
                    "content": [{"type": "image", "image": image}, {"type": "text", "text": instruction}],
                }
            ]
            for image, instruction in zip(images, instructions, strict=True)
        ]
        return self._processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )

    def _num_tokens(self, generated: Sequence[int]) -> int:
        """Tokens of one row before its end token; all where it has none."""
        return next((place for place, token in enumerate(generated) if token in self._end_token_ids), len(generated))

    def _not_finite(self, generated: Sequence[int], are_finite: Sequence[bool]) -> Reject | None:
        """Why one row is no caption of the model's; steps behind its end are padding, which no caption depends on."""
        steps = are_finite[: self._num_tokens(generated) + 1]
        if all(steps):
            return None
        return Reject("not_finite", f"the model gave no finite number to choose token {steps.index(False) + 1} by")

    def _read(self, generated: Sequence[int], instruction: str) -> Caption | Reject:
        """The caption in one row of generated tokens, which is padded once it has ended."""
        num_tokens = self._num_tokens(generated)
        text = self._tokenizer.decode(generated[:num_tokens], skip_special_tokens=True)
        reason = FinishReason.STOP if num_tokens < len(generated) else FinishReason.LENGTH
        return checked_caption(
            Caption(text, instruction, reason, num_tokens),
            cut=self._params.cut_at_full_stop,
            loop_ngram_words=self._params.loop_ngram_words,
            loop_max_repeats=self._params.loop_max_repeats,
        )

    def _find_end_tokens(self) -> frozenset[int]:
        ends = self._model.generation_config.eos_token_id
        if ends is None:
            ends = self._tokenizer.eos_token_id
        if ends is None:
            raise Refusal(f"{self._folder}: names no end token; a caption could not be told from a cut one")
        return frozenset(ends if isinstance(ends, list) else [ends])


class FiniteWatch:
    """Notes at every step of decoding which rows have a finite number to choose their token by; changes none.

    Of numbers that are not finite, greedy decoding takes a token all the same, the first of the vocabulary. The largest
    is asked alone: NaN and overflow win it, while -inf beside finite numbers is how a model forbids a token.
    """

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As a logits processor.

        Args:
            input_ids: (batch, tokens), not looked at.
            scores: (batch, vocabulary), given back as they are.
        """
        del input_ids
        self._steps.append(scores.amax(dim=-1).isfinite())  # stays on the device: decoding does not wait for it
        return scores

    def rows(self) -> list[list[bool]]:
        """(batch, steps): was there a finite number?"""
        import torch

        flags: list[list[bool]] = torch.stack(self._steps, dim=1).tolist()
        return flags


def check_left_padding(attention_mask: torch.Tensor) -> None:
    """Refuse a batch whose prompts do not all end in its last column: a model would go on from padding.

    Args:
        attention_mask: (batch, tokens), 1 where a token is.
    """
    if not bool(attention_mask[:, -1].all()):
        raise Refusal("prompts are padded on the right, which gives wrong captions; the tokenizer must pad on the left")


def _tokenizer_of(processor: Any, folder: object) -> Any:
    """The processor's tokenizer, made to pad on the left."""
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise Refusal(f"{folder}: its processor reads no pictures or no text; a vision-language model is needed")
    if processor.chat_template is None:
        raise Refusal(f"{folder}: its processor has no chat template; prompts are written through nothing else")
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
