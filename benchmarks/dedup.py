"""Deduplication and decontamination of texts by `ikusi filter`, beside reading and writing alone.

    python benchmarks/dedup.py --texts 1000000

Texts of made-up words with the frequencies of natural ones (Zipf), 40 words on average. 5% are made
nearly equal to an earlier one (one word changed), 1% hold a question of the benchmark. Language
identification is off, all other filters are on. One process with one thread, so its processor time
is the time that a quiet core takes. Times for a million are computed from those measured, when
fewer are filtered.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, conditions, tell

from ikusi.core import memory
from ikusi.core.records import read_records, write_records
from ikusi.core.types import Record, assistant, user
from ikusi.data.dataset import Dataset
from ikusi.data.filters.against import Benchmarks
from ikusi.data.filters.checks import Checks
from ikusi.data.filters.look import Looker
from ikusi.data.filters.settings import FilterSettings
from ikusi.data.filters.step import filter_records
from ikusi.data.steps import read_drops

MILLION, LIMIT_SECONDS = 1_000_000, 600
ITEMS = 5_000


def words(random: np.random.Generator, count: int) -> list[str]:
    """Return words of a vocabulary of 200,000, frequent ones first."""
    ranks = np.minimum(random.zipf(1.3, count), 200_000)
    return [f"{'ztkrmnlbgdsx'[rank % 12]}{'aeiou'[rank % 5]}{rank:x}" for rank in ranks.tolist()]


def questions(random: np.random.Generator) -> list[str]:
    """Return the benchmark's questions."""
    return [" ".join(words(random, 18)) + "?" for _ in range(ITEMS)]


def texts(count: int, asked: list[str]) -> Iterator[tuple[str, str]]:
    """Yield a kind, `new`, `near` or `asked`, and a text."""
    random = np.random.default_rng(1)
    earlier: list[str] = []
    for _ in range(count):
        chance = random.random()
        if chance < 0.05 and earlier:
            said = earlier[int(random.integers(len(earlier)))].split()
            said[int(random.integers(len(said)))] = words(random, 1)[0]
            yield "near", " ".join(said)
        elif chance < 0.06:
            yield "asked", f"{' '.join(words(random, 10))} {asked[int(random.integers(ITEMS))]}"
        else:
            said = words(random, int(random.integers(20, 61)))
            if len(earlier) < 10_000 and len(said) >= 40:  # a changed word leaves 0.9 of these
                earlier.append(" ".join(said))
            yield "new", " ".join(said)


def main() -> None:
    """Measure, and tell."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--texts", type=int, default=200_000, help="how many are filtered")
    options.add_argument("--out", type=Path, help="default: benchmarks/results/dedup-<texts>.json")
    chosen = options.parse_args()
    where = conditions() | {"processes": 1}
    asked = questions(np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "records.parquet"
        kinds: dict[str, str] = {}

        def record(identity: str, *turns: Any) -> Record:
            return Record(identity, identity, turns, "en", "text", "made")

        def made() -> Iterator[Record]:
            for number, (kind, text) in enumerate(texts(chosen.texts, asked)):
                if kind != "new":
                    kinds[f"{number}"] = kind
                yield record(f"{number}", user("Write."), assistant(text))

        write_records(path, made())
        busy = time.process_time()
        write_records(folder / "copy.parquet", read_records(path))
        floor = time.process_time() - busy
        (folder / "work").mkdir()
        memory.start_peak()
        start, busy = time.monotonic(), time.process_time()
        settings = FilterSettings()
        benchmarks = Benchmarks(settings.contamination)
        items = (record(f"q{n}", user(text)) for n, text in enumerate(asked))
        benchmarks.add("benchmark", items, lambda _: ("", None))
        benchmarks.finish()
        looker = Looker(
            settings, Checks(settings, {}, (), {}, lambda _: ("", 0.0)), benchmarks, None
        )
        out, work = folder / "out", folder / "work"
        stats = filter_records([Dataset("made", path)], [], looker, out, work)
        took, busy = time.monotonic() - start, time.process_time() - busy
        peak = memory.peak_mb() or 0.0
        found = {row["id"]: row["reason"] for row in read_drops(out)}
        shutil.rmtree(out)
    reasons = {"near": ("near-duplicate", "duplicate"), "asked": ("contaminated-text",)}
    share = {
        kind: sum(
            found.get(identity) in reasons[kind] for identity, of in kinds.items() if of == kind
        )
        / max(1, sum(of == kind for of in kinds.values()))
        for kind in reasons
    }
    wrong = sum(identity not in kinds for identity in found)
    scale = MILLION / chosen.texts
    rows = [
        Row(f"{chosen.texts:,} texts", took, "s"),
        Row("of it on the processor", busy, "s"),
        Row("for 1,000,000", took * scale, "s", LIMIT_SECONDS),
        Row("for 1,000,000, on the processor", busy * scale, "s", LIMIT_SECONDS),
        Row("times reading and writing alone", busy / floor, ""),
        Row("peak memory", peak, "MiB", 1024),
        Row("planted near-duplicates found", share["near"], ""),
        Row("planted questions found", share["asked"], ""),
        Row("others dropped", wrong / chosen.texts, ""),
    ]
    arguments = argparse.Namespace(recipe=f"{chosen.texts}", overrides=[], out=chosen.out)
    tell(arguments, where, rows, {"stats": stats, "reading and writing, processor s": floor})


if __name__ == "__main__":
    main()
