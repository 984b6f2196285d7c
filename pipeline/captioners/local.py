"""Captions by a vision-language model run here: any chat model of transformers that reads pictures and writes text.

Decoding is batched. A batch is padded on the left and checked to be: right padding gives wrong captions in silence.
Prompts come from the processor's own chat template alone. For who builds on it: ``_prompts`` makes a model's inputs,
``_generate`` its tokens, ``_read`` a caption of those of one row, and none knows of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import msgspec
from PIL import Image

from pipeline.captioners.base import Caption, Picture, Provenance, Setting, told
from pipeline.captioners.checks import RETRIED, checked_caption
from pipeline.captioners.decoding import FiniteWatch, SeededDraws, draw_numbers
from pipeline.captioners.prompts import Asked, check_left_padding, end_tokens_of, prompts, tokenizer_of
from pipeline.data.randomness import Coordinates
from pipeline.data.schema import FinishReason
from pipeline.digest import digest_json
from pipeline.encoders.loading import ATTENTION, choose_device, load_strictly, loaded_or_refused, quiet, resolve_model
from pipeline.encoders.parts import check_image_processor_files, check_tokenizer_files, prove_tokenizer
from pipeline.errors import Reject
from pipeline.params.captioners import Decoding
from pipeline.params.captioners import LocalCaptioner as LocalParams
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    import torch


# So many batches are given at once where instructions differ, and made of pictures that are told the same. A kill may
# lose them.
SORTED_BATCHES = 4


class LocalCaptioner:
    """A vision-language model that is loaded for the first batch which nobody finished before; see ``Captioner``."""

    def __init__(self, params: LocalParams, setting: Setting) -> None:
        self._params, self._setting = params, setting
        self._model: LocalVlm | None = None
        is_sorted = len(params.instructions or {}) > 1
        self.num_in_flight = setting.execution.inference_batch_size * (SORTED_BATCHES if is_sorted else 1)

    @classmethod
    def open(cls, params: LocalParams, setting: Setting) -> Self:
        """As ``Captioner.open``."""
        return cls(params, setting)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """One caption per picture, under the instruction drawn for its key."""
        views = [picture.view(self._params.side_px) for picture in pictures]
        instructions, coordinates = told(self._params.instructions or {}, self._setting.seed, pictures)
        return self._loaded().caption(views, instructions, coordinates)

    def provenance(self) -> Provenance:
        """As ``Captioner.provenance``; the model is loaded for it, whose processor holds the chat template."""
        return replace(self._loaded().provenance(), model=self._setting.model)

    def _loaded(self) -> LocalVlm:
        if self._model is None:
            self._model = LocalVlm(self._params, self._setting.execution)
        return self._model


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
        self._tokenizer = tokenizer_of(self._processor, self._folder)
        prove_tokenizer(self._tokenizer, self._folder)
        self._dtype: torch.dtype = getattr(torch, params.dtype)
        model = load_strictly(
            transformers.AutoModelForImageTextToText.from_pretrained,
            self._folder,
            dtype=self._dtype,
            attn_implementation=ATTENTION[execution.attention],
        )
        self._model: Any = model.to(self._device).eval()
        self._end_token_ids = end_tokens_of(self._model, self._tokenizer, self._folder)
        # A configuration of our own: the model's may ask for sampling, beams or penalties.
        generation_config: Any = transformers.GenerationConfig
        self._model.generation_config = generation_config(
            do_sample=False,
            num_beams=1,
            eos_token_id=sorted(self._end_token_ids),
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def provenance(self) -> Provenance:
        """What captions depend on, but for the model's identity, which is not known here."""
        import transformers

        retry = self._params.retry
        return Provenance(
            captioner=self._params.captioner_name,
            engine="transformers",
            engine_version=transformers.__version__,
            chat_template=digest_json(self._processor.chat_template),
            decoding=msgspec.to_builtins(self._params.decoding),
            retry=None if retry is None else msgspec.to_builtins(retry),
        )

    def caption(
        self, images: Sequence[Image.Image], instructions: Sequence[str], coordinates: Sequence[Coordinates]
    ) -> list[Caption | Reject]:
        """One caption per picture, in order.

        ``Reject("not_finite")`` where the model gave no number to choose a token by, ``Reject("empty_caption")`` where
        it wrote nothing, ``Reject("no_letters")`` where it wrote no letter, ``Reject("loop")`` where it repeats itself;
        these last three after a second try, where the parameters have one.

        Args:
            images: square views of ``side_px``, RGB.
            instructions: what the model is told about each.
            coordinates: of each picture; what is drawn for it hangs on them alone.

        Raises:
            ValueError: pictures, instructions and coordinates differ in number, or a picture is no such view.
        """
        if not len(images) == len(instructions) == len(coordinates):
            raise ValueError(
                f"{len(images)} pictures, {len(instructions)} instructions and {len(coordinates)} coordinates"
            )
        view = ((self._params.side_px, self._params.side_px), "RGB")
        if others := {(image.size, image.mode) for image in images} - {view}:
            raise ValueError(f"pictures of {sorted(others)}; square views of {view} wanted")
        asked = [Asked(*one) for one in zip(images, instructions, coordinates, strict=True)]
        # A batch goes on until its longest answer ends: those that are told the same go together.
        order = sorted(range(len(asked)), key=lambda place: (len(instructions[place]), instructions[place]))
        rows: dict[int, Caption | Reject] = {}
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            rows.update(zip(places, self.caption_batch([asked[place] for place in places]), strict=True))
        return [rows[place] for place in range(len(asked))]

    def caption_batch(self, batch: Sequence[Asked], inputs: Any = None) -> list[Caption | Reject]:
        """As ``caption``, of pictures that fit into memory together; what is worth another try is written anew.

        Args:
            batch: what is asked.
            inputs: the prompts, where they are made already.
        """
        params = self._params
        rows = self._attempt(batch, params.decoding, 0, inputs)
        again = [place for place, row in enumerate(rows) if isinstance(row, Reject) and row.reason in RETRIED]
        if params.retry is None or not again:
            return rows
        second = self._attempt([batch[place] for place in again], params.retry, 1)
        for place, row in zip(again, second, strict=True):
            rows[place] = Reject(row.reason, f"{row.detail}; written twice") if isinstance(row, Reject) else row
        return rows

    def _attempt(
        self, batch: Sequence[Asked], decoding: Decoding, attempt: int, inputs: Any = None
    ) -> list[Caption | Reject]:
        """One answer per picture as it is, 0 for the first attempt."""
        import torch

        numbers = None
        if not decoding.is_greedy:
            drawn = draw_numbers([one.coordinates for one in batch], attempt, self._params.max_new_tokens)
            numbers = torch.from_numpy(drawn)
        if inputs is None:
            inputs = self._prompts([one.image for one in batch], [one.instruction for one in batch])
        tokens, are_finite = self._generate(inputs, decoding, numbers)
        return [
            self._not_finite(row, are_row_finite) or self._read(row, one.instruction)
            for row, are_row_finite, one in zip(tokens, are_finite, batch, strict=True)
        ]

    def _generate(
        self, inputs: Any, decoding: Decoding, numbers: torch.Tensor | None
    ) -> tuple[list[list[int]], list[list[bool]]]:
        """Per prompt the tokens behind it, padded once it has ended, and whether each had a finite number."""
        import torch
        from transformers import LogitsProcessorList

        check_left_padding(inputs["attention_mask"])
        watch = FiniteWatch()
        processors: list[Any] = [watch]
        if numbers is not None:
            processors.append(SeededDraws(decoding, numbers.to(self._device)))
        with torch.inference_mode():
            inputs = inputs.to(self._device, self._dtype)
            tokens = self._model.generate(
                **inputs,
                max_new_tokens=self._params.max_new_tokens,
                logits_processor=LogitsProcessorList(processors),
            )
        return tokens[:, inputs["input_ids"].shape[1] :].tolist(), watch.rows()

    def _prompts(self, images: Sequence[Image.Image], instructions: Sequence[str]) -> Any:
        return prompts(self._processor, images, instructions)

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
