"""The diffusion transformer at the size of tests, as parameters have it."""

from __future__ import annotations

from typing import Any

DIT_OFF: dict[str, Any] = {"text_blocks": 0, "pooled_text": False, "long_skips": False, "mlp": "gelu"}
TINY_DIT: dict[str, Any] = {"width": 32, "depth": 2, "num_heads": 2, "patch_size": 2, "mlp_ratio": 2.0, **DIT_OFF}
