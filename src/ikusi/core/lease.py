"""Who may work on something: a lease by files alone, for processes on one machine or on many.

A lease is a folder of numbered files; whoever made the highest one holds it. Taking it, also from
a dead holder, is one exclusive creation of the next number, so exactly one process wins and there
is no moment at which two do. No flock and no database: on NFS and Lustre neither can be relied on.

A holder that died is known by its process on the same machine, and by its heartbeat (the file's
modification time) from another one. Ages are told by the file server's clock, not by ours.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import platform
import shutil
import threading
import time
import uuid
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ikusi.core.errors import StoreError

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 180.0
"""A holder on another machine that gave no sign for so long is dead. NFS clients may see a
modification time 60 s late (`acregmax`)."""

_HELD, _FREE = b"held", b"free"
# File systems without hard links, such as exFAT.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}
_held_here: set[str] = set()  # tokens: a file of this process that is not among them was left over

log = logging.getLogger(__name__)


class Lease:
    """The right to build one thing; a context manager that waits until it is free.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, inputs: Iterable[str] = ()) -> None:
        """Prepare a lease.

        Args:
            folder: belongs to the lease alone, which makes it.
            inputs: addresses that the holder needs; clearing up leaves them alone.
        """
        self.folder = folder
        self._inputs = sorted(inputs)
        self._token = uuid.uuid4().hex
        self._number = 0
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Wait for the lease and take it."""
        pause = 0.02
        told = False
        while not self.try_acquire():
            if not told:
                told = True
                log.info("%s: waiting for %s", self.folder.name, describe(self.folder))
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        self.release()

    def try_acquire(self) -> bool:
        """Take the lease if nobody alive holds it, and say whether that worked."""
        number = _top(self.folder)
        if number and _is_live(self.folder, number):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        _held_here.add(self._token)
        try:
            if not self._create(self.folder / str(number + 1)):
                _held_here.discard(self._token)
                return False
            self._number = number + 1
            if _top(self.folder) != self._number:
                # The number was free again because far higher ones were in use meanwhile.
                with contextlib.suppress(OSError):
                    (self.folder / str(self._number)).unlink()
                _held_here.discard(self._token)
                return False
            self._remove_lower()
            self._beat = threading.Thread(target=self._heartbeat, daemon=True, name="ikusi-lease")
            self._beat.start()
        except BaseException:
            # First of all: a file of this process with a token that it does not hold is free.
            _held_here.discard(self._token)
            self._stop.set()
            self._number = number + 1
            if self.is_held():
                self._mark_free()
            raise
        return True

    def _remove_lower(self) -> None:
        with contextlib.suppress(OSError):
            for name in os.listdir(self.folder):
                if name.isdecimal() and int(name) < self._number:
                    (self.folder / name).unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        """Make the lease's file unless it is there, and say whether this call made it."""
        content = _HELD + b" " + json.dumps(self._about()).encode()
        draft = self.folder / f".draft-{self._token}"
        try:
            # A link appears with its content: a kill leaves no empty file that names nobody.
            draft.write_bytes(content)
            try:
                os.link(draft, path)
            except FileExistsError:
                # An NFS server's answer may be lost and its second one wrong: count the links.
                return draft.stat().st_nlink == 2
            except FileNotFoundError:
                raise
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                with open(path, "xb") as stream:
                    stream.write(content)
            return True
        except (FileExistsError, FileNotFoundError):  # faster, or clearing the folder away
            return False
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()

    def release(self) -> None:
        """Give the lease back; harmless when somebody took it over meanwhile.

        Its folder stays, or a process that looked into it before could take a number in a new one.
        """
        try:
            self._end()
            self._mark_free()
        finally:
            _held_here.discard(self._token)

    def discard(self) -> None:
        """Remove the lease with its folder; only when nobody has wanted it for a while."""
        try:
            self._end()
            # Renamed first: nobody can take a number in a folder that is being emptied.
            gone = self.folder.with_name(f".{self.folder.name}.{self._token}")
            os.rename(self.folder, gone)
            shutil.rmtree(gone, ignore_errors=True)
        finally:
            _held_here.discard(self._token)

    def _end(self) -> None:
        self._stop.set()
        if self._beat is not None:
            self._beat.join()

    def is_held(self) -> bool:
        """Return whether it is still ours: nobody took it over because we seemed dead."""
        if not self._number or _top(self.folder) != self._number:
            return False
        found = _read(self.folder / str(self._number))
        return found is not None and found.get("token") == self._token

    def check(self) -> None:
        """Make sure that the lease is still ours.

        Raises:
            StoreError: another process took it over.
        """
        if not self.is_held():
            raise StoreError(
                f"{self.folder.name}: another process took this work over while this one gave no "
                f"sign for {STALE_SECONDS:.0f} s. Start again to use its result."
            )

    def _mark_free(self) -> None:
        path = self.folder / str(self._number)
        try:
            # In place, because a full disk has no room for another file.
            descriptor = os.open(path, os.O_WRONLY)
            try:
                os.write(descriptor, _FREE)
            finally:
                os.close(descriptor)
        except OSError:
            # When even this fails, it is a dead holder's as soon as the process ends.
            with contextlib.suppress(OSError):
                path.unlink()

    def _heartbeat(self) -> None:
        path = self.folder / str(self._number)
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)  # no explicit time: the server's clock then tells it

    def _about(self) -> dict[str, Any]:
        pid = os.getpid()
        return {
            "token": self._token,
            "pid": pid,
            "started": started_at(pid),
            "machine": _machine(),
            "host": platform.node(),
            "inputs": self._inputs,
        }


def is_live(folder: Path) -> bool:
    """Return whether somebody who is alive holds the lease in `folder`."""
    number = _top(folder)
    return bool(number) and _is_live(folder, number)


def is_free(folder: Path) -> bool:
    """Return whether the last holder gave the lease in `folder` back, or there was none."""
    number = _top(folder)
    try:
        return not number or (folder / str(number)).read_bytes().startswith(_FREE)
    except OSError:
        return False


def inputs_of(folder: Path) -> list[str]:
    """Return the addresses that the holder of the lease in `folder` needs."""
    about = _read(folder / str(_top(folder)))
    return list(about.get("inputs", ())) if about else []


def describe(folder: Path) -> str:
    """Return who holds the lease in `folder`, for a message."""
    about = _read(folder / str(_top(folder)))
    return f"process {about['pid']} on {about['host']}" if about else "another process"


def _top(folder: Path) -> int:
    """Return the highest number in a lease's folder; 0 when nobody ever held it."""
    try:
        return max((int(name) for name in os.listdir(folder) if name.isdecimal()), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a held lease says; None when it is free, gone or just being written."""
    try:
        content = path.read_bytes()
        if not content.startswith(_HELD):
            return None
        about: dict[str, Any] = json.loads(content[len(_HELD) :])
        return about
    except (OSError, ValueError):
        return None


def _is_live(folder: Path, number: int) -> bool:
    path = folder / str(number)
    try:
        # Opened, not only looked at: NFS brings attributes up to date when a file is opened.
        with open(path, "rb") as stream:
            free = stream.read(len(_FREE)) == _FREE
            beat = os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's: it lives, as far as anybody can tell from here
        return True
    if free:
        return False
    about = _read(path)
    if about and about.get("machine") == _machine():
        if about["pid"] == os.getpid() and about["token"] not in _held_here:
            return False
        alive = is_running(about["pid"], about["started"])
        if alive is not None:
            return alive
    return _clock(folder) - beat < STALE_SECONDS


def _clock(folder: Path) -> float:
    """Return the present by the clock of the file system that `folder` is on, in seconds."""
    probe = folder / f".clock-{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # full or read-only
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


@cache
def _machine() -> str:
    """Return what distinguishes machines, boots, and containers with processes of their own."""
    parts = [platform.node()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            path = Path(source)
            parts.append(os.readlink(path) if path.is_symlink() else path.read_text().strip())
    return " ".join(parts)


def started_at(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks; None where that cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return "ended" if fields[0] in "ZX" else fields[19]


def is_running(pid: int, started: str | None) -> bool | None:
    """Return whether the process runs; None when it may be another one of the same number."""
    if os.name == "nt":  # os.kill would end it
        return None
    now = started_at(pid)
    if started is not None and now is not None:
        # The start tells apart two processes that had the same number. While it lives it holds,
        # also when the machine slept for an hour and no heartbeat came.
        return now == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return None
    return None
