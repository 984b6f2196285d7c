"""Which files of a model's repository are loaded; all others stay on the Hub.

Repositories hold the same weights several times: for other frameworks, in half precision, whole and in shards, as a
single file for other programs. Of these, one is taken: what transformers or diffusers would load.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

TOKENIZER_FILE = "tokenizer.json"
# Whatever the class: sentencepiece, Mistral's and OpenAI's forms, which several classes read under other names.
OTHER_VOCABULARIES = ("*.model", "tekken.json", "*.tiktoken")
VOCABULARIES = (TOKENIZER_FILE, "vocab.json", "vocab.txt", *OTHER_VOCABULARIES)
_SHARDED_INDEX = ".safetensors.index.json"


@dataclass(frozen=True)
class Weights:
    """Weights of one name.

    Attributes:
        stem: their name up to ``.safetensors``, or to the number of a shard.
        whole_first: where they are there whole and in shards, the library takes the whole file; else the shards.
    """

    stem: str
    whole_first: bool

    def files(self, names: Sequence[str]) -> list[str]:
        """Those that are loaded, of all files of a folder."""
        whole = [name for name in names if name == f"{self.stem}.safetensors"]
        shard = re.compile(rf"{re.escape(self.stem)}-\d+-of-\d+\.safetensors")
        shards = [name for name in names if shard.fullmatch(name) or name == self.stem + _SHARDED_INDEX]
        first, second = (whole, shards) if self.whole_first else (shards, whole)
        return first or second


@dataclass(frozen=True)
class Parts:
    """What one use of a model loads.

    Attributes:
        texts: patterns of configurations, vocabularies, templates.
        weights: by their names.
        with_tokenizer: it has a tokenizer, which pipelines keep in a folder of its own.
    """

    texts: tuple[str, ...]
    weights: tuple[Weights, ...]
    with_tokenizer: bool = False


_TRANSFORMERS, _DIFFUSERS = Weights("model", whole_first=True), Weights("diffusion_pytorch_model", whole_first=False)

# A chat model, a vision tower, a network of ours or a released one: the latter has an embedding beside its weights.
ANY_MODEL = Parts(
    ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "uncond_embedding.npy"), (_TRANSFORMERS, _DIFFUSERS)
)
TEXT_ENCODER = Parts(
    (
        *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("*.model", "vocab.json", "vocab.txt", "merges.txt"),
    ),
    (_TRANSFORMERS,),
    with_tokenizer=True,
)
AUTOENCODER = Parts(("config.json",), (_DIFFUSERS,))


def wanted_files(listed: Sequence[str], parts: Parts, subfolder: str | None) -> list[str]:
    """The files that are loaded, sorted; none where there are no weights that could be.

    Args:
        listed: all files of the repository.
        parts: what they are wanted for.
        subfolder: where in it the model lies; None: at the top.
    """
    prefix = f"{subfolder}/" if subfolder else ""
    names = _names_in(listed, prefix)
    weights = [name for kind in parts.weights for name in kind.files(names)]
    if not weights:
        return []
    texts = [
        name
        for name in names
        if any(fnmatchcase(name, pattern) for pattern in parts.texts) and not name.endswith(".index.json")
    ]
    wanted = [prefix + name for name in {*texts, *weights}]
    other = beside(subfolder) if subfolder and parts.with_tokenizer else None
    if other is not None and not holds_vocabulary(names):
        of_tokenizer = (name for name in _names_in(listed, f"{other}/") if name != "config.json")
        wanted += [
            f"{other}/{name}" for name in of_tokenizer if any(fnmatchcase(name, pattern) for pattern in parts.texts)
        ]
    return sorted(wanted)


def beside(subfolder: str) -> str | None:
    """The folder that a pipeline keeps the tokenizer of this text encoder in; None where it is no such folder."""
    other = subfolder.replace("text_encoder", "tokenizer")
    return None if other == subfolder else other


def holds_vocabulary(names: Sequence[str]) -> bool:
    """Is there a file of a tokenizer's vocabulary among the files of a folder?"""
    return any(fnmatchcase(name, pattern) for name in names for pattern in VOCABULARIES)


def _names_in(listed: Sequence[str], prefix: str) -> list[str]:
    """Files of a folder, without those of its subfolders."""
    names = [name.removeprefix(prefix) for name in listed if name.startswith(prefix)]
    return [name for name in names if "/" not in name]
