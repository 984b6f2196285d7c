"""Whom a list may make us ask: addresses of the web that are well formed, and machines that the public may reach.

A list comes from strangers. One of its names may lead to a machine of the intranet: at once, by a redirect, or by a
second answer of the name service. So what is checked is the address of each connection, at the moment it is opened.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

from yarl import URL

from pipeline.errors import Reject, Transient
from pipeline.params.urls import is_network

MAX_URL_CHARACTERS = 1 << 13
_SCHEMES = ("http", "https")
# Networks that carry an IPv4 address in their last or later bits: RFC 6052 and 3056.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
# What releases of Python disagree on: the protocols' own addresses (RFC 6890; clouds answer at one of them with what a
# machine is and may do) and those for documentation (RFC 9637).
_NOT_PUBLIC = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv6Network("3fff::/20"))
# No number of the operating system: a joined error of several addresses keeps it only if all were refused by us.
NOT_PUBLIC = -1001


def parsed(text: str, reason: str = "bad_url") -> URL:
    """A URL that may be asked for. Raises Reject with ``reason``: none of http or https, or one with a login."""
    if len(text) > MAX_URL_CHARACTERS:
        raise Reject(reason, f"{len(text)} characters, allowed are {MAX_URL_CHARACTERS}")
    try:
        return checked(URL(text.strip()), reason)  # its host is decoded when it is first looked at
    except ValueError as error:  # UnicodeError is one
        raise Reject(reason, f"{shown(text)}: {error}") from None


def checked(url: URL, reason: str) -> URL:
    """As ``parsed``, of what is a URL already: where a redirect leads."""
    if url.scheme not in _SCHEMES or not url.host:
        raise Reject(reason, f"{shown(str(url))}: must begin with http:// or https:// and name a host")
    if url.user is not None or url.password is not None:
        raise Reject(reason, f"{url.scheme}://...@{url.host}: holds a login, and none is ever sent")
    if url.port == 0:
        raise Reject(reason, f"{shown(str(url))}: names port 0")
    return url


def shown(text: str, most: int = 200) -> str:
    """An address for people: on one line, cut where it is long."""
    line = text.encode("unicode_escape").decode("ascii")
    return line if len(line) <= most else line[: most - 3] + "..."


def digest_of(url: str) -> bytes:
    """16 bytes that stand for an address."""
    return hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def is_public(address: str) -> bool:
    """May the public reach this IP address? Addresses that carry another one are judged by that one too."""
    ip = _plain(address)
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.sixtofour is not None and not is_public(str(ip.sixtofour)):
            return False
        if ip.is_site_local or ip.teredo is not None or ip in _LOCAL_NAT64:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


class Door:
    """Opens sockets to machines that the public may reach, and to those that a row allows.

    Args:
        private_hosts: names, addresses and networks. Names are looked up now, once: their addresses are allowed.

    Raises:
        Transient: one of these names is not found now.
    """

    def __init__(self, private_hosts: Iterable[str]) -> None:
        self._allowed = []
        for host in private_hosts:
            addresses = [host] if is_network(host) else _looked_up(host)
            self._allowed += [ipaddress.ip_network(address.partition("%")[0]) for address in addresses]

    def admits(self, address: str) -> bool:
        """May this IP address be connected to?"""
        ip = _plain(address)
        return is_public(address) or any(ip in network for network in self._allowed if network.version == ip.version)

    def socket(self, addr_info: Any) -> socket.socket:
        """A socket for one address of ``getaddrinfo``, which is then connected to it and to no other.

        Raises:
            OSError: with the number ``NOT_PUBLIC``.
        """
        family, kind, protocol, _, sockaddr = addr_info
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.admits(sockaddr[0]):
            raise OSError(NOT_PUBLIC, f"{sockaddr[0]} is no address that the public may reach")
        return socket.socket(family=family, type=kind, proto=protocol)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IP address without its zone, and as IPv4 where it is IPv4 in the dress of IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def _looked_up(host: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except OSError as error:
        raise Transient(f"private_hosts: {host!r} is not found ({error.strerror}); correct it, or run again") from error
