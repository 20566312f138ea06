"""The first pass: each shard of records becomes columns of numbers, and the drops that are certain.

Place: records -> [look] -> `settle.py` (which compares rows with each other) -> the second pass.
Contract: a shard's columns depend on its records and the settings alone; they lie in one `.npz`
file, which appears when it is complete.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ikusi.core.types import Record
from ikusi.data.filters.against import Benchmarks
from ikusi.data.filters.checks import Checks, Problem
from ikusi.data.filters.pictures import Pictures, key_of
from ikusi.data.filters.settings import FilterSettings
from ikusi.data.filters.texts import BANDS, Numbers, Texts, bands, mix, normalise, short

Columns = dict[str, np.ndarray[Any, Any]]
Drops = dict[int, Problem]
"""Row of a shard -> why it is dropped."""


class Looker:
    """Looks at the records of a shard."""

    def __init__(
        self,
        settings: FilterSettings,
        checks: Checks,
        benchmarks: Benchmarks,
        pictures: Pictures | None,
    ) -> None:
        """Look at all pictures once.

        Args:
            settings: what is wanted.
            checks: the filters that look at one record.
            benchmarks: what must not be met.
            pictures: None leaves the records' pictures as they are.
        """
        self.settings, self.checks = settings, checks
        self.benchmarks, self.pictures = benchmarks, pictures
        self.original_met: Mapping[int, str] = {}
        """`original_key` -> what a record in the language it was translated from meets."""
        self._same: Numbers = np.empty(0, np.uint64)
        self._met: Mapping[int, str] = {}
        if pictures is not None:
            self._same = pictures.same(settings.duplicates.image_distance)
            self._met = benchmarks.meet_pictures(pictures) if benchmarks else {}

    def meet(self, records: Sequence[Record]) -> dict[int, Problem]:
        """Return which of the records meet a benchmark, and how."""
        if not self.benchmarks:
            return {}
        texts = Texts([turn.text for record in records for turn in record.turns])
        ends = np.cumsum([0, *(len(record.turns) for record in records)])
        return self._meet(records, self.rows(records), texts, ends)

    def look(self, records: Sequence[Record]) -> tuple[Columns, Drops]:
        """Return the columns of some records, and which of them are dropped for certain."""
        texts = Texts([turn.text for record in records for turn in record.turns])
        ends = np.cumsum([0, *(len(record.turns) for record in records)])
        counts, rows = texts.counts.tolist(), self.rows(records)
        repeats = texts.repeats(self.settings.repetition.ngram).tolist()
        drops: Drops = self._meet(records, rows, texts, ends) if self.benchmarks else {}
        contaminated = np.zeros(len(records), bool)
        contaminated[list(drops)] = True
        for number, record in enumerate(records):
            if number in drops:
                continue
            problem: Problem | None = None
            if self.pictures is not None:
                found = self.pictures.resolve(record, rows[number], self.settings.images)
                problem = None if isinstance(found, Record) else found
            mine = slice(int(ends[number]), int(ends[number + 1]))
            problem = problem or self.checks.problem(record, counts[mine], repeats[mine])
            if problem:
                drops[number] = problem
        dropped = np.zeros(len(records), bool)
        dropped[list(drops)] = True
        columns: Columns = {
            "language": _keys(record.language for record in records),
            "group": _keys(record.group for record in records),
            "id": _keys(record.id for record in records),
            "parent": _keys(record.parent or "" for record in records),
            "is_dropped": dropped,
            "is_contaminated": contaminated,
        }
        return columns | self._compare(records, rows, texts, ends, dropped), drops

    def rows(self, records: Sequence[Record]) -> list[list[int]]:
        """Return the rows of each record's pictures in the manifest, -1 where it has none."""
        if self.pictures is None:
            return [[-1] * len(record.images) for record in records]
        refs = [ref for record in records for ref in record.images]
        found = iter(self.pictures.find(refs).tolist())
        return [[next(found) for _ in record.images] for record in records]

    def _meet(
        self,
        records: Sequence[Record],
        rows: Sequence[Sequence[int]],
        texts: Texts,
        ends: np.ndarray[Any, Any],
    ) -> dict[int, Problem]:
        met: dict[int, Problem] = {}
        for number, record in enumerate(records):
            for ref, row in zip(record.images, rows[number], strict=True):
                sha256 = ref.sha256
                if row >= 0 and self.pictures is not None:
                    sha256 = self.pictures.sha256[row].tobytes().hex()
                item = self._met.get(row) or self.benchmarks.meet_sha256(sha256)
                if item:
                    met.setdefault(number, ("contaminated-image", item))
            parent = original_key(record.group, record.parent) if record.parent else 0
            item = self.original_met.get(parent)
            if item:
                met.setdefault(number, ("contaminated-text", f"its original: {item}"))
        for turn, item in sorted(self.benchmarks.meet_texts(texts).items()):
            number = int(np.searchsorted(ends, turn, "right")) - 1
            met.setdefault(number, ("contaminated-text", item))
        return met

    def _compare(
        self,
        records: Sequence[Record],
        rows: Sequence[Sequence[int]],
        texts: Texts,
        ends: np.ndarray[Any, Any],
        dropped: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> Columns:
        """Return the columns by which equal and nearly equal records are found."""
        by = self.settings.duplicates.by
        where = np.zeros(len(records), np.uint64)  # what must be the same besides the text
        exact = np.zeros(len(records), np.uint64)
        near = np.zeros(len(records), bool)
        kept = () if by == "off" else np.flatnonzero(~dropped).tolist()
        least = self.settings.duplicates.min_tokens
        with_near = self.settings.duplicates.text_similarity < 1
        for number in kept:
            record = records[number]
            parts = [record.language]
            if record.images and by != "text":
                parts += self._looks(record, rows[number])
            where[number] = key_of("\x1f".join(parts))
            if record.images and by == "image":
                exact[number] = where[number]
                continue
            exact[number] = key_of("\x1f".join((*parts, *_said(record))))
            words = int(texts.ends[ends[number + 1]] - texts.ends[ends[number]])
            near[number] = with_near and words >= least
        near_rows = np.flatnonzero(near)
        signatures = _joined(texts, ends, near_rows)
        keys = mix(bands(signatures) + where[near_rows, None])
        return {
            "exact": exact,
            "near_rows": near_rows,
            "signatures": short(signatures),
            **{f"band{band:02d}": keys[:, band] for band in range(BANDS)},
        }

    def _looks(self, record: Record, rows: Sequence[int]) -> list[str]:
        """Return how each picture looks: equal where they are the same."""
        return [
            str(self._same[row]) if row >= 0 else ref.sha256 or ref.url or ""
            for ref, row in zip(record.images, rows, strict=True)
        ]


def original_key(group: str, identity: str) -> int:
    """Return a key of a record: an id is unique in its artifact only."""
    return key_of(f"{group}\x1f{identity}")


def _keys(texts: Iterable[str]) -> Numbers:
    """Return `key_of` each text, 0 for an empty one; those that repeat are computed once."""
    known = {"": 0}
    keys = []
    for text in texts:
        if text not in known:
            known[text] = key_of(text)
        keys.append(known[text])
    return np.array(keys, np.uint64)


def _said(record: Record) -> list[str]:
    """Return what makes a record's text: without case and punctuation, where more is left."""
    parts = [f"{turn.role}\x1e{_plain(turn.text)}" for turn in record.turns]
    parts += [f"choice\x1e{_plain(choice)}" for choice in record.choices]
    return parts


def _plain(text: str) -> str:
    text = normalise(text)
    return " ".join(_punctuation().sub(" ", text).split()) or text.strip()


@lru_cache(maxsize=1)
def _punctuation() -> re.Pattern[str]:
    """Return what matches punctuation (Unicode's P); signs such as + and = are none."""
    codes = (chr(code) for code in range(0x110000) if unicodedata.category(chr(code))[0] == "P")
    return re.compile(f"[{re.escape(''.join(codes))}]+")


def _joined(
    texts: Texts, ends: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return the signatures of records: of the union of their turns' pieces."""
    turns = [np.arange(ends[row], ends[row + 1]) for row in rows]
    if not turns:
        return texts.signatures(np.empty(0, np.int64))
    starts = np.cumsum([0, *map(len, turns)])[:-1]
    found: np.ndarray[Any, Any] = np.minimum.reduceat(
        texts.signatures(np.concatenate(turns)), starts, axis=0
    )
    return found


def save(path: Path, columns: Columns, drops: Drops) -> None:
    """Write a shard's columns and drops; the file appears under its name when it is complete."""
    told = json.dumps({str(row): problem for row, problem in drops.items()}).encode()
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as stream:
        np.savez(stream, drops=np.frombuffer(told, np.uint8), **columns)  # type: ignore[arg-type]  # numpy's stub
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def load_drops(path: Path) -> Drops:
    """Return the drops of a shard."""
    with np.load(path) as file:
        told = json.loads(file["drops"].tobytes())
    return {int(row): (reason, detail) for row, (reason, detail) in told.items()}


def load_column(paths: Sequence[Path], name: str) -> np.ndarray[Any, Any]:
    """Return a column of all shards."""
    parts = []
    for path in paths:
        with np.load(path) as file:
            parts.append(file[name])
    return np.concatenate(parts)


def is_whole(path: Path, count: int) -> bool:
    """Return whether a shard's file is there and complete, with `count` records."""
    try:
        with open(path, "rb") as stream, np.load(stream) as file:
            return len(file["is_dropped"]) == count and "drops" in file
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
