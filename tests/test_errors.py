"""Command lines end with one line and a status, and quietly where nobody reads on."""

from __future__ import annotations

import pytest
from small_project import into_a_closed_pipe

PRINTING = """
import sys
from pipeline.errors import Refusal, exit_status
def work():
    for number in range({num_lines}):
        print(number, "x" * 60)
    {then}
sys.exit(exit_status(work))
"""


@pytest.mark.parametrize("num_lines", [1, 5000])
def test_a_reader_that_goes_early_is_no_error(num_lines: int) -> None:
    assert into_a_closed_pipe(PRINTING.format(num_lines=num_lines, then="")) == (0, "")


def test_a_refusal_after_the_reader_went_is_still_told() -> None:
    code = PRINTING.format(num_lines=1, then='raise Refusal("mend it")')
    assert into_a_closed_pipe(code) == (1, "mend it\n")


def test_another_error_is_not_swallowed() -> None:
    status, said = into_a_closed_pipe(PRINTING.format(num_lines=1, then="1 / 0"))
    assert status != 0
    assert "ZeroDivisionError" in said
