"""Readable links to artifacts, which also keep them from being cleared up.

A link is a symbolic link, or a small JSON file where those are not allowed (Windows). Each is
noted in `<store>/roots/`; clearing up asks where it points to now, so removing a link is enough
to let its artifact go.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ikusi.core.errors import StoreError
from ikusi.core.files import write_durably

_MARK = "ikusi_artifact"
_POINTER_BYTES = 4096  # a larger file is no pointer, and need not be read to know it


@dataclass(frozen=True)
class Root:
    """A noted link."""

    note: Path
    """The file in `<store>/roots/`."""
    link: Path
    target: Path | None
    """The folder it points to; None when the link is gone."""


def make_link(link: Path, target: Path) -> None:
    """Point `link` to the folder `target`, in one step; an older link there is replaced.

    Raises:
        StoreError: something that is no link is in the way.
    """
    if os.path.lexists(link) and read_link(link) is None:
        raise StoreError(f"{link}: is in the way of a link. Move it, or choose another name.")
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{uuid.uuid4().hex[:8]}")
    try:
        try:
            os.symlink(_relative(target, link.parent), temporary, target_is_directory=True)
        except (OSError, NotImplementedError):
            text = json.dumps({_MARK: str(_relative(target, link.parent))})
            temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, link)
    finally:
        temporary.unlink(missing_ok=True)


def read_link(link: Path) -> Path | None:
    """Return the absolute folder that `link` points to, there or not; None when it is no link."""
    if link.is_symlink():
        return Path(os.path.abspath(link.parent.resolve() / os.readlink(link)))
    try:
        if not link.is_file() or link.stat().st_size > _POINTER_BYTES:
            return None
        data = json.loads(link.read_text(encoding="utf-8"))
        target = data[_MARK]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Path(os.path.abspath(link.parent.resolve() / target))


def note_root(roots: Path, link: Path) -> None:
    """Note `link` in the folder `roots`."""
    absolute = os.path.abspath(link)
    note = roots / f"{hashlib.sha256(os.fsencode(absolute)).hexdigest()[:16]}.json"
    if not note.exists():
        roots.mkdir(parents=True, exist_ok=True)
        places = {"link": absolute, "relative": str(_relative(Path(absolute), roots, follow=False))}
        write_durably(note, (json.dumps(places) + "\n").encode())


def read_roots(roots: Path) -> Iterator[Root]:
    """Yield the noted links, in the order of their notes' names.

    Raises:
        StoreError: a note cannot be read: what it protects is unknown.
    """
    for note in sorted(roots.glob("*.json")) if roots.is_dir() else ():
        try:
            places = json.loads(note.read_text(encoding="utf-8"))
            link = Path(places["link"])
            moved = Path(os.path.abspath(roots / places["relative"]))
        except (ValueError, KeyError, TypeError):
            raise StoreError(
                f"{note}: cannot be read. Remove it if you know which link it stood for."
            ) from None
        target = read_link(link)
        if target is None:  # the store and the links may have moved together
            target = read_link(moved)
        yield Root(note, link, target)


def _relative(target: Path, folder: Path, *, follow: bool = True) -> Path:
    # Relative, so that a project moves as a whole. Both ends resolved: the system follows `..`
    # through the real folders. A link that is itself the target stays one.
    target = target.resolve() if follow else target.parent.resolve() / target.name
    try:
        return Path(os.path.relpath(target, folder.resolve()))
    except ValueError:  # another drive
        return target
