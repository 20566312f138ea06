"""Requests a second to a chat server that takes a second for each: what we add to its own time.

The server is a scripted one in a process of its own; with 256 requests in flight and a latency of
1 s, no client can get more than 256 answers a second. Measured is all that a run does: keys, cache,
retries, progress.

    python benchmarks/endpoint.py
    python benchmarks/endpoint.py --rounds 2 --latency 0.1   # try it out
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import Row, conditions, tell

from ikusi.backends.base import Answer, Request
from ikusi.backends.cache import Cache
from ikusi.backends.endpoint import Endpoint
from ikusi.backends.keeper import is_healthy
from ikusi.backends.run import Usage, answer_all
from ikusi.backends.settings import EndpointSettings
from ikusi.core.types import user

SERVER = Path(__file__).parent.parent / "tests" / "backends" / "scripted.py"
WANTED = 0.9
"""Share of what is possible that must be reached."""


@contextlib.contextmanager
def server(latency: float) -> Iterator[str]:
    """Run a server with this latency in seconds, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(SERVER), "--port", str(port), "--latency", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not is_healthy(port):
            if process.poll() is not None:
                raise SystemExit("the scripted server did not start")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


async def measure(url: str, concurrency: int, count: int) -> tuple[float, float, Usage]:
    """Return the seconds and the processor's seconds of so many requests, and what they used."""
    backend = await Endpoint.open(EndpointSettings(url=url, model="scripted"))
    usage = Usage()
    requests = (Request(str(n), (user(f"What is shown in picture {n}?"),)) for n in range(count))
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        start, cpu = time.perf_counter(), time.process_time()
        outcomes = answer_all(
            backend,
            requests,
            concurrency=concurrency,
            cache=cache,
            usage=usage,
            label="ask",
            total=count,
        )
        answered = sum([isinstance(outcome, Answer) async for outcome in outcomes])
        seconds, used = time.perf_counter() - start, time.process_time() - cpu
        cache.close()
    await backend.close()
    if answered != count:
        raise SystemExit(f"only {answered} of {count} requests were answered")
    return seconds, used, usage


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds; default 1")
    parser.add_argument("--rounds", type=int, default=15, help="requests: so many times those")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/endpoint-mock.json")
    arguments = parser.parse_args()
    arguments.recipe, arguments.overrides = "mock", []
    where: dict[str, Any] = conditions()
    count = arguments.concurrency * arguments.rounds
    with server(arguments.latency) as url:
        seconds, used, usage = asyncio.run(measure(url, arguments.concurrency, count))
    possible = arguments.concurrency / arguments.latency
    rows = [
        Row("requests a second", count / seconds, "1/s"),
        Row("possible / reached", possible * seconds / count, "", 1 / WANTED),
        Row("processor, a request", used / count * 1e3, "ms"),
    ]
    details = {
        "requests": count,
        "concurrency": arguments.concurrency,
        "latency_seconds": arguments.latency,
        "retries": usage.retries,
    }
    tell(arguments, where, rows, details)


if __name__ == "__main__":
    main()
