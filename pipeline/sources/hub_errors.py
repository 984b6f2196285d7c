"""What the Hugging Face Hub, or the way to it, says: one line, and whether it may pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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

_TOO_MANY_REQUESTS, _TIMEOUT, _SERVER_FAILS = 429, 408, 500
_MAX_SAID = 200  # characters of what a library says


@contextlib.contextmanager
def asking(repository: str, commit: str) -> Iterator[None]:
    """Whatever a request ends with as a Refusal, or as Transient where it may pass.

    Args:
        repository: id of the data set.
        commit: what is asked for of it.
    """
    try:
        yield
    except (httpx2.HTTPError, OSError, EntryNotFoundError, HFValidationError, XetDownloadError) as error:
        raise _refusal(_cause_of(error), f"hub data set {repository}", repository, commit) from error


def _cause_of(error: BaseException) -> BaseException:
    """What is behind a file that was not found here: the request that failed."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _refusal(error: BaseException, where: str, repository: str, commit: str) -> Refusal:
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError):
        return Refusal(
            f"{where}: files of it are not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids to "
            "fetch them; unset it, or make the index once where there is a network"
        )
    if isinstance(error, HfHubHTTPError):
        return _answered(error, where, repository, commit)
    if isinstance(error, httpx2.HTTPError | XetDownloadError):
        return Transient(f"{where}: {constants.ENDPOINT} does not answer ({_said(error)}); run again later")
    if isinstance(error, HFValidationError):
        return Refusal(f"{where}: {_said(error)}; correct repository")
    if isinstance(error, OSError) and (line := system_line(error)):
        return (Transient if system_number(error) in TRANSIENT else Refusal)(line)
    return Transient(f"{where}: {_said(error)}; run again later")  # a file that did not arrive as it should


def _answered(error: HfHubHTTPError, where: str, repository: str, commit: str) -> Refusal:
    status = error.response.status_code
    for kind, line in _lines(error, repository, commit, has_token=get_token() is not None):
        if isinstance(error, kind):
            return Refusal(f"{where}: {line}")
    if status in (_TOO_MANY_REQUESTS, _TIMEOUT) or status >= _SERVER_FAILS:
        return Transient(f"{where}: {constants.ENDPOINT} answers {status}; run again later")
    return Refusal(f"{where}: {constants.ENDPOINT} answers {status} ({_said(error)}); correct repository, or the token")


def _lines(
    error: HfHubHTTPError, repository: str, commit: str, *, has_token: bool
) -> list[tuple[type[HfHubHTTPError], str]]:
    """What answers mean that will stay the same; a gated data set's error is also one of a missing data set."""
    status = error.response.status_code
    page = f"{constants.ENDPOINT}/datasets/{repository}"
    get_token_first = "set HF_TOKEN or run hf auth login"
    gated = f"gated, and there is no token ({status}); ask for access at {page}, then {get_token_first}"
    private = f"needs a token ({get_token_first})"
    if has_token:
        gated = f"gated, and this token's user may not read it ({status}); ask for access at {page}, then run again"
        private = "this token may not see it"
    return [
        (GatedRepoError, gated),
        (RevisionNotFoundError, f"has no commit {commit}; correct commit"),
        (RepositoryNotFoundError, f"there is none ({status}), or it is private and {private}; correct repository"),
        (RemoteEntryNotFoundError, f"lacks {error.response.url.path} at commit {commit}; correct files"),
        (DisabledRepoError, "was disabled by its owner or the Hub; name another data set"),
    ]


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MAX_SAID] or type(error).__name__
