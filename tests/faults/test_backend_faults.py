"""Backends under faults, kills and rivals: every request ends, and none that was answered is lost.

Repeat other moments with IKUSI_SEED=7 pytest ...
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.backends.scripted import TRANSPORT_FAULTS, Scripted, last_text

from ikusi.backends.base import Answer, Request
from ikusi.backends.cache import Cache
from ikusi.backends.endpoint import Endpoint
from ikusi.backends.run import Failure, Usage, answer_all
from ikusi.backends.settings import EndpointSettings, Retry
from ikusi.core.types import user

SEED = int(os.environ.get("IKUSI_SEED", "0"))
KILLS = int(os.environ.get("IKUSI_KILLS", "3"))
COUNT, CONCURRENCY = 120, 8
QUICK = Retry(tries=50, first_wait=0.01, longest_wait=0.05)
posix = pytest.mark.skipif(os.name == "nt", reason="needs signals")


def capitals(payload: dict[str, object]) -> str:
    return last_text(payload).upper()


async def answers(
    url: str, folder: Path | None = None, usage: Usage | None = None, timeout: float = 60
) -> dict[str, Answer | Failure]:
    """Ask `COUNT` different things, and return id -> outcome."""
    backend = await Endpoint.open(EndpointSettings(url=url, model="scripted", timeout=timeout))
    requests = (Request(str(number), (user(f"text {number}"),)) for number in range(COUNT))
    cache = Cache(folder) if folder else None
    found = {}
    try:
        async for outcome in answer_all(
            backend, requests, concurrency=CONCURRENCY, cache=cache, retry=QUICK, usage=usage
        ):
            assert outcome.id not in found
            found[outcome.id] = outcome
    finally:
        if cache:
            cache.close()
        await backend.close()
    return found


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Answer | Failure]:
    with Scripted(capitals) as server:
        return asyncio.run(answers(server.url))


def test_undisturbed(undisturbed: dict[str, Answer | Failure]) -> None:
    assert {a.text for a in undisturbed.values() if isinstance(a, Answer)} == {
        f"TEXT {number}" for number in range(COUNT)
    }


def test_a_third_of_faults_changes_nothing(undisturbed: dict[str, Answer | Failure]) -> None:
    faults = {fault: 0.3 / len(TRANSPORT_FAULTS) for fault in TRANSPORT_FAULTS}
    with Scripted(capitals, faults=faults, seed=SEED) as server:
        usage = Usage()
        assert asyncio.run(answers(server.url, usage=usage, timeout=1)) == undisturbed
    assert usage.retries >= sum(server.counts[fault] for fault in TRANSPORT_FAULTS) > 10


@pytest.mark.parametrize("fault", TRANSPORT_FAULTS)
def test_a_fault_that_stays_is_a_failure_with_its_name(fault: str, tmp_path: Path) -> None:
    """Three of four requests of this one kind of fault, with two tries each."""

    async def some() -> list[Answer | Failure]:
        timeout = 0.2 if fault == "hang" else 60
        made = EndpointSettings(url=server.url, model="scripted", timeout=timeout)
        backend = await Endpoint.open(made)
        requests = (Request(str(number), (user(str(number)),)) for number in range(20))
        retry = Retry(tries=2, first_wait=0.01, failures_in_a_row=1000)
        cache = Cache(tmp_path)
        found = [o async for o in answer_all(backend, requests, cache=cache, retry=retry)]
        cache.close()
        await backend.close()
        return found

    with Scripted(capitals, faults={fault: 0.75}, seed=SEED) as server:
        outcomes = asyncio.run(some())
    assert len(outcomes) == 20
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert failures and len({failure.reason for failure in failures}) == 1
    assert len(Cache(tmp_path)) == 20 - len(failures)


def test_a_server_that_dies_and_comes_back(undisturbed: dict[str, Answer | Failure]) -> None:
    with Scripted(capitals, latency=0.005, dies_after=COUNT // 3, dead_for=0.3) as server:
        assert asyncio.run(answers(server.url)) == undisturbed
    assert server.counts["death"] == 1


def test_content_faults_are_answers_and_cost_nothing_more(tmp_path: Path) -> None:
    with Scripted(capitals, faults={"cut": 0.3}, seed=SEED) as server:
        found = asyncio.run(answers(server.url, tmp_path))
        again = asyncio.run(answers(server.url, tmp_path))
    cut = [a for a in found.values() if isinstance(a, Answer) and a.finish == "length"]
    assert len(cut) == server.counts["cut"] > 10
    assert again == found
    assert len(server.requests) == COUNT


# -- processes


def main(url: str, folder: str) -> None:
    """Answer all and print it; run in a process of its own, to be killed."""
    from ikusi.core import interrupt

    interrupt.listen()
    print("started", flush=True)
    usage = Usage()
    try:
        found = interrupt.run_async(answers(url, Path(folder), usage))
    except KeyboardInterrupt:
        sys.exit(130)
    texts = {name: a.text for name, a in found.items() if isinstance(a, Answer)}
    print(json.dumps({"texts": texts, "cached": usage.cached}))


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    code = f"from tests.faults.test_backend_faults import main; main({url!r}, {str(folder)!r})"
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    return process


EXPECTED = {str(number): f"TEXT {number}" for number in range(COUNT)}


@posix
@pytest.mark.slow
def test_a_kill_loses_at_most_what_is_in_flight(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with Scripted(capitals, latency=0.03) as server:
        for _ in range(KILLS):
            before = server.counts["answer"]
            process = start(server.url, tmp_path)
            wanted = before + chance.randrange(1, 30)
            end = time.monotonic() + 60
            while server.counts["answer"] < wanted and time.monotonic() < end:
                time.sleep(0.001)
            process.kill()
            process.communicate()
        process = start(server.url, tmp_path)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    told = json.loads(out)
    assert told["texts"] == EXPECTED
    assert len(server.requests) <= COUNT + KILLS * CONCURRENCY


@posix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with Scripted(capitals, latency=0.03) as server:
        process = start(server.url, tmp_path)
        while server.counts["answer"] < 20:
            time.sleep(0.001)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "")
        answered = len(Cache(tmp_path))
        assert answered >= server.counts["answer"] - CONCURRENCY
        process = start(server.url, tmp_path)
        out, err = process.communicate(timeout=100)
    assert json.loads(out) == {"texts": EXPECTED, "cached": answered}


@pytest.mark.slow
def test_two_processes_may_fill_one_cache(tmp_path: Path) -> None:
    with Scripted(capitals, latency=0.01) as server:
        both = [start(server.url, tmp_path) for _ in range(2)]
        for process in both:
            out, err = process.communicate(timeout=100)
            assert process.returncode == 0, err
            assert json.loads(out)["texts"] == EXPECTED
        before = len(server.requests)
        out, _ = start(server.url, tmp_path).communicate(timeout=100)
        assert json.loads(out) == {"texts": EXPECTED, "cached": COUNT}
        assert len(server.requests) == before
