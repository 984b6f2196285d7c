"""What the Hugging Face Hub, or the way to it, says: one line, and whether it may pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from pipeline.errors import TRANSIENT, Refusal, Transient, system_line, system_number

CARD = "README.md"
_FOUND_EVERYWHERE = ".gitattributes"
_TOO_MANY_REQUESTS, _TIMEOUT, _SERVER_FAILS = 429, 408, 500
_MAX_SAID = 200  # characters of what a library says


@dataclass(frozen=True)
class Kind:
    """What kind of repository is asked for, and how people know it.

    Attributes:
        repo_type: as the Hub calls it.
        noun: for messages.
        pages: what stands before its id in the address of its page.
        repository_key: the parameter that names it.
        commit_key: the one that pins it.
        files_key: the one that names its files.
        fetched_by: how its files come into the cache.
        listed_with: small files that are fetched with the list of all of them.
    """

    repo_type: str
    noun: str
    pages: str
    repository_key: str
    commit_key: str
    files_key: str
    fetched_by: str
    listed_with: tuple[str, ...]


DATA_SET = Kind(
    *("dataset", "data set", "datasets/", "repository", "commit", "files"),
    fetched_by="make the index once where there is a network",
    listed_with=(_FOUND_EVERYWHERE, CARD),
)
MODEL = Kind(
    *("model", "model", "", "model", "revision", "revision"),
    fetched_by="run make fetch-models where there is a network",
    listed_with=(_FOUND_EVERYWHERE,),
)


@contextlib.contextmanager
def asking(repository: str, commit: str, kind: Kind) -> Iterator[None]:
    """Whatever a request ends with as a Refusal, or as Transient where it may pass.

    Args:
        repository: its id.
        commit: what is asked for of it.
        kind: what it is.
    """
    try:
        yield
    except (httpx2.HTTPError, OSError, EntryNotFoundError, HFValidationError, XetDownloadError) as error:
        raise _Asked(repository, commit, kind).refusal(_cause_of(error)) from error


def _cause_of(error: BaseException) -> BaseException:
    """What is behind a file that was not found here: the request that failed."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


@dataclass(frozen=True)
class _Asked:
    """What was asked for, to say what became of it."""

    repository: str
    commit: str
    kind: Kind

    def refusal(self, error: BaseException) -> Refusal:
        where = f"hub {self.kind.noun} {self.repository}"
        if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError):
            return Refusal(
                f"{where}: files of it are not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids to "
                f"fetch them; unset it, or {self.kind.fetched_by}"
            )
        if isinstance(error, HfHubHTTPError):
            return self._answered(error, where)
        if isinstance(error, httpx2.HTTPError | XetDownloadError):
            return Transient(f"{where}: {constants.ENDPOINT} does not answer ({_said(error)}); run again later")
        if isinstance(error, HFValidationError):
            return Refusal(f"{where}: {_said(error)}; correct {self.kind.repository_key}")
        if isinstance(error, OSError) and (line := system_line(error)):
            return (Transient if system_number(error) in TRANSIENT else Refusal)(line)
        return Transient(f"{where}: {_said(error)}; run again later")  # a file that did not arrive as it should

    def _answered(self, error: HfHubHTTPError, where: str) -> Refusal:
        status = error.response.status_code
        for kind, line in self._lines(error, has_token=get_token() is not None):
            if isinstance(error, kind):
                return Refusal(f"{where}: {line}")
        if status in (_TOO_MANY_REQUESTS, _TIMEOUT) or status >= _SERVER_FAILS:
            return Transient(f"{where}: {constants.ENDPOINT} answers {status}; run again later")
        wrong = f"correct {self.kind.repository_key}, or the token"
        return Refusal(f"{where}: {constants.ENDPOINT} answers {status} ({_said(error)}); {wrong}")

    def _lines(self, error: HfHubHTTPError, *, has_token: bool) -> list[tuple[type[HfHubHTTPError], str]]:
        """What answers mean that will stay the same; a gated repository's error is also one of a missing one."""
        status, kind = error.response.status_code, self.kind
        page = f"{constants.ENDPOINT}/{kind.pages}{self.repository}"
        get_token_first = "set HF_TOKEN or run hf auth login"
        gated = f"gated, and there is no token ({status}); ask for access at {page}, then {get_token_first}"
        private = f"needs a token ({get_token_first})"
        if has_token:
            gated = f"gated, and this token's user may not read it ({status}); ask for access at {page}, then run again"
            private = "this token may not see it"
        none = f"there is none ({status}), or it is private and {private}; correct {kind.repository_key}"
        lacks = f"lacks {error.response.url.path} at commit {self.commit}; correct {kind.files_key}"
        return [
            (GatedRepoError, gated),
            (RevisionNotFoundError, f"has no commit {self.commit}; correct {kind.commit_key}"),
            (RepositoryNotFoundError, none),
            (RemoteEntryNotFoundError, lacks),
            (DisabledRepoError, f"was disabled by its owner or the Hub; name another {kind.noun}"),
        ]


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MAX_SAID] or type(error).__name__
