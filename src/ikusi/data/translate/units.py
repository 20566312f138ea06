"""What of a record is translated, what belongs together, and how it is put together again.

Place: record -> [units] -> protect, prompts -> backend. Contract: each distinct text of a record
is translated once, so a term that stands alone has one translation in it; an answer that is one of
the options becomes that option's translation; pictures stay typed parts; whitespace around a text
stays.

A chat backend gets the texts of a conversation together, each in tags that can be read back:

    <user1>What is this?</user1>
    <option2>A dog</option2>
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ikusi.core.types import Image, Part, Record, Text, Turn
from ikusi.data.translate.faults import Fault

Role = Literal["system", "user", "assistant", "option", "answer"]

_LETTER = re.compile(r"\(?[A-Z]\)?[.:]?")
_LETTERED = re.compile(r"(\(?[A-Z][).:]\s*)(\S[\s\S]*)")
_TAGGED = re.compile(r"<((?:system|user|assistant|option|answer)[0-9]{1,6})>([\s\S]*?)</\1>")


@dataclass(frozen=True, slots=True)
class Piece:
    """A text to translate."""

    text: str
    """Without whitespace at its ends."""
    role: Role
    is_written: bool = False
    """It is not translated but written anew, from the picture."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A text of the record: a piece, and what stands around it; without a piece, it stays."""

    before: str
    piece: int | None = None
    after: str = ""

    def fill(self, translations: Sequence[str]) -> str:
        """Return the text with its piece's translation."""
        told = "" if self.piece is None else translations[self.piece]
        return f"{self.before}{told}{self.after}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A record's texts taken apart."""

    record: Record
    pieces: tuple[Piece, ...]
    turns: tuple[tuple[Reference | Image, ...], ...]
    choices: tuple[Reference, ...]
    answers: tuple[Reference, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """The texts of the pieces that are options."""
        return tuple(piece.text for piece in self.pieces if piece.role == "option")

    def rebuild(self, translations: Sequence[str]) -> Record:
        """Return the record with the pieces' translations; all else is left as it was."""
        turns = []
        for turn, references in zip(self.record.turns, self.turns, strict=True):
            parts: list[Part] = [
                part if isinstance(part, Image) else Text(part.fill(translations))
                for part in references
            ]
            turns.append(Turn(turn.role, tuple(parts)))
        return replace(
            self.record,
            turns=tuple(turns),
            choices=tuple(choice.fill(translations) for choice in self.choices),
            answers=tuple(answer.fill(translations) for answer in self.answers),
        )


class _Pieces:
    def __init__(self) -> None:
        self.list: list[Piece] = []
        self._known: dict[tuple[str, bool], int] = {}

    def add(self, text: str, role: Role, is_written: bool = False) -> Reference:
        core = text.strip()
        if not core:
            return Reference(text)
        key = core, is_written
        if key not in self._known:
            self._known[key] = len(self.list)
            self.list.append(Piece(core, role, is_written))
        start = text.index(core)
        return Reference(text[:start], self._known[key], text[start + len(core) :])


def take_apart(record: Record, *, write: bool = False) -> Plan:
    """Return what of a record is translated.

    Args:
        record: in the source language.
        write: what the assistant says is written anew from the picture.
    """
    pieces = _Pieces()
    named = {choice.strip().casefold(): choice for choice in record.choices if choice.strip()}
    options = {key: c for key, c in named.items() if not _LETTER.fullmatch(c.strip())}
    letters = named.keys() - options.keys()  # they stay, however an answer writes them

    def refer(text: str, role: Role, is_written: bool = False) -> Reference:
        core = text.strip()
        if _LETTER.fullmatch(core):
            return Reference(text)
        if role in ("assistant", "answer"):
            if core.casefold() in letters:
                return Reference(text)
            found = _as_option(core, options)
            if found is not None:
                before, choice, after = found
                inner = pieces.add(choice.strip(), "option")
                start = text.index(core)
                return Reference(
                    text[:start] + before, inner.piece, after + text[start + len(core) :]
                )
        return pieces.add(text, role, is_written)

    turns: list[tuple[Reference | Image, ...]] = []
    for turn in record.turns:
        written = write and turn.role == "assistant"
        turns.append(
            tuple(
                part if isinstance(part, Image) else refer(part.text, turn.role, written)
                for part in turn.parts
            )
        )
    choices = tuple(
        Reference(c) if _LETTER.fullmatch(c.strip()) else pieces.add(c, "option")
        for c in record.choices
    )
    answers = tuple(refer(answer, "answer") for answer in record.answers)
    return Plan(record, tuple(pieces.list), tuple(turns), choices, answers)


def _as_option(text: str, options: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return what stands before an option, the option, and what stands after it; None if none."""
    lettered = _LETTERED.fullmatch(text)
    before, core = (lettered[1], lettered[2]) if lettered else ("", text)
    for candidate, after in ((core, ""), (core[:-1], core[-1:])):
        if after in ("", ".", "!") and candidate.casefold() in options:
            return before, options[candidate.casefold()], after
    return None


def chunk(pieces: Sequence[Piece], max_characters: int) -> Iterator[list[int]]:
    """Yield the numbers of pieces that go into one request, in their order.

    A piece longer than `max_characters` has a request of its own. Options stay together with what
    they are asked with, as far as the limit allows.
    """
    part: list[int] = []
    size = 0
    for number, piece in enumerate(pieces):
        if part and size + len(piece.text) > max_characters:
            yield part
            part, size = [], 0
        part.append(number)
        size += len(piece.text)
    if part:
        yield part


def write_tagged(texts: Sequence[tuple[str, str]]) -> str:
    """Return (tag, text) pairs as one text that `read_tagged` can read."""
    return "\n".join(f"<{tag}>{text}</{tag}>" for tag, text in texts)


def read_tagged(answer: str, tags: Sequence[str]) -> tuple[list[str], str] | Fault:
    """Return the texts in their tags, and what stands outside them.

    A fault unless each of `tags` is there once, in order, and no other. What stands outside is no
    translation for certain, so that it may be left out; whoever does so counts it.
    """
    found = list(_TAGGED.finditer(answer))
    if [match[1] for match in found] != list(tags):
        got = ", ".join(match[1] for match in found) or "none"
        wanted = ", ".join(tags)
        return Fault("format", f"wanted the tags {wanted[:300]}; got {got[:300]}")
    texts = [match[2].strip() for match in found]
    outside, end = [], 0
    for match in found:
        outside.append(answer[end : match.start()])
        end = match.end()
    outside.append(answer[end:])
    return texts, " ".join(" ".join(outside).split())
