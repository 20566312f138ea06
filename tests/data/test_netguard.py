"""No address but a public one is contacted, whatever a URL or a name server says."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from ikusi.data.netguard import (
    BlockedAddress,
    GuardedResolver,
    check_url,
    guarded_connector,
    refusal,
)

PUBLIC = ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
BLOCKED = {
    "127.0.0.1": "loopback",
    "127.8.9.1": "loopback",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "169.254.169.254": "link-local",
    "100.64.0.1": "reserved",
    "0.0.0.0": "unspecified",
    "224.0.0.1": "multicast",
    "255.255.255.255": "private",
    "240.0.0.1": "private",
    "192.0.2.1": "private",
    "168.63.129.16": "reserved",
    "::1": "loopback",
    "::": "unspecified",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fc00::1": "private",
    "fec0::1": "private",
    "ff02::1": "multicast",
    "2001:db8::1": "private",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "link-local",
    "::10.0.0.1": "private",
    "64:ff9b::169.254.169.254": "link-local",
    "64:ff9b:1::8.8.8.8": "reserved",
    "2002:7f00:1::": "loopback",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "reserved",
    "127.1": "no address",
    "0x7f000001": "no address",
    "localhost": "no address",
}


@pytest.mark.parametrize(("address", "reason"), BLOCKED.items(), ids=list(BLOCKED))
def test_what_is_not_public_is_refused(address: str, reason: str) -> None:
    assert refusal(address) == reason


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    assert refusal(address) is None


@given(st.ip_addresses(v=4))
def test_an_address_in_another_guise_is_the_same(address: ipaddress.IPv4Address) -> None:
    for guise in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert refusal(guise) == refusal(str(address))
    if not address.is_global:
        assert refusal(str(address)) is not None


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.jpg",
        "data:image/png;base64,AAAA",
        "gopher://example.org",
        "/a.jpg",
        "http://127.0.0.1/a.jpg",
        "http://[::1]:8080/",
        "http://user@169.254.169.254/latest",
    ],
)
def test_urls_that_are_never_asked_for(url: str) -> None:
    with pytest.raises(BlockedAddress):
        check_url(URL(url))


def answers(*addresses: str) -> Any:
    def lookup(host: str, port: int) -> list[Any]:
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in addresses
        ]

    return lookup


def resolve(*addresses: str, allow_private: bool = False) -> list[str]:
    async def run() -> list[str]:
        resolver = GuardedResolver(answers(*addresses), allow_private=allow_private)
        try:
            return [found["host"] for found in await resolver.resolve("example.org", 80)]
        finally:
            await resolver.close()

    return asyncio.run(run())


def test_names_lead_to_their_public_addresses_only() -> None:
    assert resolve("8.8.8.8", "10.0.0.1", "2606:4700:4700::1111") == [
        "8.8.8.8",
        "2606:4700:4700::1111",
    ]
    with pytest.raises(BlockedAddress, match=r"example\.org is 10\.0\.0\.1, private"):
        resolve("10.0.0.1", "::1", "10.0.0.1")
    with pytest.raises(socket.gaierror):
        resolve()
    assert resolve("10.0.0.1", allow_private=True) == ["10.0.0.1"]


class _Fooled(GuardedResolver):
    """A resolver without a guard, as if that had a hole."""

    async def resolve(self, *args: Any, **kwargs: Any) -> Any:
        self._allow_private = True
        return await super().resolve(*args, **kwargs)


def test_the_socket_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing else looked: an address in the URL, an answer that nobody checked."""
    monkeypatch.setattr("ikusi.data.netguard.GuardedResolver", _Fooled)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    port = listener.getsockname()[1]

    async def run(host: str) -> None:
        connector = guarded_connector(4, answers("127.0.0.1"))
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await session.get(f"http://{host}:{port}/")
        assert isinstance(caught.value.os_error, BlockedAddress)

    asyncio.run(run("127.0.0.1"))
    asyncio.run(run("example.org"))
    with pytest.raises(TimeoutError):
        listener.accept()
    listener.close()
