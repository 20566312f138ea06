"""A cell that means a picture: a path, a url, bytes or base64 -> an `ImageRef`.

Contract: no url is contacted, and no file outside of the given folder is read.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ikusi.core.types import ImageRef
from ikusi.data.sources.source import RowFault
from ikusi.data.sources.tables import describe

MAX_BYTES = 256 << 20
"""Of a picture's file: one that is larger is no picture, or a mistake."""
_URL = re.compile(r"https?://[^\s/?#]+", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Keep = Callable[[bytes, bool], str]
"""Takes a picture's bytes, and whether they are a file's; returns their sha256."""


class Known(str):
    """The sha256 of a picture that a row before had; made by a source's `prepare` alone."""


class Pictures:
    """Turns cells into references, and hands the bytes that it meets to `keep`."""

    def __init__(self, folder: Path | None, keep: Keep) -> None:
        """Read files in `folder` and below; None where rows can name none."""
        self._folder = os.path.realpath(folder) if folder is not None else None
        self._keep = keep

    def take(self, cell: Any, kind: str = "any", sha256: str | None = None) -> ImageRef:
        """Return the picture that a cell means.

        Args:
            cell: a text, bytes, or a mapping with `bytes`, `path` or `url`.
            kind: `any`, `url` or `base64`; see `Fields.pictures`.
            sha256: the published one of what is behind a url.

        Raises:
            RowFault: it means none, the file is not there, or it is empty.
        """
        if isinstance(cell, Known):
            return ImageRef(sha256=str(cell))
        if isinstance(cell, Mapping):
            found = [cell.get(key) for key in ("bytes", "path", "url") if cell.get(key) is not None]
            if not found:
                raise RowFault("image-none", "a picture has neither bytes nor a path")
            cell = found[0]
        if isinstance(cell, bytes | bytearray | memoryview):
            return self._store(bytes(cell), False)
        if not isinstance(cell, str):
            raise RowFault("image-type", f"{describe(cell)} is no picture")
        text = cell.strip()
        if not text:
            raise RowFault("image-none", "the name of a picture is empty")
        if kind == "base64":
            return self._store(_decode(text), False)
        if kind == "url" or _URL.match(text):
            if not _URL.match(text):
                raise RowFault("url-invalid", f"{text[:200]!r} is no http or https address")
            return ImageRef(url=text, sha256=_published(sha256))
        if text[:5].lower() == "data:":
            head, comma, data = text.partition(",")
            if not comma or not head.endswith(";base64"):
                raise RowFault("base64-broken", f"{head[:80]!r} is no base64 data url")
            return self._store(_decode(data), False)
        return self._store(self._read(text), True)

    def _store(self, data: bytes, from_file: bool) -> ImageRef:
        if not data:
            raise RowFault("image-empty", "the picture has 0 bytes")
        return ImageRef(sha256=self._keep(data, from_file))

    def _read(self, name: str) -> bytes:
        if self._folder is None:
            raise RowFault("image-missing", f"{name[:200]}: the source has no files of its own")
        try:
            path = os.path.realpath(os.path.join(self._folder, name))
            if os.path.commonpath([path, self._folder]) != self._folder:
                raise RowFault("image-outside", f"{name[:200]}: is not inside the pictures' folder")
            if not os.path.isfile(path):
                raise RowFault("image-missing", f"{name[:200]}: there is no such file")
            if os.path.getsize(path) > MAX_BYTES:
                raise RowFault("image-too-large", f"{name[:200]}: is larger than {MAX_BYTES} bytes")
            return Path(path).read_bytes()
        except (OSError, ValueError) as error:  # NUL or a lone surrogate in it, or too long
            # Without the error's own path, which is this machine's and would go into the ledger.
            told = getattr(error, "strerror", None) or "no name of a file"
            raise RowFault("image-missing", f"{name[:200]!r}: {told}") from None


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowFault("base64-broken", str(error)) from None


def _published(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if not _SHA256.fullmatch(sha256.lower()):
        raise RowFault("sha256-invalid", f"{sha256[:80]!r} is no sha256")
    return sha256.lower()
