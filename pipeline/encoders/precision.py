"""Arrays as the bytes of a payload column and back, in the dtype of the shard's metadata.

float16 halves what is stored: latents and T5 embeddings lie far inside its range, and a value that does not is a
reject, never an infinity that training would meet later. Text in 8 bit: ``pipeline.encoders.stored_text``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pipeline.errors import Refusal, Reject
from pipeline.params.types import StorageDtype

# Little-endian whatever the machine, so that shards can be carried between machines.
_NUMPY_DTYPE = {"float32": "<f4", "float16": "<f2"}


def to_storage(values: np.ndarray, dtype: StorageDtype) -> bytes:
    """The bytes of an array in C order.

    Args:
        values: any shape, float32.
        dtype: what is stored.

    Raises:
        Reject: ``not_finite``, a value is NaN or infinite; ``overflow``, a value is too large for the dtype.
    """
    refuse_not_finite(values)
    with np.errstate(over="ignore"):  # told below, with the value
        stored = values.astype(_NUMPY_DTYPE[dtype])
    if not np.isfinite(stored).all():
        raise Reject("overflow", f"a value of magnitude {np.abs(values).max():g} does not fit into {dtype}")
    return stored.tobytes()


def refuse_not_finite(values: np.ndarray) -> None:
    """Raise Reject ``not_finite`` where a value is NaN or infinite."""
    if not np.isfinite(values).all():
        raise Reject("not_finite", f"{int((~np.isfinite(values)).sum())} of {values.size} values are not finite")


def numpy_dtype(dtype: StorageDtype) -> np.dtype[Any]:
    """How NumPy calls what is stored."""
    return np.dtype(_NUMPY_DTYPE[dtype])


def num_bytes(num_values: int, dtype: StorageDtype) -> int:
    """The bytes that this many values take once stored."""
    return num_values * np.dtype(_NUMPY_DTYPE[dtype]).itemsize


def from_storage(data: bytes, dtype: StorageDtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that ``to_storage`` wrote, read-only, in the stored dtype.

    Raises:
        Refusal: the bytes are not as many as dtype and shape say.
    """
    numpy_dtype = np.dtype(_NUMPY_DTYPE[dtype])
    if len(data) != math.prod(shape) * numpy_dtype.itemsize:
        raise Refusal(f"payload of {len(data)} bytes is no {dtype} array of shape {shape}; make the shard anew")
    return np.frombuffer(data, numpy_dtype).reshape(shape)
