"""Move artifacts to another machine: one tar file with all that they were made from.

    ikusi-pack.json                      what is in it
    <kind>/<name>-<hash16>/manifest.json
    <kind>/<name>-<hash16>/...           config.yaml, stats.json, the payload

Place: over the store. Contract: the file appears when it is whole. Unpacking takes only what a
manifest in it names, into that artifact's own folder, compares every byte with the hashes, and
leaves alone what the store already has; so a broken-off one goes on, and a forged one is refused.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ikusi.core import log
from ikusi.core.artifact import CONFIG, MANIFEST, STATS, WORK, Artifact, Manifest, split_address
from ikusi.core.errors import CorruptArtifact, IkusiError, StoreError, first_line
from ikusi.core.files import disk_errors, fsync_file, fsync_folder
from ikusi.core.store import Store
from ikusi.core.upkeep import Why, explain

INDEX = "ikusi-pack.json"
_VERSION = 1
_INDEX_BYTES = 64 << 20  # larger ones are not ours
_NOTES = (CONFIG, STATS)


@dataclass(frozen=True)
class Packed:
    """What a pack holds, or held."""

    wanted: tuple[str, ...]
    """Addresses that were asked for."""
    artifacts: tuple[str, ...]
    """All addresses in it, inputs first."""
    gone: tuple[str, ...] = ()
    """Inputs that the store did not have any more."""
    bytes: int = 0
    """Of the payloads."""


def closure(store: Store, addresses: Iterable[str]) -> tuple[list[Artifact], list[str]]:
    """Return the artifacts and all that they were made from, inputs first, and what is gone."""
    found: dict[str, Artifact] = {}
    gone: dict[str, None] = {}

    def add(why: Why) -> None:
        if why.address in found:
            return
        for made_from in why.inputs:
            add(made_from)
        if why.artifact is None:
            gone.setdefault(why.address)
        else:
            found[why.address] = why.artifact

    for address in addresses:
        add(explain(store, address))
    return list(found.values()), list(gone)


def pack(store: Store, names: Sequence[str], file: Path) -> Packed:
    """Write artifacts, and all that they were made from, into a tar file.

    Args:
        store: where they are.
        names: addresses, beginnings of them, or links.
        file: made whole or not at all; an older one is replaced.

    Raises:
        StoreError: one is not there, or the disk refuses.
        CorruptArtifact: one is damaged.
    """
    wanted = [store.locate(name).address for name in names]
    artifacts, gone = closure(store, wanted)
    for artifact in artifacts:
        store.open(artifact.address)
    total = sum(artifact.manifest.bytes for artifact in artifacts)
    packed = Packed(tuple(wanted), tuple(a.address for a in artifacts), tuple(gone), total)
    temporary = file.with_name(f".{file.name}.tmp")
    with disk_errors(file, "--to"), log.track("pack", total) as advance:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
                _add_bytes(tar, INDEX, _index(packed))
                for artifact in artifacts:
                    manifest = artifact.manifest
                    _add_bytes(tar, f"{artifact.address}/{MANIFEST}", manifest.to_json().encode())
                    for name in (*manifest.notes, *manifest.files):
                        tar.add(artifact.path / name, f"{artifact.address}/{name}", filter=_plain)
                        advance(manifest.files[name].size if name in manifest.files else 0)
            fsync_file(temporary)
            os.replace(temporary, file)
            fsync_folder(file.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return packed


def _index(packed: Packed) -> bytes:
    data = {
        "ikusi_pack": _VERSION,
        "wanted": packed.wanted,
        "artifacts": packed.artifacts,
        "gone": packed.gone,
        "bytes": packed.bytes,
    }
    return (json.dumps(data, indent=1) + "\n").encode()


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who made it, when, and with which rights: equal artifacts, equal file."""
    plain = tarfile.TarInfo(entry.name)
    plain.size = entry.size
    return plain


def unpack(file: Path, store: Store) -> Packed:
    """Put what a pack holds into a store; what is there already is left alone.

    Raises:
        StoreError: it is no pack of ours, it is cut off, or the disk refuses.
        CorruptArtifact: something in it is not what its manifest says.
    """
    with _readable(file), tarfile.open(file, "r:") as tar:
        packed = _read_index(tar, file)
        with log.track("unpack", packed.bytes) as advance:
            entry = tar.next()
            for address in packed.artifacts:
                entry = _unpack_one(file, tar, entry, address, store)
                found = store.find(address)
                assert found is not None, address
                advance(found.manifest.bytes)
        if entry is not None:
            raise StoreError(f"{file}: holds {entry.name!r}, which it does not announce. Refused.")
    return packed


def _unpack_one(
    file: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo | None, address: str, store: Store
) -> tarfile.TarInfo | None:
    """Take in the artifact whose manifest is at `entry`, and return the entry after it."""
    if entry is None or entry.name != f"{address}/{MANIFEST}":
        raise StoreError(f"{file}: is cut off before {address}. Copy or pack it again.")
    manifest = _read_manifest(file, tar, entry, address)
    entries: dict[str, tarfile.TarInfo] = {}
    after = tar.next()
    prefix = f"{address}/"
    while (
        after is not None and after.name.startswith(prefix) and after.name != f"{prefix}{MANIFEST}"
    ):
        name = after.name.removeprefix(prefix)
        size = manifest.files[name].size if name in manifest.files else None
        if not after.isreg() or (size is None and name not in manifest.notes) or name in entries:
            raise StoreError(f"{file}: holds {after.name!r}, which its manifest lacks. Refused.")
        if size is not None and after.size != size:
            raise CorruptArtifact(f"{file}: {after.name} has {after.size} bytes, not {size}.")
        entries[name] = after
        after = tar.next()
    missing = {*manifest.files, *manifest.notes} - entries.keys()
    if missing:
        raise StoreError(
            f"{file}: {prefix}{min(missing)} is missing: it is cut off. Copy it again."
        )

    def fill(partial: Path) -> None:
        for name, found in entries.items():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(found)
            assert source is not None
            with source, open(target, "xb") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)

    try:
        store.receive(manifest, fill)
    except CorruptArtifact as error:
        raise CorruptArtifact(
            f"{file}: {address} was changed or damaged ({first_line(error)})."
        ) from None
    return after


def _read_index(tar: tarfile.TarFile, file: Path) -> Packed:
    first = tar.next()
    try:
        if first is None or first.name != INDEX:
            raise ValueError
        data = json.loads(_read_entry(tar, first))
        if data["ikusi_pack"] != _VERSION:
            raise StoreError(f"{file}: was packed by another version of ikusi. Use that one.")
        lists = [tuple(map(str, data[key])) for key in ("wanted", "artifacts", "gone")]
        for address in (*lists[0], *lists[1]):
            split_address(address)
        return Packed(lists[0], lists[1], lists[2], int(data["bytes"]))
    except (ValueError, KeyError, TypeError, tarfile.TarError):
        raise StoreError(f"{file}: was not made by `ikusi store pack`.") from None


def _read_entry(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(entry) if entry.isreg() and entry.size <= _INDEX_BYTES else None
    if source is None:
        raise ValueError(entry.name)
    with source:
        return source.read()


def _read_manifest(
    file: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo, address: str
) -> Manifest:
    """Return a manifest that belongs to `address` and names only files inside its folder."""
    try:
        content = _read_entry(tar, entry)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / address.partition("/")[2]
            folder.mkdir()
            (folder / MANIFEST).write_bytes(content)
            manifest = Manifest.read(folder)
    except (ValueError, CorruptArtifact, OSError) as error:
        raise CorruptArtifact(f"{file}: {entry.name}: {first_line(error)}.") from None
    safe = manifest.notes.keys() == set(_NOTES) and all(map(_is_inside, manifest.files))
    if not safe or manifest.kind != split_address(address)[0]:
        raise StoreError(f"{file}: {entry.name} names files outside its own folder. Refused.")
    return manifest


def _is_inside(name: str) -> bool:
    """Return whether a payload's name stays in its folder, on every system."""
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and path.as_posix() == name
        and ".." not in path.parts
        and path.parts[:1] not in ((WORK,), ())
        and name not in (MANIFEST, *_NOTES)
        and not any(c in name for c in "\\:\0")
    )


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what a damaged or absent file leads to into one line."""
    try:
        yield
    except IkusiError:
        raise
    except FileNotFoundError as error:
        if error.filename and Path(os.fsdecode(error.filename)) != file:
            raise
        raise StoreError(f"{file}: there is no such file.") from None
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise StoreError(f"{file}: is no tar file, or cut off ({first_line(error)}).") from None
    except IsADirectoryError:
        raise StoreError(
            f"{file}: is a folder. Give the file that `ikusi store pack` made."
        ) from None
