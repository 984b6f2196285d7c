"""Text in 8 bit: how far a value may be off, and what no code can hold."""

from __future__ import annotations

import hashlib
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.encoders.precision import to_storage
from pipeline.encoders.stored_text import (
    SCALE_DTYPE,
    StoredText,
    batch_dtype,
    is_scaled,
    num_bytes,
    pooled_dtype,
    restore,
    text_to_storage,
    worst_error,
)
from pipeline.errors import Reject
from pipeline.params.types import StorageDtype, TextStorageDtype

SCALED: tuple[TextStorageDtype, ...] = ("float8", "int8")
MAX_FLOAT16, LEAST_FLOAT32 = 65504.0, 2.0**-149
EMBEDDINGS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    # Whole ranges, among them numbers below float32's normal ones; and 0, which many embeddings are full of.
    elements=st.floats(-60000, 60000, width=32)
    | st.floats(-1, 1, width=32)
    | st.floats(-(2.0**-126), 2.0**-126, width=32),
)


def restored(stored: StoredText, dtype: TextStorageDtype, shape: tuple[int, ...]) -> np.ndarray:
    assert stored.scale is not None
    target = np.full(shape, np.nan, np.float16)
    codes = np.frombuffer(stored.embedding, np.uint8).reshape(shape).copy()
    restore(codes, np.frombuffer(stored.scale, SCALE_DTYPE).copy(), dtype, target)
    return target


def bounds(values: np.ndarray, dtype: str) -> np.ndarray:
    """The largest error by hand: half a step of codes, then half a step of float16, then float32's rounding."""
    exact = values.astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True)
    if dtype == "int8":
        step = largest / 127 * (1 + 2.0**-23) + LEAST_FLOAT32
        coded = np.broadcast_to(step / 2, exact.shape)
    else:
        step = largest / 448 * (1 + 2.0**-23) + LEAST_FLOAT32
        coded = np.maximum(np.abs(exact) / 16, step / 1024)
    near = np.abs(exact) + coded
    return coded + np.maximum(near * 2.0**-11, 2.0**-25) + near * 2.0**-22


@given(EMBEDDINGS, st.sampled_from(SCALED))
def test_a_value_is_off_by_no_more_than_the_closed_form(values: np.ndarray, dtype: TextStorageDtype) -> None:
    read = restored(text_to_storage(values, dtype), dtype, values.shape)
    error = np.abs(read.astype(np.float64) - values)
    assert (error <= bounds(values, dtype)).all()
    rounding = np.maximum(np.abs(values) * 2.0**-10, 2.0**-24)
    assert (error <= worst_error(read, dtype) * (1 + 2.0**-8) + rounding).all()  # what a reader can know of it


def test_the_closed_form_is_reached() -> None:
    """Values midway between codes: were the bound any smaller, it would not hold."""
    midway = {"int8": [127.0, 0.5, 2.5], "float8": [448.0, 17.0, 2.0**-10]}
    worst = {"int8": [0.0, 0.5, 0.5], "float8": [0.0, 17.0 - 16.0, 2.0**-10]}
    for dtype in SCALED:
        values = np.array([midway[dtype]], np.float32)
        read = restored(text_to_storage(values, dtype), dtype, values.shape)
        assert np.abs(read - values)[0].tolist() == worst[dtype]
        assert (np.abs(read - values) <= worst_error(read, dtype)).all()


def test_every_code_of_float8_is_what_torch_says_it_is() -> None:
    codes = np.arange(256, dtype=np.uint8)[None]
    said = torch.from_numpy(codes.copy()).view(torch.float8_e4m3fn).float().numpy()
    target = np.empty(codes.shape, np.float16)
    restore(codes, np.ones(1, np.float32), "float8", target)
    is_number = np.isfinite(said)
    assert is_number.sum() == 254  # 0x7f and 0xff are none, and are never written
    assert np.array_equal(target[is_number], said[is_number].astype(np.float16))


@pytest.mark.parametrize("dtype", SCALED)
def test_codes_are_the_nearest_ones(dtype: TextStorageDtype) -> None:
    """Beside a search through all codes; no code stands for what is no number."""
    values = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32)
    stored = text_to_storage(values, dtype)
    kind = torch.int8 if dtype == "int8" else torch.float8_e4m3fn
    every = torch.arange(256, dtype=torch.uint8).view(kind).float().numpy()
    scales = np.frombuffer(stored.scale or b"", SCALE_DTYPE)[:, None]
    codes = np.frombuffer(stored.embedding, np.uint8).reshape(values.shape)
    far = np.abs(every[codes] * scales - values)
    nearest = np.abs(np.nan_to_num(every, nan=np.inf)[:, None, None] * scales - values).min(axis=0)
    assert np.allclose(far, nearest, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("dtype", SCALED)
def test_a_token_of_zeros_stays_one(dtype: TextStorageDtype) -> None:
    values = np.array([[0.0, -0.0, 0.0], [1.0, 2.0, -3.0]], np.float32)
    stored = text_to_storage(values, dtype)
    assert np.frombuffer(stored.scale or b"", SCALE_DTYPE)[0] == 0
    assert not restored(stored, dtype, values.shape)[0].any()
    assert restored(stored, dtype, values.shape)[1, 2] == -3


@pytest.mark.parametrize("dtype", SCALED)
def test_an_outlier_costs_its_own_token_alone(dtype: TextStorageDtype) -> None:
    calm = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    loud = calm.copy()
    loud[0, 5] = 60000.0
    before, after = (restored(text_to_storage(one, dtype), dtype, one.shape) for one in (calm, loud))
    assert after[0, 5] == 60000
    assert np.array_equal(after[1], before[1])
    lost = np.abs(after[0] - calm[0])[np.arange(64) != 5]
    if dtype == "int8":  # steps of 472: everything else is gone, which float8's own exponents do not let happen
        assert np.array_equal(after[0] != 0, np.arange(64) == 5)
    else:
        assert (lost <= np.maximum(np.abs(calm[0][np.arange(64) != 5]) / 16, 60000 / 448 / 1024) + 1e-3).all()


@pytest.mark.parametrize("dtype", SCALED)
@pytest.mark.parametrize("largest", [LEAST_FLOAT32, 3e-44, 1e-40, 1e-30])
def test_numbers_below_the_normal_ones_give_no_infinity(dtype: TextStorageDtype, largest: float) -> None:
    values = np.array([[largest, -largest, largest / 2, 0.0]], np.float32)
    stored = text_to_storage(values, dtype)
    assert np.frombuffer(stored.scale or b"", SCALE_DTYPE)[0] > 0
    assert np.isfinite(restored(stored, dtype, values.shape)).all()


@pytest.mark.parametrize("dtype", get_args(TextStorageDtype))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_rejected(dtype: TextStorageDtype, bad: float) -> None:
    with pytest.raises(Reject, match="not_finite: 1 of 4 values"):
        text_to_storage(np.array([[0.0, bad], [1.0, 2.0]], np.float32), dtype)


@pytest.mark.parametrize("dtype", SCALED)
def test_what_a_batch_cannot_hold_is_rejected(dtype: TextStorageDtype) -> None:
    fits = np.array([[MAX_FLOAT16, 1.0]], np.float32)
    assert restored(text_to_storage(fits, dtype), dtype, fits.shape)[0, 0] == MAX_FLOAT16
    with pytest.raises(Reject, match=f"overflow: a value of magnitude 65536 .* float16 that is made of {dtype}"):
        text_to_storage(np.array([[1.0, 1.0], [-65536.0, 1.0]], np.float32), dtype)


@pytest.mark.parametrize("dtype", get_args(TextStorageDtype))
@pytest.mark.parametrize("shape", [(1, 1), (7, 24), (0, 4)])
def test_so_many_bytes_are_stored(dtype: TextStorageDtype, shape: tuple[int, int]) -> None:
    stored = text_to_storage(np.ones(shape, np.float32), dtype)
    assert len(stored.embedding) + len(stored.scale or b"") == num_bytes(*shape, dtype)
    assert (stored.scale is not None) == is_scaled(dtype)


@pytest.mark.parametrize("dtype", get_args(StorageDtype))
def test_other_dtypes_are_stored_as_they_always_were(dtype: StorageDtype) -> None:
    values = np.random.default_rng(2).standard_normal((5, 16)).astype(np.float32)
    stored = text_to_storage(values, dtype)
    assert stored == (to_storage(values, dtype), None)
    assert batch_dtype(dtype) == {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}[dtype]
    known = np.linspace(-300, 300, 1000, dtype=np.float32).reshape(10, 100)
    assert hashlib.sha256(text_to_storage(known, dtype).embedding).hexdigest()[:16] == GOLDEN[dtype]


GOLDEN = {"float32": "d770d6a055ae43d1", "float16": "44da45f47059e472"}


def test_a_pooled_vector_is_never_of_8_bit() -> None:
    assert [pooled_dtype(dtype) for dtype in get_args(TextStorageDtype)] == ["float32", "float16", "float16", "float16"]
