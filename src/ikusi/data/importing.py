"""Import: a source's rows -> an artifact of records, pictures, and the ledger of what was dropped.

Place: sources -> [importing] -> images, translate, filter. Contract: each row gives one outcome for
each record that the source makes of a row, so rows x records a row = records + drops; rows in
another language than the wanted one are passed over and counted. Local files go into the address
by their content, those on the hub by their commit. What a killed import has finished is kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ikusi.core.artifact import Spec, hash_data
from ikusi.core.config import to_plain
from ikusi.core.files import link_files
from ikusi.core.log import track
from ikusi.core.store import Write, work_folder
from ikusi.core.types import ImageRef
from ikusi.data.images import ImageWriter
from ikusi.data.sources.convert import Converter
from ikusi.data.sources.pictures import Pictures
from ikusi.data.sources.source import Row, RowFault, Source
from ikusi.data.steps import SHARD_RECORDS, Outcome, write_outcomes

KIND, VERSION = "import", 2
IMAGES = "images"
SHARD_BYTES = 128 << 20
"""Rows with pictures in them: so much is in memory at a time, and lost by a kill."""


class Rows(Protocol):
    """Where rows come from: local files, the hub, or a folder of photos."""

    def unread_columns(self) -> list[str]:
        """Return the columns that the source does not know; raises where one is missing."""
        ...

    def splits(self) -> Sequence[str]:
        """Return its splits, in their order; one without a name where there are none."""
        ...

    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of a split, in the same order each time."""
        ...


@dataclass(frozen=True, kw_only=True)
class Import:
    """What is to be imported, resolved."""

    name: str
    """Of the artifact."""
    source: Source
    table: Rows
    where: Mapping[str, Any]
    """What decides on the rows, for the address: hashes of files, or a commit."""
    language: str = ""
    """Of the records; of a source in several languages: only this one's; empty: all."""
    licence: str = ""
    pictures: Path | None = None
    """Folder of the pictures that rows name; None where they name none."""
    limit: int | None = None
    """Rows of each split."""

    def spec(self) -> Spec:
        """Return what the artifact is made from; reads the pictures that rows name.

        Raises:
            DataError: the source cannot be read.
        """
        source = self.source
        declared = {
            "views": [
                [to_plain(view.fields), view.language, view.provenance, view.parent]
                for view in source.views
            ],
            "table": [source.header, source.quoted, source.reshape is not None],
            "set": source.base,
            "task": source.task,
            "languages": [source.language, dict(source.split_languages or {})],
            "licence": self.licence or source.licence,
            "provenance": source.provenance,
        }
        config: dict[str, Any] = {
            "source": source.name,
            "language": self.language,
            "limit": self.limit,
            "declared": hash_data(declared),
            **self.where,
        }
        if self.pictures is not None:
            seen = _Fingerprint(self.pictures)
            converter = self._converter(seen)
            with track(f"look at the pictures of {self.name}") as advance:
                for row in self._selected(Counter()):
                    converter.faults(row)
                    advance(1)
            config["pictures"] = seen.digest.hexdigest()
        return Spec(KIND, self.name, VERSION, config)

    def write(self, out: Path) -> Mapping[str, Any]:
        """Write records, pictures and ledger to `out`, and return the stats.

        Raises:
            DataError: the source cannot be read (to its end).
        """
        work = work_folder(out)
        unread = self.table.unread_columns()
        passed: Counter[str] = Counter()
        with (
            ImageWriter(work / IMAGES) as images,
            track(f"import {self.name}", total=self.limit) as advance,
        ):
            converter = self._converter(Pictures(self.pictures, lambda data, _: images.add(data)))
            shards = (
                (len(rows), partial(_convert, converter, rows, images.finish_file))
                for rows in _shards(self._selected(passed))
            )
            flow = write_outcomes("import", shards, out, work, on_shard=advance)
        if any((work / IMAGES).glob("images-*.arrow")):
            link_files(
                work / IMAGES, out / IMAGES, "images-*.arrow"
            )  # a kill from here on clears `out`
        made, wanted = flow.kept + flow.dropped.total(), flow.read * converter.num_views
        if made != wanted:
            # A bug of ours: a row that vanished must not become an artifact.
            raise AssertionError(f"{made} outcomes of {flow.read} rows instead of {wanted}")
        return {
            **flow.to_stats(),
            "records_a_row": converter.num_views,
            "passed_over": dict(passed),
            "unread_columns": unread,
            "schema": self.source.schema,
            "licence": self.licence or self.source.licence,
        }

    def plan(self) -> tuple[Spec, Write]:
        """Return what `Store.build` takes."""
        return self.spec(), self.write

    def _converter(self, pictures: Pictures) -> Converter:
        return Converter(
            self.source,
            pictures,
            language=self.language,
            licence=self.licence,
        )

    def _selected(self, passed: Counter[str]) -> Iterator[Row]:
        """Yield the rows that count, up to the limit of each split; count the others."""
        for split in self.table.splits():
            rows = self.source.selected(self.table.rows(split), self.language, passed)
            yield from islice(rows, self.limit)


class _Fingerprint(Pictures):
    """Hashes the files that rows name, in their order, and what is wrong with them."""

    def __init__(self, folder: Path) -> None:
        self.digest = hashlib.sha256()
        super().__init__(folder, self._note)

    def _note(self, data: bytes, from_file: bool) -> str:
        # The bytes in a row are in its file, whose hash is in the address already.
        name = hashlib.sha256(data).hexdigest() if from_file else ""
        self.digest.update(f"{name};".encode())
        return name

    def take(self, cell: Any, kind: str = "any", sha256: str | None = None) -> ImageRef:
        try:
            return super().take(cell, kind, sha256)
        except RowFault as error:
            self.digest.update(f"{error.fault.reason};".encode())
            raise


def _convert(
    converter: Converter, rows: Sequence[Row], finish: Callable[[], None]
) -> Iterator[Outcome]:
    for row in rows:
        yield from converter.convert(row)
    finish()  # before the shard is noted as done: its pictures must not be lost by a kill


def _shards(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows in lists that are bounded in number and in bytes."""
    batch: list[Row] = []
    held = 0
    for row in rows:
        batch.append(row)
        held += _size(row.values)
        if len(batch) >= SHARD_RECORDS or held >= SHARD_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return 8
