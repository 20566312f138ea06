"""The manifest of the images step: one row for every picture that was wanted, usable or not.

Place: images -> [manifest.parquet] -> filter, publish. Contract: `MANIFEST_SCHEMA`; a row for each
distinct URL and each picture without one, in the order of their first appearance.

    python -c "import pyarrow.parquet as pq; print(pq.read_table('manifest.parquet')['reason'])"
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core import files
from ikusi.core.errors import DataError, first_line

MANIFEST_FILE = "manifest.parquet"

Status = Literal["fetched", "dead", "duplicate", "broken"]

_FIELDS: list[pa.Field[Any]] = [
    pa.field("url", pa.string()),
    pa.field("sha256", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("format", pa.string()),
    pa.field("bytes", pa.int64()),
    pa.field("phash", pa.uint64()),
]
MANIFEST_SCHEMA = pa.schema(_FIELDS)
"""Columns of the manifest: the fields of `ManifestRow`."""

_DETAIL = 300  # characters
_GROUP_ROWS = 64 << 10


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """What became of one picture."""

    url: str | None
    """None: its bytes stood in a data set."""
    sha256: str | None
    """Of its bytes, which are in `images/` if it can be used; else None where there is a URL."""
    status: Status
    """`fetched`: can be used. `duplicate`: can be used, and a row before it has the same bytes.
    `dead`: there are no bytes. `broken`: there are, but they are no picture that can be used."""
    reason: str = ""
    """Of `dead` and `broken`: a short name that is counted, such as `http-404`."""
    detail: str = ""
    """What exactly, for people."""
    width: int | None = None
    """Pixels, upright."""
    height: int | None = None
    format: str | None = None
    """By content, such as `jpeg`."""
    bytes: int | None = None
    phash: int | None = None
    """64 bits; pictures that look alike differ in few of them."""

    @property
    def is_usable(self) -> bool:
        """Whether its bytes are a picture."""
        return self.status in ("fetched", "duplicate")

    def __post_init__(self) -> None:
        """Make the detail one line that every reader can take."""
        text = " ".join(self.detail.replace("\0", " ").split())[:_DETAIL]
        object.__setattr__(self, "detail", text.encode("utf-8", "backslashreplace").decode())


def write_rows(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write rows durably: the file appears under its name when it is complete."""
    temporary = path.with_name(f".{path.name}.tmp")
    with pq.ParquetWriter(temporary, MANIFEST_SCHEMA, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(asdict(row))
            if len(batch) == _GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(batch, MANIFEST_SCHEMA))
                batch = []
        if batch:
            writer.write_table(pa.Table.from_pylist(batch, MANIFEST_SCHEMA))
    files.fsync_file(temporary)
    os.replace(temporary, path)
    files.fsync_folder(path.parent)


def read_rows(path: Path) -> Iterator[ManifestRow]:
    """Yield the rows of a manifest, or of a part of one.

    Raises:
        DataError: it is absent or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    yield ManifestRow(**row)
    except (pa.ArrowException, OSError, TypeError) as error:
        raise DataError(f"{path}: is no manifest of images ({first_line(error)}).") from None


def mark_duplicates(rows: Iterable[ManifestRow]) -> Iterator[ManifestRow]:
    """Yield the rows; those whose bytes an earlier row has become `duplicate`."""
    seen: set[bytes] = set()
    for row in rows:
        if row.is_usable and row.sha256 is not None:
            digest = bytes.fromhex(row.sha256)
            if digest in seen:
                yield replace(row, status="duplicate")
                continue
            seen.add(digest)
        yield row


class Counts:
    """Counts rows as they go by, for an artifact's stats."""

    def __init__(self) -> None:
        self._status: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {"dead": Counter(), "broken": Counter()}
        self._bytes = 0

    def watch(self, rows: Iterable[ManifestRow]) -> Iterator[ManifestRow]:
        """Yield the rows, counted."""
        for row in rows:
            self._status[row.status] += 1
            if row.status in self._reasons:
                self._reasons[row.status][row.reason] += 1
            elif row.status == "fetched":
                self._bytes += row.bytes or 0
            yield row

    def to_stats(self) -> dict[str, Any]:
        """Return them as plain data: most frequent reasons first."""
        names: tuple[Status, ...] = ("fetched", "duplicate", "dead", "broken")
        status = {name: self._status[name] for name in names}
        reasons = {
            name: dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))
            for name, counter in self._reasons.items()
        }
        return {
            "wanted": sum(status.values()),
            "status": status,
            "pictures": status["fetched"],
            "bytes": self._bytes,
            "reasons": reasons,
        }
