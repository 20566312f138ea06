"""Which addresses a download may talk to: the public internet, and nothing else.

Place: under download. Contract: an address list out of a data set is written by strangers, so a
connection is only made to an address that was itself checked: names are resolved once, the answer
is checked, and the socket is refused for anything else. What a redirect or a second look at the DNS
says cannot change that, because every connection passes here. No proxy is used: it would resolve
names itself, out of our sight.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], list[Any]]
"""Host and port -> what `socket.getaddrinfo` returns."""

_LOOKUP_THREADS = 32  # a dead name server keeps a thread for seconds, and most names differ
_DNS_SECONDS = 300
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Not told apart from public ones by their ranges.
_NOT_PUBLIC = (
    ipaddress.ip_network("64:ff9b:1::/48"),  # NAT64 into networks that are somebody's own
    ipaddress.ip_network("2001::/23"),  # protocol assignments, Teredo among them
    ipaddress.ip_network("3fff::/20"),  # documentation
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.ip_network("168.63.129.16/32"),  # a cloud's service for its own machines
)


class BlockedAddress(OSError):
    """A connection that was not made, because of where it would have led; says why."""


def refusal(address: str) -> str | None:
    """Return why `address` must not be contacted, such as `loopback`; None when it is public.

    An IPv6 address that stands for an IPv4 one (mapped, compatible, NAT64, 6to4) is what that is.
    """
    try:
        parsed: Address = ipaddress.ip_address(address)
    except ValueError:
        return "no address"
    inner = _inner(parsed)
    if inner is not None:
        return refusal(str(inner))
    for reason, found in (
        ("unspecified", parsed.is_unspecified),
        ("loopback", parsed.is_loopback),
        ("link-local", parsed.is_link_local),
        ("multicast", parsed.is_multicast),
        ("reserved", any(parsed in net for net in _NOT_PUBLIC if net.version == parsed.version)),
        ("private", parsed.is_private or getattr(parsed, "is_site_local", False)),
        ("reserved", parsed.is_reserved or not parsed.is_global),
    ):
        if found:
            return reason
    return None


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 one leads to, or None."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _SIX_TO_FOUR:
        return address.sixtofour
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def check_url(url: URL, *, allow_private: bool = False) -> None:
    """Refuse a URL before anything is asked of it; addresses of names are checked later.

    Raises:
        BlockedAddress: it is not http(s), or its host is an address that is not public.
        ValueError: it names no host.
    """
    if url.scheme not in ("http", "https"):
        raise BlockedAddress(f"scheme {url.scheme or 'none'!r}, only http and https are used")
    if not url.host:
        raise ValueError("no host")
    try:
        ipaddress.ip_address(url.host)
    except ValueError:
        return
    check_address(url.host, allow_private=allow_private)


def check_address(address: str, name: str = "", *, allow_private: bool = False) -> None:
    """Refuse an address that is not public; `name` is what led to it.

    Raises:
        BlockedAddress: it is loopback, private or the like.
    """
    reason = None if allow_private else refusal(address)
    if reason:
        raise BlockedAddress(f"{name + ' is ' if name else ''}{address}, {reason}")


class GuardedResolver(AbstractResolver):
    """Resolves names, and answers with public addresses only."""

    def __init__(self, lookup: Lookup | None = None, *, allow_private: bool = False) -> None:
        """Use `lookup`, by default the system's."""
        self._lookup = lookup or _system_lookup
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="ikusi-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host` that may be contacted.

        Raises:
            BlockedAddress: there are only others.
            OSError: there are none.
        """
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(self._threads, self._lookup, host, port)
        found: list[ResolveResult] = []
        blocked: BlockedAddress | None = None
        for kind, _, protocol, _, target in infos:
            if family not in (socket.AF_UNSPEC, kind):
                continue
            try:
                check_address(target[0], host, allow_private=self._allow_private)
            except BlockedAddress as error:
                blocked = error
                continue
            found.append(
                ResolveResult(
                    hostname=host,
                    host=target[0],
                    port=target[1],
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not found:
            raise blocked or socket.gaierror(socket.EAI_NONAME, f"{host} has no address")
        return found

    async def close(self) -> None:
        """Forget lookups that have not begun; nobody waits for the others."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def guarded_connector(
    limit: int, lookup: Lookup | None = None, *, allow_private: bool = False
) -> TCPConnector:
    """Return a connection pool that only connects to public addresses.

    Args:
        limit: connections at a time.
        lookup: resolves names; the system's by default.
        allow_private: connect to anything. For tests.
    """

    def make_socket(info: Any) -> socket.socket:
        # The last word: `info` is what the socket will be connected to.
        kind, form, protocol, _, target = info
        check_address(target[0], allow_private=allow_private)
        return socket.socket(kind, form, protocol)

    return TCPConnector(
        limit=limit,
        resolver=GuardedResolver(lookup, allow_private=allow_private),
        ttl_dns_cache=_DNS_SECONDS,
        family=socket.AF_UNSPEC,
        socket_factory=make_socket,
    )


def _system_lookup(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
