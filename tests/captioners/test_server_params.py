"""What a captioner of servers may be declared as."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from test_server import PARAMS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_a_revision_that_can_move_is_no_identity(revision: str) -> None:
    fault = replace(PARAMS, revision=revision).fault()
    assert fault is not None
    assert (fault.key, fault.value) == (".revision", revision)
    assert "can move; write the commit of some/vlm" in fault.why


def test_a_commit_and_the_word_for_none_yet_are_taken() -> None:
    assert replace(PARAMS, revision=COMMIT).fault() is None
    assert replace(PARAMS, revision="unpinned").fault() is None  # refused by itself, with what pins it


def test_a_folder_of_the_servers_machine_has_no_commit() -> None:
    assert replace(PARAMS, model="/models/mine", revision="of March").fault() is None
