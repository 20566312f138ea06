"""The step contract of data: records in; records out, or a drop whose reason is kept and counted.

    <payload>/records/part-00000.parquet   as `core/records.py` writes them
    <payload>/dropped/part-00000.parquet   the ledger: `DROP_SCHEMA`

Contract: records in = records out + drops (unless the step says that it makes more of one). Shards
are finished one by one, so a killed step does again only the one that it was at; which shard holds
what depends on the order of the records alone.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core.errors import DataError, first_line
from ikusi.core.records import write_records
from ikusi.core.types import Image, Record, Text

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
    """
    batches = _batched(records, shard_records)
    shards = ((len(batch), partial(transform, batch)) for batch in batches)
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
    for number, (read, compute) in enumerate(shards):
        name = f"part-{number:05d}"
        noted = work / f"{name}.json"
        finished = _finished(noted, work, name)
        if finished is not None:
            flow = finished
        else:
            flow = _write_shard(step, read, compute(), work, name)
            temporary = noted.with_suffix(".tmp")
            temporary.write_text(json.dumps(flow.to_stats()), encoding="utf-8")
            os.replace(temporary, noted)  # last: without it the shard does not exist
        names.append(name)
        total += flow
        on_shard(read)
    for folder in (RECORDS, DROPPED):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            found = work / folder / f"{name}.parquet"
            if found.is_file():
                os.replace(found, out / folder / found.name)
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


def _finished(noted: Path, work: Path, name: str) -> Flow | None:
    """Return what came of a shard that a killed run has finished, None if it has to be made.

    A run that was killed after it had moved shards into the payload has lost them: what stands
    there without a manifest is cleared away.
    """
    if not noted.is_file():
        return None
    told = json.loads(noted.read_text(encoding="utf-8"))
    flow = Flow(told["read"], told["kept"], Counter(told["dropped"]))
    for folder, count in ((RECORDS, flow.kept), (DROPPED, flow.dropped.total())):
        if count and not (work / folder / f"{name}.parquet").is_file():
            return None
    return flow


def _write_shard(step: str, read: int, outcomes: Iterable[Outcome], work: Path, name: str) -> Flow:
    drops: list[Drop] = []
    flow = Flow(read)

    def kept() -> Iterator[Record]:
        for outcome in outcomes:
            problem = None if isinstance(outcome, Drop) else _unstorable(outcome)
            if isinstance(outcome, Drop):
                drops.append(outcome)
            elif problem:
                drops.append(Drop("not-storable", outcome, problem))
            else:
                flow.kept += 1
                yield outcome

    for folder in (RECORDS, DROPPED):
        (work / folder).mkdir(parents=True, exist_ok=True)
    path = work / RECORDS / f"{name}.parquet"
    write_records(path, kept())
    if not flow.kept:
        path.unlink()
    if drops:
        flow.dropped.update(drop.reason for drop in drops)
        rows = [_ledger_row(step, drop) for drop in drops]
        table = pa.Table.from_pylist(rows, DROP_SCHEMA)
        pq.write_table(table, work / DROPPED / f"{name}.parquet", compression="zstd")
    return flow


def _unstorable(record: Record) -> str | None:
    """Return why a text of the record cannot be stored, or None."""
    texts = [record.id, record.group, record.source, record.language, record.licence]
    texts += [record.provenance, record.parent or "", *record.choices, *record.answers]
    texts += [turn.text for turn in record.turns]
    texts += [image.url for image in record.images if image.url is not None]
    joined = "\n".join(texts)
    if record.meta:
        joined += _texts_in(record.meta)
    if "\0" in joined:
        return "a text holds a NUL character"
    try:
        joined.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"a text is not valid Unicode ({joined[error.start]!r})"
    return None


def _texts_in(data: Any) -> str:
    if isinstance(data, Mapping):
        return "".join(f"{key}\n{_texts_in(value)}" for key, value in data.items())
    if isinstance(data, list | tuple):
        return "".join(map(_texts_in, data))
    return f"{data}\n" if isinstance(data, str) else ""


def _ledger_row(step: str, drop: Drop) -> dict[str, str]:
    record = drop.record
    content = _plain_record(record) if record is not None else dict(drop.row)
    row = {
        "id": record.id if record else drop.id,
        "group": record.group if record else "",
        "source": record.source if record else drop.source,
        "language": record.language if record else "",
        "step": step,
        "reason": drop.reason,
        "detail": drop.detail,
        # ASCII escapes keep what no column of text can hold: NUL, a lone surrogate.
        "content": json.dumps(content, default=lambda value: f"<{type(value).__name__}>"),
    }
    return {key: value.encode("utf-8", "backslashreplace").decode() for key, value in row.items()}


def _plain_record(record: Record) -> dict[str, Any]:
    plain = asdict(record)
    plain["turns"] = [
        {
            "role": turn.role,
            "parts": [
                {"type": "text", "text": part.text}
                if isinstance(part, Text)
                else {"type": "image", "index": part.index}
                for part in turn.parts
                if isinstance(part, Text | Image)
            ],
        }
        for turn in record.turns
    ]
    return plain


def _batched(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    iterator = iter(records)
    while batch := list(islice(iterator, size)):
        yield batch
