"""Which files of a model's repository are loaded; all others stay on the Hub.

Repositories hold the same weights several times: for other frameworks, in half precision, whole and in shards, as a
single file for other programs. Of these, one is taken: what transformers or diffusers would load.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

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
    """

    texts: tuple[str, ...]
    weights: tuple[Weights, ...]


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
    names = [name.removeprefix(prefix) for name in listed if name.startswith(prefix)]
    names = [name for name in names if "/" not in name]
    weights = [name for kind in parts.weights for name in kind.files(names)]
    if not weights:
        return []
    texts = [
        name
        for name in names
        if any(fnmatchcase(name, pattern) for pattern in parts.texts) and not name.endswith(".index.json")
    ]
    return sorted(prefix + name for name in {*texts, *weights})
