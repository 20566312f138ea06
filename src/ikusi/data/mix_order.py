"""The chosen records of a mixture, in its order, whatever order they are stored in.

Place: mix.py -> [mix_order] -> the mixture's file. Contract: groups stand in the order of their
numbers, the records of a group in that of their ids; each pool is read once, from its beginning to
its end, and memory does not depend on how many records there are.

A mixture that is larger than a *window* is sorted through one file on the disk: as much as
`_CHUNK_BYTES` of chosen records is sorted by window and added to it; then the windows are read
one by one, from each chunk its part. So nothing is read twice, as it would be with a pass for each
window, and no record by itself, as it would be from a table mapped into memory: that is slow on
the shared disks of clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ikusi.core.records import BATCH_RECORDS, RECORD_SCHEMA, to_records
from ikusi.core.types import Record
from ikusi.data.mix_columns import Integers, Reader

WINDOW = 16_384
"""Records that are sorted at a time."""
_CHUNK_BYTES = 64 << 20  # sorting takes several times as much
_GROUP = "mixture_group"
_SCHEMA = RECORD_SCHEMA.append(pa.field(_GROUP, pa.int32()))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is taken of a pool."""

    read: Reader
    groups: Integers
    """The group of each of its records; -1 for those that are not taken."""


def in_order(
    pools: Sequence[Chosen], num_groups: int, scratch: Path, window: int = WINDOW
) -> Iterator[Record]:
    """Yield the records of the pools in the order of their groups; of those, by their ids.

    Args:
        pools: of records with the same group and id, those of the first pool stand first.
        num_groups: more than the largest number of a group.
        scratch: a file that is written if there are more than `window` records, and removed.
        window: how many records are in memory at a time, or more where a group is larger.

    Raises:
        DataError: a pool cannot be read, or holds what is no record.
    """
    counts = np.zeros(num_groups, np.int64)
    for pool in pools:
        counts += np.bincount(pool.groups[pool.groups >= 0], minlength=num_groups)
    batches = chain.from_iterable(_taken(pool) for pool in pools)
    if counts.sum() <= window:
        yield from _sorted(list(batches))
        return
    # A group is in one window as a whole.
    windows = ((counts.cumsum() - counts) // window).astype(np.int32)
    try:
        places = _spill(batches, windows, scratch)
        with pa.OSFile(str(scratch), "rb") as file, pa.ipc.open_file(file) as spilled:
            for own in places:
                yield from _sorted([spilled.get_batch(place) for place in own])
    finally:
        scratch.unlink(missing_ok=True)


def _taken(pool: Chosen) -> Iterator[pa.RecordBatch]:
    if not (pool.groups >= 0).any():
        return
    start = 0
    for batch in pool.read(None):
        groups = pool.groups[start : start + batch.num_rows]
        start += batch.num_rows
        rows = np.flatnonzero(groups >= 0)
        if len(rows):
            yield batch.take(pa.array(rows, pa.int64())).append_column(
                _GROUP, pa.array(groups[rows])
            )


def _sorted(batches: Sequence[pa.RecordBatch]) -> Iterator[Record]:
    table = pa.Table.from_batches(batches, _SCHEMA)
    order = pc.sort_indices(table, [(_GROUP, "ascending"), ("id", "ascending")])  # stable
    for batch in table.take(order).drop_columns([_GROUP]).to_batches(BATCH_RECORDS):
        yield from to_records(batch, "a record of the mixture")


def _spill(batches: Iterator[pa.RecordBatch], windows: Integers, path: Path) -> list[list[int]]:
    """Write batches of one window each, and return which there are of every window."""
    places: list[list[int]] = [[] for _ in range(int(windows.max()) + 1)]
    written = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _SCHEMA, options=options) as out:
        for chunk in _chunks(batches):
            own = windows[chunk.column(_GROUP).to_numpy()]
            order = np.argsort(own, kind="stable")
            (ordered,) = chunk.take(pa.array(order, pa.int64())).combine_chunks().to_batches()
            own = own[order]
            ends = np.flatnonzero(np.diff(own)) + 1
            for start, end in pairwise([0, *ends.tolist(), len(own)]):
                out.write_batch(ordered.slice(start, end - start))
                places[own[start]].append(written)
                written += 1
    return places


def _chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= _CHUNK_BYTES:
            yield pa.Table.from_batches(held).combine_chunks()
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held).combine_chunks()
