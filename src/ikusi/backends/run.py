"""Many requests to one backend: at a set concurrency, each distinct one once, nothing lost.

Place: backends -> [run] -> translate, describe, judge, evaluate. Contract: every request ends as an
`Answer` or as a `Failure` with a reason, under its own id, in any order. Answers are in the cache
before anybody sees them, so a kill loses at most the requests in flight; failures never are.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ikusi.backends.base import Answer, Backend, Request
from ikusi.backends.cache import Cache
from ikusi.backends.settings import Prices, Retry


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
    retries: int = 0
    """Times that something was sent again."""
    prompt_tokens: int = 0
    """Of what was asked for; so are the others."""
    completion_tokens: int = 0
    seconds: float = 0.0
    """Since the first request."""
    cost: float | None = None
    """None where no prices are set."""


class Asker:
    """Answers requests one by one, from any number of tasks of one event loop.

        async with Asker(backend, concurrency=64, cache=Cache(folder)) as asker:
            outcome = await asker.ask(request)

    Equal payloads are asked once. At most `concurrency` are in flight, fewer while the server
    answers 429 or 5xx.
    """

    usage: Usage

    def __init__(
        self,
        backend: Backend,
        *,
        concurrency: int = 32,
        cache: Cache | None = None,
        retry: Retry | None = None,
        prices: Prices | None = None,
    ) -> None:
        """Prepare to ask `backend`.

        Args:
            backend: who is asked; stays open.
            concurrency: requests in flight at most.
            cache: where answers are kept; stays open. None keeps them for this `Asker` only.
            retry: how long to insist; None takes the defaults.
            prices: of tokens, for `usage.cost`.
        """
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Return the asker."""
        raise NotImplementedError

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what is in flight and let go of what is its own."""
        raise NotImplementedError

    async def ask(self, request: Request) -> Answer | Failure:
        """Answer a request, from the cache or by the backend.

        Raises:
            BackendError: nobody will get an answer, or too many failed in a row.
            StoreError: the cache cannot be written.
        """
        raise NotImplementedError


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
    raise NotImplementedError
    yield Failure("", "")
