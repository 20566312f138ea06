"""A launched server: shared, restarted, told about when it fails, and gone when nobody uses it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.backends.fakes import ask

from ikusi.backends.base import BackendError, TransportFault
from ikusi.backends.endpoint import Endpoint
from ikusi.backends.keeper import KEEPER, LOG, State, count_users
from ikusi.backends.managed import Server, hold_server
from ikusi.backends.run import Failure, answer_all
from ikusi.backends.settings import EndpointSettings, Retry
from ikusi.core.lease import is_live

SCRIPTED = Path(__file__).parent / "scripted.py"
COMMAND = f"{sys.executable} {SCRIPTED} --model {{model}} --port {{port}}"
pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="needs process groups"),
    pytest.mark.timeout(120),
]


@pytest.fixture(autouse=True)
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep track of servers in a folder of the test's own; none may be left over."""
    folder = tmp_path / "servers"
    monkeypatch.setenv("IKUSI_SERVERS", str(folder))
    yield folder
    left = [state.server for state in states(folder) if state.is_running()]
    for state in states(folder):
        state.stop_server()
    assert not left, "a server was left over"


def states(folder: Path) -> list[State]:
    found = [State.read(path) for path in folder.iterdir()] if folder.is_dir() else []
    return [state for state in found if state is not None]


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def launched(command: str = COMMAND, **fields: object) -> EndpointSettings:
    return EndpointSettings.model_validate(
        {"launch": command, "model": "scripted", "timeout": 30, **fields}
    )


def test_two_users_share_a_server_and_the_last_one_stops_it(servers: Path) -> None:
    async def both() -> None:
        one, two = await asyncio.gather(Endpoint.open(launched()), Endpoint.open(launched()))
        assert [(await b.complete(ask("kaixo"))).text for b in (one, two)] == ["KAIXO", "KAIXO"]
        (state,) = states(servers)
        await one.close()
        assert (await two.complete(ask("agur"))).text == "AGUR"
        await two.close()
        assert not state.is_running()

    asyncio.run(both())
    (folder,) = servers.iterdir()
    assert "listening at" in (folder / LOG).read_text()
    left = State.read(folder)
    assert left is not None and left.phase == "stopped"
    assert count_users(folder) == 0


def test_holding_it_keeps_it_between_steps(servers: Path) -> None:
    async def steps() -> list[object]:
        seen: list[object] = []
        async with hold_server(launched()):
            for _ in range(2):
                backend = await Endpoint.open(launched())
                seen.append(states(servers)[0].server)
                await backend.close()
        return seen

    first, second = asyncio.run(steps())
    assert first == second


@pytest.mark.slow
def test_it_is_started_again_when_it_dies(servers: Path) -> None:
    async def use() -> dict[str, str]:
        backend = await Endpoint.open(launched())
        found = {}
        outcomes = answer_all(
            backend,
            (ask(f"text {number}", str(number)) for number in range(60)),
            concurrency=4,
            retry=Retry(first_wait=0.01),
        )
        async for outcome in outcomes:
            assert not isinstance(outcome, Failure)
            found[outcome.id] = outcome.text
            if len(found) in (10, 30):
                (state,) = states(servers)
                assert state.server is not None
                os.kill(state.server[0], signal.SIGKILL)
        await backend.close()
        return found

    assert asyncio.run(use()) == {str(number): f"TEXT {number}" for number in range(60)}


@pytest.mark.slow
def test_it_is_not_started_again_for_ever(servers: Path) -> None:
    async def use() -> None:
        backend = await Endpoint.open(launched(restarts=1))
        try:
            for _ in range(2):
                (state,) = states(servers)
                assert state.server is not None
                os.kill(state.server[0], signal.SIGKILL)
                with pytest.raises(TransportFault):
                    await backend.complete(ask("a"))  # waits until it is up again
            for _ in range(100):  # that it is down for good is noticed a moment later
                with contextlib.suppress(TransportFault):
                    await backend.complete(ask("a"))
                await asyncio.sleep(0.1)
        finally:
            await backend.close()

    with pytest.raises(BackendError, match=r"was ended by SIGKILL, after 1 restarts; the last it"):
        asyncio.run(use())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "fields", "message"),
    [
        (COMMAND + " --fail 'CUDA out of memory'", {}, "ended with 3 before.*CUDA out of memory"),
        ("/no/such/program --port {port}", {}, r"cannot be started \(No such file or directory"),
        (COMMAND + " --load 60", {"launch_timeout": 0.5}, "was not ready after 0.5 s; the last"),
    ],
)
def test_one_that_cannot_start_is_told_in_one_line(
    command: str, fields: dict[str, object], message: str
) -> None:
    for _ in range(2):  # the second does not take the first one's failure for its own
        with pytest.raises(BackendError, match=message) as found:
            asyncio.run(Endpoint.open(launched(command, **fields)))
        assert "\n" not in str(found.value)
        assert f"{LOG}, and correct `launch`." in str(found.value)


USER = """
import asyncio, sys, time
from ikusi.backends.endpoint import Endpoint
from ikusi.backends.settings import EndpointSettings
from ikusi.core import interrupt

async def use():
    backend = await Endpoint.open(EndpointSettings(launch=sys.argv[1], model="scripted"))
    try:
        print("ready", flush=True)
        await asyncio.sleep(100)
    finally:
        await backend.close()

interrupt.listen()
try:
    interrupt.run_async(use())
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@contextlib.contextmanager
def another_process() -> Iterator[subprocess.Popen[str]]:
    """Run a process that uses the server, until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, COMMAND], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_is_stopped_when_its_last_user_is(servers: Path, number: signal.Signals) -> None:
    with another_process() as process:
        (folder,) = servers.iterdir()
        (state,) = states(servers)
        assert state.is_running() and count_users(folder) == 1
        process.send_signal(number)
        process.wait(60)
        until(lambda: not state.is_running())
        until(lambda: not is_live(folder / KEEPER))


@pytest.mark.slow
def test_processes_share_it_and_it_outlives_the_first(servers: Path) -> None:
    with another_process() as first, another_process() as second:
        (state,) = states(servers)
        first.kill()
        first.wait()
        (folder,) = servers.iterdir()
        until(lambda: count_users(folder) == 1)
        time.sleep(0.3)
        assert state.is_running()
        second.kill()
        second.wait()
        until(lambda: not state.is_running())


@pytest.mark.slow
def test_an_orphan_is_found_and_stopped_the_next_time(servers: Path) -> None:
    """When the keeper is killed with the user, the server is left over, until somebody comes."""

    def left_over() -> State:
        with another_process() as process:
            (folder,) = servers.iterdir()
            (state,) = states(servers)
            (lease,) = (path for path in (folder / KEEPER).iterdir() if path.name.isdecimal())
            keeper = json.loads(lease.read_bytes().removeprefix(b"held"))["pid"]
            os.kill(keeper, signal.SIGKILL)
            process.kill()
        assert state.is_running()
        return state

    async def use(command: str) -> None:
        await (await Endpoint.open(launched(command))).close()

    state = left_over()
    asyncio.run(use(COMMAND + " --load 0.1"))  # of another server
    assert not state.is_running()
    shutil.rmtree(servers)
    state = left_over()
    asyncio.run(use(COMMAND))
    assert not state.is_running()


@pytest.mark.slow
def test_a_server_that_lost_its_keeper_gets_another(servers: Path) -> None:
    async def use() -> str:
        backend = await Endpoint.open(launched())
        (folder,) = servers.iterdir()
        (lease,) = (path for path in (folder / KEEPER).iterdir() if path.name.isdecimal())
        keeper = json.loads(lease.read_bytes().removeprefix(b"held"))["pid"]
        (state,) = states(servers)
        os.kill(keeper, signal.SIGKILL)
        state.stop_server()
        with pytest.raises(TransportFault):
            await backend.complete(ask("a"))
        try:
            return (await backend.complete(ask("a"))).text
        finally:
            await backend.close()

    assert asyncio.run(use()) == "A"


def test_servers_of_other_gpus_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Server(launched()).folder
    assert Server(launched(restarts=7)).folder == here
    assert Server(launched(launch_env={"A": "b"})).folder != here
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert Server(launched()).folder != here


def test_a_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("IKUSI_SERVERS", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="Name another folder of this machine in IKUSI_SERVERS"):
        asyncio.run(Endpoint.open(launched()))
