"""The step contract of data: records in; records out, or a drop whose reason is kept and counted.

    <payload>/records/part-00000.parquet   as `core/records.py` writes them
    <payload>/dropped/part-00000.parquet   the ledger: `DROP_SCHEMA`

Contract: records in = records out + drops (unless the step says that it makes more of one). Shards
are finished one by one, so a killed step does again only the one that it was at; which shard holds
what depends on the order of the records alone.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core.errors import DataError, first_line
from ikusi.core.files import fsync_file, write_durably
from ikusi.core.records import count_records, storage_problem, write_records
from ikusi.core.types import Image, ImageRef, Record, Text, Turn

RECORDS, DROPPED = "records", "dropped"
SHARD_RECORDS = 8192
"""Records in a shard: what a kill costs at most, and what is in memory at a time."""

DROP_SCHEMA = pa.schema(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in ("id", "group", "source", "language", "step", "reason", "detail", "content")
    ]
)
"""Columns of the ledger. `content` is JSON: the record, or the source's row that became none."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A record, or a source's row, that goes no further."""

    reason: str
    """A short name that is counted, such as `image-dead`; letters, digits and hyphens."""
    record: Record | None = None
    """What was dropped; None where a row did not even become a record."""
    detail: str = ""
    """What exactly, for people."""
    id: str = ""
    """Of the row, where there is no record."""
    source: str = ""
    """Name of the set, where there is no record."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The row, where there is no record; what is no JSON is shown by its type."""


Outcome = Record | Drop
Transform = Callable[[Sequence[Record]], Iterable[Outcome]]
"""A shard's records in, as many outcomes out, in their order."""


@dataclass
class Flow:
    """How many records came in and went out, and why the others did not."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason -> how many."""

    def __add__(self, other: Flow) -> Flow:
        """Return both together."""
        return Flow(self.read + other.read, self.kept + other.kept, self.dropped + other.dropped)

    def to_stats(self) -> dict[str, Any]:
        """Return it as an artifact's stats."""
        reasons = dict(sorted(self.dropped.items(), key=lambda pair: (-pair[1], pair[0])))
        return {"read": self.read, "kept": self.kept, "dropped": reasons}


def run_step(
    step: str,
    records: Iterable[Record],
    transform: Transform,
    out: Path,
    work: Path,
    *,
    on_shard: Callable[[int], None] = lambda read: None,
    shard_records: int = SHARD_RECORDS,
) -> Flow:
    """Put `records` through `transform`, shard by shard, and write what comes out.

    Args:
        step: name of the step, for the ledger.
        records: in an order that is the same each time.
        transform: applied to each shard; must not depend on other shards.
        out: the payload's folder.
        work: keeps finished shards when the step is killed; see `core.store.WORK`.
        on_shard: called after each shard with the number of records read for it.
        shard_records: records read for a shard.

    Raises:
        DataError: a shard's outcomes are not as many as its records.
    """

    def compute(batch: list[Record]) -> list[Outcome]:
        outcomes = list(transform(batch))
        if len(outcomes) != len(batch):
            raise DataError(
                f"{step}: {len(batch)} records led to {len(outcomes)} outcomes, "
                "so some would be lost. Please report this."
            )
        return outcomes

    batches = _batched(records, shard_records)
    shards = ((len(batch), partial(compute, batch)) for batch in batches)
    return write_outcomes(step, shards, out, work, on_shard=on_shard)


def write_outcomes(
    step: str,
    shards: Iterable[tuple[int, Callable[[], Iterable[Outcome]]]],
    out: Path,
    work: Path,
    *,
    on_shard: Callable[[int], None] = lambda read: None,
) -> Flow:
    """Write shards of outcomes; one that a killed run has finished is not computed again.

    Args:
        step: name of the step, for the ledger.
        shards: of each, how many records or rows it was made from, and what computes it.
        out: the payload's folder.
        work: keeps finished shards when the step is killed.
        on_shard: called after each shard with the number of records read for it.
    """
    total = Flow()
    names: list[str] = []
    for folder in (RECORDS, DROPPED):
        (work / folder).mkdir(parents=True, exist_ok=True)
    for number, (read, compute) in enumerate(shards):
        name = f"part-{number:05d}"
        flow = _finished(work, name, read)
        if flow is None:
            flow = _write_shard(step, read, compute(), work, name)
        names.append(name)
        total += flow
        on_shard(read)
    for folder in (RECORDS, DROPPED):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            found = work / folder / f"{name}.parquet"
            if found.is_file():
                _put(found, out / folder / found.name)
    if not any((out / RECORDS).iterdir()):
        write_records(out / RECORDS / "part-00000.parquet", [])
    return total


def read_drops(payload: Path, reason: str | None = None) -> Iterator[dict[str, str]]:
    """Yield the ledger's rows of an artifact, of one reason or of all.

    Raises:
        DataError: a file of the ledger is damaged.
    """
    for path in sorted((payload / DROPPED).glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=1024):
                    for row in batch.to_pylist():
                        if reason is None or row["reason"] == reason:
                            yield row
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read as Parquet ({first_line(error)}).") from None


def _finished(work: Path, name: str, read: int) -> Flow | None:
    """Return what a finished shard came to, None where it is not there, or not whole."""
    try:
        told = json.loads((work / f"{name}.json").read_text(encoding="utf-8"))
        flow = Flow(told["read"], told["kept"], Counter(told["dropped"]))
        # A kill while the payload was put together may have taken the files from beside the note.
        for folder, rows in ((RECORDS, flow.kept), (DROPPED, flow.dropped.total())):
            path = work / folder / f"{name}.parquet"
            if path.exists() != bool(rows) or (rows and count_records(path) != rows):
                return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, DataError):
        return None
    return flow if flow.read == read else None


def _write_shard(step: str, read: int, outcomes: Iterable[Outcome], work: Path, name: str) -> Flow:
    kept: list[Record] = []
    drops: list[Drop] = []
    for outcome in outcomes:
        if isinstance(outcome, Drop):
            drops.append(outcome)
        else:
            kept.append(outcome)
    path = work / RECORDS / f"{name}.parquet"
    try:
        write_records(path, kept)
    except DataError:  # one of them at least: only now is it worth to ask each
        problems = [storage_problem(record) for record in kept]
        pairs = list(zip(kept, problems, strict=True))
        drops += [Drop("not-storable", record, problem) for record, problem in pairs if problem]
        kept = [record for record, problem in pairs if not problem]
        write_records(path, kept)
    ledger = work / DROPPED / f"{name}.parquet"
    _keep(path, bool(kept))
    if drops:
        rows = [_ledger_row(step, drop) for drop in drops]
        pq.write_table(pa.Table.from_pylist(rows, DROP_SCHEMA), ledger, compression="zstd")
    _keep(ledger, bool(drops))
    flow = Flow(read, len(kept), Counter(drop.reason for drop in drops))
    # Last, and only when the rest is on the disk: without it the shard does not exist.
    write_durably(work / f"{name}.json", json.dumps(flow.to_stats()).encode())
    return flow


def _keep(path: Path, wanted: bool) -> None:
    if wanted:
        fsync_file(path)
    else:
        path.unlink(missing_ok=True)


def _put(found: Path, place: Path) -> None:
    """Put a finished shard into the payload; it stays where it was, too, where links are allowed.

    A kill from here on clears the payload, and what was only moved there would be made again.
    """
    try:
        os.link(found, place)
    except OSError:
        os.replace(found, place)


def _ledger_row(step: str, drop: Drop) -> dict[str, str]:
    record = drop.record
    content = record if record is not None else drop.row
    row = {
        "id": record.id if record else drop.id,
        "group": record.group if record else "",
        "source": record.source if record else drop.source,
        "language": record.language if record else "",
        "step": step,
        "reason": drop.reason,
        "detail": drop.detail,
        # ASCII escapes keep what no column of text can hold: NUL, a lone surrogate.
        "content": json.dumps(_plain(content)),
    }
    return {key: _printable(value) for key, value in row.items()}


def _printable(value: object) -> str:
    text = str(value).replace("\0", "\\x00")
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    """Return anything as JSON data; what has no JSON form is shown by its type."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Text):
        return {"type": "text", "text": _plain(value.text)}
    if isinstance(value, Image):
        return {"type": "image", "index": _plain(value.index)}
    if isinstance(value, Record | Turn | ImageRef):
        return {at.name: _plain(getattr(value, at.name)) for at in fields(value)}
    return f"<{type(value).__name__}>"


def _batched(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    iterator = iter(records)
    while batch := list(islice(iterator, size)):
        yield batch
