"""A mixture of many records, and filtering by columns, against what Arrow's columns alone take.

    python benchmarks/columns.py --rows 10000000

Half of the rows are in each of two languages, in groups of two, from five sources, four of five
with a picture. The mixture takes half of the pairs, a fifth of them in the target language.
"By columns" chooses as many rows, in pairs and by a hash, with Arrow and numpy alone: the limit.
Times for ten million are computed from those on the processor, when fewer are mixed; so is what
memory grows by.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measuring import Row, conditions, tell

from ikusi.core import memory
from ikusi.core.records import RECORD_SCHEMA, read_records
from ikusi.core.types import Record
from ikusi.data.mix import MixtureSettings, mix

GOAL, LIMIT_SECONDS, LIMIT_MIB = 10_000_000, 120, 2048
SOURCES = 5
COLUMNS = ("id", "group", "language", "source", "images")


def write(path: Path, rows: int) -> None:
    """Write metadata of records: no text."""
    with pq.ParquetWriter(path, RECORD_SCHEMA, compression="zstd") as writer:
        for start in range(0, rows, 1 << 18):
            numbers = np.arange(start, min(rows, start + (1 << 18)))
            half = numbers // 2
            groups = [f"http://example.org/pictures/{n // 2}.jpg" for n in half.tolist()]
            visual = (half // 2 % 5 > 0).astype(int)
            ends = np.concatenate(([0], np.cumsum(visual))).astype(np.int32)
            urls = [group for group, has in zip(groups, visual.tolist(), strict=True) if has]
            image = pa.StructArray.from_arrays(
                [pa.nulls(len(urls), pa.string()), pa.array(urls, pa.string())],
                fields=list(RECORD_SCHEMA.field("images").type.value_type),
            )
            own: dict[str, Any] = {
                "id": pa.array([f"record-{n}" for n in numbers.tolist()]),
                "group": pa.array(groups),
                "language": pa.array(np.where(numbers % 2, "eu", "en").tolist()),
                "source": pa.array([f"set-{n}" for n in (half // 2 % SOURCES).tolist()]),
                "images": pa.ListArray.from_arrays(pa.array(ends), image),
            }
            empty = {pa.string(): "", pa.int32(): 0}
            columns = [
                own[at.name]
                if at.name in own
                else pa.array([empty.get(at.type, [])] * len(numbers), at.type)
                for at in RECORD_SCHEMA
            ]
            writer.write_table(pa.table(columns, schema=RECORD_SCHEMA))


def by_records(path: Path, samples: int) -> int:
    """Mix as a study does: records in memory, put into pools."""
    pools: dict[Any, dict[str, list[Record]]] = {"multimodal": {}, "text": {}}
    for record in read_records(path, COLUMNS):
        pool = pools["multimodal" if record.images else "text"]
        pool.setdefault(record.language, []).append(record)
    settings = MixtureSettings.parse(
        {
            "budget": {"samples": samples},
            "multimodal": {"target_share": 0.2},
            "text": {"share": 0.2, "target_share": 0.2},
        },
        "mixture",
    )
    chosen, _ = mix(pools, [], settings, "en", "eu", 0)
    return len(chosen)


def by_columns(path: Path, samples: int) -> int:
    """Choose as many rows by a hash of their groups, without making records."""
    table = pq.read_table(path, columns=["group", "language"])
    codes = pc.dictionary_encode(table["group"].combine_chunks())
    group = codes.indices.to_numpy()
    target = pc.equal(table["language"], "eu").to_numpy()
    scrambled = (np.arange(len(codes.dictionary), dtype=np.uint64) * 0x9E3779B97F4A7C15) >> 1
    rank = np.argsort(np.argsort(scrambled))
    taken, in_target = samples // 2, samples // 10
    place = rank[group]
    chosen = np.flatnonzero((place < taken) & (target == (place < in_target)))
    return len(chosen[np.argsort(place[chosen], kind="stable")])


def filtered(path: Path) -> int:
    """Return how many rows of two of the sources have a picture, and are in one language."""
    columns = ["language", "source", "images"]
    count = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1 << 16, columns=columns):
            wanted = pc.and_(
                pc.equal(batch["language"], "eu"),
                pc.is_in(batch["source"], value_set=pa.array(["set-1", "set-2"])),
            )
            wanted = pc.and_(wanted, pc.greater(pc.list_value_length(batch["images"]), 0))
            count += pc.sum(wanted).as_py()
    return count


def measure(work: Callable[[], int]) -> tuple[int, float, float, float]:
    """Return what `work` gives, its seconds, those on the processor, and MiB that it added."""
    gc.collect()
    memory.start_peak()
    before = memory.peak_mb() or 0.0
    start, busy = time.monotonic(), time.process_time()
    found = work()
    return (
        found,
        time.monotonic() - start,
        time.process_time() - busy,
        (memory.peak_mb() or 0.0) - before,
    )


def main() -> None:
    """Measure, and tell."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=2_000_000, help="how many there are")
    options.add_argument("--out", type=Path, help="default: benchmarks/results/columns-<rows>.json")
    chosen = options.parse_args()
    where = conditions()
    samples = chosen.rows // 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.parquet"
        write(path, chosen.rows)
        ways: dict[str, Callable[[], int]] = {
            "filter": lambda: filtered(path),
            "mix, columns": lambda: by_columns(path, samples),
            "mix, records": lambda: by_records(path, samples),
        }
        scale = GOAL / chosen.rows
        rows, details = [], {}
        for way, work in ways.items():
            found, took, busy, peak = measure(work)
            details[way] = {"rows": found, "processor s": busy}
            rows += [
                Row(f"{way}: {chosen.rows:,} rows", took, "s"),
                Row(f"{way}: 10,000,000 rows, on the processor", busy * scale, "s", LIMIT_SECONDS),
                Row(f"{way}: memory for 10,000,000 rows", peak * scale, "MiB", LIMIT_MIB),
            ]
    arguments = argparse.Namespace(recipe=f"{chosen.rows}", overrides=[], out=chosen.out)
    tell(arguments, where, rows, details)


if __name__ == "__main__":
    main()
