"""Every error that a user may meet, as one tree.

    IkusiError                 one line: what, where, what to do
    |-- ConfigError            a recipe, a language pack or an argument is wrong
    |-- DataError              a record, an image or a file cannot be used
    |-- StoreError             the store cannot be read or written
    |   `-- CorruptArtifact    a payload does not match the hash it was stored with
    `-- TrainError             training cannot go on (a loss that is not finite, for one)

The command line prints the message of an `IkusiError` on one line and exits with 1. Any other
exception is a bug of ours, and is shown as one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IkusiError(Exception):
    """Something that the user can mend; the message says what, where, and what to do."""


class ConfigError(IkusiError):
    """A recipe, a language pack or an argument is wrong."""


class DataError(IkusiError):
    """A record, an image or a file cannot be used."""


class StoreError(IkusiError):
    """The store cannot be read or written."""


class CorruptArtifact(StoreError):
    """A payload in the store does not match the hash that its manifest records."""


class TrainError(IkusiError):
    """Training cannot go on."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type's name where it has none.

    What it says of itself can go into one line of ours; a full stop at its end is left out.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest of `known`, or lists them when none is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"Known: {shown}." if names else "There are none."
