"""Servers that ikusi launches: shared by all who want the same one, gone when nobody does.

Place: endpoint -> [managed] -> keeper. Contract: processes of one machine that launch the same
command get one server. It is stopped, with all that it started, when the last of them has released
it or has ended, however it ended; its log stays.

    {kind: endpoint, launch: "vllm serve {model} --port {port}", model: HiTZ/Latxa-7B}
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from ikusi.backends.base import BackendError
from ikusi.backends.keeper import (
    KEEPER,
    LEASE,
    LOG,
    STATE,
    TICK_SECONDS,
    Launch,
    State,
    add_user,
    count_users,
    log_tail,
    user_file,
)
from ikusi.backends.settings import EndpointSettings
from ikusi.core.artifact import hash_data
from ikusi.core.errors import first_line
from ikusi.core.lease import Lease, is_live

ENVIRONMENT = "IKUSI_SERVERS"
_SHARED_BY = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID")
"""Servers of other GPUs, or of another job, whose end would end them, are others."""

_keepers: list[subprocess.Popen[bytes]] = []  # of this process, which must ask how they ended

log = logging.getLogger(__name__)


def servers_folder() -> Path:
    """Return where launched servers are kept track of: on this machine, and this user's only."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else Path(tempfile.gettempdir(), f"ikusi-{getpass.getuser()}")


class Server:
    """One user's hold on a launched server."""

    def __init__(self, settings: EndpointSettings) -> None:
        """Prepare to use the server that `settings.launch` starts."""
        assert settings.launch is not None
        self.launch = Launch(
            settings.launch.replace("{model}", settings.model),
            dict(settings.launch_env),
            settings.launch_timeout,
            settings.restarts,
        )
        shared = [os.environ.get(name, "") for name in _SHARED_BY]
        about = [self.launch.command, self.launch.environment, shared]
        self.folder = servers_folder() / hash_data(about)[:16]
        self._name = uuid.uuid4().hex

    async def acquire(self) -> None:
        """Use the server, and start it if nobody did before; `ready` tells when it is.

        Raises:
            BackendError: there is no place to keep track of it.
        """
        if os.name == "nt":
            raise BackendError(
                "`launch` needs Linux or macOS. Start the server yourself, and give its `url`."
            )
        try:
            _make_private(self.folder.parent)
            self.folder.mkdir(exist_ok=True)
            self._stop_orphans()
            async with self._lease():
                add_user(self.folder, self._name)
                await self._start_keeper()
        except OSError as error:
            raise BackendError(
                f"{self.folder}: no server can be launched from there ({first_line(error)}). "
                f"Name another folder of this machine in {ENVIRONMENT}."
            ) from None

    async def ready(self) -> str:
        """Return the address of its API, as soon as it answers there.

        Raises:
            BackendError: it could not be started, or died too often; with the end of its log.
        """
        while True:
            state = State.read(self.folder)
            if state is not None and state.phase == "failed":
                raise BackendError(self._told(state.why))
            if state is None or state.phase == "stopped" or not is_live(self.folder / KEEPER):
                async with self._lease():  # its keeper was killed, or left as we came
                    await self._start_keeper()
            elif state.phase == "ready" and state.is_running():  # its keeper may not know yet
                return f"http://127.0.0.1:{state.port}/v1"
            await asyncio.sleep(TICK_SECONDS)

    async def release(self) -> None:
        """Use it no more; when nobody else does, return after it has stopped."""
        with contextlib.suppress(OSError):
            user_file(self.folder, self._name).unlink(missing_ok=True)
        while not count_users(self.folder) and is_live(self.folder / KEEPER):
            await asyncio.sleep(TICK_SECONDS)
        _keepers[:] = [keeper for keeper in _keepers if keeper.poll() is None]

    def _told(self, why: str) -> str:
        end = log_tail(self.folder)
        last = f"; the last it said: {end}" if end else ""
        return (
            f"The server `{self.launch.command}` {why}{last}. "
            f"See {self.folder / LOG}, and correct `launch`."
        )

    async def _start_keeper(self) -> None:
        """Start a keeper unless there is one, and wait until it is at work; only with the lease."""
        state = State.read(self.folder)
        kept = is_live(self.folder / KEEPER)
        if kept and state is not None and state.phase in ("starting", "ready"):
            return
        if state is not None and not kept:
            state.stop_server()
        (self.folder / STATE).unlink(missing_ok=True)
        self.launch.write(self.folder)
        log.info("%s: starting the server; its log: %s", self.launch.command, self.folder / LOG)
        with open(self.folder / "keeper.log", "wb") as told:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "ikusi.backends.keeper", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                start_new_session=True,
            )
        _keepers.append(keeper)
        while State.read(self.folder) is None:
            if keeper.poll() is not None:
                if keeper.returncode:
                    raise BackendError(self._told(f"has no keeper: {told.name} says why"))
                return  # there was another one
            await asyncio.sleep(TICK_SECONDS)

    def _stop_orphans(self) -> None:
        """Stop the servers whose keeper was killed; nobody else would."""
        for folder in self.folder.parent.iterdir():
            state = State.read(folder) if folder != self.folder else None
            if state is not None and not is_live(folder / KEEPER):
                state.stop_server()

    @contextlib.asynccontextmanager
    async def _lease(self) -> AsyncIterator[None]:
        lease = Lease(self.folder / LEASE)
        while not lease.try_acquire():
            await asyncio.sleep(TICK_SECONDS)
        try:
            yield
        finally:
            lease.release()


@contextlib.asynccontextmanager
async def hold_server(settings: EndpointSettings) -> AsyncIterator[str]:
    """Keep a launched server up while the body runs, through all steps that use it in turn.

    Yields the address of its API. Without it, the server is stopped after each step.

    Raises:
        BackendError: it cannot be started.
    """
    server = Server(settings)
    await server.acquire()
    try:
        yield await server.ready()
    finally:
        await server.release()


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # In a temporary folder that everybody may write to, it must not be somebody else's.
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
