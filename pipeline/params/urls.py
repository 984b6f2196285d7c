"""Parameters of lists of addresses: what is asked for what counts as a picture (a row), and how hard (execution)."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar

from msgspec import Meta

from pipeline.params.datasets import DownloadRow
from pipeline.params.types import Count, Fault, Positive, Strict, Text

Host = Annotated[str, Meta(pattern=r"^[\w.\-]+(:\d{1,5})?\Z", description="a host's name, or name:port")]
_NETWORK_MARKS = "/:"  # of them a name of a host has none


class UrlsRow(DownloadRow, tag="urls", kw_only=True, frozen=True):
    """Pictures behind the addresses of a list, with the captions that stand beside them there."""

    same_as_heldout: ClassVar[tuple[str, ...]] = ("path", "url_column")
    path_fields: ClassVar[tuple[str, ...]] = ("path",)
    # Nothing that does not change a picture makes the web be asked for it again.
    index_only_fields: ClassVar[tuple[str, ...]] = (
        *("url_column", "caption_columns", "id_column"),
        *("min_values", "max_values"),
    )
    limit_fields: ClassVar[tuple[str, ...]] = ("give_up_after_runs",)

    path: Text
    url_column: Text
    caption_columns: list[Text]
    id_column: Text | None = None
    min_values: dict[Text, float]
    max_values: dict[Text, float]
    max_bytes: Count
    opt_out: list[Text]
    private_hosts: list[Text]
    give_up_after_runs: Count

    def fault(self) -> Fault | None:
        """As of any set; what is called a network must be one."""
        for host in self.private_hosts:
            if is_network(host):
                try:
                    ipaddress.ip_network(host)
                except ValueError as error:
                    return Fault("private_hosts", host, f"must be a host's name, an address or a network ({error})")
        return super().fault()


class Http(Strict, frozen=True, kw_only=True):
    """How pictures are fetched from the web: how many at once, how patiently, and under which name.

    Attributes:
        witnesses: hosts, ``name`` or ``name:port``, of which one takes a connection whenever there is a network.
    """

    num_connections: Count
    num_per_host: Count
    timeout_s: Positive
    num_attempts: Count
    max_wait_s: Positive
    user_agent: Annotated[str, Meta(pattern=r"^[!-~]([ -~]*[!-~])?\Z", description="printable ASCII")]
    witnesses: list[Host]


def is_network(host: str) -> bool:
    """Is an entry of ``private_hosts`` an address or a network, and no name? Names end with a letter."""
    return any(mark in host for mark in _NETWORK_MARKS) or host.rpartition(".")[2].isdigit()
