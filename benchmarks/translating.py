"""Requests a second that `ikusi translate` gets out of a chat server that takes a second for each.

The whole step runs, every check on: reading records, taking them apart, prompts, keys, the cache of
answers, verifying, writing records and the ledger. The server is a scripted one in a process of its
own; with 256 requests in flight and a latency of 1 s, nobody can get more than 256 answers a
second. Beside it, in the same run and against the same server: the same number of requests without
the step (`benchmarks/endpoint.py`). On a shared machine the processor's time is what to look at:
what takes 1 ms for a request can send 256 of them in a second while it gets a quarter of a core.

    python benchmarks/translating.py
    python benchmarks/translating.py --records 600 --latency 0.1 --concurrency 32   # try it out
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import endpoint
from measuring import Row, conditions, tell
from records import captions, turned

from ikusi.core.records import write_records
from ikusi.core.store import Store
from ikusi.data.dataset import open_dataset
from ikusi.data.translate import step
from ikusi.data.translate.settings import TranslateSettings

ROOT = Path(__file__).parent.parent
WANTED = 0.9
"""Share of what is possible that must be reached."""


def serve(latency: float, wire: Connection) -> None:
    """Run a server, say where, and say what processor time it took so far whenever asked."""
    sys.path.insert(0, str(ROOT))
    from tests.backends.scripted import Scripted, last_text

    def reply(payload: dict[str, Any]) -> str:
        return turned(last_text(payload))

    with Scripted(reply, latency=latency, record=False) as server:
        wire.send(server.url)
        while wire.recv() != "end":
            wire.send((time.process_time(), server.counts["answer"], server.most_in_flight))


class Server:
    """The server's process."""

    def __init__(self, url: str, wire: Connection) -> None:
        """Know where it is."""
        self.url, self._wire = url, wire

    def told(self) -> tuple[float, int, int]:
        """Return its processor seconds, its answers, and the most requests at a time."""
        self._wire.send("?")
        found: tuple[float, int, int] = self._wire.recv()
        return found


@contextlib.contextmanager
def server(latency: float) -> Iterator[Server]:
    """Run a server with this latency in seconds."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(latency, theirs), daemon=True)
    process.start()
    try:
        yield Server(ours.recv(), ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send("end")
        process.join(10)
        process.terminate()


@dataclass
class Measured:
    """One run."""

    seconds: float
    """From the first request until all is written."""
    start: float
    """Before the first request: opening, and finding out which languages can be told apart."""
    processor: float
    """Seconds of ours, from the first request on."""


def translate(folder: Path, url: str, concurrency: int, count: int) -> Measured:
    """Translate so many records by the step, as the verb does."""
    source = folder / "captions.parquet"
    write_records(source, captions(count))
    backend = {"kind": "endpoint", "url": url, "model": "scripted", "concurrency": concurrency}
    settings = TranslateSettings.parse({"to": "eu", "source": "en", "backend": backend}, "bench")
    store = Store(folder / "store")
    dataset = open_dataset(str(source), store)
    spec = step.translate_spec(settings, dataset, "captions")
    began = time.perf_counter()
    first: list[tuple[float, float]] = []
    original = endpoint.Endpoint.complete

    async def complete(self: Any, request: Any) -> Any:
        if not first:
            first.append((time.perf_counter(), time.process_time()))
        return await original(self, request)

    endpoint.Endpoint.complete = complete  # type: ignore[method-assign]  # to see the first one
    try:
        made = step.build(store, spec, settings, dataset)
    finally:
        endpoint.Endpoint.complete = original  # type: ignore[method-assign]  # as it was
    end, used = time.perf_counter(), time.process_time()
    if made.stats["kept"] != count:
        raise SystemExit(f"only {made.stats['kept']} of {count} were translated: {made.stats}")
    return Measured(end - first[0][0], first[0][0] - began, used - first[0][1])


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds; default 1")
    parser.add_argument("--records", type=int, default=10_240, help="of one request each")
    parser.add_argument(
        "--out", type=Path, help="default: benchmarks/results/translating-mock.json"
    )
    arguments = parser.parse_args()
    arguments.recipe, arguments.overrides = "mock", []
    where = conditions()
    count, concurrency = arguments.records, arguments.concurrency
    with server(arguments.latency) as running, tempfile.TemporaryDirectory() as folder:
        bare, bare_cpu, _ = asyncio.run(endpoint.measure(running.url, concurrency, count))
        before = running.told()
        made = translate(Path(folder), running.url, concurrency, count)
        after = running.told()
    possible = concurrency / arguments.latency
    rows = [
        Row("requests a second, by the step", count / made.seconds, "1/s"),
        Row("possible / reached, by the step", possible * made.seconds / count, "", 1 / WANTED),
        Row("processor, a request of the step", made.processor / count * 1e3, "ms"),
        Row("processor, of one core at the rate wanted", made.processor / count * possible, "", 1),
        Row("possible / reached, requests alone", possible * bare / count, ""),
        Row("processor, a request alone", bare_cpu / count * 1e3, "ms"),
        Row("processor, the server's for a request", (after[0] - before[0]) / count * 1e3, "ms"),
        Row("before the first request", made.start, "s"),
    ]
    details = {
        "requests": after[1] - before[1],
        "concurrency": concurrency,
        "most_in_flight": after[2],
        "latency_seconds": arguments.latency,
        "seconds": made.seconds,
    }
    tell(arguments, where, rows, details)


if __name__ == "__main__":
    main()
