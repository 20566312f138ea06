"""What the records path of `ikusi translate` takes: read, protect, verify, write; no translator.

The translator is a function that answers at once, so what is measured is all the rest: reading
Parquet, taking records apart, placeholders, the prompt, the cache of answers, every check but the
estimate of quality, and writing records and the ledger. Beside it, in the same run: reading and
writing the same records without translating them, which is as fast as it could be.

    python benchmarks/records.py --records 20000
"""

from __future__ import annotations

import argparse
import re
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from measuring import Row, conditions, tell

from ikusi.backends.base import Answer, Capabilities, Request
from ikusi.core.records import read_records, write_records
from ikusi.core.store import Spec, Store
from ikusi.core.types import Image, ImageRef, Record, assistant, user
from ikusi.data.dataset import open_dataset
from ikusi.data.translate import step, voices, way
from ikusi.data.translate.settings import TranslateSettings

_KEPT = re.compile(r"(</?[a-z]+[0-9]+>|⟦[0-9]+⟧|XQ[0-9]+)")
_WORD = re.compile(r"[^\W\d_]+")
_THINGS = (
    "dog",
    "cat",
    "bus",
    "house",
    "tree",
    "boat",
    "horse",
    "lamp",
    "chair",
    "clock",
    "bridge",
)
_PLACES = ("street", "beach", "kitchen", "field", "station", "market", "harbour", "forest")
LIMIT = 1 / 2000  # seconds a record: the 2,000 records a second and core


def turned(text: str) -> str:
    """Return a text with the letters of every word turned round; tags and placeholders stay."""
    parts = _KEPT.split(text)
    return "".join(p if _KEPT.fullmatch(p) else _WORD.sub(lambda m: m[0][::-1], p) for p in parts)


class Instant:
    """A backend that turns the letters of every word round, at once."""

    name = "instant"
    revision = "instant 1"

    def __init__(self, chat: bool) -> None:
        self.capabilities = Capabilities(chat=chat)

    async def complete(self, request: Request) -> Answer:
        """Answer."""
        return Answer(request.id, turned(request.turns[-1].text))

    async def close(self) -> None:
        """Do nothing."""


def captions(count: int) -> Iterator[Record]:
    """Yield short records: a picture and its caption, each another one."""
    for number in range(count):
        one, other = _THINGS[number % len(_THINGS)], _THINGS[number // 11 % len(_THINGS)]
        place = _PLACES[number % len(_PLACES)]
        text = f"A {one} beside the old {other} in a {place}, seen by {number} people."
        yield Record(
            f"c{number}@en",
            f"https://example.org/{number}.jpg",
            (user(Image(0)), assistant(text)),
            "en",
            "caption",
            "captions",
            images=(ImageRef(url=f"https://example.org/{number}.jpg"),),
        )


def main() -> None:
    """Measure, and tell."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--records", type=int, default=20_000)
    arguments.add_argument("--out", type=Path, help="default: benchmarks/results/records.json")
    chosen = arguments.parse_args()
    where = conditions()
    settings = TranslateSettings.parse(
        {"to": "eu", "source": "en", "backend": {"kind": "memory", "path": "-"}}, "benchmark"
    )
    rows, details = [], {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = root / "captions.parquet"
        write_records(source, captions(chosen.records))
        began = time.process_time()
        write_records(root / "copy.parquet", read_records(source))
        copying = (time.process_time() - began) / chosen.records
        rows.append(Row("reading and writing alone", 1e6 * copying, "us"))
        for units in ("sentence", "conversation"):
            seconds, memory = translate(root / units, source, settings, units)
            a_record = seconds / chosen.records
            rows += [
                Row(f"a record, by the {units}", 1e6 * a_record, "us", 1e6 * LIMIT),
                Row(f"records a second and core, by the {units}", 1 / a_record, "/s"),
                Row(f"of reading and writing alone, by the {units}", a_record / copying, "times"),
                Row(f"most memory so far, by the {units}", memory, "MiB", 1024),
            ]
            details[units] = seconds
    chosen.recipe, chosen.overrides = f"{chosen.records}", []
    tell(chosen, where, rows, {"processor seconds": details})


def translate(
    folder: Path, source: Path, settings: TranslateSettings, units: Any
) -> tuple[float, float]:
    """Translate all records; return processor seconds and the peak of memory in MiB."""

    @asynccontextmanager
    async def open_instant(backend: Any, _units: Any, answers: Path) -> Any:
        from ikusi.backends.cache import Cache
        from ikusi.backends.run import Asker

        instant = Instant(units == "conversation")
        cache = Cache(answers / "instant")
        async with Asker(instant, concurrency=256, cache=cache) as asker:
            yield voices.Voice(instant.name, instant.revision, asker, units)
        cache.close()

    way.open_voice, original = open_instant, way.open_voice
    try:
        store = Store(folder / "store")
        dataset = open_dataset(str(source), store)
        began = time.process_time()
        made = step.build(
            store, Spec("translate", "captions", 1, {"units": units}), settings, dataset
        )
        seconds = time.process_time() - began
    finally:
        way.open_voice = original
    kept, read = made.stats["kept"], made.stats["read"]
    assert kept == read, made.stats  # a benchmark of dropping is none
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
