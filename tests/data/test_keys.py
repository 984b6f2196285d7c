"""The grammar of keys: what is put together comes apart again, and nothing that cannot be told apart is let in."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import keys
from pipeline.params.types import NAME_PATTERN

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)
IDS = st.text(min_size=1).filter(lambda text: keys.fault_of_id(text) is None)


@given(dataset=NAMES, source_id=IDS, derived=NAMES)
def test_a_key_tells_its_dataset_and_what_it_was_made_from(dataset: str, source_id: str, derived: str) -> None:
    plain = keys.picture_key(dataset, source_id)
    made = keys.derived_key(plain, derived)
    assert (keys.dataset_of(plain), keys.dataset_of(made)) == (dataset, derived)
    assert (keys.is_derived(plain), keys.is_derived(made)) == (False, True)
    columns = pa.array([made, plain, keys.derived_key(made, derived)])
    assert keys.parents_of(columns).to_pylist() == [plain, plain, made]
    assert keys.first_difference(columns, pa.array([made, plain, plain])) == 2


@pytest.mark.parametrize(
    ("source_id", "fault"),
    [
        ("a#b", "holds '#'"),
        ("a\nb", "holds a line break"),
        ("a\rb", "holds a line break"),
        ("a\0b", "holds a NUL"),
        ("a\udcffb", "is not named in UTF-8"),
    ],
)
def test_ids_that_no_key_can_hold(source_id: str, fault: str) -> None:
    assert (keys.fault_of_id(source_id) or "").startswith(fault)


@pytest.mark.parametrize(
    ("path", "source_id"),
    [
        ("n01440764/n01440764_10026.JPEG", "n01440764_10026"),
        ("ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.JPEG", "n01440764_10026"),
        ("n01440764_10026.JPEG", "n01440764_10026"),
        ("n01440764_10026", "n01440764_10026"),
        ("n01440764/10026.JPEG", "n01440764/10026.JPEG"),
        ("tench/n01440764_10026-copy.JPEG", "tench/n01440764_10026-copy.JPEG"),
        ("n0144076_10026.JPEG", "n0144076_10026.JPEG"),
        ("val/ILSVRC2012_val_00000001.JPEG", "val/ILSVRC2012_val_00000001.JPEG"),
        ("cat.dog/a.jpg", "cat.dog/a.jpg"),
    ],
)
def test_an_imagenet_picture_has_one_id_in_every_layout(path: str, source_id: str) -> None:
    assert keys.source_id_of(path) == source_id
