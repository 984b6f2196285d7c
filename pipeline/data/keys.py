"""The grammar of keys: ``<dataset>/<id in the source>``, and ``<key>#<dataset>`` of a picture made from another one.

A dataset is a row of download or augment. Its name holds neither mark, an id may hold slashes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_DATASET_END, _DERIVED_MARK = "/", "#"
_IMAGENET_NAME = re.compile(r"(n\d{8}_\d+)(_n\d{8})?")  # in copies on the Hub its class is written once more
_FORBIDDEN_IN_IDS = {_DERIVED_MARK: "'#'", "\n": "a line break", "\r": "a line break", "\0": "a NUL"}


def picture_key(dataset: str, source_id: str) -> str:
    """The key of a picture as its source has it."""
    return f"{dataset}{_DATASET_END}{source_id}"


def picture_keys(dataset: str, source_ids: pa.Array) -> pa.Array:
    """``picture_key`` of a column of ids."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(picture_key(dataset, ""), source_ids, "")


def ids_of_keys(keys: pa.ChunkedArray) -> pa.Array:
    """The ids in their source of pictures of one dataset, as it has them; large_string."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = keys.combine_chunks().cast(pa.large_string())
    return pc.replace_substring_regex(whole, pattern=f"^[^{_DATASET_END}]*{_DATASET_END}", replacement="")


def derived_key(key: str, dataset: str) -> str:
    """The key of the picture that ``dataset`` made from the one behind ``key``."""
    return f"{key}{_DERIVED_MARK}{dataset}"


def is_derived(key: str) -> bool:
    """Was this picture made from another one?"""
    return _DERIVED_MARK in key


def parents_of(keys: pa.Array) -> pa.Array:
    """Keys of the pictures that those behind ``keys`` were made from; a plain key stays as it is. Many at once."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(keys, pattern=f"{_DERIVED_MARK}[^{_DERIVED_MARK}]*$", replacement="")


def first_difference(keys: pa.Array, others: pa.Array) -> int:
    """The first row in which two columns of one length differ; 0 where none does."""
    import pyarrow.compute as pc

    return max(0, int(pc.index(pc.equal(keys, others), False).as_py()))


def dataset_of(key: str) -> str:
    """The dataset that a key belongs to."""
    return key.rsplit(_DERIVED_MARK, 1)[1] if is_derived(key) else key.partition(_DATASET_END)[0]


def source_id_of(path: str) -> str:
    """The id of a picture that its source knows by a path with forward slashes.

    An ImageNet picture is called ``n01440764_10026`` in every layout of the archive; any other one by its path.
    """
    found = _IMAGENET_NAME.fullmatch(path.rpartition("/")[2].partition(".")[0])
    return found[1] if found else path


def fault_of_id(source_id: str) -> str | None:
    """What an id holds that no key can, in words; None where it can be part of a key."""
    for mark, words in _FORBIDDEN_IN_IDS.items():
        if mark in source_id:
            return f"holds {words}, which keys cannot"
    try:
        source_id.encode()
    except UnicodeEncodeError:
        return "is not named in UTF-8"
    return None
