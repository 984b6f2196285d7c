"""What is known of pretrained models before they are loaded: shapes from their own configuration, or read elsewhere.

A folder here and the Hub's cache are looked at; nothing is fetched.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.hub.commits import COMMIT

CONFIG = "config.json"
FOLDED_CLASS = "AutoencoderKLFlux2"
WITHOUT_DISTRIBUTION = ("AutoencoderDC", "AutoencoderTiny", "AutoencoderRAE")


@dataclass(frozen=True)
class LatentFacts:
    """Latents of an autoencoder.

    Attributes:
        channels: of one.
        factor: pixels per latent along a side.
        values: stored per position: the mean of each channel and, where there is a distribution, the std.
        told_by: what says so.
    """

    channels: int
    factor: int
    values: int
    told_by: str


# Read in the named sources, for models that are neither a folder here nor in the cache.
KNOWN_LATENTS = {
    "stabilityai/sd-vae-ft-ema": LatentFacts(4, 8, 8, "its public configuration: 32 x 32 x 4 at 256 px"),
    "stabilityai/sdxl-vae": LatentFacts(4, 8, 8, "its public configuration: 32 x 32 x 4 at 256 px"),
}
KNOWN_TEXT_DIMS = {"google/flan-t5-xl": (2048, "its public configuration")}


def latent_facts(entry: Any) -> LatentFacts | None:
    """Of an entry of encode_images.autoencoders; None where nothing tells."""
    config = config_of(entry.model, getattr(entry, "revision", None), getattr(entry, "subfolder", None))
    facts = None if config is None else _latents_of(config)
    return facts or KNOWN_LATENTS.get(entry.model)


def text_dim(entry: Any) -> tuple[int, str] | None:
    """Width of the embeddings of an entry of encode_text.encoders, and what says so; None where nothing does."""
    config = config_of(entry.model, getattr(entry, "revision", None), getattr(entry, "subfolder", None)) or {}
    for holder in (config, config.get("text_config") or {}):
        for key in ("d_model", "hidden_size"):
            if isinstance(holder.get(key), int):
                return int(holder[key]), "its configuration"
    return KNOWN_TEXT_DIMS.get(entry.model)


def config_of(model: str, revision: str | None, subfolder: str | None) -> dict[str, Any] | None:
    """The configuration of a model that is a folder here or in the Hub's cache; None where it is neither."""
    path = Path(model) / (subfolder or "") / CONFIG
    if not path.is_file():
        if revision is None or not COMMIT.fullmatch(revision):
            return None
        cached = _cached(model, revision, f"{subfolder}/{CONFIG}" if subfolder else CONFIG)
        if cached is None:
            return None
        path = cached
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        return None  # what is wrong with it is said when it is loaded
    return config if isinstance(config, dict) else None


def _cached(model: str, revision: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _latents_of(config: dict[str, Any]) -> LatentFacts | None:
    name = str(config.get("_class_name", ""))
    channels = next((config[key] for key in ("latent_channels", "z_dim") if isinstance(config.get(key), int)), None)
    factor = _factor_of(config)
    if channels is None or factor is None:
        return None
    if name == FOLDED_CLASS:  # its latents are read as patches of 2 x 2, four times the channels
        channels, factor = 4 * channels, 2 * factor
    values = channels if name in WITHOUT_DISTRIBUTION else 2 * channels
    return LatentFacts(channels, factor, values, "its configuration")


def _factor_of(config: dict[str, Any]) -> int | None:
    """Pixels per latent: stated, or a halving between every two blocks."""
    for key in ("spatial_compression_ratio", "scale_factor_spatial"):
        if isinstance(config.get(key), int):
            return int(config[key])
    for key in ("block_out_channels", "encoder_block_out_channels"):
        if isinstance(config.get(key), list) and config[key]:
            return int(2 ** (len(config[key]) - 1))
    if isinstance(config.get("dim_mult"), list):  # Qwen-Image, Wan
        return int(2 ** (len(config["dim_mult"]) - 1))
    return None
