"""Bytes by URL from many servers at once: politely, with retries, and never too many of them.

Place: under the images step. Contract: whatever a server does ends in a `Body` or in a `Failure`
that says why; only a bug or the local disk raises. Where a connection may lead is netguard's.

    async with Downloader(NetworkSettings()) as downloader:
        async with downloader.get("https://example.org/picture.jpg") as got:
            ...
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import socket
import time
import zlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from ikusi import __version__
from ikusi.core.errors import first_line
from ikusi.data.image_settings import AGENT, ImageSettings
from ikusi.data.netguard import BlockedAddress, Lookup, check_url, guarded_connector

MAX_REDIRECTS = 5
HOST_FAULTS = 10
"""A host that failed for so many addresses in a row is not asked again in this run."""

_ACCEPT = "image/jpeg, image/png, image/webp, image/gif, image/bmp, image/tiff, image/*;q=0.5"
_CHUNK = 64 << 10
_WITNESSES = 5  # servers that can tell whether our own network is down
_OPT_OUT = {"noai", "noimageai"}
_REDIRECTS = {301, 302, 303, 307, 308}
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_SLOW_DOWN = {429, 503}


@dataclass(frozen=True, slots=True)
class Body:
    """What a server sent, complete and unpacked."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there are no bytes."""

    reason: str
    """A short name that is counted, such as `http-404` or `timeout`."""
    detail: str = ""
    answered: bool = True
    """Whether the fault is the address's. False: nobody answered, so it may be our network's."""


class _Transport(Exception):
    """A fault that may be gone at the next try; nobody answered, or not to the end."""

    def __init__(self, failure: Failure, *, again: bool = True) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.again = again


@dataclass(slots=True)
class _Answer:
    """What one request led to."""

    status: int
    body: Body | Failure | None = None
    location: str = ""
    wait: float | None = None
    """Seconds that the server asks to be left alone, if it says so."""


class _Host:
    """What is known of one host."""

    __slots__ = ("asked", "failure", "faults", "not_before", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.not_before = 0.0
        self.asked = ""  # how it asked to be left alone until then
        self.faults = 0
        self.failure = Failure("")


class Downloader:
    """A pool of connections; an asynchronous context manager."""

    def __init__(self, settings: ImageSettings, lookup: Lookup | None = None) -> None:
        """Prepare; nothing is opened yet.

        Args:
            settings: limits and manners.
            lookup: resolves names; the system's by default.
        """
        self._settings = settings
        self._network = settings.network
        self._lookup = lookup
        self._hosts: defaultdict[str, _Host] = defaultdict(lambda: _Host(self._network.per_host))
        self._places = asyncio.Semaphore(self._network.connections)
        self.answers = 0
        """HTTP answers of any kind so far."""
        self._answering: deque[URL] = deque(maxlen=_WITNESSES)

    async def __aenter__(self) -> Self:
        """Open the pool."""
        network = self._network
        self._session = aiohttp.ClientSession(
            connector=guarded_connector(
                network.connections, self._lookup, allow_private=self._settings.allow_private
            ),
            timeout=aiohttp.ClientTimeout(
                total=network.total_seconds,
                sock_connect=network.connect_seconds,
                sock_read=network.read_seconds,
            ),
            headers={
                "User-Agent": user_agent(network.contact),
                "Accept": _ACCEPT,
                "Accept-Encoding": "identity",  # pictures are compressed already
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # `_unpack` stops a bomb
            trust_env=False,  # a proxy would resolve names itself
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def get(self, text: str) -> AsyncIterator[Body | Failure]:
        """Yield what is at a URL; a place among the connections is kept until the body ends.

        So no more bodies are in memory than there are connections.
        """
        kept = False
        try:
            got, kept = await self._follow(text)
            yield got
        finally:
            if kept:
                self._places.release()

    async def is_online(self) -> bool:
        """Return whether a server that answered before still does; False if none ever did."""
        for url in reversed(self._answering):
            with suppress(aiohttp.ClientError, OSError, ValueError):
                async with self._session.head(url, allow_redirects=False):
                    return True
        return False

    async def _follow(self, text: str) -> tuple[Body | Failure, bool]:
        """Return what is at the end of the redirects, and whether a place is still held for it."""
        url = text
        for hop in range(MAX_REDIRECTS + 1):
            try:
                parsed = URL(url)
                check_url(parsed, allow_private=self._settings.allow_private)
            except (ValueError, BlockedAddress) as error:
                return _unusable(error, url if hop else ""), False
            answer, kept = await self._ask_host(parsed, url if hop else "")
            if isinstance(answer, Failure) or answer.body is not None:
                found = answer if isinstance(answer, Failure) else answer.body
                assert found is not None
                return found, kept
            if kept:
                self._places.release()
            try:
                url = str(parsed.join(URL(answer.location)))
            except ValueError as error:
                return _unusable(error, answer.location), False
        return Failure("too-many-redirects", f"more than {MAX_REDIRECTS}, last to {url}"), False

    async def _ask_host(self, url: URL, via: str) -> tuple[_Answer | Failure, bool]:
        """Ask a host for a URL until it answers; return also whether a place is held."""
        network = self._network
        host = self._hosts[url.host or ""]
        failure = host.failure
        async with host.slots:
            for number in range(network.tries):
                if host.faults >= HOST_FAULTS:
                    last = host.failure
                    detail = f"{url.host} failed {HOST_FAULTS} times in a row, last: {last.reason}"
                    return Failure("host-down", detail, last.answered), False
                wait = host.not_before - time.monotonic()
                if wait > network.wait_seconds:
                    detail = f"{url.host} asks to be left alone for {wait:.0f} s"
                    return Failure(host.asked, detail), False
                if wait > 0:
                    await asyncio.sleep(wait)
                await self._places.acquire()
                keep = False
                try:
                    answer = await self._request(url)
                    if answer.status not in _AGAIN:
                        host.faults = 0
                        keep = isinstance(answer.body, Body)
                        return answer, keep
                    failure = Failure(f"http-{answer.status}", f"{number + 1} times")
                    pause = self._pause(number) if answer.wait is None else answer.wait
                    if answer.status in _SLOW_DOWN or answer.wait is not None:
                        host.not_before = time.monotonic() + pause
                        host.asked = failure.reason
                        pause = 0.0
                except _Transport as error:
                    failure, pause = error.failure, self._pause(number)
                    if not error.again:
                        break
                except (BlockedAddress, ValueError) as error:
                    return _unusable(error, via), False
                finally:
                    if not keep:
                        self._places.release()
                if number + 1 < network.tries:
                    await asyncio.sleep(pause)
            host.faults += 1
            host.failure = failure
            return failure, False

    def _pause(self, number: int) -> float:
        """Return seconds before the next try; scattered, so that tries do not come in waves."""
        seconds = self._network.backoff_seconds * 2.0**number
        return min(seconds * random.uniform(0.5, 1.5), self._network.wait_seconds)

    async def _request(self, url: URL) -> _Answer:
        """Send one request and read its answer.

        Raises:
            _Transport: there was none, or only a part of it.
            BlockedAddress: it would have led to an address that is not public.
            ValueError: the URL cannot be asked for.
        """
        begun = False
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                begun = True
                self.answers += 1
                if not self._answering or self._answering[-1].host != url.host:
                    self._answering.append(url)
                answer = _Answer(response.status)
                if response.status in _REDIRECTS and "Location" in response.headers:
                    answer.location = response.headers["Location"]
                elif response.status in _AGAIN:
                    answer.wait = _retry_after(response.headers.get("Retry-After", ""))
                elif response.status != 200:
                    answer.body = Failure(f"http-{response.status}", response.reason or "")
                else:
                    answer.body = await self._read(response)
                return answer
        except (aiohttp.InvalidURL, UnicodeError) as error:
            raise ValueError(first_line(error)) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _explain(error, begun=begun) from None

    async def _read(self, response: aiohttp.ClientResponse) -> Body | Failure:
        """Return the body, if its server lets us have it and it is not too large."""
        limit = self._settings.max_bytes
        if self._settings.honour_noai:
            refused = opt_out(response.headers.getall("X-Robots-Tag", []))
            if refused:
                return Failure("noai", f"X-Robots-Tag: {refused}")
        if response.content_length is not None and response.content_length > limit:
            return Failure("too-large", f"{response.content_length:,} bytes")
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(_CHUNK):
            size += len(part)
            if size > limit:
                return Failure("too-large", f"more than {limit:,} bytes")
            parts.append(part)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        return _unpack(b"".join(parts), encoding, limit)


def user_agent(contact: str = "") -> str:
    """Return what we tell servers that we are."""
    about = "collects pictures for a data set"
    return f"{AGENT}/{__version__} ({about}{'; ' + contact if contact else ''})"


def opt_out(values: Iterable[str]) -> str | None:
    """Return the directive that keeps us from using a picture, or None.

    Args:
        values: of the `X-Robots-Tag` headers. A directive counts for everybody, or for the agent
            whose name and a colon stand before it in its header.
    """
    for value in values:
        agent = ""
        for part in value.lower().split(","):
            name, colon, rest = part.strip().partition(":")
            if colon and not name.startswith(("max-", "unavailable_after")):
                agent, directive = name.strip(), rest.strip()
            else:
                directive = name
            if directive in _OPT_OUT and agent in ("", "*", AGENT):
                return directive
    return None


def _unpack(data: bytes, encoding: str, limit: int) -> Body | Failure:
    if encoding in ("", "identity"):
        return Body(data)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return Failure("encoding", f"Content-Encoding: {encoding[:40]}")
    try:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # the header tells zlib from gzip
        unpacked = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        return Failure("encoding", first_line(error))
    if len(unpacked) > limit:
        return Failure("too-large", f"more than {limit:,} bytes when unpacked")
    if not unpacker.eof:
        return Failure("encoding", f"{encoding} ends too early")
    return Body(unpacked)


def _retry_after(value: str) -> float | None:
    """Return the seconds that a `Retry-After` header means, or None."""
    text = value.strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        when: float = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(when - time.time(), 0.0)


def _unusable(error: Exception, url: str) -> Failure:
    """Return the failure for a URL that is not contacted; `url` is what a redirect led to."""
    reason = "bad-url"
    if isinstance(error, BlockedAddress):
        reason = "scheme" if str(error).startswith("scheme") else "private-address"
    return Failure(reason, f"{'redirected to ' + url + ': ' if url else ''}{first_line(error)}")


def _explain(error: BaseException, *, begun: bool) -> Exception:
    """Return the fault that an exception of the connection stands for."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, BlockedAddress):
            return cause
    reason, again = "connection", True
    name = next((cause for cause in causes if isinstance(cause, socket.gaierror)), None)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        reason = "timeout"
    elif name is not None:
        reason, again = "dns", name.errno == socket.EAI_AGAIN
    elif isinstance(error, aiohttp.ClientSSLError):
        reason, again = "tls", False
    elif isinstance(error, aiohttp.ClientResponseError):
        reason = "protocol"
    detail = first_line(name or error)[:200]
    return _Transport(Failure(reason, detail, answered=begun or reason == "protocol"), again=again)


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or getattr(error, "os_error", None)
