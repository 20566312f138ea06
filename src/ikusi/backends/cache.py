"""Answers that were paid for once: append-only files, one for each writer.

Contract: two processes may write at once, without locks, because each has a file of its own; an
answer that `put` took survives a kill; a line that a crash cut is ignored.

    <folder>/answers-<time>-<random>.jsonl   one answer a line, with the key that it was asked under
"""

from __future__ import annotations

from pathlib import Path

from ikusi.backends.base import Answer


class Cache:
    """Answers by `Request.key`, in a folder that is made when the first one is put.

    It sees what was there when it was opened and what it put itself; what another process puts
    meanwhile is seen by the next one. Where two have an answer to one key, the older file's counts.
    """

    def __init__(self, folder: Path) -> None:
        """Read which answers `folder` has.

        Raises:
            StoreError: it cannot be read.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """Return how many answers there are."""
        raise NotImplementedError

    def get(self, key: str, id: str) -> Answer | None:  # noqa: A002  # the field's name
        """Return the answer to `key`, under the id of who asks now; None when there is none."""
        raise NotImplementedError

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Bring everything onto the disk."""
        raise NotImplementedError
