"""What every backend takes and gives.

Contract: a backend answers one request at a time, asynchronously; order, concurrency, retries of
transport faults and the cache are `run.py`'s. There are four ways to end:

- an `Answer`. One whose content somebody dislikes is an answer too, is cached, and is never asked
  for again under the same key. So is one with a `problem`: the backend itself knows that it has
  no text to give.
- `TransportFault`: nothing arrived (a dropped connection, 429, 5xx, broken JSON, an empty text).
  The same payload is sent again; never cached.
- `RequestRefused`: the server will not take this request, but may take others. Neither sent again
  nor cached.
- `BackendError`: nobody will get an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from ikusi.core.artifact import hash_data
from ikusi.core.errors import IkusiError
from ikusi.core.types import Text, Turn

Finish = Literal["stop", "length", "other"]


class BackendError(IkusiError):
    """A backend cannot be used at all: wrong address, model or key, or it stays down."""


class RequestRefused(BackendError):
    """This request gets no answer, however often it is sent; others may.

    Args:
        reason: short, such as `refused-400`.
        detail: one line for people: who refused, and what they said.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class TransportFault(Exception):
    """An answer did not arrive; the same request may be sent again.

    Args:
        reason: short, such as `status-429` or `connection-dropped`.
        retry_after: seconds that the server asked to wait, if it did.
        detail: what exactly, on one line for people.
    """

    def __init__(self, reason: str, retry_after: float | None = None, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.retry_after = retry_after
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do."""

    chat: bool = False
    """Follows instructions; otherwise it translates the sentence that it is given."""
    images: bool = False
    """Sees the pictures of a request."""
    score: bool = False
    """Gives the likelihood of a given text: it has `async score(request, text) -> Score`."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt."""

    id: str
    """Of the caller; answers come with it. No part of the key."""
    turns: tuple[Turn, ...]
    """The conversation; a backend that only translates reads the last turn's text."""
    images: tuple[bytes, ...] = ()
    """Encoded pictures, to which the turns' image parts point."""
    source_language: str | None = None
    """BCP-47; of backends that translate."""
    target_language: str | None = None
    """BCP-47; of backends that translate."""
    max_tokens: int | None = None
    """The answer is cut there."""
    temperature: float = 0.0
    """0 is greedy."""
    sample: int = 0
    """Number of the draw: another one is another request, with another answer."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the server's API, sent as they are."""

    def payload(self) -> dict[str, Any]:
        """Return as plain data all that the answer depends on, besides the backend."""
        import hashlib

        return {
            "turns": [
                [turn.role, [p.text if isinstance(p, Text) else p.index for p in turn.parts]]
                for turn in self.turns
            ],
            "images": [hashlib.sha256(image).hexdigest() for image in self.images],
            "languages": [self.source_language, self.target_language],
            "max_tokens": self.max_tokens,
            "temperature": float(self.temperature),
            "sample": self.sample,
            "extra": dict(self.extra),
        }

    def key(self, revision: str) -> str:
        """Return the cache key: payload, sample number, and the backend's model and revision."""
        return hash_data([self.payload(), revision])


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend said."""

    id: str
    """The request's."""
    text: str
    finish: Finish = "stop"
    """`length`: it was cut at `max_tokens`."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    problem: str = ""
    """Why there is no text, where the backend itself knows that it has none: a short name such as
    `memory-missing`. `text` is then empty and `finish` is `other`."""
    detail: str = ""
    """What the problem is about, for people."""


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a given text is as the answer to a request."""

    logprob: float
    """Natural logarithm of the text's probability: the sum over its tokens."""
    tokens: int
    """How many tokens the text has."""


@runtime_checkable
class Backend(Protocol):
    """Something that answers prompts."""

    name: str
    """For people and provenance, such as `HiTZ/mt-hitz-en-eu`."""
    revision: str
    """What answers depend on besides the request: kind, model, its revision, decode settings."""
    capabilities: Capabilities

    async def complete(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            TransportFault: no answer arrived; try again.
            RequestRefused: none will for this request.
            BackendError: none will for any.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and models."""
        ...
