"""The images step: every picture that records want, fetched and checked once for all languages.

Place: import -> [images] -> filter. The payload:

    images/images-00000.arrow   pictures by sha256, see `data/images.py`
    manifest.parquet            what became of each one, see `data/image_manifest.py`

Contract: one row for each distinct URL and each picture without one. Their order and that of the
files follow the records alone, not the network. A kill at any moment costs the requests in flight:
what came is appended to a spool in `.work`, chunk by chunk, and moves from there to finished files.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ikusi.core import files
from ikusi.core.errors import DataError
from ikusi.core.log import track
from ikusi.data.download import Body, Downloader
from ikusi.data.image_manifest import (
    MANIFEST_FILE,
    Counts,
    ManifestRow,
    mark_duplicates,
    read_rows,
    write_rows,
)
from ikusi.data.image_plan import Local, Plan, Wanted, make_plan
from ikusi.data.image_settings import ImageSettings
from ikusi.data.image_spool import Spool
from ikusi.data.images import SHARD_BYTES, ImageWriter
from ikusi.data.inspect import inspect
from ikusi.data.netguard import Lookup

IMAGES = "images"
CHUNK_ROWS = 512
"""Pictures in a spool."""
OPEN_CHUNKS = 16
"""Spools at a time: how far quick servers may run ahead of a slow one."""
OFFLINE_AFTER = 200
"""So many pictures in a row without any answer, and it is asked whether it is our own network."""
_SETTLE_BYTES = SHARD_BYTES - (SHARD_BYTES >> 3)  # then spools become one finished file


def write_images(
    records: Sequence[Path],
    folders: Sequence[Path],
    settings: ImageSettings,
    out: Path,
    work: Path,
    *,
    earlier: Path | None = None,
    lookup: Lookup | None = None,
) -> Mapping[str, Any]:
    """Get the pictures that records want, write the payload to `out`, and return its stats.

    Args:
        records: Parquet files of records, or folders of them, in their order.
        folders: pictures that are here already: the `images/` of the imports.
        settings: what is taken, and how it is asked for.
        out: the payload's folder.
        work: unfinished work, kept when the step is killed.
        earlier: payload of an earlier images artifact: what it has is not fetched again.
        lookup: resolves names; the system's by default.

    Raises:
        DataError: the records cannot be read, or no server at all answers.
        OSError: the disk is full or refuses.
    """
    plan = make_plan(records, work / "plan.arrow")
    local = Local(folders, earlier)
    parts = _Parts(work / "rows")
    with ImageWriter(work / IMAGES) as writer:
        step = _Step(plan, local, settings, writer, parts, work, lookup)
        step.run()
    counts = Counts()
    write_rows(out / MANIFEST_FILE, counts.watch(mark_duplicates(parts.rows())))
    # Links: a kill before the artifact is published empties `out`, and must not take these.
    files.link_files(work / IMAGES, out / IMAGES, "*.arrow")
    return counts.to_stats()


class _Parts:
    """The rows of settled chunks, a file each; a chunk without one is not settled."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.count = len(self._paths())

    def add(self, rows: Sequence[ManifestRow]) -> None:
        write_rows(self._folder / f"rows-{self.count:06d}.parquet", rows)
        self.count += 1

    def rows(self) -> Iterator[ManifestRow]:
        for path in self._paths():
            yield from read_rows(path)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("rows-*.parquet"))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Consecutive pictures of the plan, and what is known of them."""

    number: int
    wanted: list[Wanted]
    spool: Spool

    def rows(self) -> list[ManifestRow]:
        """Return the rows of all its pictures, in the plan's order."""
        return [self.spool.entries[index].row for index in range(len(self.wanted))]


_Waiting = deque[tuple[_Chunk, list[asyncio.Task[None]]]]


class _Step:
    """One run of the step; the files that it fills outlive it."""

    def __init__(
        self,
        plan: Plan,
        local: Local,
        settings: ImageSettings,
        writer: ImageWriter,
        parts: _Parts,
        work: Path,
        lookup: Lookup | None,
    ) -> None:
        self._plan = plan
        self._local = local
        self._settings = settings
        self._writer = writer
        self._parts = parts
        self._work = work
        self._lookup = lookup
        self._unsettled: list[_Chunk] = []
        self._unsettled_bytes = 0
        self._open: list[Spool] = []
        self._held: list[tuple[Spool, int, ManifestRow]] = []
        self._answers = 0
        self._done = self._lost = 0
        self._advance: Callable[..., None] = lambda amount, note: None
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="ikusi-image")

    def run(self) -> None:
        """Get everything that is not here yet.

        Raises:
            DataError: no server at all answers.
            OSError: the disk is full or refuses.
        """
        try:
            with track("images", len(self._plan)) as self._advance:
                for row in self._parts.rows():
                    self._count(row)
                asyncio.run(self._get_all())
        except BaseExceptionGroup as group:
            raise _first(group)  # noqa: B904  # what caused it is its own, not the group
        finally:
            self._threads.shutdown(cancel_futures=True)
            for spool in self._open:
                spool.close()

    async def _get_all(self) -> None:
        waiting: _Waiting = deque()
        numbers = range(self._parts.count, -(-len(self._plan) // CHUNK_ROWS))
        async with (
            Downloader(self._settings, self._lookup) as downloader,
            asyncio.TaskGroup() as group,
        ):
            for number in numbers:
                if len(waiting) == OPEN_CHUNKS:
                    await self._close_first(waiting, downloader)
                chunk = self._begin(number)
                tasks = [
                    group.create_task(self._get(chunk, index, downloader))
                    for index in range(len(chunk.wanted))
                    if index not in chunk.spool.entries
                ]
                waiting.append((chunk, tasks))
            while waiting:
                await self._close_first(waiting, downloader)
        await asyncio.to_thread(self._settle)

    def _begin(self, number: int) -> _Chunk:
        start = number * CHUNK_ROWS
        wanted = self._plan.slice(start, min(start + CHUNK_ROWS, len(self._plan)))
        spool = Spool(self._work / f"{number:06d}.spool")
        self._open.append(spool)
        for entry in spool.entries.values():
            self._count(entry.row)
        return _Chunk(number, wanted, spool)

    async def _get(self, chunk: _Chunk, index: int, downloader: Downloader) -> None:
        """Get one picture and note what became of it."""
        wanted = chunk.wanted[index]
        here = self._local.find(wanted)
        if here is not None:
            row, _ = await self._judge(wanted, lambda: self._local.read(here))
            self._note(chunk.spool, index, row)
            return
        if wanted.url is None:
            detail = f"no import holds the picture {wanted.sha256}"
            self._note(chunk.spool, index, ManifestRow(None, None, "dead", "missing", detail))
            return
        async with downloader.get(wanted.url) as got:
            if downloader.answers > self._answers:
                self._answers = downloader.answers
                self._release()
            if isinstance(got, Body):
                body = got.data
                row, data = await self._judge(wanted, lambda: body)
                self._note(chunk.spool, index, row, data)
                return
        row = ManifestRow(wanted.url, None, "dead", got.reason, got.detail)
        if got.answered:
            self._note(chunk.spool, index, row)
            return
        self._held.append((chunk.spool, index, row))
        if len(self._held) >= OFFLINE_AFTER and not await self._is_online(downloader):
            raise self._offline()

    async def _judge(self, wanted: Wanted, read: Callable[[], bytes]) -> tuple[ManifestRow, bytes]:
        """Return the row for a picture's bytes, and the bytes if they are to be kept."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, judge, wanted, read, self._settings)

    def _note(self, spool: Spool, index: int, row: ManifestRow, data: bytes = b"") -> None:
        spool.append(index, row, data)
        self._count(row)

    def _count(self, row: ManifestRow) -> None:
        self._done += 1
        self._lost += not row.is_usable
        self._advance(1, lambda: f"{self._lost / self._done:.1%} lost")

    # -- our own network may be down

    def _release(self) -> None:
        """Note what was held back: somebody answers, so the fault is on the other side."""
        held, self._held = self._held, []
        for spool, index, row in held:
            self._note(spool, index, row)

    async def _is_online(self, downloader: Downloader) -> bool:
        """Return whether anybody can be reached; if so, note what was held back."""
        if self._settings.network.check_online and not await downloader.is_online():
            return not self._held  # somebody may have answered meanwhile
        self._release()
        return True

    def _offline(self) -> DataError:
        _, _, row = self._held[0]
        return DataError(
            f"None of the last {len(self._held)} addresses answered, such as {row.url} "
            f"({row.reason}). Check the network of this machine; the same command goes on. If it "
            "is fine, network.check_online=false calls them dead."
        )

    # -- from spools to finished files

    async def _close_first(self, waiting: _Waiting, downloader: Downloader) -> None:
        """Wait for the first chunk's pictures, and store them.

        Raises:
            DataError: nobody answers, in all chunks that are open.
        """
        chunk, tasks = waiting.popleft()
        if tasks:
            await asyncio.wait(tasks)
        while any(spool is chunk.spool for spool, _, _ in self._held):
            if await self._is_online(downloader):
                break
            others = [task for _, tasks in waiting for task in tasks if not task.done()]
            if not others:
                raise self._offline()
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(self._store, chunk)

    def _store(self, chunk: _Chunk) -> None:
        for index in range(len(chunk.wanted)):
            entry = chunk.spool.entries[index]
            sha256 = entry.row.sha256 if entry.row.is_usable else None
            if sha256 is None or sha256 in self._writer:
                continue  # what is there counts for no new file: a killed run's files are the same
            data = chunk.spool.read(entry) if entry.size else self._local.read(sha256)
            self._writer.add(data, sha256)
            self._unsettled_bytes += len(data)
        self._unsettled.append(chunk)
        if self._unsettled_bytes >= _SETTLE_BYTES:
            self._settle()

    def _settle(self) -> None:
        """Finish the file of pictures; the spools of the chunks in it are then not needed."""
        self._writer.finish_file()
        for chunk in self._unsettled:
            self._parts.add(chunk.rows())
            chunk.spool.close()
            self._open.remove(chunk.spool)
            chunk.spool.path.unlink()
        self._unsettled, self._unsettled_bytes = [], 0


def judge(
    wanted: Wanted, read: Callable[[], bytes], settings: ImageSettings
) -> tuple[ManifestRow, bytes]:
    """Return the row for a picture's bytes, and the bytes if it can be used, else none.

    Args:
        wanted: what was asked for.
        read: returns the bytes.
        settings: the limits.
    """
    data = read()
    sha256 = hashlib.sha256(data).hexdigest()
    if wanted.url is not None and wanted.sha256 not in (None, sha256):
        detail = f"its sha256 is {sha256}, published was {wanted.sha256}"
        return ManifestRow(wanted.url, None, "dead", "hash-mismatch", detail, bytes=len(data)), b""
    known = sha256 if wanted.url is None else None  # else nothing tells which picture is broken
    if len(data) > settings.max_bytes:
        detail = f"{len(data):,} bytes"
        return ManifestRow(wanted.url, known, "broken", "too-large", detail, bytes=len(data)), b""
    found = inspect(data, settings.max_pixels)
    row = ManifestRow(
        wanted.url,
        known if found.reason else sha256,
        "broken" if found.reason else "fetched",
        found.reason,
        found.detail,
        found.width,
        found.height,
        found.format,
        len(data),
        found.phash,
    )
    return row, b"" if found.reason else data


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended the others."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
