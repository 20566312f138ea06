"""The filter step: two passes over the records, and what compares them in between.

Place: import or translate -> [filter] -> mix, publish. Contract: what `data/steps.py` says of a
step; killed at any moment, it goes on with the shard that it was at, in either pass. Memory does
not hold the records: a shard at a time, and some numbers for each.

    ikusi filter cc3m --images runs/data/cc3m-images --against vqav2
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ikusi.core.errors import DataError
from ikusi.core.files import write_durably
from ikusi.core.log import track
from ikusi.core.records import read_records
from ikusi.core.types import Record
from ikusi.data.dataset import Dataset
from ikusi.data.filters.look import Looker, is_whole, load_drops, original_key, save
from ikusi.data.filters.settle import REASONS, Fates, settle
from ikusi.data.filters.texts import BANDS
from ikusi.data.steps import SHARD_RECORDS, Drop, Outcome, write_outcomes

STEP = "filter"


def filter_records(
    datasets: Sequence[Dataset],
    originals: Sequence[Dataset],
    looker: Looker,
    out: Path,
    work: Path,
    *,
    shard_records: int = SHARD_RECORDS,
) -> dict[str, Any]:
    """Write the records that stay, and the ledger of the others; return the stats.

    Args:
        datasets: what is filtered, in this order.
        originals: what records of `datasets` were translated from, where it is not among them.
        looker: the filters.
        out: the payload's folder.
        work: keeps finished shards when the step is killed.
        shard_records: records in a shard.
    """
    total = sum(dataset.count() for dataset in datasets)
    looker.original_met = _meet_originals(originals, looker, work, shard_records)
    (work / "columns").mkdir(exist_ok=True)
    paths: list[Path] = []
    with track("filter: look at each", total) as advance:
        for number, records in enumerate(_batches(datasets, shard_records)):
            path = work / "columns" / f"part-{number:05d}.npz"
            if not is_whole(path, len(records)):
                save(path, *looker.look(records))
            paths.append(path)
            advance(len(records))
    with track("filter: compare", BANDS) as advance:
        fates = settle(paths, looker.settings.duplicates, work, advance)
    witnesses = _ids(datasets, fates.witness)
    with track("filter: write", total) as advance:
        shards = _shards(datasets, shard_records, paths, fates, witnesses, looker)
        flow = write_outcomes(STEP, shards, out, work, on_shard=advance)
    if flow.read != flow.kept + flow.dropped.total():
        raise DataError(
            f"filter: {flow.read:,} records were read, and {flow.kept:,} kept and "
            f"{flow.dropped.total():,} dropped. Please report this."
        )
    stats: dict[str, Any] = flow.to_stats()
    stats["pairs_compared"] = fates.pairs_compared
    if looker.benchmarks:
        stats["against"] = looker.benchmarks.stats
    return stats


def _batches(datasets: Sequence[Dataset], size: int) -> Iterator[list[Record]]:
    records = chain.from_iterable(dataset.read() for dataset in datasets)
    while batch := list(islice(records, size)):
        yield batch


def _shards(
    datasets: Sequence[Dataset],
    size: int,
    paths: Sequence[Path],
    fates: Fates,
    witnesses: Mapping[int, str],
    looker: Looker,
) -> Iterator[tuple[int, Callable[[], Iterable[Outcome]]]]:
    start = 0
    for path, records in zip(paths, _batches(datasets, size), strict=True):
        end = start + len(records)
        told = [
            (REASONS[code], witnesses.get(row, ""))
            for code, row in zip(
                fates.code[start:end].tolist(), fates.witness[start:end].tolist(), strict=True
            )
        ]
        yield len(records), partial(_decide, records, path, told, looker)
        start = end


def _decide(
    records: Sequence[Record], path: Path, told: Sequence[tuple[str, str]], looker: Looker
) -> Iterator[Outcome]:
    drops = load_drops(path)
    rows = looker.rows(records)
    for number, record in enumerate(records):
        reason, witness = told[number]
        if number in drops:
            reason, detail = drops[number]
            yield Drop(reason, record, detail)
        elif reason:
            word = "goes with" if reason.startswith("parallel") else "like"
            yield Drop(reason, record, f"{word} {witness}")
        elif looker.pictures is None:
            yield record
        else:
            found = looker.pictures.resolve(record, rows[number], looker.settings.images)
            yield found if isinstance(found, Record) else Drop(found[0], record, found[1])


def _ids(datasets: Sequence[Dataset], rows: np.ndarray[Any, Any]) -> dict[int, str]:
    """Return the ids of those rows that others are like."""
    wanted = set(np.unique(rows[rows >= 0]).tolist())
    if not wanted:
        return {}
    read = (read_records(dataset.path, columns=["id"]) for dataset in datasets)
    return {row: record.id for row, record in enumerate(chain.from_iterable(read)) if row in wanted}


def _meet_originals(
    originals: Sequence[Dataset], looker: Looker, work: Path, size: int
) -> dict[int, str]:
    """Return key of the id -> what it meets, for the originals that are in a benchmark."""
    if not originals or not looker.benchmarks:
        return {}
    done = work / "originals.json"
    if not done.is_file():
        met: dict[int, str] = {}
        with track("filter: originals", sum(o.count() for o in originals)) as advance:
            for records in _batches(originals, size):
                for number, (_, item) in looker.meet(records).items():
                    record = records[number]
                    met.setdefault(original_key(record.group, record.id), item)
                advance(len(records))
        write_durably(done, json.dumps({str(key): item for key, item in met.items()}).encode())
    told = json.loads(done.read_text(encoding="utf-8"))
    return {int(key): item for key, item in told.items()}
