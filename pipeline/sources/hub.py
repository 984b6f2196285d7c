"""A data set of the Hugging Face Hub in Parquet, at one commit, as a source.

The index fetches all files of the split or pattern into the Hub's cache, so that a shard needs no network: nodes that
compute often have none, while the cache lies on a shared disk. Where a file is gone from the cache, a shard fetches
that one. Pictures are read from there as from any Parquet file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Self

import yaml
from fsspec.utils import glob_translate
from huggingface_hub import metadata_load

from pipeline.errors import Refusal
from pipeline.hub.answers import CARD
from pipeline.hub.files import HubFiles
from pipeline.params.parquet import HubRow
from pipeline.sources.parquet import ParquetPictures
from pipeline.sources.parquet_files import EXTENSION, chosen, some, split_of
from pipeline.sources.parts import refuse_missing_parts

_REMEDY = "its owner did not upload all: name another commit, or the parts that are wanted with files"
_MAX_SAID = 200  # characters of what a card says


class HubSource(ParquetPictures):
    """Parquet files of a commit."""

    random_access = True

    @classmethod
    def open(cls, params: HubRow, seed: int) -> Self:
        """The data set that a row names; nothing is asked for yet."""
        del seed
        files = HubFiles(params.repository, params.commit)

        def names() -> list[str]:
            files.refuse_unpinned()
            wanted = _files_of(params, files)
            files.fetch_all(wanted)
            return wanted

        return cls(params.columns, params.class_names, names, files.fetch)


def _files_of(params: HubRow, files: HubFiles) -> list[str]:
    """The Parquet files that a row names, sorted by path."""
    where = f"hub data set {params.repository} at {params.commit}"
    there = chosen(files.listed, "*", where)
    is_wanted: Callable[[str], bool] = bool
    if params.split is None:
        found, is_wanted = chosen(files.listed, params.files, where), partial(fnmatchcase, pat=params.files or "*")
    elif configurations := _configurations(files):
        found = _of_card(params, there, configurations, where)
    else:
        found = _by_name(params, there, where)
    refuse_missing_parts(found, is_wanted, where, _REMEDY)
    return found


def _configurations(files: HubFiles) -> list[dict[str, Any]]:
    """The configurations with files that the data set's card declares; none where it has none."""
    if CARD not in files.listed:
        return []
    path = files.fetch(CARD)
    try:
        card = metadata_load(path) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise Refusal(f"{path}: a card that cannot be read ({' '.join(str(error).split())}); name files") from None
    found = card.get("configs")
    return (
        [each for each in found if isinstance(each, dict) and each.get("data_files")] if isinstance(found, list) else []
    )


def _of_card(params: HubRow, there: list[str], configurations: list[dict[str, Any]], where: str) -> list[str]:
    """Files of a split by the card's own patterns."""
    subsets = {str(each.get("config_name", "default")): each for each in configurations}
    if params.subset is not None:
        if params.subset not in subsets:
            raise Refusal(f"{where}: no subset {params.subset!r}; it has {', '.join(sorted(subsets))}")
        configuration = subsets[params.subset]
    else:
        defaults = [each for each in configurations if each.get("default") or each.get("config_name") == "default"]
        if len(configurations) > 1 and not defaults:
            raise Refusal(f"{where}: has the subsets {', '.join(sorted(subsets))}; name one as subset")
        configuration = (defaults or configurations)[0]
    splits = _splits(configuration, where)
    if params.split not in splits:
        raise Refusal(f"{where}: no split {params.split!r}; it has {', '.join(sorted(splits))}")
    patterns = splits[params.split]
    wanted = [_expression(pattern, where) for pattern in patterns]
    found = [name for name in there if any(each.match(name) for each in wanted)]
    if not found:
        raise Refusal(
            f"{where}: its split {params.split!r} is {', '.join(patterns)}, and no {EXTENSION} file is called so; "
            f"name files, of {some(there)}"
        )
    return found


def _expression(pattern: str, where: str) -> re.Pattern[str]:
    """What paths a card's pattern names, as ``datasets`` finds them: ``*`` ends at a slash, ``**`` is any folders."""
    try:
        return re.compile(glob_translate(pattern))
    except (ValueError, re.error) as error:
        said = " ".join(str(error).split())
        raise Refusal(f"{where}: its card's pattern {pattern!r} cannot be read ({said}); name files") from None


def _splits(configuration: dict[str, Any], where: str) -> dict[str, list[str]]:
    """Patterns of each split; files that are of no split are ``train``, as in ``datasets``."""
    data_files, folder = configuration["data_files"], str(configuration.get("data_dir") or "").strip("/")
    each = data_files if isinstance(data_files, list) else [data_files]
    splits: dict[str, list[str]] = {}
    for item in each:
        split, path = (item.get("split"), item.get("path")) if isinstance(item, dict) else ("train", item)
        patterns = path if isinstance(path, list) else [path]
        if split is None or not all(isinstance(pattern, str) for pattern in patterns):
            raise Refusal(
                f"{where}: its card's data_files has {str(item)[:_MAX_SAID]!r}, no split with path; name files"
            )
        splits.setdefault(str(split), []).extend(
            f"{folder}/{pattern}" if folder else str(pattern) for pattern in patterns
        )
    return splits


def _by_name(params: HubRow, there: list[str], where: str) -> list[str]:
    """Files of a split by their names, as ``datasets`` finds them where a card declares none."""
    ours = there if params.subset is None else [name for name in there if name.startswith(f"{params.subset}/")]
    if not ours:
        raise Refusal(f"{where}: no {EXTENSION} file below {params.subset}/; correct subset, of {some(there)}")
    found = [name for name in ours if split_of(name) == params.split]
    if not found:
        splits = sorted({split for name in ours if (split := split_of(name))})
        raise Refusal(
            f"{where}: no split {params.split!r}; it has {', '.join(splits) or 'none by their names'}; name files"
        )
    folders = sorted({str(Path(name).parent) for name in found})
    if len(folders) > 1:
        raise Refusal(f"{where}: split {params.split!r} lies in {some(folders)}; name one as subset, or name files")
    return found
