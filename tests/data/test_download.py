"""Downloads: whatever a server does ends in bytes or in a reason, and nobody is pestered."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
import zlib
from collections.abc import Sequence
from email.utils import formatdate

import pytest
from tests.data.pictures import PictureServer, Request, here, jpeg, quick

from ikusi.data.download import HOST_FAULTS, Body, Downloader, Failure, opt_out, user_agent
from ikusi.data.image_settings import ImageSettings

PICTURE = jpeg(1)


def fetch(urls: Sequence[str], settings: ImageSettings | None = None) -> list[Body | Failure]:
    async def one(downloader: Downloader, url: str) -> Body | Failure:
        async with downloader.get(url) as got:
            return got

    async def run() -> list[Body | Failure]:
        async with Downloader(settings or quick(), here) as downloader:
            return await asyncio.gather(*(one(downloader, url) for url in urls))

    return asyncio.run(run())


def reason(url: str, settings: ImageSettings | None = None) -> str:
    (got,) = fetch([url], settings)
    return got.reason if isinstance(got, Failure) else ""


def test_bytes_and_who_we_are() -> None:
    with PictureServer(a=PICTURE) as server:
        assert fetch([server.url("a"), server.url("b")]) == [
            Body(PICTURE),
            Failure("http-404", "Not Found"),
        ]
        settings = quick(network={"contact": "lab@example.org"})
        assert fetch([server.url("a")], settings) == [Body(PICTURE)]
        assert server.agents == {user_agent(), user_agent("lab@example.org")}
    assert user_agent("lab@example.org").startswith("ikusi/")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    def moody(request: Request) -> None:
        if request.count < 3:
            request.reply(status)
        else:
            request.reply(200, PICTURE)

    with PictureServer(a=moody, b=lambda request: request.reply(status)) as server:
        assert fetch([server.url("a")]) == [Body(PICTURE)]
        assert fetch([server.url("b")]) == [Failure(f"http-{status}", "3 times")]
        assert server.hits == {"/a": 3, "/b": 3}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_what_will_not_change_is_not(status: int) -> None:
    with PictureServer(a=lambda request: request.reply(status)) as server:
        assert reason(server.url("a")) == f"http-{status}"
        assert server.hits["/a"] == 1


def test_dropped_connections_and_half_bodies_are_tried_again() -> None:
    def dropped(request: Request) -> None:
        request.drop() if request.count < 2 else request.reply(200, PICTURE)

    def half(request: Request) -> None:
        if request.count < 2:
            request.reply(200, PICTURE[:100], length=len(PICTURE))
            request.drop()
        else:
            request.reply(200, PICTURE)

    with PictureServer(a=dropped, b=half, c=lambda request: request.drop()) as server:
        assert fetch([server.url("a"), server.url("b")]) == [Body(PICTURE), Body(PICTURE)]
        (got,) = fetch([server.url("c")])
        assert isinstance(got, Failure)
        assert (got.reason, got.answered) == ("connection", False)
        assert 3 <= server.hits["/c"] <= 6  # aiohttp tries a lost connection once by itself


def test_a_server_that_hangs_before_or_in_the_body() -> None:
    def stalls(request: Request) -> None:
        request.reply(200, PICTURE[:50], length=len(PICTURE))
        request.hang()

    once = quick(network={"tries": 1})
    with PictureServer(a=lambda request: request.hang(), b=stalls) as server:
        silent, stalled = fetch([server.url("a"), server.url("b")], once)
    assert isinstance(silent, Failure)
    assert isinstance(stalled, Failure)
    assert (silent.reason, silent.answered) == ("timeout", False)
    assert (stalled.reason, stalled.answered) == ("timeout", True)


def test_garbage_instead_of_http() -> None:
    def garbage(request: Request) -> None:
        request.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        request.drop()

    with PictureServer(a=garbage) as server:
        assert reason(server.url("a"), quick(network={"tries": 1})) == "protocol"


def test_bodies_past_the_limit_are_not_read_to_the_end() -> None:
    sent = 0

    def endless(request: Request) -> None:
        nonlocal sent
        request.send_response(200)
        request.end_headers()
        request.close_connection = True
        for _ in range(2000):
            request.wfile.write(b"x" * 65536)
            sent += 65536

    settings = quick(max_bytes=100_000)
    with PictureServer(
        told=lambda request: request.reply(200, b"", length=100_001),
        endless=endless,
        fits=b"x" * 100_000,
    ) as server:
        assert reason(server.url("told"), settings) == "too-large"
        assert reason(server.url("endless"), settings) == "too-large"
        assert reason(server.url("fits"), settings) == ""
    assert sent < 50_000_000


def test_packed_bodies_and_bombs() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    def packed(data: bytes, encoding: str) -> object:
        return lambda request: request.reply(200, data, Content_Encoding=encoding)

    routes = {
        "gzip": packed(gzip.compress(PICTURE), "gzip"),
        "deflate": packed(zlib.compress(PICTURE), "deflate"),
        "bomb": packed(bomb, "gzip"),
        "cut": packed(gzip.compress(PICTURE)[:-20], "gzip"),
        "lie": packed(PICTURE, "gzip"),
        "br": packed(PICTURE, "br"),
    }
    assert len(bomb) < 100_000
    with PictureServer(**routes) as server:  # type: ignore[arg-type]
        got = fetch([server.url(name) for name in routes], quick(max_bytes=100_000))
    assert got[:2] == [Body(PICTURE), Body(PICTURE)]
    reasons = [failure.reason for failure in got[2:] if isinstance(failure, Failure)]
    assert reasons == ["too-large", "encoding", "encoding", "encoding"]


def redirect(target: str, status: int = 302) -> object:
    return lambda request: request.reply(status, Location=target)


def test_redirects_are_followed_so_far() -> None:
    routes = {f"hop{n}": redirect(f"/hop{n - 1}", 301 + n % 2) for n in range(1, 8)}
    with PictureServer(hop0=PICTURE, loop=redirect("/loop"), **routes) as server:  # type: ignore[arg-type]
        assert fetch([server.url("hop5")]) == [Body(PICTURE)]
        assert reason(server.url("hop6")) == "too-many-redirects"
        assert reason(server.url("loop")) == "too-many-redirects"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://", "bad-url"),
        ("http://[::1", "bad-url"),
        ("http://example.org:99999/", "bad-url"),
        (f"http://{'a' * 64}.org/", "bad-url"),
        ("", "scheme"),
        ("picture.jpg", "scheme"),
        ("http://gone.test/a.jpg", "dns"),
    ],
)
def test_urls_that_lead_nowhere(url: str, expected: str) -> None:
    assert reason(url) == expected


def test_robots_tag_is_honoured_unless_told_otherwise() -> None:
    def marked(request: Request) -> None:
        request.reply(200, PICTURE, X_Robots_Tag="noai")

    with PictureServer(a=marked) as server:
        assert fetch([server.url("a")]) == [Failure("noai", "X-Robots-Tag: noai")]
        assert fetch([server.url("a")], quick(honour_noai=False)) == [Body(PICTURE)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["noai"], "noai"),
        (["noindex, NoImageAI"], "noimageai"),
        (["noindex", "noai"], "noai"),
        (["ikusi: noai"], "noai"),
        (["IKUSI: noindex, noai"], "noai"),
        (["*: noai"], "noai"),
        (["otherbot: noai"], None),
        (["otherbot: noindex, noai"], None),
        (["otherbot: noai, ikusi: noimageai"], "noimageai"),
        (["max-snippet: 5, noai"], "noai"),
        (["unavailable_after: 25 Jun 2030, noai"], "noai"),
        (["noindex, nofollow"], None),
        (["noaim"], None),
        ([""], None),
        ([], None),
    ],
)
def test_whom_a_robots_tag_is_for(values: list[str], expected: str | None) -> None:
    assert opt_out(values) == expected


def test_few_requests_at_a_time_to_one_host() -> None:
    def slow(request: Request) -> None:
        time.sleep(0.02)
        request.reply(200, PICTURE)

    together = threading.Barrier(12)

    def meets(request: Request) -> None:
        together.wait(10)  # goes on when there are 12 at once
        request.reply(200, PICTURE)

    settings = quick(network={"per_host": 2, "connections": 12, "read_seconds": 20.0})
    with PictureServer(a=slow, b=meets) as server:
        urls = [server.url("a", host) for host in ["one.test"] * 8]
        assert fetch(urls, settings) == [Body(PICTURE)] * 8
        assert server.most_busy <= 2
        urls = [server.url("b", f"host{n}.test") for n in range(24)]
        assert fetch(urls, settings) == [Body(PICTURE)] * 24
        assert server.most_busy <= 12


@pytest.mark.parametrize("dated", [False, True])
def test_a_host_that_asks_for_a_pause_gets_it(dated: bool) -> None:
    times: list[float] = []

    def busy(request: Request) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            wait = formatdate(time.time() + 1.6, usegmt=True) if dated else "1"
            request.reply(429, Retry_After=wait)
        else:
            request.reply(200, PICTURE)

    settings = quick(network={"wait_seconds": 3, "per_host": 1})
    with PictureServer(a=busy) as server:
        assert fetch([server.url("a")] * 2, settings) == [Body(PICTURE)] * 2
    assert times[1] - times[0] > 0.5


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_host_that_asks_for_a_long_pause_is_left_alone(status: int) -> None:
    with PictureServer(a=lambda request: request.reply(status, Retry_After="3600")) as server:
        got = fetch([server.url("a")] * 20, quick(network={"per_host": 1}))
        assert [g.reason for g in got if isinstance(g, Failure)] == [f"http-{status}"] * 20
        assert server.hits["/a"] == 1


def test_a_dead_host_is_not_asked_for_ever() -> None:
    with PictureServer(a=lambda request: request.drop(), b=PICTURE) as server:
        urls = [server.url("a", "dead.test")] * 30 + [server.url("b", "live.test")]
        got = fetch(urls, quick(network={"per_host": 1, "tries": 1}))
        assert got[-1] == Body(PICTURE)
        reasons = [failure.reason for failure in got if isinstance(failure, Failure)]
        assert reasons == ["connection"] * HOST_FAULTS + ["host-down"] * (30 - HOST_FAULTS)
        assert HOST_FAULTS <= server.hits["/a"] <= 2 * HOST_FAULTS  # see above
