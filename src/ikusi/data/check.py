"""`ikusi check`: all that is wrong with anybody's file, before somebody trains on it.

Contract: everything that would drop a row at import is an error here, and all of a row's errors
are told, not only the first. No url is contacted; pictures' files are decoded, each once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ikusi.core.errors import ConfigError, DataError
from ikusi.core.log import track
from ikusi.data.images import decode
from ikusi.data.sources.conversation import MARK
from ikusi.data.sources.convert import Converter, strings
from ikusi.data.sources.local import LocalTable
from ikusi.data.sources.pictures import Pictures
from ikusi.data.sources.source import Fault, Row, RowFault, Source

SHOWN_PLACES = 3
_ID_COLUMNS = ("id", "question_id", "index")
# Of the chat templates that models use: in a text they would end or begin a turn there.
_TOKENS = re.compile(
    r"<\|[A-Za-z0-9_]{1,40}\|>|<｜[^<>\s]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk)>|\[/?INST\]|<</?SYS>>"
    r"|<(?:start|end)_of_(?:turn|image)>|</?(?:im_start|im_end|img|video|audio)>|<(?:video|audio)>"
)
# UTF-8 that was read as Latin-1 or Windows-1252: a lead byte's character, then a continuation's.
_MOJIBAKE = re.compile(
    "[ÃÂ][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192"
    "\u2013-\u203a\u20ac\u2122]|â€[\u0080-\u00bf\u2013-\u203a\u20ac\u2122œž]|ï»¿"
)
_CONTROLS = re.compile("[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]")
_DIRECTIONS = re.compile("[\u202d\u202e]")

NOTES = frozenset({"direction-override", "control-characters"})
"""What is worth a look, and no error."""


@dataclass
class Finding:
    """One kind of trouble."""

    reason: str
    count: int = 0
    """Rows that have it."""
    places: list[str] = field(default_factory=list)
    """Of the first of them."""
    example: str = ""


@dataclass
class Verdict:
    """What was found in a file."""

    source: Source
    rows: int = 0
    wrong: int = 0
    """Rows with at least one error."""
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def is_fine(self) -> bool:
        """Whether there is no error."""
        return not self.wrong

    def add(self, row: Row, faults: list[Fault]) -> None:
        """Count a row and its faults, each reason once."""
        self.rows += 1
        first = {fault.reason: fault for fault in reversed(faults)}
        self.wrong += any(reason not in NOTES for reason in first)
        for fault in dict.fromkeys(fault.reason for fault in faults):
            found = self.findings.setdefault(fault, Finding(fault))
            found.count += 1
            if len(found.places) < SHOWN_PLACES:
                found.places.append(row.place)
            found.example = found.example or first[fault].detail


def check_rows(
    source: Source,
    files: list[Path],
    *,
    images: Path | None = None,
    language: str = "",
    limit: int | None = None,
) -> Verdict:
    """Read files in the schema of `source`, and return all that is wrong with their rows.

    Args:
        source: the format.
        files: read one after the other.
        images: folder that the names of pictures start from. Default: the file's.
        language: of the rows to look at, where the source is in many.
        limit: rows at most.

    Raises:
        ConfigError: the source is in many languages, and none is given.
        DataError: a file cannot be read, or is in another schema.
    """
    if source.any_language and not language:
        raise ConfigError(f"{source.name} is in many languages. Say --language, such as eu.")
    table = LocalTable(source, files)
    table.unread_columns()
    verdict = Verdict(source)
    ids: set[bytes] = set()
    told = language or ("" if source.languages else "und")  # which one it is, is not judged
    converter = Converter(source, _Decoding(images or files[0].parent), language=told)
    with track("check", total=limit) as advance:
        for row in islice(_rows(table, source, language), limit):
            faults = converter.faults(row)
            if row.fault is None:
                faults += text_faults(source, row.values)
                faults += _duplicates(row.values, row.split, ids)
            verdict.add(row, faults)
            advance(1)
    return verdict


def _rows(table: LocalTable, source: Source, language: str) -> Iterator[Row]:
    for split in table.splits():
        yield from source.selected(table.rows(split), language)


class _Decoding(Pictures):
    """Decodes each picture once, and remembers what is wrong with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, self._look)
        self._known: dict[bytes, str] = {}

    def _look(self, data: bytes, from_file: bool) -> str:
        digest = hashlib.sha256(data)
        told = self._known.get(digest.digest())
        if told is None:
            try:
                decode(data)
                told = ""
            except DataError as error:
                told = str(error)
            self._known[digest.digest()] = told
        if told:
            raise RowFault("image-broken", told)
        return digest.hexdigest()


def text_faults(source: Source, values: dict[str, Any]) -> list[Fault]:
    """Return what is wrong with the texts of a row that become a record's."""
    faults: dict[str, Fault] = {}

    def note(reason: str, detail: str) -> None:
        faults.setdefault(reason, Fault(reason, detail))

    marks = {view.fields.marks for view in source.views}
    for text in _texts(source, values):
        if found := _TOKENS.search(text):
            note("special-token", f"{found[0]!r} in {_around(text, found.start())}")
        if MARK in text and True not in marks:
            note("special-token", f"{MARK!r} in {_around(text, text.index(MARK))}")
        if "\0" in text:
            note("not-storable", "a text holds a NUL character")
        if "\ufffd" in text or (found := _MOJIBAKE.search(text)):
            place = text.index("\ufffd") if "\ufffd" in text else found.start() if found else 0
            note("encoding-damage", f"{_around(text, place)}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            note("not-storable", f"a lone surrogate ({text[error.start]!a})")
        if _CONTROLS.search(text):
            note("control-characters", ascii(text[:60]))
        if _DIRECTIONS.search(text):
            note("direction-override", ascii(text[:60]))
    return list(faults.values())


def _texts(source: Source, values: dict[str, Any]) -> Iterator[str]:
    for view in source.views:
        fields = view.fields
        said = [fields.caption, fields.text, fields.question, fields.answer, fields.hint]
        said += [fields.conversation, fields.system, fields.answers]
        choices = fields.choices if isinstance(fields.choices, tuple) else (fields.choices,)
        for name in (*said, *choices):
            if name:
                yield from strings(values.get(name))


def _around(text: str, place: int) -> str:
    return (
        ascii(text[max(place - 20, 0) : place + 30])
        if not text.isprintable()
        else repr(text[max(place - 20, 0) : place + 30])
    )


def _duplicates(values: dict[str, Any], split: str, seen: set[bytes]) -> list[Fault]:
    """Return a fault if the row's own id was there before; 16 bytes are kept of each."""
    for name in _ID_COLUMNS:
        own = values.get(name)
        if isinstance(own, str | int) and not isinstance(own, bool) and own != "":
            key = f"{split}\n{own}".encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(key, digest_size=16).digest()
            if digest in seen:
                return [Fault("id-duplicate", f"{name} {str(own)[:60]!r} was there before")]
            seen.add(digest)
            break
    return []
