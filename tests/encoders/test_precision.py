"""Payload bytes: round trips, and values that half precision cannot hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.encoders.precision import from_storage, to_storage
from pipeline.errors import Refusal, Reject


@given(st.lists(st.floats(-65000, 65000, width=32), min_size=1, max_size=20))
def test_float32_comes_back_bit_equal_and_float16_rounded(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    np.testing.assert_array_equal(from_storage(to_storage(values, "float32"), "float32", values.shape), values)
    np.testing.assert_array_equal(
        from_storage(to_storage(values, "float16"), "float16", values.shape), values.astype(np.float16)
    )


def test_bytes_are_in_c_order_and_little_endian() -> None:
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert to_storage(transposed, "float32") == np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes()
    assert to_storage(np.ones(1, np.float32), "float16") == b"\x00\x3c"


def test_what_half_precision_cannot_hold_is_rejected() -> None:
    values = np.array([1.0, -65520.0], np.float32)  # the smallest magnitude that rounds to infinity
    with pytest.raises(Reject) as rejected:
        to_storage(values, "float16")
    assert (rejected.value.reason, "65520" in rejected.value.detail) == ("overflow", True)
    assert len(to_storage(np.array([65519.0], np.float32), "float16")) == 2
    assert len(to_storage(values, "float32")) == 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_rejected_in_every_dtype(bad: float) -> None:
    values = np.array([0.0, bad], np.float32)
    for dtype in ("float32", "float16"):
        with pytest.raises(Reject, match="not_finite: 1 of 2 values"):
            to_storage(values, dtype)


def test_bytes_of_another_shape_are_refused() -> None:
    with pytest.raises(Refusal, match="payload of 8 bytes"):
        from_storage(bytes(8), "float16", (3,))
