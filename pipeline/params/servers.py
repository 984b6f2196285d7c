"""Parameters of captions by servers: what a model is told there (a captioner), how hard they are asked (execution)."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from pipeline.hub.commits import COMMIT, PIN, UNPINNED
from pipeline.params.captioners import GeneratingCaptioner
from pipeline.params.types import Count, Fault, Positive, Strict, Text

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")  # what else a server calls its model may be a folder of its machine

# Neither a login, which would be shown with the address, nor a query.
Address = Annotated[str, Meta(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?\Z")]


class ServerCaptioner(GeneratingCaptioner, tag="server", frozen=True, kw_only=True):
    """A vision-language model that OpenAI-compatible servers run; where they are, ``execution`` says.

    Attributes:
        engine: what they run it with, ``<name>`` or ``<name> <version>``.
    """

    model: Text
    revision: Text
    engine: Annotated[str, Meta(pattern=r"^[!-~]+( [!-~]+)?\Z")]
    side_px: Count

    def fault(self) -> Fault | None:
        """As of any generating captioner; and a model of the Hub needs the commit that its servers are started with."""
        is_commit = COMMIT.fullmatch(self.revision) or self.revision == UNPINNED
        if _HUB_ID.fullmatch(self.model) and not is_commit:
            why = (
                f"can move; write the commit of {self.model} that its servers are started with (40 hexadecimal digits; "
                f"or {UNPINNED}, then run {PIN})"
            )
            return Fault(".revision", self.revision, why)
        return super().fault()

    @property
    def captioner_name(self) -> str:
        """The model."""
        return self.model

    @property
    def served_model(self) -> str:
        """The model."""
        return self.model

    @property
    def view_side_px(self) -> int:
        """As stated."""
        return self.side_px


class CaptionServers(Strict, frozen=True, kw_only=True):
    """Servers of one model, and how hard they are asked.

    Attributes:
        urls: their addresses up to ``/v1``, or a file with one on each line.
        served_as: what they call the model, where that is not its name.
        key_variable: the variable of the environment that holds their key.
        num_in_flight: pictures that a job captions together; a kill loses the answers for so many at most.
        num_per_server: requests that one server has at once.
        timeout_s: of one answer, in seconds.
        num_attempts: how often a picture is asked for.
        max_wait_s: longest wait between attempts, in seconds, unless a server asks for more.
        give_up_after_s: a job in which no server answers for so long ends.
    """

    urls: Annotated[list[Address], Meta(min_length=1)] | Text
    num_in_flight: Count
    num_per_server: Count
    timeout_s: Positive
    num_attempts: Count
    max_wait_s: Positive
    give_up_after_s: Positive
    served_as: Text | None = None
    key_variable: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")] | None = None
