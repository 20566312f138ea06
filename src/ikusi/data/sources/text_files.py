"""JSON, JSON lines, CSV, TSV and plain text as tables, with the line of every row.

Contract: what is wrong with a line costs that line, not those after it. A byte order mark and
Windows line ends are no part of the text; `.gz` is read as what is in it.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ikusi.core.errors import DataError, first_line
from ikusi.data.sources.source import Fault, Row
from ikusi.data.sources.tables import MAX_DEPTH, Found, describe, is_deep, kind_of

MAX_LINE_BYTES = 256 << 20
"""A longer line costs too much memory; one with a picture in base64 has a few megabytes."""
_CHUNK = 1 << 20
_PEEK_ROWS = 100  # enough to meet the columns that only some rows have
_SHOWN = 2000


class TextTable:
    """A text file; the subclasses say what a row is."""

    typed = True

    def __init__(self, path: Path) -> None:
        """Read this file; nothing is opened yet."""
        self.path = path

    def columns(self) -> Found:
        """Return the columns of the first rows that can be read."""
        found: dict[str, str] = {}
        for row in islice(self.rows(), _PEEK_ROWS):
            if row.fault is None:
                for name, value in row.values.items():
                    if found.get(name, "null") == "null":
                        found[name] = kind_of(value)
        return found

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows; all columns, since a line is read as a whole anyway."""
        raise NotImplementedError

    def _open(self) -> IO[bytes]:
        try:
            stream: Any = gzip.open if self.path.suffix == ".gz" else open
            opened: IO[bytes] = stream(self.path, "rb")
            start = opened.read(4)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self.path}: cannot be read ({first_line(error)}).") from None
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{self.path}: is UTF-16. Save it as UTF-8.")
        opened.seek(3 if start[:3] == codecs.BOM_UTF8 else 0)
        return opened

    def _lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield number (from 1) and content of each line; None where it is too long.

        Raises:
            DataError: the file is compressed and cut off.
        """
        with self._open() as stream:
            number = 0
            try:
                while line := stream.readline(MAX_LINE_BYTES):
                    number += 1
                    if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                        while line and not line.endswith(b"\n"):
                            line = stream.readline(_CHUNK)
                        yield number, None
                    else:
                        yield number, line.rstrip(b"\r\n")
            except (OSError, EOFError, zlib.error) as error:
                told = f"is cut off or damaged after line {number} ({first_line(error)})"
                raise DataError(f"{self.path}: {told}. Fetch it again.") from None


class JsonLines(TextTable):
    """One JSON object a line."""

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield a row for every line that is not blank."""
        number = 0
        for line, content in self._lines():
            if content is not None and not content.strip():
                continue
            yield _json_row(number, f"line {line}", content)
            number += 1


def _json_row(number: int, place: str, content: bytes | None) -> Row:
    if content is None:
        fault = Fault("line-too-long", f"more than {MAX_LINE_BYTES >> 20} MiB")
        return Row(number, place, {}, fault)
    problem: Fault | None
    try:
        value = _decode(content.decode("utf-8"))
        problem = _object_fault(value)
    except UnicodeDecodeError as error:
        problem = Fault("encoding-broken", f"byte {error.start} of the line is no UTF-8")
    except (ValueError, RecursionError) as error:
        problem = Fault("json-broken", first_line(error))
    if problem is None:
        return Row(number, place, value)
    return Row(number, place, {"line": content[:_SHOWN].decode("utf-8", "replace")}, problem)


def _object_fault(value: Any) -> Fault | None:
    if not isinstance(value, dict):
        return Fault("json-no-object", f"{describe(value)} instead of an object")
    if is_deep(value):
        return Fault("json-too-deep", f"more than {MAX_DEPTH} lists or objects in each other")
    return None


def _decode(text: str) -> Any:
    # NaN and Infinity are no JSON, but Python's own writer makes them: nothing is known there.
    return json.loads(text, strict=False, parse_constant=lambda name: None)


def _cut(value: Any) -> str:
    try:
        return repr(value)[:_SHOWN]
    except RecursionError:
        return f"<{type(value).__name__}>"


class JsonArray(TextTable):
    """A JSON array of objects, read one by one."""

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield a row for every item.

        Raises:
            DataError: the array is broken: what follows cannot be told apart any more.
        """
        for number, (line, value) in enumerate(self._items()):
            place = f"item {number + 1} (line {line})"  # all may be on one line
            fault = _object_fault(value)
            if fault is None:
                yield Row(number, place, value)
            else:
                yield Row(number, place, {"item": _cut(value)}, fault)

    def _items(self) -> Iterator[tuple[int, Any]]:
        decoder = json.JSONDecoder(strict=False, parse_constant=lambda name: None)
        with self._open() as stream:
            # What is no UTF-8 becomes lone surrogates, which costs only the row they are in.
            reader = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
            text, place, line, ended = "", 0, 1, False
            wants_comma = False

            def more(size: int) -> None:
                nonlocal text, place, ended
                try:
                    found = reader.read(max(size, _CHUNK))
                except (OSError, EOFError, zlib.error) as error:
                    raise self._broken(line, first_line(error)) from None
                text, place, ended = text[place:] + found, 0, not found

            def skip() -> str:
                """Go to the next character that counts and return it."""
                nonlocal place, line
                while True:
                    while place < len(text) and text[place] in " \t\r\n":
                        line += text[place] == "\n"
                        place += 1
                    if place < len(text) or ended:
                        return text[place : place + 1]
                    more(0)

            if skip() != "[":
                raise self._broken(line, "it does not begin with [")
            place += 1
            while (mark := skip()) != "]":
                if wants_comma:
                    if mark != ",":
                        raise self._broken(line, "a comma is missing" if mark else "it is cut off")
                    place += 1
                    skip()
                while True:
                    try:
                        value, end = decoder.raw_decode(text, place)
                        break
                    except RecursionError:
                        raise self._broken(line, "it is nested too deeply") from None
                    except ValueError as error:
                        at = getattr(error, "pos", place)
                        cut = str(error).startswith("Unterminated") or at >= len(text) - 16
                        if ended or not cut or len(text) - place > MAX_LINE_BYTES:
                            told = "it is cut off" if ended and cut else first_line(error)
                            raise self._broken(line, told) from None
                        more(len(text) - place)  # twice as much, so that no item is read often
                yield line, value
                line += text.count("\n", place, end)
                place, wants_comma = end, True

    def _broken(self, line: int, told: str) -> DataError:
        return DataError(
            f"{self.path}, line {line}: the JSON array is damaged ({told}). Fetch or write it "
            "again; of JSON lines, only the broken ones are lost."
        )


class Separated(TextTable):
    """CSV or TSV."""

    typed = False

    def __init__(
        self, path: Path, delimiter: str, header: Sequence[str] = (), *, quoted: bool = True
    ) -> None:
        """Read this file.

        Args:
            path: where it is.
            delimiter: between cells.
            header: names of the columns; empty where the first line has them.
            quoted: whether cells may stand in quotation marks, and then go over several lines.
        """
        super().__init__(path)
        self._delimiter, self._header, self._quoted = delimiter, tuple(header), quoted

    def columns(self) -> Found:
        """Return the header's columns."""
        names = list(self._header) or next((cells for _, cells, _ in self._cells()), [])
        return dict.fromkeys(names, "text")

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows below the header."""
        header = list(self._header)
        number = 0
        for line, cells, fault in self._cells():
            if not header:
                header = list(cells)
                if len(set(header)) < len(header) or fault:
                    told = "has two columns of one name" if not fault else fault.detail
                    raise DataError(f"{self.path}, line {line}: the header {told}.")
                continue
            if fault is None and len(cells) != len(header):
                told = f"{len(cells)} cells for {len(header)} columns"
                fault = Fault("cells-count", told)
            if fault is None and any(not cell.isprintable() for cell in cells):
                fault = _surrogates(cells)
            values = {"cells": list(cells)} if fault else dict(zip(header, cells, strict=True))
            yield Row(number, f"line {line}", values, fault)
            number += 1

    def _cells(self) -> Iterator[tuple[int, list[str], Fault | None]]:
        """Yield first line, cells and fault of each row that is not blank."""
        too_long: list[int] = []
        number = 0

        def texts() -> Iterator[str]:
            nonlocal number
            for number, content in self._lines():
                if content is None:
                    too_long.append(number)
                    content = b""
                yield content.decode("utf-8", "surrogateescape") + "\n"

        lines = texts()
        if self._quoted:
            csv.field_size_limit(MAX_LINE_BYTES)
            reader: Iterator[list[str]] = csv.reader(lines, delimiter=self._delimiter)
        else:
            reader = (text[:-1].split(self._delimiter) for text in lines)
        while True:
            before = number
            try:
                cells = next(reader)
                fault = None
            except StopIteration:
                return
            except csv.Error as error:
                cells, fault = [], Fault("csv-broken", first_line(error))
            if too_long:
                too_long.clear()
                fault = Fault("line-too-long", f"more than {MAX_LINE_BYTES >> 20} MiB")
            if fault or any(cells):
                yield before + 1, cells, fault


def _surrogates(cells: Sequence[str]) -> Fault | None:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError as error:
        return Fault("encoding-broken", f"{error.object[error.start]!a} is no UTF-8")
    return None


class PlainText(TextTable):
    """A text a line, in the column `text`."""

    def columns(self) -> Found:
        """Return the only column there is."""
        self._open().close()
        return {"text": "text"}

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield a row for every line that is not blank."""
        number = 0
        for line, content in self._lines():
            if content is not None and not content.strip():
                continue
            place = f"line {line}"
            if content is None:
                fault = Fault("line-too-long", f"more than {MAX_LINE_BYTES >> 20} MiB")
                yield Row(number, place, {}, fault)
            else:
                try:
                    yield Row(number, place, {"text": content.decode("utf-8")})
                except UnicodeDecodeError as error:
                    fault = Fault("encoding-broken", f"byte {error.start} of it is no UTF-8")
                    text = content[:_SHOWN].decode("utf-8", "replace")
                    yield Row(number, place, {"text": text}, fault)
            number += 1
