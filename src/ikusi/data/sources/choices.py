"""Options of multiple-choice questions, in the forms in which benchmarks write them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from ikusi.data.sources.source import RowFault

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERED_LINE = re.compile(r"\(?[A-Z][.):]\s*(.+)", re.DOTALL)


def read_choices(cell: Any) -> tuple[str, ...]:
    """Return the options in a cell: a list, or a text that holds one.

    A text is read as JSON or Python's list, as lines, or as parts between semicolons or commas,
    whichever comes first; letters before the options (`A) `) are taken off.

    Raises:
        RowFault: there are fewer than two.
    """
    found: Any = cell
    if isinstance(cell, str):
        found = read_literal(cell)
        if found is None:
            lines = [line for line in cell.splitlines() if line.strip()]
            for separator in (";", ","):
                if len(lines) < 2:
                    lines = [piece for piece in cell.split(separator) if piece.strip()]
            found = [_without_letter(line.strip()) for line in lines]
    if not isinstance(found, list | tuple) or len(found) < 2:
        raise RowFault("choices-unreadable", f"{str(cell)[:200]!r} is no list of options")
    made = tuple(option.strip() if isinstance(option, str) else "" for option in found)
    if not all(made):
        raise RowFault("choices-unreadable", f"{str(cell)[:200]!r} has an option without text")
    return made


def read_literal(text: str) -> Any:
    """Return the list that a text holds as JSON or in Python's way, or None."""
    if not text.lstrip().startswith(("[", "(")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | tuple):
            return found
    return None


def _without_letter(line: str) -> str:
    match = _LETTERED_LINE.fullmatch(line)
    return match[1] if match else line


def find_correct(cell: Any, how: str, choices: Sequence[str], letters: list[str]) -> str:
    """Return the right option's text.

    Args:
        cell: tells which it is.
        how: `index`, `letter` or `text`; see `Fields.correct_is`.
        choices: all options.
        letters: the letter of each.

    Raises:
        RowFault: it tells none of them.
    """
    text = cell.strip() if isinstance(cell, str) else cell
    if text is None or text == "":
        raise RowFault("answer-missing", "the row does not say which option is right")
    if how == "index":
        if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 4:
            text = int(text)
        if isinstance(text, int) and not isinstance(text, bool) and 0 <= text < len(choices):
            return choices[text]
    elif isinstance(text, str):
        known = (
            letters[: len(choices)]
            if how == "letter"
            else [choice.casefold() for choice in choices]
        )
        wanted = text.strip("(). ").upper() if how == "letter" else text.casefold()
        if wanted in known:
            return choices[known.index(wanted)]
    told = f"{repr(cell)[:80]} ({how}) is none of {len(choices)} options"
    raise RowFault("correct-unknown", told)


def split_options(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the question and the options of a text such as `What is it? Options: A: x, B: y`.

    None where no options that begin with letters in their order can be told. The word before
    them may be of any language.
    """
    start = re.search(r"(?:^|\n)[ \t]*(?:[^\W\d_]+[ \t]*:)?\s*\(?A[:.)][ \t]*", text)
    if start is None:
        return None
    question, rest = text[: start.start()].strip(), text[start.end() :]
    options: list[str] = []
    for letter in LETTERS[1:]:
        match = re.search(rf"(?:,|;|\.|\n)?\s+\(?{letter}[:.)]\s*", rest)
        if match is None:
            break
        options.append(rest[: match.start()].strip(" ,;\n"))
        rest = rest[match.end() :]
    options.append(rest.strip())
    if not question or len(options) < 2 or not all(options):
        return None
    return question, tuple(options)
