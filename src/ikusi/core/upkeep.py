"""Looking after a store: how much is there, what was made from what, and what can go."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ikusi.core import files
from ikusi.core.artifact import MANIFEST, Artifact, split_address
from ikusi.core.errors import StoreError
from ikusi.core.lease import Lease, inputs_of, is_free, is_live
from ikusi.core.links import read_roots

if TYPE_CHECKING:
    from ikusi.core.store import Store

# No process takes so long between looking for who holds a lease and taking it.
_SETTLED_SECONDS = 60.0


@dataclass(frozen=True)
class Usage:
    """What one kind of thing takes in the store."""

    kind: str
    """A kind of artifact, or `.partial`, `.corrupt` or `.features`."""
    count: int
    bytes: int


@dataclass(frozen=True)
class Why:
    """An artifact, and what it was made from."""

    role: str
    """What it is to the one above; empty for the one that was asked about."""
    address: str
    artifact: Artifact | None
    """None when it is not in the store any more."""
    inputs: tuple[Why, ...] = ()


@dataclass(frozen=True)
class Garbage:
    """Something that can go from the store."""

    path: Path
    reason: str
    bytes: int


def usage(store: Store) -> list[Usage]:
    """Return what each kind takes, sorted by name, then what is no artifact."""
    kinds: dict[str, list[int]] = {}
    for artifact in store.ls():
        kinds.setdefault(artifact.kind, []).append(artifact.manifest.bytes)
    found = [Usage(kind, len(sizes), sum(sizes)) for kind, sizes in sorted(kinds.items())]
    for name in (".partial", ".corrupt", ".features"):
        sizes = [files.size_of(path) for path in _entries(store.root / name)]
        if sizes:
            found.append(Usage(name, len(sizes), sum(sizes)))
    return found


def explain(store: Store, address: str) -> Why:
    """Return the tree of what the artifact at `address` was made from.

    Raises:
        StoreError: it is not in the store.
    """
    known: dict[str, Why] = {}

    def tree(role: str, address: str) -> Why:
        if address not in known:
            artifact = store.find(address)
            inputs = artifact.manifest.inputs if artifact else {}
            made_from = tuple(tree(role, inputs[role]) for role in sorted(inputs))
            known[address] = Why("", artifact.address if artifact else address, artifact, made_from)
        found = known[address]
        return Why(role, found.address, found.artifact, found.inputs)

    found = tree("", address)
    if found.artifact is None:
        raise StoreError(f"{address}: not in the store at {store.root}. `ikusi store ls` lists it.")
    return found


def collect(store: Store, *, dry_run: bool, unused_seconds: float) -> list[Garbage]:
    """Remove what can go, and return it; see `Store.gc`."""
    now = time.time()
    oldest_kept = now - unused_seconds
    settled = min(oldest_kept, now - _SETTLED_SECONDS)
    # What needs no room to be removed comes first: the disk may be full.
    found = [*_unreachable(store, oldest_kept), *_leftovers(store, oldest_kept)]
    found += [*_dead_roots(store), *_dead_leases(store, settled)]
    if not dry_run:
        for garbage in found:
            _throw_away(store, garbage.path)
        for folder in _entries(store.root / ".leases"):  # given back: no news to anybody
            if is_free(folder) and _last_written(folder) < settled:
                _throw_away(store, folder)
    return found


def _dead_leases(store: Store, settled: float) -> Iterator[Garbage]:
    for folder in _entries(store.root / ".leases"):
        if not is_live(folder) and not is_free(folder) and _last_written(folder) < settled:
            yield Garbage(folder, "its process died", files.size_of(folder))


def _dead_roots(store: Store) -> Iterator[Garbage]:
    for root in read_roots(store.root / "roots"):
        if root.target is None:
            yield Garbage(root.note, f"link {root.link} is gone", files.size_of(root.note))


def _leftovers(store: Store, oldest_kept: float) -> Iterator[Garbage]:
    for folder in _entries(store.root / ".corrupt"):
        yield Garbage(folder, "damaged", files.size_of(folder))
    for folder in _entries(store.root / ".trash"):
        yield Garbage(folder, "not yet removed", files.size_of(folder))
    for file in _entries(store.root / ".features"):
        if file.suffix == ".tmp" and _modified(file) < oldest_kept:
            yield Garbage(file, "unfinished", files.size_of(file))
    for folder in _entries(store.root / ".partial"):
        at_work = is_live(store.root / ".leases" / folder.name)
        if not at_work and _last_written(folder) < oldest_kept:
            yield Garbage(folder, "unfinished", files.size_of(folder))


def _unreachable(store: Store, oldest_kept: float) -> Iterator[Garbage]:
    artifacts = {artifact.hash: artifact for artifact in store.ls()}
    start = {
        hash16
        for hash16, artifact in artifacts.items()
        if _modified(artifact.path / MANIFEST) >= oldest_kept
    }
    for root in read_roots(store.root / "roots"):
        if root.target is not None and root.target.parent.parent.resolve() == store.root.resolve():
            start.add(root.target.name.rpartition("-")[2])
    for folder in _entries(store.root / ".leases"):
        if is_live(folder):
            start.update(_hashes(inputs_of(folder)))
            start.add(folder.name.rpartition("-")[2])
    reached: set[str] = set()
    while start:
        hash16 = start.pop()
        if hash16 not in reached:
            reached.add(hash16)
            if hash16 in artifacts:
                start.update(_hashes(artifacts[hash16].manifest.inputs.values()))
    for hash16, artifact in artifacts.items():
        if hash16 not in reached:
            size = files.size_of(artifact.path)
            yield Garbage(artifact.path, "no link reaches it", size)


def _throw_away(store: Store, path: Path) -> None:
    """Remove `path` so that nobody sees half of it, unless somebody began to work on it."""
    kind = path.parent.name
    if kind == ".partial":
        lease = Lease(store.root / ".leases" / path.name)
        if _acquire(lease):
            try:
                _move_and_remove(store, path)
            finally:
                lease.release()
    elif kind == ".leases" and not path.name.startswith("."):
        lease = Lease(path)
        if lease.try_acquire():
            lease.discard()
    elif kind in (".trash", "roots", ".leases", ".features"):
        files.remove(path)
    else:
        _move_and_remove(store, path)


def _acquire(lease: Lease) -> bool:
    """Take a lease that nobody alive holds, also on a disk too full for its file."""
    try:
        return lease.try_acquire()
    except OSError as error:
        if error.errno not in files.FULL:
            raise
        return not is_live(lease.folder)  # nobody else has room to take it either


def _move_and_remove(store: Store, path: Path) -> None:
    trash = store.root / ".trash" / uuid.uuid4().hex
    try:
        trash.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, trash)
    except FileNotFoundError:  # somebody else's clearing up was faster
        return
    except OSError as error:
        if error.errno not in files.FULL:
            raise
        (path / MANIFEST).unlink(missing_ok=True)  # without it, it is no artifact any more
        trash = path
    files.remove(trash)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _hashes(addresses: Iterable[str]) -> set[str]:
    return {split_address(address)[2] for address in addresses}


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _last_written(folder: Path) -> float:
    newest = _modified(folder)
    for path in folder.rglob("*"):
        newest = max(newest, _modified(path))
    return newest
