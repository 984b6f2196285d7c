"""Files of a repository of the Hugging Face Hub at one commit, fetched once into the Hub's own cache.

``huggingface_hub`` fetches them, so that what other programs have fetched is there, a token and ``HF_ENDPOINT`` count,
and Xet is used where the Hub has it. One thing is done here, since it begins a file anew that a kill cut short: a file
that comes over plain HTTP is continued, compared with the sha256 that the Hub says, and put where the cache expects it.
(Over Xet a kill costs the files under way.)
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import (
    HfApi,
    RepoFile,
    constants,
    get_cached_repo_tree,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import CachedRepoTreeNotFoundError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    WeakFileLock,
    build_hf_headers,
    disable_progress_bars,
)

from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal, Transient
from pipeline.hub.answers import DATA_SET, Kind, asking
from pipeline.hub.commits import COMMIT

_SHA256 = re.compile(r"[0-9a-f]{64}")  # what the Hub calls a large file by; a small one goes by git's own
_NUM_AT_ONCE = 4
_WAITS_SECONDS = (1.0, 4.0)  # before a file is asked for anew


class HubFiles:
    """Files of one commit.

    Args:
        repository: its id.
        commit: 40 hexadecimal digits.
        kind: what it is.
    """

    def __init__(self, repository: str, commit: str, kind: Kind = DATA_SET) -> None:
        self.repository, self.commit, self.kind = repository, commit, kind
        self._repo_type = kind.repo_type

    def refuse_unpinned(self) -> None:
        """Raise a Refusal where the commit is none: a branch's name means other pictures tomorrow."""
        if COMMIT.fullmatch(self.commit):
            return
        key = self.kind.commit_key
        try:
            now = self.commit_now()
            hint = f"it is {now} now: write {key}: {now}"
        except Refusal as refusal:
            hint = f"write the 40 digits of a commit (what it is now is not known: {refusal})"
        raise Refusal(f"hub {self.kind.noun} {self.repository}: {key} {self.commit!r} is not pinned; {hint}")

    def commit_now(self) -> str:
        """The commit that ``commit`` is now, where it is a branch. Raises as ``fetch``."""
        with self._asking():
            info = HfApi().repo_info(self.repository, revision=self.commit, repo_type=self._repo_type)
        return str(info.sha)

    @property
    def listed(self) -> list[str]:
        """All files of the commit. Raises Refusal, or Transient where the Hub does not answer."""
        return list(self.sizes)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The same with their sizes in bytes."""
        try:
            files = self._cached_tree()
        except CachedRepoTreeNotFoundError:
            with self._asking(), disable_progress_bars():
                snapshot_download(
                    self.repository,
                    repo_type=self._repo_type,
                    revision=self.commit,
                    allow_patterns=list(self.kind.listed_with),
                )
            files = self._tree_or_refused()
        return {file.path: file.size for file in files}

    @property
    def folder(self) -> Path:
        """Where the cache shows the files of the commit."""
        name = repo_folder_name(repo_id=self.repository, repo_type=self._repo_type)
        return Path(constants.HF_HUB_CACHE) / name / "snapshots" / self.commit

    def here(self, name: str) -> Path | None:
        """Where a file lies in the cache; None where it does not."""
        cached = try_to_load_from_cache(self.repository, name, revision=self.commit, repo_type=self._repo_type)
        return Path(cached) if isinstance(cached, str) else None

    def fetch_all(self, names: Sequence[str]) -> None:
        """Have all of these files here. Raises as ``fetch``; what arrived until then stays."""
        with ThreadPoolExecutor(_NUM_AT_ONCE) as pool:
            try:
                for _ in pool.map(self.fetch, names):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def fetch(self, name: str) -> Path:
        """Where a file lies here; it is fetched where it does not.

        Raises:
            Refusal: it is not there, may not be read, or must not be fetched now.
            Transient: the Hub or the way to it fails.
        """
        if cached := self.here(name):
            return cached
        for seconds in _WAITS_SECONDS:
            try:
                return self._fetch(name)
            except Transient:
                time.sleep(seconds)
        return self._fetch(name)

    def _fetch(self, name: str) -> Path:
        with self._asking():
            if not constants.is_offline_mode():
                url = hf_hub_url(self.repository, name, repo_type=self._repo_type, revision=self.commit)
                told = get_hf_file_metadata(url)
                is_large = told.etag is not None and told.size is not None and _SHA256.fullmatch(told.etag) is not None
                over_http = told.xet_file_data is None or not _has_xet()
                if over_http:
                    self._refuse_too_large(name, told.size or 0)
                if is_large and over_http:
                    self._continue(name, url, str(told.etag), int(told.size or 0))
            return Path(hf_hub_download(self.repository, name, repo_type=self._repo_type, revision=self.commit))

    def _refuse_too_large(self, name: str, num_bytes: int) -> None:
        """Raise a Refusal for what ``huggingface_hub`` does not fetch over plain HTTP."""
        if num_bytes > constants.MAX_HTTP_DOWNLOAD_SIZE:
            raise Refusal(
                f"hub {self.kind.noun} {self.repository}: {name} has {num_bytes} bytes, and more than "
                f"{constants.MAX_HTTP_DOWNLOAD_SIZE} come over Xet alone; install hf_xet and unset HF_HUB_DISABLE_XET, "
                "or name other files"
            )

    def _continue(self, name: str, url: str, sha256: str, num_bytes: int) -> None:
        """Bring a file's content into the cache, beginning where the last try ended.

        Args:
            name: of the file.
            url: where it is asked for; a token is not passed on to another host that the Hub may send us to.
            sha256: as the Hub says, by which the cache calls it.
            num_bytes: as the Hub says.
        """
        folder = repo_folder_name(repo_id=self.repository, repo_type=self._repo_type)
        blobs = Path(constants.HF_HUB_CACHE) / folder / "blobs"
        lock = Path(constants.HF_HUB_CACHE) / ".locks" / folder / f"{sha256}.lock"
        blobs.mkdir(parents=True, exist_ok=True)
        lock.parent.mkdir(parents=True, exist_ok=True)
        piece = blobs / f"{sha256}.piece"
        with WeakFileLock(lock):
            if (blobs / sha256).exists():
                return
            with piece.open("ab") as file:
                if file.tell() > num_bytes:
                    file.truncate(0)
                    file.seek(0)  # a file's place stays where it is cut shorter
                http_get(
                    url,
                    file,
                    resume_size=file.tell(),
                    headers=build_hf_headers(),
                    expected_size=num_bytes,
                    displayed_filename=name,
                )
            if sha256_of_file(piece) != sha256:
                piece.unlink()
                where = f"hub {self.kind.noun} {self.repository}"
                raise Transient(f"{where}: {name} did not arrive as the Hub says that it is; run again later")
            os.replace(piece, blobs / sha256)

    def _asking(self) -> AbstractContextManager[None]:
        return asking(self.repository, self.commit, self.kind)

    def _tree_or_refused(self) -> list[RepoFile]:
        try:
            return self._cached_tree()
        except CachedRepoTreeNotFoundError as error:  # other programs fetched files, and none may be asked for now
            where = f"hub {self.kind.noun} {self.repository} at {self.commit}"
            raise Refusal(f"{where}: which files it has is not in the cache; {self.kind.fetched_by}") from error

    def _cached_tree(self) -> list[RepoFile]:
        return get_cached_repo_tree(self.repository, repo_type=self._repo_type, revision=self.commit)


def _has_xet() -> bool:
    return not constants.HF_HUB_DISABLE_XET and find_spec("hf_xet") is not None
