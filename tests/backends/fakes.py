"""A backend in this process, and requests for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from ikusi.backends.base import Answer, Capabilities, Request
from ikusi.core.types import user

Say = Callable[[Request, int], Answer | Exception]
"""The request, and how often its payload was sent -> what happens."""


def echo(request: Request, sent: int) -> Answer:
    """Answer with the text in capitals."""
    text = request.turns[-1].text
    return Answer(request.id, text.upper(), prompt_tokens=2, completion_tokens=3)


class Fake:
    """Answers as it is told."""

    name = "fake"
    capabilities = Capabilities(chat=True)

    def __init__(self, say: Say = echo, *, seconds: float = 0.0, revision: str = "1") -> None:
        self.say, self.seconds, self.revision = say, seconds, revision
        self.sent: list[str] = []
        """Texts, in the order in which they were sent."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.cancelled = 0

    async def complete(self, request: Request) -> Answer:
        text = request.turns[-1].text
        self.sent.append(text)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        said = self.say(request, self.sent.count(text))
        if isinstance(said, Exception):
            raise said
        return said

    async def close(self) -> None:
        """Do nothing."""


def ask(text: str, id: str = "", **fields: Any) -> Request:  # noqa: A002  # the field's name
    """Return a request with one turn."""
    return Request(id or text, (user(text),), **fields)


def texts(count: int) -> Iterator[Request]:
    """Yield so many different requests."""
    return (ask(f"text {number}", str(number)) for number in range(count))
