"""The process that keeps one launched server: it starts, watches, restarts and stops it.

Place: started by [managed], in a session of its own, for as long as somebody uses the server. Being
a process apart, it outlives each of the users, and notices when the last of them was killed.

    python -m ikusi.backends.keeper FOLDER

    FOLDER/launch.json   what to start: `Launch`
    FOLDER/users/        one file for each user, with its process
    FOLDER/state.json    what the server does now: `State`
    FOLDER/keeper/       lease of the one keeper there is
    FOLDER/lease/        lease of who changes anything of this
    FOLDER/server.log    what it prints
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Self

from ikusi.core.errors import first_line
from ikusi.core.lease import Lease, is_running, started_at

USERS, LOG, STATE = "users", "server.log", "state.json"
LEASE, KEEPER = "lease", "keeper"
TICK_SECONDS = 0.1
_STOP_SECONDS = 15.0  # vLLM takes some to let go of its workers
_HEALTH_SECONDS = 5.0
_REPLACE_SECONDS = 5.0  # a keeper that is ending has given its lease back by then
_IN_USE = "address already in use"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start."""

    command: str
    """With `{port}` still in it."""
    environment: dict[str, str]
    """Variables besides those that the keeper has."""
    timeout: float
    """Seconds until the server must be ready."""
    restarts: int
    """Times that it is started again when it dies."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what the file in `folder` says."""
        return cls(**json.loads((folder / "launch.json").read_text(encoding="utf-8")))

    def write(self, folder: Path) -> None:
        """Write the file in `folder`."""
        _replace(folder / "launch.json", asdict(self))


@dataclass(slots=True)
class State:
    """What a server does now."""

    phase: Literal["starting", "ready", "failed", "stopped"] = "starting"
    server: tuple[int, str | None] | None = None
    """The server's process, which leads a group of its own, and when the kernel says that it
    began: numbers of processes are used again."""
    port: int = 0
    why: str = ""
    """Of `failed`: the end of a sentence about the server."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what the file in `folder` says; None when there is none."""
        try:
            return cls(**json.loads((folder / STATE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write the file in `folder`."""
        _replace(folder / STATE, asdict(self))

    def is_running(self) -> bool:
        """Return whether the server's process lives, as far as can be known."""
        return self.server is not None and is_running(*self.server) is not False

    def stop_server(self) -> None:
        """End the server and all that it started, if it still runs; returns when it is gone."""
        if self.server is None or not self.is_running():
            return
        group = self.server[0]
        for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
            end = time.monotonic() + seconds
            while time.monotonic() < end and self.is_running():
                time.sleep(0.02)
        # Its children may be slower than itself.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def user_file(folder: Path, name: str) -> Path:
    """Return where a user says that it uses the server."""
    return folder / USERS / f"{name}.json"


def add_user(folder: Path, name: str) -> None:
    """Say that this process uses the server, until the file is removed or the process ends."""
    (folder / USERS).mkdir(parents=True, exist_ok=True)
    _replace(user_file(folder, name), [os.getpid(), started_at(os.getpid())])


def count_users(folder: Path) -> int:
    """Return how many users there are that live, and remove those that do not."""
    count = 0
    for path in (folder / USERS).glob("*.json"):
        try:
            pid, started = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # gone this very moment
        if is_running(pid, started) is False:
            path.unlink(missing_ok=True)
        else:
            count += 1
    return count


def log_tail(folder: Path, lines: int = 2) -> str:
    """Return the last lines of the server's log, on one line."""
    try:
        with open(folder / LOG, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 8192))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    told = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " | ".join(told[-lines:])[-400:]


class Keeper:
    """Keeps the server of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launch = Launch.read(folder)
        self.state = State()
        self._server: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._starts = 0
        self._told_to_stop = False

    def run(self) -> None:
        """Keep the server until nobody uses it, or it cannot be kept."""
        signal.signal(signal.SIGTERM, self._note_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            os.replace(self.folder / LOG, self.folder / f"{LOG}.old")
        try:
            self._start()
            while self.state.phase in ("starting", "ready"):
                time.sleep(TICK_SECONDS)
                if self._told_to_stop or not count_users(self.folder):
                    self._leave()
                else:
                    self._look()
        except BaseException as error:
            self._fail(f"was stopped ({first_line(error)})")
            raise

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._told_to_stop = True

    def _leave(self) -> None:
        """Stop, unless somebody came to use the server meanwhile."""
        with Lease(self.folder / LEASE):
            if self._told_to_stop or not count_users(self.folder):
                self.state.stop_server()
                self._reap()
                self.state.phase = "stopped"
                self.state.write(self.folder)

    def _start(self) -> None:
        self._starts += 1
        self._began = time.monotonic()
        port = _free_port()
        words = [word.replace("{port}", str(port)) for word in shlex.split(self.launch.command)]
        self.state.phase, self.state.port, self.state.server = "starting", port, None
        with open(self.folder / LOG, "ab") as log:
            log.write(f"$ {shlex.join(words)}\n".encode())
            log.flush()
            try:
                self._server = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.launch.environment},
                    start_new_session=True,
                )
            except OSError as error:
                return self._fail(f"cannot be started ({error.strerror}: {words[0]})")
        self.state.server = (self._server.pid, started_at(self._server.pid))
        self.state.write(self.folder)

    def _look(self) -> None:
        assert self._server is not None
        code = self._server.poll()
        waited = time.monotonic() - self._began
        if code is not None:
            self._restart(code)
        elif self.state.phase == "starting" and is_healthy(self.state.port):
            self.state.phase = "ready"
            self.state.write(self.folder)
        elif self.state.phase == "starting" and waited > self.launch.timeout:
            self._fail(f"was not ready after {self.launch.timeout:g} s")

    def _restart(self, code: int) -> None:
        self.state.stop_server()  # what is left of its group
        was = f"ended with {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        if self.state.phase == "starting" and self._starts == 1:
            # It never was ready: its command is wrong, unless somebody took the port meanwhile.
            if _IN_USE not in log_tail(self.folder, 20).lower():
                return self._fail(f"{was} before it was ready")
        elif self._starts > self.launch.restarts:
            return self._fail(f"{was}, after {self.launch.restarts} restarts")
        self._start()

    def _fail(self, why: str) -> None:
        self.state.stop_server()
        self._reap()
        self.state.phase, self.state.why = "failed", why
        self.state.write(self.folder)

    def _reap(self) -> None:
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(_STOP_SECONDS)


def is_healthy(port: int) -> bool:
    """Return whether a server at `port` says that it is ready: by /health, or by its models."""
    for path in ("health", "v1/models"):
        try:
            address = f"http://127.0.0.1:{port}/{path}"
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(address, timeout=_HEALTH_SECONDS) as answer:
                if answer.status == 200:
                    return True
        except urllib.error.HTTPError as error:
            error.close()  # such as 503 while it loads, or 404 from a server that has no /health
        except (OSError, ValueError):
            return False
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _replace(path: Path, data: Any) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(data), encoding="utf-8")
    os.replace(temporary, path)


def main(folder: Path) -> None:
    """Keep the server of `folder`, unless another keeper does."""
    lease = Lease(folder / KEEPER)
    end = time.monotonic() + _REPLACE_SECONDS
    while not lease.try_acquire():
        if time.monotonic() > end:
            return
        time.sleep(TICK_SECONDS)
    try:
        Keeper(folder).run()
    finally:
        lease.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
