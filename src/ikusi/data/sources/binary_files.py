"""Parquet, Arrow and webdataset tar files as tables; only the wanted columns are read."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core.errors import DataError, first_line
from ikusi.data.sources.pictures import MAX_BYTES
from ikusi.data.sources.source import Fault, Row
from ikusi.data.sources.tables import Found, arrow_kind, is_deep

_BATCH_ROWS = 128  # rows with pictures in them may have megabytes each
_PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff", "tif", "avif", "jxl"})


class ParquetTable:
    """A Parquet file."""

    typed = True

    def __init__(self, path: Path) -> None:
        """Read this file; nothing is opened yet."""
        self.path = path

    def columns(self) -> Found:
        """Return the columns of the file's schema."""
        with self._open() as file:
            return {field.name: arrow_kind(field.type) for field in file.schema_arrow}

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows, batch by batch."""
        number = 0
        with self._open() as file:
            names = [n for n in file.schema_arrow.names if wanted is None or n in wanted]
            batches = file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False)
            for batch in _guarded(batches, self.path):
                for values in _to_rows(batch, self.path):
                    yield Row(number, f"row {number + 1}", values)
                    number += 1

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, "Parquet", error) from None


class ArrowTable:
    """An Arrow file, or the stream that `datasets` calls `.arrow`."""

    typed = True

    def __init__(self, path: Path) -> None:
        """Read this file; nothing is opened yet."""
        self.path = path

    def columns(self) -> Found:
        """Return the columns of the file's schema."""
        schema, _ = self._open()
        return {field.name: arrow_kind(field.type) for field in schema}

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows, batch by batch."""
        number = 0
        schema, batches = self._open()
        names = [name for name in schema.names if wanted is None or name in wanted]
        for batch in _guarded(batches, self.path):
            chosen = batch.select(names)
            for start in range(0, chosen.num_rows, _BATCH_ROWS):
                for values in _to_rows(chosen.slice(start, _BATCH_ROWS), self.path):
                    yield Row(number, f"row {number + 1}", values)
                    number += 1

    def _open(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        try:
            source = pa.memory_map(str(self.path))
            try:
                file = pa.ipc.open_file(source)
            except pa.ArrowInvalid:
                source.seek(0)
                stream = pa.ipc.open_stream(source)
                return stream.schema, iter(stream)
            return file.schema, (file.get_batch(n) for n in range(file.num_record_batches))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, "Arrow", error) from None


class TarTable:
    """A webdataset: files of one name are a row, their endings the columns."""

    typed = True

    def __init__(self, path: Path) -> None:
        """Read this file; nothing is opened yet."""
        self.path = path

    def columns(self) -> Found:
        """Return the columns of the first row."""
        values = next(self.rows(), Row(0, "", {})).values
        kinds = {"txt": "text", "json": "struct", "__key__": "text"}
        return {n: "image" if n in _PICTURES else kinds.get(n, "any") for n in values}

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows: a picture's bytes, a text, what a JSON file holds, and `__key__`."""
        number, key = 0, ""
        values: dict[str, Any] = {}
        fault: Fault | None = None
        for name, data in self._members():
            folder, _, file = name.rpartition("/")
            stem, _, ending = file.partition(".")
            here = f"{folder}/{stem}" if folder else stem
            if here != key and values:
                yield Row(number, f"sample {key}", values, fault)
                number, values, fault = number + 1, {}, None
            key = here
            values.setdefault("__key__", stem)
            ending = ending.lower()
            if data is None:
                fault = fault or Fault("member-too-large", f"{name}: more than {MAX_BYTES} bytes")
            elif wanted is None or ending in wanted:
                try:
                    values[ending] = _member(ending, data)
                except UnicodeDecodeError:
                    fault = fault or Fault("encoding-broken", f"{name} is no UTF-8")
                except (ValueError, RecursionError) as error:
                    fault = fault or Fault("json-broken", f"{name}: {first_line(error)}")
        if values:
            yield Row(number, f"sample {key}", values, fault)

    def _members(self) -> Iterator[tuple[str, bytes | None]]:
        last = "the beginning"
        try:
            with tarfile.open(self.path, "r|*") as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
                    if not member.isfile() or member.name.rpartition("/")[2].startswith("."):
                        continue
                    if member.size > MAX_BYTES:
                        yield member.name, None
                        continue
                    stream = archive.extractfile(member)
                    data = stream.read() if stream else b""
                    if len(data) != member.size:
                        raise tarfile.ReadError("unexpected end of data")
                    yield member.name, data
                    last = member.name
            self._check_end()
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(
                f"{self.path}: is cut off or damaged after {last} ({first_line(error)}). "
                "Fetch it again, or take it out of the folder."
            ) from None

    def _check_end(self) -> None:
        """Raise if an uncompressed archive does not end as one has to: with zeros."""
        if self.path.suffix != ".tar" or not (size := self.path.stat().st_size):
            return
        with open(self.path, "rb") as stream:
            stream.seek(max(size - 512, 0))
            if any(stream.read()):
                raise tarfile.ReadError("the mark of its end is missing")


def _member(ending: str, data: bytes) -> Any:
    if ending in ("txt", "caption", "text"):
        return data.decode("utf-8")
    if ending == "json":
        value = json.loads(data.decode("utf-8"), strict=False, parse_constant=lambda name: None)
        if isinstance(value, dict | list) and is_deep(value):
            raise ValueError("too many lists or objects in each other")
        return value
    return data


def _guarded(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, "a table", error) from None
        yield batch


def _to_rows(batch: pa.RecordBatch, path: Path) -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except (UnicodeDecodeError, pa.ArrowException, ValueError) as error:
        if batch.num_rows == 1:
            raise _damaged(path, "a table", error) from None
    # A text is no UTF-8: find the row, so that it costs only itself.
    return [row for n in range(batch.num_rows) for row in _one_row(batch.slice(n, 1))]


def _one_row(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    values: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[0].as_py()
        except (UnicodeDecodeError, pa.ArrowException, ValueError):
            # A lone surrogate for every byte that is none: the row is dropped for it later on.
            raw = column.cast(pa.binary())[0].as_py() if pa.types.is_string(column.type) else b"?"
            values[name] = raw.decode("utf-8", "surrogateescape")
    return [values]


def _damaged(path: Path, what: str, error: Exception) -> DataError:
    if not os.path.exists(path):
        return DataError(f"{path}: there is no such file.")
    return DataError(
        f"{path}: is cut off or damaged: it cannot be read as {what} ({first_line(error)}). "
        "Fetch it again, or take it out of the folder."
    )
