"""A fault climbs: another prompt, another draw, another backend; then the record is dropped.

Contract: what is tried depends on the faults alone, never on time or on other records; the same
payload is never sent for a content fault. What fell off the ladder keeps its last fault, the way
there and the last answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ikusi.data.translate.faults import Fault
from ikusi.data.translate.prompts import Prompt

T = TypeVar("T")

RESAMPLED = 0.7
"""Temperature of a second draw: what most servers take for creative enough to differ."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to ask."""

    voice: int
    """Which backend: 0, or 1 for the fallback."""
    prompt: Prompt | None = None
    """For chat backends."""
    temperature: float = 0.0
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Tried(Generic[T]):
    """What came of one rung: a result or a fault, and what was answered."""

    result: T | None = None
    fault: Fault | None = None
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Fallen:
    """Nothing helped."""

    faults: tuple[Fault, ...]
    """Of each rung, in order."""
    answer: str = ""
    """The last one that there was."""

    @property
    def reason(self) -> str:
        """The last fault's name."""
        return self.faults[-1].reason

    @property
    def detail(self) -> str:
        """What went wrong on each rung, and the last answer in full."""
        way = "; then ".join(map(str, self.faults))
        return f"{way}. Last answer: {self.answer}" if self.answer else way


def rungs(voice: int, *, chat: bool, sampling: bool, describe: bool = False) -> tuple[Rung, ...]:
    """Return the ways to ask one backend, the best first.

    Args:
        voice: which backend.
        chat: it follows a prompt.
        sampling: it answers differently at another temperature.
        describe: it writes from the picture.
    """
    if not chat:
        again = (Rung(voice, None, RESAMPLED, 1),) if sampling else ()
        return (Rung(voice), *again)
    first: Prompt = "describe" if describe else "translate"
    other: Prompt = "describe_strict" if describe else "strict"
    return (
        Rung(voice, first),
        Rung(voice, other),
        *((Rung(voice, other, RESAMPLED, 1),) if sampling else ()),
    )


async def climb(
    ladder: Sequence[Rung],
    attempt: Callable[[Rung, Fault | None], Awaitable[Tried[T]]],
    on_fault: Callable[[Fault], None] = lambda fault: None,
) -> T | Fallen:
    """Return the first result that has no fault, or how all of them failed.

    Args:
        ladder: ways to ask, not empty.
        attempt: asks in one way; gets the fault of the one before.
        on_fault: called with each fault, to count it.
    """
    faults: list[Fault] = []
    answer = ""
    for rung in ladder:
        tried = await attempt(rung, faults[-1] if faults else None)
        if tried.fault is None:
            assert tried.result is not None
            return tried.result
        faults.append(tried.fault)
        answer = tried.answer or answer
        on_fault(tried.fault)
    return Fallen(tuple(faults), answer)
