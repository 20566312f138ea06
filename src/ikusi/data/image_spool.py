"""What is known of the pictures of one unfinished chunk, appended as it comes.

Place: under the images step, in `.work`. Contract: a row that `append` returned from is found again
after a kill at any moment; what a kill or a full disk cut is forgotten when the file is opened.

    <name>.spool   frames: a line of JSON (index, size, row), then the bytes of the picture
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ikusi.data.image_manifest import ManifestRow

_LINE = 64 << 10  # a header is shorter


@dataclass(frozen=True, slots=True)
class Entry:
    """A row, and where the picture's bytes are."""

    row: ManifestRow
    offset: int
    size: int
    """Bytes; 0 where they are somewhere else, or there are none."""


class Spool:
    """An append-only file of rows and pictures; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if needed, and read which rows it holds.

        Raises:
            OSError: the disk refuses.
        """
        self.path = path
        self.entries: dict[int, Entry] = {}
        """Index -> entry."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._end = self._recover()
            os.ftruncate(self._file, self._end)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        """Return the spool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def append(self, index: int, row: ManifestRow, data: bytes = b"") -> None:
        """Add a row and its picture's bytes.

        Raises:
            OSError: the disk is full or refuses; the row does not count then.
        """
        about = {"index": index, "size": len(data), "row": asdict(row)}
        head = json.dumps(about, separators=(",", ":")).encode() + b"\n"
        place = self._end
        for part in (head, data):
            view = memoryview(part)
            while view:
                written = os.pwrite(self._file, view, place)
                view, place = view[written:], place + written
        self.entries[index] = Entry(row, self._end + len(head), len(data))
        self._end = place

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of an entry's picture."""
        return _read(self._file, entry.size, entry.offset)

    def _recover(self) -> int:
        """Read the entries, and return where the last whole one ends."""
        end, length = 0, os.fstat(self._file).st_size
        while end < length:
            head, newline, _ = _read(self._file, min(_LINE, length - end), end).partition(b"\n")
            try:
                about = json.loads(head)
                row = ManifestRow(**about["row"])
                entry = Entry(row, end + len(head) + 1, about["size"])
            except (ValueError, TypeError, KeyError):
                break
            if not newline or entry.offset + entry.size > length:
                break
            # After a power cut a file may have its length, but not yet its content.
            if entry.size and hashlib.sha256(self.read(entry)).hexdigest() != row.sha256:
                break
            self.entries[about["index"]] = entry
            end = entry.offset + entry.size
        return end


def _read(file: int, size: int, offset: int) -> bytes:
    parts = []
    while size > 0:
        part = os.pread(file, size, offset)
        if not part:
            break
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)
