"""Asking many: everything ends, once, under its id, whatever the backend does."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backends.fakes import Fake, ask, echo, texts

from ikusi.backends.base import Answer, BackendError, Request, RequestRefused, TransportFault
from ikusi.backends.cache import Cache
from ikusi.backends.run import Asker, Failure, Usage, _Gate, answer_all
from ikusi.backends.settings import Prices, Retry
from ikusi.core.log import Update, describe, set_sink

QUICK = Retry(first_wait=0.001, longest_wait=0.01)


def run(backend: Fake, requests: Any, **options: Any) -> dict[str, Answer | Failure]:
    """Return id -> outcome; fails if an id comes twice."""

    async def gather() -> dict[str, Answer | Failure]:
        found: dict[str, Answer | Failure] = {}
        async for outcome in answer_all(backend, requests, **{"retry": QUICK, **options}):
            assert outcome.id not in found
            found[outcome.id] = outcome
        return found

    return asyncio.run(gather())


def test_every_request_is_answered_under_its_id() -> None:
    backend = Fake(seconds=0.001)
    found = run(backend, texts(300), concurrency=20)
    assert {name: getattr(a, "text", None) for name, a in found.items()} == {
        str(number): f"TEXT {number}" for number in range(300)
    }
    assert 10 < backend.most_in_flight <= 20


def test_answers_come_as_they_are_ready() -> None:
    class Slow(Fake):
        async def complete(self, request: Request) -> Answer:
            if request.id == "0":
                await asyncio.sleep(0.2)
            return await super().complete(request)

    assert list(run(Slow(), texts(20), concurrency=4))[-1] == "0"


def test_equal_payloads_are_asked_once() -> None:
    backend = Fake(seconds=0.005)
    requests = [ask(f"text {number % 7}", str(number)) for number in range(200)]
    usage = Usage()
    found = run(backend, requests, concurrency=16, usage=usage)
    assert len(found) == 200
    assert sorted(backend.sent) == [f"text {number}" for number in range(7)]
    assert all(a == Answer(a.id, f"TEXT {int(a.id) % 7}", "stop", 2, 3) for a in found.values())
    assert (usage.answered, usage.cached, usage.completion_tokens) == (200, 193, 21)


def test_another_sample_or_temperature_is_another_request() -> None:
    backend = Fake()
    requests = [ask("a", f"{s}{t}", sample=s, temperature=t) for s in (0, 1) for t in (0.0, 1.0)]
    run(backend, requests)
    assert len(backend.sent) == 4


def test_the_cache_is_kept_per_revision(tmp_path: Path) -> None:
    for revision, asked in (("1", 5), ("1", 0), ("2", 5), ("1", 0)):
        backend, usage = Fake(revision=revision), Usage()
        cache = Cache(tmp_path)
        found = run(backend, texts(5), cache=cache, usage=usage)
        cache.close()
        assert len(found) == 5
        assert (len(backend.sent), usage.cached) == (asked, 5 - asked)


def test_a_transport_fault_is_sent_again_and_never_kept(tmp_path: Path) -> None:
    def say(request: Request, sent: int) -> Answer | Exception:
        return TransportFault("empty-content") if sent < 4 else echo(request, sent)

    usage = Usage()
    cache = Cache(tmp_path)
    found = run(Fake(say), texts(10), cache=cache, usage=usage)
    assert all(isinstance(a, Answer) and a.text for a in found.values())
    assert usage.retries == 30
    assert len(cache) == 10


def test_tries_are_limited_and_the_failure_says_why(tmp_path: Path) -> None:
    def say(request: Request, sent: int) -> Answer | Exception:
        if request.id == "3":
            return TransportFault("status-500", detail="it is broken")
        return echo(request, sent)

    cache = Cache(tmp_path)
    backend, usage = Fake(say), Usage()
    retry = Retry(tries=3, first_wait=0.001)
    found = run(backend, texts(10), retry=retry, cache=cache, usage=usage)
    assert found["3"] == Failure("3", "status-500", "it is broken", 3)
    assert backend.sent.count("text 3") == 3
    assert (usage.answered, usage.failed, len(cache)) == (9, 1, 9)


def test_time_is_limited() -> None:
    retry = Retry(tries=1000, seconds=0.05, first_wait=0.02)
    backend = Fake(lambda request, sent: TransportFault("timeout"))
    found = run(backend, texts(1), retry=retry)
    failure = found["0"]
    assert isinstance(failure, Failure) and failure.reason == "timeout" and failure.tries < 10


def test_a_server_s_retry_after_counts() -> None:
    backend = Fake(lambda request, sent: TransportFault("status-429", retry_after=3600))
    found = run(backend, texts(1))
    assert found["0"] == Failure("0", "status-429", "", 1)  # later than we would insist


def test_a_refused_request_is_not_sent_again() -> None:
    def say(request: Request, sent: int) -> Answer | Exception:
        if request.id == "3":
            return RequestRefused("refused-400", "too long")
        return echo(request, sent)

    backend = Fake(say)
    found = run(backend, texts(10))
    assert found["3"] == Failure("3", "refused-400", "too long", 1)
    assert len(backend.sent) == 10


def test_a_backend_that_stays_down_ends_it(tmp_path: Path) -> None:
    def say(request: Request, sent: int) -> Answer | Exception:
        if int(request.id) < 50:
            return echo(request, sent)
        return TransportFault("connection-refused", detail="nobody there")

    cache = Cache(tmp_path)
    retry = Retry(tries=2, first_wait=0.001, failures_in_a_row=5)
    with pytest.raises(BackendError, match=r"^fake: 5 requests in a row .* connection-refused: no"):
        run(Fake(say), texts(10_000), retry=retry, cache=cache, concurrency=4)
    assert len(cache) == 50


def test_one_bad_key_ends_it_at_once() -> None:
    backend = Fake(lambda request, sent: BackendError("wrong key"), seconds=0.001)
    with pytest.raises(BackendError, match="wrong key"):
        run(backend, texts(10_000), concurrency=8)
    assert len(backend.sent) <= 16


def test_an_error_of_the_requests_is_raised() -> None:
    def requests() -> Iterator[Request]:
        yield from texts(5)
        raise ValueError("a bad record")

    with pytest.raises(ValueError, match="a bad record"):
        run(Fake(), requests())


def test_requests_may_come_later_and_depend_on_answers() -> None:
    """A content fault is answered with another request: the source waits for the sink."""

    async def loop() -> list[str]:
        queue: asyncio.Queue[Request | None] = asyncio.Queue()
        await queue.put(ask("a"))

        async def source() -> AsyncIterator[Request]:
            while (request := await queue.get()) is not None:
                yield request

        seen = []
        async for outcome in answer_all(Fake(), source(), concurrency=4):
            assert isinstance(outcome, Answer)
            seen.append(outcome.text)
            await queue.put(ask(outcome.text.lower() + "b") if len(seen) < 3 else None)
        return seen

    assert asyncio.run(loop()) == ["A", "AB", "ABB"]


def test_a_million_would_take_no_memory() -> None:
    backend = Fake()
    pulled = 0

    def requests() -> Iterator[Request]:
        nonlocal pulled
        for number in range(20_000):
            pulled += 1
            yield ask(f"text {number}")

    async def look() -> None:
        outcomes = answer_all(backend, requests(), concurrency=8)
        for _ in range(50):
            await anext(outcomes)
        assert pulled < 50 + 6 * 8  # the caller is slow, so requests are not read ahead
        backend.sent.clear()
        gc.collect()
        tracemalloc.start()
        for _ in range(400):
            await anext(outcomes)
            backend.sent.clear()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await outcomes.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert used < 3e5

    asyncio.run(look())


def test_leaving_early_cancels_what_is_in_flight() -> None:
    backend = Fake(seconds=0.05)

    async def leave() -> None:
        outcomes = answer_all(backend, texts(100), concurrency=10)
        await anext(outcomes)
        await outcomes.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(leave())
    assert backend.in_flight == 0
    assert len(backend.sent) <= 30


def test_cancelling_the_caller_cancels_what_is_in_flight() -> None:
    backend = Fake(seconds=10)

    async def stop() -> None:
        async def all_of_it() -> None:
            async for _ in answer_all(backend, texts(100), concurrency=10):
                pass

        task = asyncio.create_task(all_of_it())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(stop())
    assert (backend.in_flight, backend.cancelled) == (0, 10)


def test_who_gives_up_does_not_take_the_answer_from_others() -> None:
    backend = Fake(seconds=0.05)

    async def two() -> Answer | Failure:
        async with Asker(backend) as asker:
            first = asyncio.create_task(asker.ask(ask("a", "1")))
            second = asyncio.create_task(asker.ask(ask("a", "2")))
            await asyncio.sleep(0.01)
            first.cancel()
            return await second

    assert asyncio.run(two()) == Answer("2", "A", "stop", 2, 3)
    assert backend.sent == ["a"]


def test_it_asks_less_of_a_server_that_has_too_much_and_more_again() -> None:
    class Small(Fake):
        capacity = 6

        async def complete(self, request: Request) -> Answer:
            if self.in_flight >= self.capacity:
                self.refused += 1
                await asyncio.sleep(0.001)
                raise TransportFault("status-503")
            return await super().complete(request)

        refused = 0

    backend = Small(seconds=0.002)
    retry = Retry(tries=100, first_wait=0.001, longest_wait=0.01)
    found = run(backend, texts(400), concurrency=64, retry=retry)
    assert all(isinstance(outcome, Answer) for outcome in found.values())
    first = backend.refused
    assert first < 400  # without adapting, most of what is sent would be refused, again and again


def test_the_limit_follows_the_share_of_refusals() -> None:
    gate = _Gate(64)
    for _ in range(64):
        gate.note(throttled=True)
    assert gate.limit == 32
    for _ in range(40_000):
        gate.note(throttled=False)
    assert gate.limit == 64
    for number in range(64):
        gate.note(throttled=number == 0)  # a server that fails now and then is not overloaded
    assert gate.limit > 63
    for _ in range(10_000):
        gate.note(throttled=True)
    assert gate.limit == 1


def test_progress_tells_tokens_and_cost() -> None:
    updates: list[Update] = []
    set_sink(updates.append)
    prices = Prices(per_million_prompt_tokens=1000, per_million_completion_tokens=2000)
    usage = Usage()
    try:
        run(Fake(), texts(100), prices=prices, label="translate", total=100, usage=usage)
    finally:
        set_sink(None)
    assert usage.cost == pytest.approx(100 * (2 * 0.001 + 3 * 0.002))
    last = updates[-1]
    assert (last.done, last.total, last.label, last.ended) == (100, 100, "translate", True)
    assert "tokens/s" in usage.describe() and "cost 0.8" in usage.describe()
    assert "cost 0.8 of about 1.6" in usage.describe(0.5)
    assert "cost" in next(u.note for u in updates if u.note)
    assert "2 tokens/s" in describe(Update("k", "x", 1, 2, note="2 tokens/s"), 1.0)


def test_answers_of_the_backend_that_it_has_none_are_answers(tmp_path: Path) -> None:
    def say(request: Request, sent: int) -> Answer:
        return Answer(request.id, "", "other", problem="memory-missing", detail="x")

    cache = Cache(tmp_path)
    backend = Fake(say)
    for _ in range(2):
        found = run(backend, texts(30), cache=cache)
        assert {a.problem for a in found.values() if isinstance(a, Answer)} == {"memory-missing"}
    assert len(backend.sent) == 30
