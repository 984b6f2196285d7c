"""Data sets of the Hub, beside a small Hub on this machine: what is fetched, how often, what is said when it fails."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import msgspec
import pytest
from fake_hub import COMMIT, REPOSITORY, Hub, serving
from huggingface_hub import constants
from parquet_made import png, rows, table, write

from pipeline.errors import Refusal, Transient
from pipeline.hub import files as hub_files
from pipeline.params.parquet import HubRow, ParquetColumns
from pipeline.sources.hub import HubSource

COLUMNS = {"image": "image", "label": "label", "text": ["caption"], "id": "image.path"}
ROW: dict[str, Any] = {
    "version": 1,
    "revision": 1,
    "num_rows": "all",
    "num_shards": 1,
    "max_image_pixels": 10**6,
    "near_duplicates": "count",
    "near_duplicate_bits": 4,
    "max_reject_fraction": 0.5,
    "row_group_rows": 4,
    "repository": REPOSITORY,
    "commit": COMMIT,
    "columns": msgspec.convert(COLUMNS, ParquetColumns),
}
FIRST, SECOND, OTHER = (
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/test-00000-of-00001.parquet",
)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("made")
    numbers = {FIRST: range(40), SECOND: range(40, 90), OTHER: range(90, 100)}
    files = {name: write(folder / name, table(rows(each)), 10).read_bytes() for name, each in numbers.items()}
    return {".gitattributes": b"*.parquet filter=lfs\n", "README.md": b"# Pictures\n", **files}


@pytest.fixture
def hub(contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that this process asks, with an empty cache and without a token."""
    with serving(Hub(dict(contents))) as served:
        pointed_at(served, tmp_path, monkeypatch)
        yield served


def pointed_at(served: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", served.address)
    template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub_files, "_WAITS_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # what a connection that breaks loses at most
    huggingface_hub.close_session()


def source(**values: Any) -> HubSource:
    given = {**ROW, **values}
    return HubSource.open(HubRow(**given if "files" in given else {"split": "train", **given}), 0)


def refused(kind: type[Refusal] = Refusal, **values: Any) -> str:
    with pytest.raises(Refusal) as caught:
        list(source(**values).entries())
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is fetched


def test_the_split_is_fetched_once_and_read(hub: Hub) -> None:
    found = list(source().entries())
    assert [entry.source_id for entry in found] == [f"{number}.png" for number in range(90)]
    assert found[41].location == f"{SECOND}/1"
    assert {entry.class_name for entry in found} == {"cat", "dog", "fire truck"}
    read = list(source().read_many([found[number].location for number in (77, 3, 41)]))
    assert read == [png(77), png(3), png(41)]
    assert [hub.sent(name) for name in (FIRST, SECOND)] == [[(0, len(hub.files[name]))] for name in (FIRST, SECOND)]
    assert hub.sent(OTHER) == []
    hub.asked.clear()
    assert list(source().entries()) == found
    assert hub.asked == []


def test_after_the_index_no_network_is_needed(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub(dict(contents))) as served:
        pointed_at(served, tmp_path, monkeypatch)
        found = list(source().entries())
    assert list(source().read_many([found[50].location])) == [png(50)]
    assert list(source().entries()) == found


def test_a_shard_fetches_its_own_file_where_the_cache_lost_it(hub: Hub, tmp_path: Path) -> None:
    list(source().entries())
    for path in (tmp_path / "cache").rglob("*.parquet"):
        path.resolve().unlink()
        path.unlink()
    hub.asked.clear()
    assert list(source().read_many([f"{SECOND}/0"])) == [png(40)]
    assert hub.sent(FIRST) == []
    assert hub.sent(SECOND) == [(0, len(hub.files[SECOND]))]


def test_a_body_that_breaks_off_is_continued(hub: Hub) -> None:
    hub.faults[FIRST] = [("cut", 3000), ("cut", 2000)]
    assert len(list(source().entries())) == 90
    size = len(hub.files[FIRST])
    assert hub.sent(FIRST) == [(0, 3000), (3000, 2000), (5000, size - 5000)]


def test_a_piece_that_a_kill_left_is_continued_by_the_next_process(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: Any, **options: Any) -> None:
        arguments[1].write(hub.files[FIRST][:4000])
        arguments[1].flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hub_files, "http_get", killed)
        with pytest.raises(KeyboardInterrupt):
            hub_files.HubFiles(REPOSITORY, COMMIT).fetch(FIRST)
    path = hub_files.HubFiles(REPOSITORY, COMMIT).fetch(FIRST)
    assert path.read_bytes() == hub.files[FIRST]
    assert hub.sent(FIRST) == [(4000, len(hub.files[FIRST]) - 4000)]
    assert list(path.resolve().parent.glob("*.piece")) == []


def test_a_piece_that_became_too_long_is_begun_anew(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [hub.files[FIRST] + b"xx"]
    http_get = hub_files.http_get

    def too_long_once(*arguments: Any, **options: Any) -> None:
        if not answers:
            http_get(*arguments, **options)
            return
        arguments[1].write(answers.pop())
        raise OSError("Consistency check failed")

    monkeypatch.setattr(hub_files, "http_get", too_long_once)
    path = hub_files.HubFiles(REPOSITORY, COMMIT).fetch(FIRST)
    assert path.read_bytes() == hub.files[FIRST]
    assert hub.sent(FIRST) == [(0, len(hub.files[FIRST]))]


def test_a_file_that_arrives_otherwise_than_the_hub_says_is_not_kept(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, told = hub_files.HubFiles(REPOSITORY, COMMIT), hub_files.get_hf_file_metadata

    def told_before(url: str) -> Any:
        metadata = told(url)
        hub.files[FIRST] = hub.files[FIRST][:-1] + b"x"
        return metadata

    monkeypatch.setattr(hub_files, "get_hf_file_metadata", told_before)
    monkeypatch.setattr(hub_files, "_WAITS_SECONDS", ())
    with pytest.raises(Transient, match="did not arrive as the Hub says that it is; run again later"):
        files.fetch(FIRST)
    assert list((tmp_path / "cache").rglob("*.piece")) == []
    assert list((tmp_path / "cache").rglob("train-00000*")) == []


def test_a_server_that_fails_once_is_asked_again(hub: Hub) -> None:
    hub.faults = {FIRST: [500, 503], f"tree/{COMMIT}": [500]}
    assert len(list(source().entries())) == 90
    assert len(hub.sent(FIRST)) == 3


# --- which files


def test_files_by_pattern(hub: Hub) -> None:
    assert len(list(source(files="data/tes*").entries())) == 10
    assert "names none of its 3 Parquet files" in refused(files="val*")


CARD = """---
configs:
- config_name: small
  data_files:
  - split: train
    path: data/test-*
- config_name: large
  default: true
  data_files:
  - split: train
    path: [data/train-00000*, data/train-00001*]
  - split: test
    path: elsewhere/*
---
# Pictures
"""


def test_splits_and_subsets_as_the_card_declares_them(hub: Hub) -> None:
    hub.files["README.md"] = CARD.encode()
    assert len(list(source().entries())) == 90
    assert len(list(source(subset="small").entries())) == 10
    assert "no split 'val'; it has test, train" in refused(split="val")
    assert "no subset 'huge'; it has large, small" in refused(subset="huge")
    assert "its split 'test' is elsewhere/*, and no .parquet file is called so" in refused(split="test")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("'*.parquet'", ["train-0.parquet"]),
        ("data/train-*", ["data/train-0.parquet"]),
        ("'**/train-*'", ["data/train-0.parquet", "train-0.parquet"]),
        ("data/**", ["data/extra/b.parquet", "data/train-0.parquet", "data/train-x/test-0.parquet"]),
    ],
)
def test_a_pattern_of_the_card_ends_at_a_slash(hub: Hub, pattern: str, names: list[str]) -> None:
    content = hub.files[OTHER]
    there = ("train-0.parquet", "data/train-0.parquet", "data/train-x/test-0.parquet", "data/extra/b.parquet")
    hub.files = dict.fromkeys(there, content) | {".gitattributes": b"", "README.md": card(pattern)}
    assert sorted({entry.location.rpartition("/")[0] for entry in source().entries()}) == names


def card(data_files: str) -> bytes:
    return f"---\nconfigs:\n- config_name: default\n  data_files: {data_files}\n---\n".encode()


@pytest.mark.parametrize(
    ("data_files", "said"),
    [
        ("[a: {", r"README\.md: a card that cannot be read \(while parsing .*\); name files"),
        ("{train: a.parquet}", r"its card's data_files has \"{'train': 'a.parquet'}\", no split with path; name files"),
        ("[{path: a.parquet}]", "no split with path; name files"),
        ("[{split: train}]", "no split with path; name files"),
        ("[[1]]", "no split with path; name files"),
        ("data/train**", r"its card's pattern 'data/train\*\*' cannot be read \(.*\); name files"),
    ],
)
def test_a_card_that_says_it_otherwise_is_refused(hub: Hub, data_files: str, said: str) -> None:
    hub.files["README.md"] = card(data_files)
    assert re.search(said, refused())


def test_splits_by_the_names_of_files_where_the_card_declares_none(hub: Hub) -> None:
    assert "no split 'val'; it has test, train; name files" in refused(split="val")
    assert "no .parquet file below small/" in refused(subset="small")
    hub.files["more/train-00000-of-00001.parquet"] = hub.files[OTHER]
    huggingface_hub_forgets()
    assert "split 'train' lies in data, more; name one as subset" in refused()
    assert len(list(source(subset="more").entries())) == 10


@pytest.mark.parametrize("how", ["split by names", "split by the card", "files"])
def test_parts_that_a_commit_lacks_are_missed(hub: Hub, how: str) -> None:
    """Nothing is fetched then: all that came of it would be a part of the set."""
    del hub.files[SECOND]
    if how == "split by the card":
        hub.files["README.md"] = card("[{split: train, path: data/train-*}]")
    line = refused(files="data/train-*") if how == "files" else refused()
    assert f"at {COMMIT}: {SECOND} is not there (1 of its 2 parts are); its owner did not upload all" in line
    assert hub.sent(FIRST) == []
    assert len(list(source(files=FIRST).entries())) == 40


def test_parts_with_a_digest_in_their_names(hub: Hub) -> None:
    for name in (FIRST, SECOND):
        hub.files[name.replace("of-00002", f"of-00002-{abs(hash(name)):016x}")] = hub.files.pop(name)
    assert len(list(source().entries())) == 90
    huggingface_hub_forgets()
    del hub.files[next(name for name in hub.files if "train-00001" in name)]
    assert "data/train-00001-of-00002-*.parquet is not there (1 of its 2 parts are)" in refused()


def huggingface_hub_forgets() -> None:
    """The files of a commit never change, so their list is remembered; here they did."""
    import shutil

    from huggingface_hub import _tree_cache

    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)


# --- what is refused


@pytest.mark.parametrize("name", ["main", "v1.0", COMMIT[:10], COMMIT.upper()])
def test_what_is_no_commit_is_not_pinned(hub: Hub, name: str) -> None:
    line = refused(commit=name)
    assert f"hub data set {REPOSITORY}: commit {name!r} is not pinned; " in line
    assert (f"it is {COMMIT} now: write commit: {COMMIT}" in line) == (name == "main")
    assert "write commit: " in line or "write the 40 digits of a commit" in line


def test_a_commit_that_is_not_there(hub: Hub) -> None:
    assert refused(commit="f" * 40) == f"hub data set {REPOSITORY}: has no commit {'f' * 40}; correct commit"


def test_a_data_set_that_is_not_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refused(repository="maker/others")
    assert line == (
        "hub data set maker/others: there is none (401), or it is private and needs a token (set HF_TOKEN or run "
        "hf auth login); correct repository"
    )
    monkeypatch.setenv("HF_TOKEN", "any")
    assert "there is none (404), or it is private and this token may not see it" in refused(repository="maker/others")


def test_a_gated_data_set(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token, hub.gated = "right", True
    line = refused()
    page = f"{hub.address}/datasets/{REPOSITORY}"
    assert line == (
        f"hub data set {REPOSITORY}: gated, and there is no token (401); ask for access at {page}, then set HF_TOKEN "
        "or run hf auth login"
    )
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert f"gated, and this token's user may not read it (403); ask for access at {page}, then run again" in refused()
    monkeypatch.setenv("HF_TOKEN", "right")
    assert len(list(source().entries())) == 90


def test_a_file_that_is_gone_from_the_commit(hub: Hub) -> None:
    files = hub_files.HubFiles(REPOSITORY, COMMIT)
    del hub.files[FIRST]
    with pytest.raises(Refusal, match=rf"lacks .*{FIRST} at commit {COMMIT}; correct files"):
        files.fetch(FIRST)


@pytest.mark.parametrize("name", [FIRST, "README.md"])
def test_a_file_too_large_for_plain_http(hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 5)
    with pytest.raises(Refusal) as caught:
        hub_files.HubFiles(REPOSITORY, COMMIT).fetch(name)
    assert str(caught.value) == (
        f"hub data set {REPOSITORY}: {name} has {len(hub.files[name])} bytes, and more than 5 come over Xet alone; "
        "install hf_xet and unset HF_HUB_DISABLE_XET, or name other files"
    )


def test_a_server_that_keeps_failing_may_be_asked_later(hub: Hub) -> None:
    hub.faults[FIRST] = [500] * 3
    assert refused(Transient) == f"hub data set {REPOSITORY}: {hub.address} answers 500; run again later"


def test_without_a_network(contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Hub(dict(contents))) as served:
        pointed_at(served, tmp_path, monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert f"hub data set {REPOSITORY}: {served.address} does not answer (" in refused(Transient)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = refused()
    assert f"files of it are not in the cache ({tmp_path}/cache), and HF_HUB_OFFLINE forbids to fetch them" in line
