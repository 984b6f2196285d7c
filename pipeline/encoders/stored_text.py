"""Text embeddings as the bytes of the table ``text`` and back: in the stored dtype, or as codes of 8 bit with a scale.

An embedding of 8 bit is a code per value and a float32 per token, whose largest magnitude M gets the largest code: a
value is code x scale, rounded to float16, which batches hold. A scale per token and not per channel, since a loader
then needs nothing but the row; and since a token's outlier channel spoils its own token alone.

- ``int8``: symmetric, scale M / 127, code -127 to 127. A value is off by M / 254 at most.
- ``float8``: e4m3 (the "fn" kind: no infinities, 448 the largest; OCP 8-bit floating point, version 1.0), scale
  M / 448. A value is off by a sixteenth of itself at most, or by M / 458,752 (2^-10 / 448) where that is more.

Both, beside rounding to float16. Measured: ``python -m perf.text_bits``; why: docs/decisions/0014-text-in-8-bit.md.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import numpy as np
import torch

from pipeline.encoders import precision
from pipeline.errors import Reject
from pipeline.params.types import StorageDtype, TextStorageDtype

ScaledDtype = Literal["float8", "int8"]
LARGEST_CODE: dict[str, float] = {"int8": 127.0, "float8": 448.0}
SCALE_DTYPE = np.dtype("<f4")
BATCH_DTYPE = np.dtype("<f2")  # of values that were codes, in a batch
# A float8 of bits s eeee mmm, moved into a float16 (s eeeee mmmmmmmmmm), is its value by 2^(7 - 15): subnormals too.
_FLOAT8_SHIFT, _FLOAT8_KEPT, _FLOAT8_FACTOR = 7, ~(1 << 14), 2.0**8


class StoredText(NamedTuple):
    """The columns of a row that hold an embedding; ``scale`` is None where the dtype needs none."""

    embedding: bytes
    scale: bytes | None


def is_scaled(dtype: str) -> bool:
    """Are values of this dtype codes, with a scale per token beside them?"""
    return dtype in LARGEST_CODE


def pooled_dtype(dtype: TextStorageDtype) -> StorageDtype:
    """How a pooled vector is stored beside embeddings of this dtype: it is one vector, too little to save anything."""
    return "float16" if is_scaled(dtype) else cast(StorageDtype, dtype)


def batch_dtype(dtype: TextStorageDtype) -> np.dtype[np.generic]:
    """The dtype of values as a training batch holds them."""
    return BATCH_DTYPE if is_scaled(dtype) else precision.numpy_dtype(cast(StorageDtype, dtype))


def num_bytes(num_tokens: int, dim: int, dtype: TextStorageDtype) -> int:
    """The bytes that this many tokens take once stored, scales included."""
    if is_scaled(dtype):
        return num_tokens * (dim + SCALE_DTYPE.itemsize)
    return precision.num_bytes(num_tokens * dim, cast(StorageDtype, dtype))


def text_to_storage(embedding: np.ndarray, dtype: TextStorageDtype) -> StoredText:
    """What the table holds of an embedding.

    Args:
        embedding: (num_text_tokens, dim), float32.
        dtype: what is stored.

    Raises:
        Reject: ``not_finite``, a value is NaN or infinite; ``overflow``, a value is too large for the dtype, or for the
            float16 that is made of a code.
    """
    if not is_scaled(dtype):
        return StoredText(precision.to_storage(embedding, cast(StorageDtype, dtype)), None)
    precision.refuse_not_finite(embedding)
    largest = np.abs(embedding).max(axis=1)
    scales = _scales(largest, LARGEST_CODE[dtype])
    with np.errstate(over="ignore"):  # told below, with the value
        fits = np.isfinite((scales * np.float32(LARGEST_CODE[dtype])).astype(BATCH_DTYPE))
    if not fits.all():
        what = f"a value of magnitude {largest.max():g} does not fit into the float16 that is made of {dtype}"
        raise Reject("overflow", what)
    quotients = embedding / np.where(scales > 0, scales, np.float32(1))[:, None]
    if dtype == "int8":
        codes = np.rint(quotients).astype(np.int8)
    else:
        codes = torch.from_numpy(np.ascontiguousarray(quotients)).to(torch.float8_e4m3fn).view(torch.int8).numpy()
    return StoredText(codes.tobytes(), scales.astype(SCALE_DTYPE).tobytes())


def _scales(largest: np.ndarray, largest_code: float) -> np.ndarray:
    """A float32 per token: the least with which no magnitude is above the largest code; 0 of a token of zeros."""
    wanted = largest.astype(np.float64) / largest_code
    scales: np.ndarray = wanted.astype(np.float32)
    too_small = scales.astype(np.float64) * largest_code < largest
    scales[too_small] = np.nextafter(scales[too_small], np.float32(np.inf))
    return scales


def restore(codes: np.ndarray, scales: np.ndarray, dtype: TextStorageDtype, target: np.ndarray) -> None:
    """The values behind codes; the bytes of codes may lie within those of ``target``.

    Args:
        codes: (num_text_tokens, dim), uint8, contiguous.
        scales: (num_text_tokens,), float32.
        dtype: of the codes.
        target: (num_text_tokens, dim), float16; what is written.
    """
    # float32 in between, whole, so that codes may lie where values go. Large arrays: torch's casts use vectors, but not
    # that of its float8, which takes ten times as long as moving the bits.
    signed, factors = torch.from_numpy(codes.view(np.int8)), torch.from_numpy(scales)[:, None]
    if dtype == "int8":
        values = signed.float().mul_(factors)
    else:
        moved = signed.to(torch.int16).bitwise_left_shift_(_FLOAT8_SHIFT).bitwise_and_(_FLOAT8_KEPT)
        values = moved.view(torch.float16).float().mul_(factors * _FLOAT8_FACTOR)
    torch.from_numpy(target).copy_(values)


def worst_error(values: np.ndarray, dtype: TextStorageDtype) -> np.ndarray:
    """How far each value may be from what it was before it was stored, beside rounding to float16.

    Args:
        values: (num_text_tokens, dim), as read; their largest magnitude is what it was.
        dtype: in which they were stored.
    """
    magnitudes: np.ndarray = np.abs(values.astype(np.float64))
    if not is_scaled(dtype):
        return np.zeros_like(magnitudes)
    scales: np.ndarray = magnitudes.max(axis=1, keepdims=True) / LARGEST_CODE[dtype]
    if dtype == "int8":
        return np.zeros_like(magnitudes) + scales / 2
    return np.maximum(magnitudes / 15, scales * 2.0**-10)  # v / 16 of what it was, of which at least 15 / 16 is left
