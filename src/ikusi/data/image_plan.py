"""Which pictures the images step is to get: every distinct URL, and every picture without one.

Place: import artifacts -> [plan] -> images. Contract: the order is that of the first appearance in
the records of the inputs, one after the other, so it is the same each time. URLs are kept in a file
that is mapped into memory: millions of them cost an index of about 150 bytes each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core.errors import DataError, first_line
from ikusi.core.records import RECORD_SCHEMA
from ikusi.data.image_manifest import MANIFEST_FILE
from ikusi.data.images import ImageReader

_BATCH_ROWS = 16 << 10
_COLUMNS = pa.schema([pa.field("url", pa.large_string()), pa.field("sha256", pa.large_string())])


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture that a record names."""

    url: str | None
    sha256: str | None
    """With a URL: the published hash of its bytes, if there is one. Without: which picture."""


class Plan:
    """The pictures that are wanted, by number."""

    def __init__(self, path: Path, late: Mapping[int, str]) -> None:
        """Map the file of a plan; `late` holds hashes that were named after the URL was."""
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._urls, self._shas = table.column("url"), table.column("sha256")
        self._late = late

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._urls)

    def slice(self, start: int, stop: int) -> list[Wanted]:
        """Return the pictures with these numbers."""
        urls = self._urls.slice(start, stop - start).to_pylist()
        shas = self._shas.slice(start, stop - start).to_pylist()
        return [
            Wanted(url, self._late.get(number, sha))
            for number, (url, sha) in enumerate(zip(urls, shas, strict=True), start)
        ]


def make_plan(records: Sequence[Path], path: Path) -> Plan:
    """Read which pictures the records want, and write the plan to `path`.

    Args:
        records: Parquet files of records, or folders of them, in their order.
        path: overwritten.

    Raises:
        DataError: a file is damaged or holds no records.
    """
    places: dict[bytes, int] = {}
    """Digest of a URL or hash -> its number, or -1 once its hash is known or it has no URL."""
    late: dict[int, str] = {}
    count = 0
    with pa.ipc.new_file(str(path), _COLUMNS) as writer:
        for batch in chain.from_iterable(map(_image_batches, records)):
            new: list[Wanted] = []
            for wanted in batch:
                key = _key(wanted)
                place = places.get(key)
                if place is None:
                    settled = wanted.url is None or wanted.sha256 is not None
                    places[key] = -1 if settled else count + len(new)
                    new.append(wanted)
                elif place >= 0 and wanted.sha256 is not None:
                    late[place] = wanted.sha256
                    places[key] = -1
            columns: list[pa.Array[pa.LargeStringScalar]] = [
                pa.array([wanted.url for wanted in new], pa.large_string()),
                pa.array([wanted.sha256 for wanted in new], pa.large_string()),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_COLUMNS))
            count += len(new)
    return Plan(path, late)


class Local:
    """Pictures that are on this machine already, by hash or by URL."""

    def __init__(self, folders: Sequence[Path], earlier: Path | None = None) -> None:
        """Map the pictures.

        Args:
            folders: of pictures; one that does not exist is left out.
            earlier: payload of an earlier images artifact, whose URLs are not fetched again.

        Raises:
            DataError: a file is damaged.
        """
        self._readers = [ImageReader(folder) for folder in folders if folder.is_dir()]
        self._by_url: dict[bytes, bytes] = {}
        if earlier is not None:
            self._readers.append(ImageReader(earlier / "images"))
            self._by_url = dict(_usable(earlier / MANIFEST_FILE))

    def find(self, wanted: Wanted) -> str | None:
        """Return the hash of the picture if it is here."""
        if wanted.sha256 is not None and any(wanted.sha256 in r for r in self._readers):
            return wanted.sha256
        if wanted.url is None or not self._by_url:
            return None
        digest = self._by_url.get(_digest(wanted.url))
        known = digest.hex() if digest else None
        return known if wanted.sha256 in (None, known) else None

    def read(self, sha256: str) -> bytes:
        """Return the bytes of a picture that `find` found."""
        return next(reader for reader in self._readers if sha256 in reader).read(sha256)


def _usable(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the digest of the URL and the hash of the bytes for the usable rows of a manifest."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["url", "sha256"]):
                pairs = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
                for url, sha256 in pairs:
                    if url is not None and sha256 is not None:
                        yield _digest(url), bytes.fromhex(sha256)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: cannot be read ({first_line(error)}). Give what `ikusi images` made."
        ) from None


def _image_batches(path: Path) -> Iterator[list[Wanted]]:
    found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    kind = RECORD_SCHEMA.field("images").type
    for file in found:
        try:
            with pq.ParquetFile(file, memory_map=True) as source:
                for batch in source.iter_batches(batch_size=_BATCH_ROWS, columns=["images"]):
                    column: Any = batch.column(0).cast(kind)
                    yield [
                        Wanted(row["url"] or None, (row["sha256"] or "").lower() or None)
                        for row in column.flatten().to_pylist()
                        if row and (row["url"] or row["sha256"])
                    ]
        except (pa.ArrowException, OSError, IndexError) as error:
            raise DataError(
                f"{file}: holds no records that can be read ({first_line(error)})."
            ) from None


def _key(wanted: Wanted) -> bytes:
    return _digest(wanted.url) if wanted.url else b"=" + (wanted.sha256 or "").encode()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
