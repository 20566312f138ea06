"""Backends for tests of translating: a language that is English with every word turned round.

`shift` turns words and leaves what is in tags, placeholders and everything between words alone, so
that a good translation can be known without knowing a language.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from ikusi.backends.base import Answer, Capabilities, Request
from ikusi.backends.run import Asker
from ikusi.core.types import Image, Record, assistant, user
from ikusi.data.translate.voices import Units, Voice

_KEPT = re.compile(r"(</?[a-z]+[0-9]+>|⟦[0-9]+⟧|XQ[0-9]+)")
_WORD = re.compile(r"[^\W\d_]+")


def shift(text: str) -> str:
    """Return the text in the language of these tests."""
    parts = _KEPT.split(text)
    return "".join(
        part if _KEPT.fullmatch(part) else _WORD.sub(lambda m: turn(m[0]), part) for part in parts
    )


def turn(word: str) -> str:
    """Return a word of the language: its letters in reverse, and an ending like Basque's."""
    turned = word[::-1].lower() + "ak"
    return turned.capitalize() if word[0].isupper() else turned


def last_text(request: Request) -> str:
    return request.turns[-1].text


class Fake:
    """A backend that answers as `reply` says, and keeps what it was asked."""

    def __init__(
        self,
        reply: Callable[[Request], str | Answer] = lambda request: shift(last_text(request)),
        *,
        chat: bool = True,
        images: bool = False,
        name: str = "fake",
    ) -> None:
        self.name, self.revision = name, f"{name} 1"
        self.capabilities = Capabilities(chat=chat, images=images)
        self.reply = reply
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Answer:
        self.requests.append(request)
        await asyncio.sleep(0)
        told = self.reply(request)
        return told if isinstance(told, Answer) else Answer(request.id, told)

    async def close(self) -> None:
        pass

    @property
    def asked(self) -> list[str]:
        """The last turn of each request."""
        return [last_text(request) for request in self.requests]


async def voice(stack: AsyncExitStack, fake: Fake, units: Units = "conversation") -> Voice:
    asker = await stack.enter_async_context(Asker(fake))
    return Voice(
        fake.name,
        fake.revision,
        asker,
        units,
        samples=units == "conversation",
        images=fake.capabilities.images,
    )


def record(*texts: str, id: str = "r1", choices: Sequence[str] = (), **more: object) -> Record:  # noqa: A002
    """Return a conversation about one picture, the user first."""
    turns = [
        user(Image(0), text) if i == 0 else (assistant(text) if i % 2 else user(text))
        for i, text in enumerate(texts)
    ]
    given = {"language": "en", "task": "chat", "source": "tests", **more}
    return Record(id, f"group-{id}", tuple(turns), choices=tuple(choices), **given)  # type: ignore[arg-type]


def texts_of(made: Record) -> list[str]:
    return [turn.text for turn in made.turns]


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
