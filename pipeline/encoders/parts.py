"""Parts of a model that have no weights: that each came from a file of its folder, and that a tokenizer can be one.

transformers and diffusers make up what they do not find: a tokenizer without vocabulary maps every text to the same
few tokens, an image processor or scheduler without its file takes the values of its class. Weights are checked where
they are loaded (``pipeline.encoders.loading``); this is the same for everything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.encoders.loading import loaded_or_refused
from pipeline.encoders.packages import missing
from pipeline.encoders.wanted import OTHER_VOCABULARIES, TOKENIZER_FILE, VOCABULARIES
from pipeline.errors import Refusal

# Plain English that any tokenizer of captions has read, as words or as pieces of them.
PROBE_WORDS = ("dog", "red", "house", "seven", "water")

_OPTIONAL = {"tokenizer_file", "normalizer_file"}  # of ``vocab_files_names``

_IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
# A file says how pictures are prepared if it has one of these; one that only names a processor leaves all to defaults.
_IMAGE_PROCESSOR_KEYS = {"image_processor_type", "feature_extractor_type", "size", "do_resize", "image_mean"}
_SCHEDULER_FILE = "scheduler_config.json"


def check_tokenizer_files(folder: Path, tokenizer: Any = None) -> None:
    """Refuse a folder without the files that its tokenizer is made of.

    Args:
        folder: that it is loaded from.
        tokenizer: the tokenizer or its class, which knows its files; None: not known yet, any vocabulary will do.
    """
    import transformers

    if tokenizer is None:
        tokenizer = _tokenizer_class(folder)
    # The general class is made from any of them, whatever it names.
    is_general = tokenizer is None or transformers.PreTrainedTokenizerFast in (tokenizer, type(tokenizer))
    names = None if is_general else tokenizer.vocab_files_names
    if names == {}:  # a tokenizer of bytes has no vocabulary
        return
    needed = [] if names is None else [name for kind, name in names.items() if kind not in _OPTIONAL]
    served = any(_holds(folder, name) for name in (TOKENIZER_FILE, *OTHER_VOCABULARIES))
    if needed:
        served = served or all((folder / name).is_file() for name in needed)
        usual = " or ".join((TOKENIZER_FILE, " with ".join(needed)))
    else:
        served = served or any(_holds(folder, name) for name in VOCABULARIES)
        usual = ", ".join(VOCABULARIES)
    if not served:
        raise Refusal(
            f"{folder}: no file that its tokenizer could come from ({usual}); {_where_a_tokenizer_is(folder)}"
        )


def check_image_processor_files(folder: Path) -> None:
    """Refuse a folder without a file that says how pictures are prepared for its model."""
    for name in _IMAGE_PROCESSOR_FILES:
        stated = _json_object(folder / name)
        for entry in (stated, stated.get("image_processor")):
            if isinstance(entry, Mapping) and _IMAGE_PROCESSOR_KEYS & entry.keys():
                return
    raise Refusal(
        f"{folder}: no file that says how its image processor prepares pictures ("
        f"{' or '.join(_IMAGE_PROCESSOR_FILES)}, with image_processor_type or size); save or download the processor too"
    )


def check_scheduler_file(folder: Path) -> None:
    """Refuse a folder whose scheduler's file is absent, or names no class: its values would be the class's."""
    if "_class_name" not in _json_object(folder / _SCHEDULER_FILE):
        raise Refusal(
            f"{folder}: no {_SCHEDULER_FILE} that its scheduler could come from (with _class_name); save or download "
            "the scheduler too"
        )


def check_configuration(folder: Path) -> None:
    """Refuse a folder whose model has no configuration."""
    if not _json_object(folder / "config.json"):
        raise Refusal(f"{folder}: no config.json that its model could come from; save or download the model too")


def prove_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer whose class lacks its files, or that does not tell plain English words apart.

    Args:
        tokenizer: of transformers.
        folder: that it was loaded from.
    """
    check_tokenizer_files(folder, tokenizer)
    ids = loaded_or_refused(lambda: [_ids(tokenizer, word) for word in PROBE_WORDS], folder)
    unknown = [
        word for word, of_word in zip(PROBE_WORDS, ids, strict=True) if not of_word or _unknown(tokenizer, of_word)
    ]
    if 2 * len(unknown) > len(PROBE_WORDS):
        raise Refusal(
            f"{folder}: its tokenizer does not know {len(unknown)} of {len(PROBE_WORDS)} plain English words (first "
            f"{unknown[0]!r}); {_better_tokenizer(folder)}"
        )
    first = {of_word: word for word, of_word in reversed(list(zip(PROBE_WORDS, ids, strict=True)))}
    for word, of_word in zip(PROBE_WORDS, ids, strict=True):
        if first[of_word] != word:
            raise Refusal(
                f"{folder}: its tokenizer gives {first[of_word]!r} and {word!r} the same ids {list(of_word)}; "
                f"{_better_tokenizer(folder)}"
            )


def prove_embeddings(vectors: Sequence[np.ndarray], folder: Path) -> None:
    """Refuse a text encoder that does not tell plain English words apart.

    Args:
        vectors: float [dim] for each of ``PROBE_WORDS``.
        folder: of the encoder, for the message.
    """
    for i, vector in enumerate(vectors):
        if not np.isfinite(vector).all():
            raise Refusal(
                f"{folder}: embeds {PROBE_WORDS[i]!r} in values that are no numbers; save or download the model anew"
            )
        for j in range(i):
            # Differences of rounding alone are none.
            if np.allclose(vectors[j], vector, rtol=0.0, atol=1e-6 * float(np.abs(vector).max())):
                raise Refusal(
                    f"{folder}: embeds {PROBE_WORDS[j]!r} and {PROBE_WORDS[i]!r} alike; its weights are no text "
                    "encoder's, save or download the model anew"
                )


def prove_token_embeddings(model: Any, tokenizer: Any, folder: Path) -> None:
    """Refuse a text encoder whose table of tokens is too short for its tokenizer, or gives all words one vector.

    Only the table is read: a whole pass of any encoder would need to know its class.

    Args:
        model: of transformers, on the CPU.
        tokenizer: that it is used with.
        folder: of the encoder, for the message.
    """
    import torch

    table = model.get_input_embeddings().weight
    ids = [_ids(tokenizer, word) for word in PROBE_WORDS]
    if (highest := max(max(of_word) for of_word in ids)) >= len(table):
        raise Refusal(
            f"{folder}: has embeddings for {len(table)} tokens, its tokenizer gives token {highest}; they do not "
            "belong together, save or download both anew"
        )
    with torch.inference_mode():
        prove_embeddings([table[torch.tensor(of_word)].float().mean(dim=0).numpy() for of_word in ids], folder)


def _ids(tokenizer: Any, word: str) -> tuple[int, ...]:
    return tuple(tokenizer(word, add_special_tokens=False)["input_ids"])


def _unknown(tokenizer: Any, ids: Sequence[int]) -> bool:
    return tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids


def _tokenizer_class(folder: Path) -> Any:
    """The class that ``tokenizer_config.json`` names; None where it names none of transformers'."""
    import transformers

    named = getattr(transformers, str(_json_object(folder / "tokenizer_config.json").get("tokenizer_class")), None)
    return named if hasattr(named, "vocab_files_names") else None


def _where_a_tokenizer_is(folder: Path) -> str:
    """What to do: the folders of a pipeline keep tokenizer and text encoder apart."""
    beside = folder.parent / folder.name.replace("text_encoder", "tokenizer")
    if beside != folder and any(_holds(beside, name) for name in VOCABULARIES):
        return f"copy the files of {beside} there"
    return "save or download the tokenizer too"


def _better_tokenizer(folder: Path) -> str:
    """What to do about a tokenizer that cannot be one."""
    absent = missing(("sentencepiece", "protobuf"))
    if absent and not (folder / TOKENIZER_FILE).is_file() and _holds(folder, "*.model"):
        return f"run `pip install {' '.join(absent)}`, which read its file"
    return "save or download the tokenizer that belongs to the model"


def _holds(folder: Path, pattern: str) -> bool:
    return any(path.is_file() for path in folder.glob(pattern))


def _json_object(path: Path) -> dict[str, Any]:
    """Its content; nothing where it is absent or holds no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
