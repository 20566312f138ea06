"""The one thing that flows through ikusi: the `Record`, a conversation about images.

Contract: a turn holds typed parts, never a marker inside a string, so a `<image>` that somebody
typed is only text. Records are immutable; a step makes new ones with `dataclasses.replace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture: by `url` before the images step, by `sha256` of its bytes after it."""

    sha256: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A text part of a turn."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image part of a turn: an index into the record's `images`."""

    index: int = 0


Part = Text | Image


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The turn's text, images left out."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])


@dataclass(frozen=True, slots=True)
class Record:
    """A conversation in one language, with everything that training or evaluating it needs."""

    id: str
    """Unique within its artifact."""
    group: str
    """What belongs together across languages: the source's own key, such as a scene or a url."""
    turns: tuple[Turn, ...]
    language: str
    """BCP-47."""
    task: str
    """What is asked; `chat` for a conversation of several tasks."""
    source: str
    """Name of the set it came from."""
    images: tuple[ImageRef, ...] = ()
    choices: tuple[str, ...] = ()
    """The options of a multiple-choice question, in order."""
    answers: tuple[str, ...] = ()
    """Accepted answers of an evaluation item, the reference one first."""
    licence: str = ""
    provenance: str = ""
    """Who or what wrote the text: `native`, or the translator's name and revision."""
    parent: str | None = None
    """Id of the record that this one was translated from."""
    ratings: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    """What somebody judged -> one number for each exchange (a user's turn and its answer); None
    where it was not judged."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What nothing in ikusi reads."""


def user(*parts: str | Image) -> Turn:
    """Return a user's turn made of texts and images."""
    return Turn("user", tuple(Text(p) if isinstance(p, str) else p for p in parts))


def assistant(text: str) -> Turn:
    """Return an assistant's turn."""
    return Turn("assistant", (Text(text),))
