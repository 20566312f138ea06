r"""Translating from a memory: a list of texts, some with slots, that somebody wrote down.

Place: settings -> [memory] -> run. Contract: what comes out was written down, or put together from
what was; nothing is guessed. A text that is not there, or has two translations, gives an answer
with a `problem` (`memory-missing`, `memory-ambiguous`) and no text.

    source                      target                  context
    dog                         txakurra
    orange                      laranja                 colour
    There is {a} and {b}.       {a} eta {b} daude.
    Background: {colour}        Hondoa: {colour}

How a text is looked up:

- an entry that is the text itself comes first, then the one with slots that has most letters of its
  own; a slot takes as much as it can, from the left.
- what is in a slot is looked up likewise. The slot's name (without digits at its end) is the
  context: entries of this context come first, then those of none, then those of another. A request
  may name its own context as `extra["context"]`.
- a text that is not found as it is written is looked up without its last punctuation, and with a
  small first letter, or all in small letters if it is all in capitals; the translation then gets
  what was taken away. So `Dog!` gives `Txakurra!`.

`\t`, `\n` and `\\` stand for a tab, a new line and a backslash.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

from ikusi.backends.base import Answer, BackendError, Capabilities, Request
from ikusi.backends.settings import MemorySettings
from ikusi.core.artifact import hash_data

_COLUMNS = ("source", "target", "context")
_SLOT = re.compile(r"\{([a-z]+[0-9]*)\}")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"t": "\t", "n": "\n", "\\": "\\"}
_RULES = 1
"""Version of the rules above: raised when they give another translation."""
_MAX_LOOKUPS = 20_000
"""Of pieces of one text: the ways to cut it grow with the cube of its words."""
_MAX_DEPTH = 60
"""Of slots within slots: a list of so many names."""
_REMEMBERED = 1 << 16


class _TooMany(Exception):
    """A text has more pieces than are looked up."""


class Found(NamedTuple):
    """What a look-up gives: a text, or a problem and what it is about."""

    text: str = ""
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Template:
    """An entry with slots: `literals[0]` slot `literals[1]` slot ... `literals[-1]`."""

    literals: tuple[str, ...]
    slots: tuple[str, ...]
    target: str
    context: str

    @property
    def weight(self) -> int:
        """Letters of its own."""
        return sum(map(len, self.literals))

    def matches(self, text: str, accept: Callable[[str, str], bool]) -> Iterator[dict[str, str]]:
        """Yield what the slots take of `text`, the leftmost slot's longest piece first.

        `accept` tells whether a slot may take a piece; where it may not, no further slot is tried.
        """
        first, last = self.literals[0], self.literals[-1]
        if text.startswith(first) and text.endswith(last) and len(text) > len(first) + len(last):
            yield from self._take(text[: len(text) - len(last)], len(first), 0, {}, accept)

    def _take(
        self,
        text: str,
        start: int,
        number: int,
        taken: dict[str, str],
        accept: Callable[[str, str], bool],
    ) -> Iterator[dict[str, str]]:
        slot = self.slots[number]
        is_last = number == len(self.slots) - 1
        literal = "" if is_last else self.literals[number + 1]
        end = len(text) if is_last else text.rfind(literal, start + 1)
        while end > start:
            piece = text[start:end]
            if taken.get(slot, piece) == piece and accept(slot, piece):
                rest = {**taken, slot: piece}
                if is_last:
                    yield rest
                else:
                    yield from self._take(text, end + len(literal), number + 1, rest, accept)
            # Before this place; the last slot can only take all that is left.
            end = -1 if is_last else text.rfind(literal, start + 1, end + len(literal) - 1)


class Memory:
    """Answers from a TSV file; see the module."""

    capabilities = Capabilities()

    def __init__(self, name: str, entries: Sequence[tuple[str, str, str]]) -> None:
        """Hold `entries` of source, target and context.

        Raises:
            ValueError: an entry has no text, or its slots do not agree; says which.
        """
        self.name = name
        self.revision = f"memory {_RULES} {hash_data(sorted(entries))[:16]}"
        # Text -> context -> targets; a dictionary instead of a set keeps the order of the file.
        self._entries: dict[str, dict[str, dict[str, None]]] = {}
        self._templates: dict[str, list[_Template]] = defaultdict(list)
        for number, (source, target, context) in enumerate(entries, 1):
            try:
                self._add(_normal(source), _normal(target), context)
            except ValueError as error:
                raise ValueError(f"entry {number} ({source!r}): {error}") from None
        for templates in self._templates.values():
            templates.sort(key=lambda template: -template.weight)
        self._lookups = self._depth = 0
        self._look_up = lru_cache(maxsize=_REMEMBERED)(self._look_up_anew)

    @classmethod
    def open(cls, settings: MemorySettings) -> Self:
        """Read the file.

        Raises:
            BackendError: it cannot be read, or a line is wrong; says which.
        """
        path = settings.path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise BackendError(f"{path}: is no UTF-8. Save it as UTF-8, tab-separated.") from None
        except OSError as error:
            raise BackendError(f"{path}: cannot be read ({error.strerror}).") from None
        try:
            return cls(path.name, list(_read_rows(path, text)))
        except ValueError as error:
            raise BackendError(f"{path}: {error}.") from None

    async def complete(self, request: Request) -> Answer:
        """Return the translation of the last turn, or an answer with a problem."""
        text = request.turns[-1].text
        found = self.translate(text, str(request.extra.get("context", "")))
        if found.problem:
            return Answer(request.id, "", "other", problem=found.problem, detail=found.detail)
        return Answer(request.id, found.text)

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def translate(self, text: str, context: str = "") -> Found:
        """Return the translation of `text`, with the white space around it."""
        core = _normal(text).strip()
        if not core:
            return Found(text)
        problem: Found | None = None
        self._lookups = 0
        for variant, restore, mark in _variants(core):
            self._depth = 0
            try:
                found = self._look_up(variant, context)
            except _TooMany:
                found = Found("", "memory-missing", f"{_shown(core)} has too many pieces")
            if not found.problem:
                start = len(text) - len(text.lstrip())
                end = len(text.rstrip())
                return Found(text[:start] + restore(found.text) + mark + text[end:])
            if found.problem == "memory-ambiguous":
                return found
            problem = problem or found
        assert problem is not None
        return problem

    def _add(self, source: str, target: str, context: str) -> None:
        if not source.strip() or not target.strip():
            raise ValueError("a source and a target are needed")
        slots = _SLOT.findall(source)
        if sorted(set(slots)) != sorted(set(_SLOT.findall(target))):
            raise ValueError("source and target must have the same slots")
        if not slots:
            self._entries.setdefault(source, {}).setdefault(context, {})[target] = None
            return
        literals = _SLOT.split(source)[::2]
        if not "".join(literals).strip(" ") and " " not in literals[1:-1]:
            raise ValueError("needs more than a slot")
        if "" in literals[1:-1]:
            raise ValueError("needs something between two slots")
        template = _Template(tuple(literals), tuple(slots), target, context)
        self._templates[literals[0][:1]].append(template)

    def _look_up_anew(self, text: str, context: str) -> Found:
        by_context = self._entries.get(text)
        if by_context is not None:
            return _only(text, _in_context(by_context, context))
        problem = Found("", "memory-missing", f"no entry for {_shown(text)}")
        met: list[Found] = []  # what was wrong with pieces of the text

        def accept(slot: str, piece: str) -> bool:
            self._lookups += 1
            if self._lookups > _MAX_LOOKUPS:
                raise _TooMany
            found = self._look_up(piece, _context_of(slot))
            if found.problem:
                met.append(found)
            return not found.problem

        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _TooMany
        weight = 0
        fitting: dict[str, dict[str, None]] = {}
        for template in self._fitting(text):
            if fitting and template.weight < weight:
                break
            pieces = next(template.matches(text, accept), None)
            if pieces is not None:
                weight = template.weight
                whole = self._fill(template.target, pieces)
                fitting.setdefault(template.context, {})[whole] = None
        self._depth -= 1
        if fitting:
            return _only(text, _in_context(fitting, context))
        ambiguous = [found for found in met if found.problem == "memory-ambiguous"]
        return next(iter(ambiguous or met), problem)

    def _fill(self, target: str, pieces: Mapping[str, str]) -> str:
        return _SLOT.sub(
            lambda match: self._look_up(pieces[match[1]], _context_of(match[1])).text, target
        )

    def _fitting(self, text: str) -> Iterator[_Template]:
        """Yield the templates that may fit, those with most letters of their own first."""
        found = [*self._templates.get(text[:1], ()), *self._templates.get("", ())]
        found.sort(key=lambda template: -template.weight)
        yield from found


def _context_of(slot: str) -> str:
    return slot.rstrip("0123456789")


def _in_context(targets: Mapping[str, Mapping[str, None]], context: str) -> list[str]:
    """Return the targets that count: those of `context`, else those of none, else all."""
    for wanted in (context, ""):
        if wanted in targets:
            return list(targets[wanted])
    return list(dict.fromkeys(target for some in targets.values() for target in some))


def _only(text: str, targets: list[str]) -> Found:
    if len(targets) == 1:
        return Found(targets[0])
    shown = ", ".join(map(_shown, targets[:3]))
    return Found("", "memory-ambiguous", f"{_shown(text)} has {len(targets)}: {shown}")


def _variants(text: str) -> Iterator[tuple[str, Callable[[str], str], str]]:
    """Yield what to look up for `text`, and what the translation gets: letters, punctuation."""
    bare = text
    while bare and unicodedata.category(bare[-1]) == "Po":
        bare = bare[:-1]
    ends = [(text, "")]
    if bare.strip() and bare != text:
        ends.append((bare, text[len(bare) :]))
    for body, end in ends:
        yield body, _as_it_is, end
    for body, end in ends:
        if body[0] != body[0].lower():
            yield body[0].lower() + body[1:], _with_capital, end
    for body, end in ends:
        if sum(map(str.isalpha, body)) > 1 and body.isupper():
            yield body.lower(), str.upper, end


def _as_it_is(text: str) -> str:
    return text


def _with_capital(text: str) -> str:
    return text[:1].title() + text[1:]


def _read_rows(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    lines = text.split("\n")  # not `splitlines`: it also splits at characters that texts may hold
    header = tuple(cell.strip() for cell in lines[0].rstrip("\r").split("\t"))
    if header not in (_COLUMNS[:2], _COLUMNS):
        raise BackendError(
            f"{path}: the first line must be the names of the columns, `source`, `target` and "
            f"perhaps `context`, with tabs between; found: {_shown(' | '.join(header))}."
        )
    for number, line in enumerate(lines[1:], 2):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        cells = [_ESCAPE.sub(_unescape, cell) for cell in line.split("\t")]
        if not 2 <= len(cells) <= len(header):
            raise BackendError(
                f"{path}: line {number} has {len(cells)} columns instead of {len(header)}: "
                f"{_shown(line)}."
            )
        yield cells[0], cells[1], cells[2].strip() if len(cells) > 2 else ""


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[0])


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
