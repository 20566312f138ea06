"""A look at what a step dropped: how many for which reason, and the rows themselves.

Place: artifact's ledger (`data/steps.py`) -> [ledger] -> `ikusi show`.

    ikusi show runs/data/cc3m-filtered --dropped near-duplicate
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ikusi.core.artifact import Artifact
from ikusi.core.errors import DataError, suggest
from ikusi.core.store import Store
from ikusi.data.steps import DROPPED, read_drops


@dataclass(frozen=True)
class Passage:
    """What a step read and kept."""

    artifact: Artifact
    read: int
    kept: int
    dropped: Mapping[str, int]
    """Reason -> how many, most frequent first."""


def passages(artifact: Artifact) -> list[Passage]:
    """Return the steps with a ledger that an artifact went through, from the source to itself.

    Those that are not in the store any more, and what was made before them, are left out.
    """
    store, found = Store(artifact.store_root), dict[str, Passage]()

    def follow(at: Artifact) -> None:
        if at.address in found:
            return
        for address in at.manifest.inputs.values():
            before = store.find(address)
            if before is not None:
                follow(before)
        stats = at.stats
        if (at.path / DROPPED).is_dir() and {"read", "kept", "dropped"} <= stats.keys():
            found[at.address] = Passage(at, stats["read"], stats["kept"], stats["dropped"])

    follow(artifact)
    return list(found.values())


def find_drops(artifact: Artifact, reason: str, limit: int) -> Iterator[dict[str, str]]:
    """Yield rows of the ledger with this reason, `limit` at most.

    Raises:
        DataError: nothing was dropped, or not for this reason; names the reasons that there are.
    """
    known = artifact.stats.get("dropped", {}) if (artifact.path / DROPPED).is_dir() else {}
    if not known:
        raise DataError(f"{artifact.address}: dropped nothing.")
    if reason not in known:
        raise DataError(
            f"{artifact.address}: dropped nothing as {reason!r}. {suggest(reason, known)}"
        )
    return islice(read_drops(artifact.path, reason), limit)


def texts_of(row: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (role or column, text) of what a row of the ledger held.

    Characters that nothing should print, such as lone surrogates, are shown by their number.
    """
    content = json.loads(row["content"])
    turns = content.get("turns") if isinstance(content, dict) else None
    if not isinstance(turns, list):
        pairs = content.items() if isinstance(content, dict) else [("row", content)]
        return [(str(key), _printable(value)) for key, value in pairs]
    told = [(str(turn.get("role")), _spoken(turn.get("parts") or [])) for turn in turns]
    images = [image.get("url") or image.get("sha256") or "?" for image in content["images"] or []]
    return told + [("image", _printable(image)) for image in images]


def _spoken(parts: list[Any]) -> str:
    texts = [
        part.get("text") if part.get("type") == "text" else f"[picture {part.get('index')}] "
        for part in parts
        if isinstance(part, dict)
    ]
    return "".join(_printable(text) for text in texts)


def _printable(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
    return text.encode("utf-8", "backslashreplace").decode()
