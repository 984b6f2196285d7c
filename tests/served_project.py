"""A small project whose captions come from servers of this machine."""

from __future__ import annotations

import socket
from typing import Any

from caption_server import MODEL
from small_project import WORLD, small_parameters

NUM_PICTURES, NUM_IN_FLIGHT = 48, 8
CAPTIONER = {
    "kind": "server",
    "model": MODEL,
    "revision": "0" * 40,
    "engine": "vllm 1.2.3",
    "side_px": 32,
    "instructions": {"Describe it.": 1.0},
    "max_new_tokens": 32,
    "decoding": {"temperature": 0.0, "top_p": 1.0},
    "cut_at_full_stop": True,
    "loop_ngram_words": 6,
    "loop_max_repeats": 3,
}
SETTINGS = {
    "num_in_flight": NUM_IN_FLIGHT,
    "num_per_server": 2,
    "timeout_s": 20.0,
    "num_attempts": 3,
    "max_wait_s": 0.1,
    "give_up_after_s": 1.0,
}


def parameters(urls: Any, **settings: Any) -> dict[str, Any]:
    raw = small_parameters()
    raw["download"]["rows"] = {"pictures": {**WORLD, "num_rows": NUM_PICTURES, "num_shards": 1}}
    raw["recaption"]["captioners"]["servers"] = CAPTIONER
    raw["recaption"]["rows"] = {"served": {"images": "download/pictures", "captioner": "servers"}}
    raw["execution"]["captioner_servers"] = {MODEL: {**SETTINGS, "urls": urls, **settings}}
    return raw


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
