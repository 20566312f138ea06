"""Answers that were paid for once: append-only files, one for each writer.

Contract: two processes may write at once, without locks, because each has a file of its own; an
answer that `put` took survives a kill; a line that a crash cut is ignored.

    <folder>/answers-<time>-<random>.jsonl   one answer a line, with the key that it was asked under
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
import uuid
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ikusi.backends.base import Answer
from ikusi.core import files
from ikusi.core.errors import StoreError, first_line

_LINE = re.compile(rb'\{"key":"([0-9a-f]{64})",.*\}\n')
_SYNC_SECONDS = 5.0  # what a power cut may cost; a kill costs nothing
_OPEN_FILES = 64

log = logging.getLogger(__name__)


class Cache:
    """Answers by `Request.key`, in a folder that is made when the first one is put.

    It sees what was there when it was opened and what it put itself; what another process puts
    meanwhile is seen by the next one. Where two have an answer to one key, the older file's counts.
    Answers stay on the disk: 32 bytes of memory each, whatever their length.
    """

    def __init__(self, folder: Path) -> None:
        """Read which answers `folder` has.

        Raises:
            StoreError: it cannot be read.
        """
        self.folder = folder
        self._index = _Index()
        self._paths: list[Path] = []
        self._streams: dict[int, IO[bytes]] = {}
        self._writer: int | None = None
        self._size = 0
        self._synced = time.monotonic()
        self._spoilt = 0
        with _told(folder):
            for path in sorted(folder.glob("answers-*.jsonl")):
                self._scan(path)
        if self._spoilt:
            log.warning("%s: %d damaged lines are asked again.", folder, self._spoilt)

    def __len__(self) -> int:
        """Return how many answers there are."""
        return len(self._index)

    def get(self, key: str, id: str) -> Answer | None:  # noqa: A002  # the field's name
        """Return the answer to `key`, under the id of who asks now; None when there is none.

        Raises:
            StoreError: a file cannot be read any more.
        """
        for place in self._index.find(_short(key)):
            with _told(self.folder):
                line = self._read(place)
            if line is not None and line["key"] == key:
                del line["key"]
                return Answer(id, **line)
        return None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        fields = {
            "text": answer.text,
            "finish": answer.finish,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "problem": answer.problem,
            "detail": answer.detail,
        }
        # ASCII escapes also keep what is no valid Unicode, such as a lone surrogate.
        line = json.dumps({"key": key, **fields}, separators=(",", ":")).encode("ascii") + b"\n"
        with _told(self.folder):
            self._append(line)
        self._index.add(_short(key), _place(len(self._paths) - 1, self._size - len(line)))

    def close(self) -> None:
        """Bring everything onto the disk."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        if self._writer is not None:
            with _told(self.folder):
                os.fsync(self._writer)
            os.close(self._writer)
            self._writer = None

    def _append(self, line: bytes) -> None:
        if self._writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"answers-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl"
            self._paths.append(path)
            self._size = 0
            self._writer = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
            files.fsync_folder(self.folder)
        try:
            written = 0
            while written < len(line):
                written += os.write(self._writer, line[written:])
        except BaseException:
            # Half a line may be in the file: whatever comes next goes into another one.
            os.close(self._writer)
            self._writer = None
            raise
        self._size += len(line)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._writer)
            self._synced = time.monotonic()

    def _scan(self, path: Path) -> None:
        number, offset = len(self._paths), 0
        self._paths.append(path)
        with open(path, "rb") as stream:
            for line in stream:
                match = _LINE.fullmatch(line)
                key = match[1].decode() if match else ""
                if match is None:
                    self._spoilt += 1
                elif self.get(key, "") is None:
                    self._index.add(_short(key), _place(number, offset))
                offset += len(line)

    def _read(self, place: int) -> dict[str, Any] | None:
        number, offset = place >> 40, place & ((1 << 40) - 1)
        stream = self._streams.get(number)
        if stream is None:
            if len(self._streams) == _OPEN_FILES:
                self._streams.pop(next(iter(self._streams))).close()
            stream = self._streams[number] = open(self._paths[number], "rb")  # noqa: SIM115  # kept
        stream.seek(offset)
        try:
            line: dict[str, Any] = json.loads(stream.readline())
            return line
        except ValueError:  # damaged within: as if it were not there
            return None


class _Index:
    """Key -> places, in 24 to 48 bytes a key, where a dictionary takes over 100.

    Open addressing; keys are hashes already. Two different keys may share their first 64 bits, so
    there may be several places, the oldest of them first.
    """

    def __init__(self) -> None:
        self._count = 0
        self._slots = 1 << 10
        self._keys = array("Q", bytes(8 * self._slots))
        self._places = array("Q", bytes(8 * self._slots))  # plus one; 0 is an empty slot

    def __len__(self) -> int:
        return self._count

    def find(self, key: int) -> Iterator[int]:
        slot = key % self._slots
        while self._places[slot]:
            if self._keys[slot] == key:
                yield self._places[slot] - 1
            slot = (slot + 1) % self._slots

    def add(self, key: int, place: int) -> None:
        if self._count * 3 >= self._slots * 2:
            self._grow()
        slot = key % self._slots
        while self._places[slot]:
            slot = (slot + 1) % self._slots
        self._keys[slot], self._places[slot] = key, place + 1
        self._count += 1

    def _grow(self) -> None:
        # By place: those that were added first stay first.
        old = sorted((place, key) for key, place in zip(self._keys, self._places, strict=True))
        self._slots *= 2
        self._count = 0
        self._keys = array("Q", bytes(8 * self._slots))
        self._places = array("Q", bytes(8 * self._slots))
        for place, key in old:
            if place:
                self.add(key, place - 1)


def _short(key: str) -> int:
    return int(key[:16], 16)


def _place(number: int, offset: int) -> int:
    return number << 40 | offset


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into a line."""
    try:
        with files.disk_errors(folder):
            yield
    except OSError as error:
        raise StoreError(f"{folder}: answers cannot be kept there ({first_line(error)}).") from None
