"""Many requests to one backend: at a set concurrency, each distinct one once, nothing lost.

Place: backends -> [run] -> translate, describe, judge, evaluate. Contract: every request ends as an
`Answer` or as a `Failure` with a reason, under its own id, in any order. Answers are in the cache
before anybody sees them, so a kill loses at most the requests in flight; failures never are.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from ikusi.backends.base import (
    Answer,
    Backend,
    BackendError,
    Request,
    RequestRefused,
    TransportFault,
)
from ikusi.backends.cache import Cache
from ikusi.backends.settings import Prices, Retry
from ikusi.core.log import track


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no answer."""

    id: str
    """The request's."""
    reason: str
    """Short, such as `status-429`, `timeout` or `refused-400`."""
    detail: str = ""
    """What exactly, for people."""
    tries: int = 1
    """How often it was sent."""


@dataclass
class Usage:
    """What a run asked for; grows while it runs."""

    answered: int = 0
    """Answers given, those from the cache included."""
    cached: int = 0
    """Of them, those that were not asked for: found in the cache, or in flight already."""
    failed: int = 0
    """Requests without an answer."""
    retries: int = 0
    """Times that something was sent again."""
    prompt_tokens: int = 0
    """Of what was asked for; so are the others."""
    completion_tokens: int = 0
    seconds: float = 0.0
    """From the first request to the last outcome."""
    cost: float | None = None
    """None where no prices are set."""

    def describe(self, share: float | None = None) -> str:
        """Return tokens per second and cost in words; `share` is how much of the work is done."""
        tokens = self.prompt_tokens + self.completion_tokens
        parts = []
        if tokens and self.seconds:
            parts.append(f"{tokens / self.seconds:.3g} tokens/s")
        if self.cost is not None:
            whole = f" of about {self.cost / share:.3g}" if share else ""
            parts.append(f"cost {self.cost:.3g}{whole}")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)


class Asker:
    """Answers requests one by one, from any number of tasks of one event loop.

        async with Asker(backend, concurrency=64, cache=Cache(folder)) as asker:
            outcome = await asker.ask(request)

    Equal payloads are asked once. At most `concurrency` are in flight, fewer while the server
    answers 429 or 5xx, or too late.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        concurrency: int = 32,
        cache: Cache | None = None,
        retry: Retry | None = None,
        prices: Prices | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Prepare to ask `backend`.

        Args:
            backend: who is asked; stays open.
            concurrency: requests in flight at most.
            cache: where answers are kept; stays open. None keeps them for this `Asker` only.
            retry: how long to insist; None takes the defaults.
            prices: of tokens, for `usage.cost`.
            usage: is filled with what was used; None makes a new one.
        """
        self.usage = usage if usage is not None else Usage()
        self._backend = backend
        self._retry = retry or Retry()
        self._prices = prices
        self._gate = _Gate(concurrency)
        self._flying: dict[str, asyncio.Task[Answer | Failure]] = {}
        self._in_a_row = 0
        self._fatal: BackendError | None = None
        self._began: float | None = None
        self._own_folder: Path | None = None
        if cache is None:
            self._own_folder = Path(tempfile.mkdtemp(prefix="ikusi-answers-"))
            cache = Cache(self._own_folder)
        self._cache = cache

    async def __aenter__(self) -> Self:
        """Return the asker."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what is in flight and let go of what is its own."""
        flying = list(self._flying.values())
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        if self._own_folder is not None:
            self._cache.close()
            shutil.rmtree(self._own_folder, ignore_errors=True)

    async def ask(self, request: Request) -> Answer | Failure:
        """Answer a request, from the cache or by the backend.

        Cancelling it leaves the request in flight, for others who want the same.

        Raises:
            BackendError: nobody will get an answer, or too many failed in a row.
            StoreError: the cache cannot be written.
        """
        if self._began is None:
            self._began = time.monotonic()
        key = request.key(self._backend.revision)
        outcome: Answer | Failure | None = self._cache.get(key, request.id)
        asked = False
        if outcome is None:
            task = self._flying.get(key)
            if task is None:
                asked = True
                task = self._flying[key] = asyncio.create_task(self._insist(request, key))
                task.add_done_callback(lambda done: self._landed(key, done))
            outcome = replace(await asyncio.shield(task), id=request.id)
        self._count(outcome, asked)
        return outcome

    def _landed(self, key: str, task: asyncio.Task[Answer | Failure]) -> None:
        del self._flying[key]
        if not task.cancelled():
            task.exception()  # whoever wanted it may be gone, and asyncio would complain

    def _count(self, outcome: Answer | Failure, asked: bool) -> None:
        usage = self.usage
        usage.seconds = time.monotonic() - (self._began or 0.0)
        if isinstance(outcome, Failure):
            usage.failed += 1
            return
        usage.answered += 1
        usage.cached += not asked

    def _spend(self, answer: Answer) -> None:
        usage = self.usage
        usage.prompt_tokens += answer.prompt_tokens
        usage.completion_tokens += answer.completion_tokens
        if self._prices is not None:
            usage.cost = self._prices.cost(usage.prompt_tokens, usage.completion_tokens)

    async def _insist(self, request: Request, key: str) -> Answer | Failure:
        """Send the same request until there is an answer, or it has been tried for long enough."""
        began = time.monotonic()
        tries = 0
        while True:
            tries += 1
            async with self._gate:
                if self._fatal is not None:
                    raise self._fatal
                try:
                    answer = await self._backend.complete(request)
                except TransportFault as fault:
                    self._gate.note(throttled=_is_throttling(fault))
                    reason, detail, asked_wait = fault.reason, fault.detail, fault.retry_after
                except RequestRefused as refusal:
                    self._gate.note(throttled=False)
                    return self._fail(Failure(request.id, refusal.reason, refusal.detail, tries))
                except BackendError as error:
                    self._fatal = error
                    raise
                else:
                    self._gate.note(throttled=False)
                    self._in_a_row = 0
                    self._spend(answer)
                    self._cache.put(key, answer)
                    return answer
            wait = max(self._pause(tries), asked_wait or 0.0)
            late = time.monotonic() - began + wait > self._retry.seconds
            if tries >= self._retry.tries or late:
                return self._fail(Failure(request.id, reason, detail, tries))
            self.usage.retries += 1
            await asyncio.sleep(wait)

    def _pause(self, tries: int) -> float:
        """Return the seconds to wait after so many tries: doubled each time, and never in step."""
        wait = min(self._retry.longest_wait, self._retry.first_wait * 2.0 ** (tries - 1))
        return wait * random.uniform(0.5, 1.0)

    def _fail(self, failure: Failure) -> Failure:
        self._in_a_row += 1
        if self._in_a_row >= self._retry.failures_in_a_row:
            why = f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason
            self._fatal = BackendError(
                f"{self._backend.name}: {self._in_a_row} requests in a row got no answer, the "
                f"last because of {why.rstrip('.')}. See to it and start again: answers are kept."
            )
            raise self._fatal
        return failure


async def answer_all(
    backend: Backend,
    requests: Iterable[Request] | AsyncIterable[Request],
    *,
    concurrency: int = 32,
    cache: Cache | None = None,
    retry: Retry | None = None,
    prices: Prices | None = None,
    usage: Usage | None = None,
    label: str | None = None,
    total: int | None = None,
) -> AsyncIterator[Answer | Failure]:
    """Yield an answer or a failure for every request, as they come; ids tell which is whose.

    Requests are only read as fast as they are answered and the caller takes answers, so their
    number does not matter. Closing the iterator, or cancelling the task, cancels what is in flight.

    Args:
        backend: who is asked; stays open.
        requests: any number of them.
        concurrency: requests in flight at most; fewer while the server answers 429 or 5xx.
        cache: where answers are kept; None keeps them for this call only.
        retry: how long to insist; None takes the defaults.
        prices: of tokens, for the progress and `usage.cost`.
        usage: is filled with what was used.
        label: of the progress shown; None shows none.
        total: how many requests there are, if known.

    Raises:
        BackendError: nobody will get an answer, or too many failed in a row.
        StoreError: the cache cannot be written.
    """
    outcomes: asyncio.Queue[Answer | Failure] = asyncio.Queue(maxsize=2 * concurrency)
    source = _Source(requests)
    shown = track(label, total) if label else contextlib.nullcontext()
    with shown as advance:
        asker = Asker(
            backend,
            concurrency=concurrency,
            cache=cache,
            retry=retry,
            prices=prices,
            usage=usage,
        )

        async def work() -> None:
            async for request in source:
                await outcomes.put(await asker.ask(request))

        async with asker:
            # More than are in flight: some wait for another try, or for an equal request.
            workers = [asyncio.create_task(work()) for _ in range(2 * concurrency)]
            ended = asyncio.gather(*workers)
            try:
                done = 0
                while (outcome := await _next(outcomes, ended)) is not None:
                    done += 1
                    if advance is not None:
                        share = done / total if total else None
                        advance(1, lambda share=share: asker.usage.describe(share))
                    yield outcome
                await ended  # raises what a worker raised
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, ended, return_exceptions=True)


async def _next(
    outcomes: asyncio.Queue[Answer | Failure], ended: asyncio.Future[list[None]]
) -> Answer | Failure | None:
    """Return the next outcome; None when there is none and all who make them have ended."""
    with contextlib.suppress(asyncio.QueueEmpty):
        return outcomes.get_nowait()
    if ended.done():
        return None
    getting = asyncio.create_task(outcomes.get())
    try:
        await asyncio.wait((getting, ended), return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
    finally:
        getting.cancel()
    return None if outcomes.empty() else outcomes.get_nowait()


def _is_throttling(fault: TransportFault) -> bool:
    return fault.reason in ("status-429", "timeout") or fault.reason.startswith("status-5")


class _Source:
    """One iterator over requests for many tasks, whichever kind of iterable they come from."""

    def __init__(self, requests: Iterable[Request] | AsyncIterable[Request]) -> None:
        self._lock = asyncio.Lock()
        self._later: AsyncIterator[Request] | None = None
        if isinstance(requests, AsyncIterable):
            self._later = aiter(requests)
        else:
            self._now = iter(requests)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Request:
        if self._later is None:
            try:
                return next(self._now)
            except StopIteration:
                raise StopAsyncIteration from None
        async with self._lock:  # an asynchronous generator cannot be advanced twice at once
            return await anext(self._later)


class _Gate:
    """Lets a number of requests pass at a time, which adapts to what the server can take.

    Additive increase, multiplicative decrease: after as many answers as may be in flight, the limit
    falls by half the share of them that said "too many", and rises by a 64th of the most for the
    others. In proportion, because a server that fails now and then is not an overloaded one.
    """

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self._most = most
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._answers = 0
        self._throttled = 0

    async def __aenter__(self) -> None:
        while self._inside >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()  # it was ours to go, and somebody else's now
                raise
        self._inside += 1

    async def __aexit__(self, *error: object) -> None:
        self._inside -= 1
        self._wake()

    def note(self, throttled: bool) -> None:
        """Take into account how a request ended."""
        self._answers += 1
        self._throttled += throttled
        if self._answers >= self.limit:
            share = self._throttled / self._answers
            step = max(1.0, self._most / 64) * (1 - share)
            self.limit = min(self._most, max(1.0, self.limit * (1 - share / 2) + step))
            self._answers = self._throttled = 0

    def _wake(self) -> None:
        free = int(self.limit) - self._inside
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
