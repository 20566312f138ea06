"""Records on disk: plain Parquet that pyarrow, pandas and `datasets` read without ikusi.

Contract: what is read equals what was written, and both take constant memory. Parts of turns are
typed columns, not text with markers in it; `meta` is JSON text.

    python -c "import pyarrow.parquet as pq; print(pq.read_table('records.parquet').schema)"
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import chain, islice, pairwise, starmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core.errors import DataError, first_line, suggest
from ikusi.core.types import Image, ImageRef, Part, Record, Text, Turn

_PART = pa.struct([("type", pa.string()), ("text", pa.string()), ("index", pa.int32())])
_TURN = pa.struct([("role", pa.string()), ("parts", pa.list_(_PART))])
_IMAGE = pa.struct([("sha256", pa.string()), ("url", pa.string())])
_RATING = pa.struct([("name", pa.string()), ("values", pa.list_(pa.int32()))])

RECORD_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("turns", pa.list_(_TURN), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("images", pa.list_(_IMAGE), nullable=False),
        pa.field("choices", pa.list_(pa.string()), nullable=False),
        pa.field("answers", pa.list_(pa.string()), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("provenance", pa.string(), nullable=False),
        pa.field("parent", pa.string()),
        pa.field("ratings", pa.list_(_RATING), nullable=False),
        pa.field("meta", pa.string(), nullable=False),
    ]
)
"""Columns of a records file: the fields of `Record`."""

BATCH_RECORDS = 2048
"""Records in a row group at most: what is in memory at a time."""
_BATCH_CHARACTERS = 32 << 20  # a row group of very long records is cut earlier

_ROLES = ("system", "user", "assistant")
_UNSTORABLE = (
    *(UnicodeError, TypeError, ValueError, AttributeError, OverflowError, RecursionError),
    pa.ArrowException,
)
"""What a malformed record leads to on its way into columns."""
_MAY_LACK = frozenset({"ratings"})  # files of ikusi 0.1.0 have no such column: nothing was rated


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write `records` to a Parquet file (zstd) and return how many they were.

    The file appears under its name when it is complete.

    Raises:
        DataError: a record cannot be stored exactly; names its id and what is wrong.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    count = 0
    try:
        with pq.ParquetWriter(temporary, RECORD_SCHEMA, compression="zstd") as writer:
            for batch in _batches(records):
                writer.write_batch(to_batch(batch), row_group_size=len(batch))
                count += len(batch)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return count


def read_records(
    path: Path, columns: Sequence[str] | None = None, limit: int | None = None
) -> Iterator[Record]:
    """Yield the records of a Parquet file, or of all Parquet files in a folder by name.

    Args:
        path: written by `write_records`, or any Parquet file with its columns.
        columns: fields to read, which is faster; the others are empty. None reads all.
        limit: yield at most so many.

    Raises:
        DataError: there is no such file, it is damaged, or a column is missing or unknown.
    """
    batches = read_batches(path, columns)
    return islice((record for batch in batches for record in to_records(batch, path)), limit)


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield what `read_records` does as columns, at most `BATCH_RECORDS` rows at a time.

    They are of `RECORD_SCHEMA`'s types, in the order that was asked for.

    Raises:
        DataError: there is no such file, it is damaged, or a column is missing or unknown.
    """
    names = list(RECORD_SCHEMA.names) if columns is None else list(columns)
    for name in names:
        if name not in RECORD_SCHEMA.names:
            raise DataError(f"No column {name!r} in a record. {suggest(name, RECORD_SCHEMA.names)}")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: holds no Parquet file.")
    return chain.from_iterable(_read_file(file, names) for file in files)


def count_records(path: Path) -> int:
    """Return how many records a file, or all files of a folder, hold; reads no record.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    total = 0
    for file in files:
        with _open(file) as source:
            total += source.metadata.num_rows
    return total


# -- writing


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    characters = 0
    for record in records:
        batch.append(record)
        characters += _characters(record)
        if len(batch) == BATCH_RECORDS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _characters(record: Record) -> int:
    try:
        return sum(len(turn.text) for turn in record.turns)
    except (TypeError, AttributeError):  # a malformed record, which `to_batch` names
        return 0


def to_batch(records: list[Record]) -> pa.RecordBatch:
    """Return records as columns of `RECORD_SCHEMA`.

    Raises:
        DataError: a record cannot be stored exactly; names its id and what is wrong.
    """
    try:
        return _columns(records)
    except _UNSTORABLE:
        # One of them is at fault: find it, so that the message can say which.
        for record in records:
            problem = storage_problem(record)
            if problem:
                raise DataError(f"record {record.id!r}: {problem}. Mend or drop it.") from None
        raise


def storage_problem(record: Record) -> str | None:
    """Return why a record cannot be stored exactly, or None; slow, for what was refused."""
    try:
        _columns([record])
    except _UNSTORABLE as error:
        if isinstance(error, UnicodeError):
            return "a text is not valid Unicode (a lone surrogate)"
        return first_line(error)
    return None


def _columns(records: list[Record]) -> pa.RecordBatch:
    # Flat columns and offsets: 3 times faster than handing nested dictionaries to Arrow.
    turns = [turn for record in records for turn in record.turns]
    parts = [part for turn in turns for part in turn.parts]
    images = [image for record in records for image in record.images]
    for part in parts:
        if not isinstance(part.text if isinstance(part, Text) else part.index, str | int):
            raise TypeError("a part of a turn has no text or index")
    if any(turn.role not in _ROLES for turn in turns):
        raise ValueError(f"a turn's role is none of {', '.join(_ROLES)}")
    kinds = ["text" if isinstance(part, Text) else "image" for part in parts]
    texts = [part.text if isinstance(part, Text) else None for part in parts]
    indices = [part.index if isinstance(part, Image) else None for part in parts]
    part_array = pa.StructArray.from_arrays(
        [_strings(kinds), _strings(texts, nullable=True), pa.array(indices, pa.int32())],
        fields=list(_PART),
    )
    turn_array = pa.StructArray.from_arrays(
        [
            _strings([turn.role for turn in turns]),
            _lists([turn.parts for turn in turns], part_array),
        ],
        fields=list(_TURN),
    )
    image_array = pa.StructArray.from_arrays(
        [
            _strings([image.sha256 for image in images], nullable=True),
            _strings([image.url for image in images], nullable=True),
        ],
        fields=list(_IMAGE),
    )
    ratings = [rating for record in records for rating in record.ratings.items()]
    rated = [value for _, values in ratings for value in values]
    rating_array = pa.StructArray.from_arrays(
        [
            _strings([name for name, _ in ratings]),
            _lists([values for _, values in ratings], pa.array(rated, pa.int32())),
        ],
        fields=list(_RATING),
    )
    choices = [choice for record in records for choice in record.choices]
    answers = [answer for record in records for answer in record.answers]
    arrays = [
        _strings([record.id for record in records]),
        _strings([record.group for record in records]),
        _lists([record.turns for record in records], turn_array),
        _strings([record.language for record in records]),
        _strings([record.task for record in records]),
        _strings([record.source for record in records]),
        _lists([record.images for record in records], image_array),
        _lists([record.choices for record in records], _strings(choices)),
        _lists([record.answers for record in records], _strings(answers)),
        _strings([record.licence for record in records]),
        _strings([record.provenance for record in records]),
        _strings([record.parent for record in records], nullable=True),
        _lists([record.ratings for record in records], rating_array),
        _strings([_meta_text(record) for record in records]),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


def _strings(values: Sequence[str | None], *, nullable: bool = False) -> pa.Array[Any]:
    if not nullable and None in values:
        raise TypeError("a text is missing (None)")
    # Joined first: one search in C instead of one call for each text.
    if "\0" in "".join(value for value in values if value is not None):
        raise ValueError("a text holds a NUL character, which many readers take for its end")
    return pa.array(values, pa.string())


def _lists(values: Sequence[Sized], flat: pa.Array[Any]) -> pa.Array[Any]:
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def _meta_text(record: Record) -> str:
    if not record.meta:
        return "{}"
    text = json.dumps(dict(record.meta), ensure_ascii=False, allow_nan=False)
    if json.loads(text) != record.meta or "\\u0000" in text:
        raise ValueError("meta is no plain JSON data (text keys, lists, text, numbers)")
    return text


# -- reading


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({first_line(error)}).") from None


def _read_file(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    with _open(path) as source:
        absent = set(names) - set(source.schema_arrow.names)
        missing = sorted(absent - _MAY_LACK)
        if missing:
            raise DataError(
                f"{path}: has no column {', '.join(missing)}. "
                "`ikusi import` makes records out of published formats."
            )
        schema = pa.schema([RECORD_SCHEMA.field(name) for name in names])
        there = [name for name in names if name not in absent]
        batches = source.iter_batches(batch_size=BATCH_RECORDS, columns=there, use_threads=False)
        try:
            for batch in batches:
                for name in absent:
                    empty = pa.array([[]] * batch.num_rows, RECORD_SCHEMA.field(name).type)
                    batch = batch.append_column(name, empty)
                # Other writers choose large strings, other orders, or allow nulls.
                yield batch.select(names).cast(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, error) from None


def _damaged(where: Path | str, error: Exception) -> DataError:
    return DataError(f"{where}: is damaged or no record ({first_line(error)}).")


def to_records(batch: pa.RecordBatch, where: Path | str) -> Iterator[Record]:
    """Yield the records of a batch that `read_batches` gave.

    Args:
        batch: columns that it lacks are empty in the records.
        where: it came from, for the message.

    Raises:
        DataError: it holds no records.
    """
    try:
        yield from _to_records(batch)
    except (pa.ArrowException, ValueError) as error:
        raise _damaged(where, error) from None


def _to_records(batch: pa.RecordBatch) -> Iterator[Record]:
    count = batch.num_rows

    def column(name: str, read: Callable[[Any], list[Any]], empty: Any) -> list[Any]:
        return read(batch.column(name)) if name in batch.schema.names else [empty] * count

    def texts(array: Any) -> list[Any]:
        return array.to_pylist()  # type: ignore[no-any-return]  # Arrow's stubs say Any

    def ratings(array: Any) -> list[Any]:
        pairs = array.flatten()
        labels, values = pairs.flatten()
        numbers = _unflatten(values, values.flatten().to_pylist())
        found = list(zip(labels.to_pylist(), numbers, strict=True))
        return [dict(each) for each in _unflatten(array, found)]

    def metas(array: Any) -> list[Any]:
        return [{} if text in ("{}", "", None) else json.loads(text) for text in texts(array)]

    def text_lists(array: Any) -> list[Any]:
        return _unflatten(array, texts(array.flatten()))

    columns = [
        column("id", texts, ""),
        column("group", texts, ""),
        column("turns", _turns, ()),
        column("language", texts, ""),
        column("task", texts, ""),
        column("source", texts, ""),
        column("images", _images, ()),
        column("choices", text_lists, ()),
        column("answers", text_lists, ()),
        column("licence", texts, ""),
        column("provenance", texts, ""),
        column("parent", texts, None),
        column("ratings", ratings, None),
        column("meta", metas, None),
    ]
    for place, name in ((-2, "ratings"), (-1, "meta")):
        if name not in batch.schema.names:
            columns[place] = [{} for _ in range(count)]  # a dictionary of its own each
    return starmap(Record, zip(*columns, strict=True))


def _turns(array: Any) -> list[Any]:
    turns = array.flatten()
    roles, part_lists = turns.flatten()
    parts = part_lists.flatten()
    kinds, texts, indices = (child.to_pylist() for child in parts.flatten())
    made: list[Part] = [
        Text(text) if kind == "text" else Image(index)
        for kind, text, index in zip(kinds, texts, indices, strict=True)
    ]
    grouped = _unflatten(part_lists, made)
    found = [Turn(role, part) for role, part in zip(roles.to_pylist(), grouped, strict=True)]
    return _unflatten(array, found)


def _images(array: Any) -> list[Any]:
    hashes, urls = (child.to_pylist() for child in array.flatten().flatten())
    return _unflatten(array, [ImageRef(*pair) for pair in zip(hashes, urls, strict=True)])


def _unflatten(array: Any, flat: list[Any]) -> list[Any]:
    """Return `flat` cut into tuples as the lists of `array` are; a null list is an empty one."""
    # From the lengths: a slice's offsets do not begin at 0, and flatten() leaves nulls out.
    ends = [0, *np.cumsum(array.value_lengths().fill_null(0).to_numpy()).tolist()]
    return [tuple(flat[start:end]) for start, end in pairwise(ends)]
