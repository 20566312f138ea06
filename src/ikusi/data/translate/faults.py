"""What can be wrong with a translation: a short name that is counted, and what exactly."""

from __future__ import annotations

from dataclasses import dataclass

MAX_DETAIL = 20_000
"""Characters of a drop's detail: an answer can be a loop of megabytes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason not to take an answer."""

    reason: str
    """A short name, such as `placeholder-lost`; the reason of the drop when nothing helps."""
    detail: str = ""
    """What exactly, for people and for the next prompt."""

    def __str__(self) -> str:
        """Return both in a line."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
