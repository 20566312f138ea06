"""A mixture of many records, and filtering by columns, against what Arrow's columns alone take.

    python benchmarks/columns.py --rows 10000000

Half of the rows are in each of two languages, in groups of two, from five sources, four of five
with a picture; they hold no text, and stand in a file for each language with and without pictures.
The mixture takes half of the pairs, a fifth of them in the target language. "Choice" is all that
a mixture does before it reads whole records; "written" is the choice and the file of records.
"By hand" chooses as many rows, in pairs and by a hash that is none, with Arrow and numpy alone:
the limit. Times for ten million are computed from those on the processor, when fewer are mixed; so
is what memory grows by. Memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measuring import Row, conditions, tell

from ikusi.core import memory
from ikusi.core.records import BATCH_RECORDS, RECORD_SCHEMA, read_batches, write_records
from ikusi.core.types import Record
from ikusi.data.mix import MixtureSettings, mix

GOAL, LIMIT_SECONDS, LIMIT_MIB = 10_000_000, 120, 2048
SOURCES = 5
STRIDE = 1 << 18


def write(folder: Path, rows: int) -> list[Path]:
    """Write metadata of records: no text; a file for each part and language."""
    paths = []
    for part, visual in (("multimodal", True), ("text", False)):
        for code, language in enumerate(("en", "eu")):
            paths.append(folder / f"{part}@{language}.parquet")
            with pq.ParquetWriter(paths[-1], RECORD_SCHEMA, compression="zstd") as writer:
                for start in range(0, rows, STRIDE):
                    numbers = np.arange(start, min(rows, start + STRIDE))
                    mine = (numbers % 2 == code) & ((numbers // 4 % SOURCES > 0) == visual)
                    table = _table(numbers[mine], language, visual)
                    writer.write_table(table, row_group_size=BATCH_RECORDS)
    return paths


def _table(numbers: Any, language: str, visual: bool) -> pa.Table:
    groups = pa.array([f"http://example.org/pictures/{n}.jpg" for n in (numbers // 4).tolist()])
    image = pa.StructArray.from_arrays(
        [pa.nulls(len(groups), pa.string()), groups],
        fields=list(RECORD_SCHEMA.field("images").type.value_type),
    )
    ends = np.arange(len(groups) + 1, dtype=np.int32) * visual
    own: dict[str, Any] = {
        "id": pa.array([f"record-{n}" for n in numbers.tolist()]),
        "group": groups,
        "language": pa.array([language] * len(groups)),
        "source": pa.array([f"set-{n}" for n in (numbers // 4 % SOURCES).tolist()]),
        "images": pa.ListArray.from_arrays(pa.array(ends), image if visual else image[:0]),
    }
    empty = {pa.string(): "", pa.int32(): 0}
    columns = [
        own[at.name]
        if at.name in own
        else pa.array([empty.get(at.type, [])] * len(groups), at.type)
        for at in RECORD_SCHEMA
    ]
    return pa.table(columns, schema=RECORD_SCHEMA)


def mixed(paths: list[Path], samples: int, scratch: Path) -> tuple[Iterator[Record], int]:
    """Choose as a study does; return the records, not yet read, and how many they are."""
    pools: dict[str, dict[str, Any]] = {}
    for path in paths:
        part, _, language = path.stem.partition("@")
        pools.setdefault(part, {})[language] = partial(read_batches, path)
    settings = MixtureSettings.parse(
        {
            "budget": {"samples": samples},
            "multimodal": {"target_share": 0.2},
            "text": {"share": 0.2, "target_share": 0.2},
        },
        "mixture",
    )
    records, report = mix(pools, settings, "en", "eu", 0, scratch)
    return records, sum(sum(counts.values()) for counts in report.counts.values())


def written(paths: list[Path], samples: int, folder: Path) -> int:
    """Choose, and write what was chosen."""
    records, _ = mixed(paths, samples, folder / "scratch")
    return write_records(folder / "mixture", records)


def by_columns(paths: list[Path], samples: int) -> int:
    """Choose as many rows by a hash of their groups, without making records."""
    tables = [pq.read_table(path, columns=["group", "language"]) for path in paths]
    table = pa.concat_tables(tables)
    codes = pc.dictionary_encode(table["group"].combine_chunks())
    group = codes.indices.to_numpy()
    target = pc.equal(table["language"], "eu").to_numpy()
    scrambled = (np.arange(len(codes.dictionary), dtype=np.uint64) * 0x9E3779B97F4A7C15) >> 1
    rank = np.argsort(np.argsort(scrambled))
    taken, in_target = samples // 2, samples // 10
    place = rank[group]
    chosen = np.flatnonzero((place < taken) & (target == (place < in_target)))
    return len(chosen[np.argsort(place[chosen], kind="stable")])


def filtered(paths: list[Path]) -> int:
    """Return how many rows of two of the sources have a picture, and are in one language."""
    columns = ["language", "source", "images"]
    count = 0
    for batch in chain.from_iterable(read_batches(path, columns) for path in paths):
        wanted = pc.and_(
            pc.equal(batch["language"], "eu"),
            pc.is_in(batch["source"], value_set=pa.array(["set-1", "set-2"])),
        )
        wanted = pc.and_(wanted, pc.greater(pc.list_value_length(batch["images"]), 0))
        count += pc.sum(wanted).as_py()
    return count


def chosen(paths: list[Path], samples: int) -> int:
    """Choose alone."""
    return mixed(paths, samples, paths[0].with_name("scratch"))[1]


def measure(work: Callable[..., int], *arguments: Any) -> tuple[int, float, float, float, float]:
    """Return what `work` gives, its seconds, those on the processor, MiB before and at the most."""
    memory.start_peak()
    before = memory.peak_mb() or 0.0
    start, busy = time.monotonic(), time.process_time()
    found = work(*arguments)
    took, busy = time.monotonic() - start, time.process_time() - busy
    return found, took, busy, before, memory.peak_mb() or 0.0


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="how many there are")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/columns-<rows>.json")
    options = parser.parse_args()
    where = conditions()
    samples, scale = options.rows // 4, GOAL / options.rows
    rows, details = [], {}
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), options.rows)
        ways: dict[str, tuple[Any, ...]] = {
            "filter": (filtered, paths),
            "mix, by hand": (by_columns, paths, samples),
            "mix, choice": (chosen, paths, samples),
            "mix, written": (written, paths, samples, Path(folder)),
        }
        for way, work in ways.items():
            # In a process of its own: memory that another way gave back is often kept.
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                found, took, busy, before, peak = process.submit(measure, *work).result()
            details[way] = {"rows": found, "processor s": busy, "MiB before": before, "MiB": peak}
            memory_then = before + (peak - before) * scale
            rows += [
                Row(f"{way}: {options.rows:,} rows", took, "s"),
                Row(f"{way}: 10,000,000 rows, on the processor", busy * scale, "s", LIMIT_SECONDS),
                Row(f"{way}: memory for 10,000,000 rows", memory_then, "MiB", LIMIT_MIB),
            ]
    arguments = argparse.Namespace(recipe=f"{options.rows}", overrides=[], out=options.out)
    tell(arguments, where, rows, details)


if __name__ == "__main__":
    main()
