"""The content-addressed store: equal work is done once, and a kill at any moment loses nothing.

    <store>/<kind>/<name>-<hash16>/   a finished artifact: payload, config.yaml, stats.json,
                                      and manifest.json, written last
    <store>/.partial/<kind>-<hash16>/ one in the making; its `.work` folder outlives a kill, and
                                      one that has its manifest is published by the next build
    <store>/.leases/  who is at work on what
    <store>/.corrupt/ what did not match its hash
    <store>/.features/ vision features of pictures: a cache, which may be deleted at any time
    <store>/roots/    which links protect artifacts from clearing up

Contract: what `open` and `build` return is whole and matches its manifest. Two processes that
want the same thing build it once. Nothing is ever changed in place.

    ikusi store ls
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ikusi.core import files
from ikusi.core.artifact import (
    MANIFEST,
    WORK,
    Artifact,
    Manifest,
    Spec,
    split_address,
)
from ikusi.core.errors import CorruptArtifact, StoreError
from ikusi.core.lease import Lease
from ikusi.core.links import make_link, note_root, read_link
from ikusi.core.partial import clear, close, finish, leave, read_finished, work_folder

if TYPE_CHECKING:
    from ikusi.core.upkeep import Garbage, Usage, Why

__all__ = ["WORK", "Artifact", "Manifest", "Spec", "Store", "work_folder"]

Write = Callable[[Path], Mapping[str, Any] | None]
"""Fills a folder with a payload and may return stats, as plain data."""

_MIN_PREFIX = 4  # hexadecimal characters; fewer are more likely a word than a hash
_verified: dict[tuple[str, str], tuple[tuple[str, int, int], ...]] = {}  # of this process
_verified_lock = threading.Lock()

log = logging.getLogger(__name__)


class Store:
    """The artifacts under one folder, which is made when the first is built."""

    def __init__(self, root: Path | str) -> None:
        """Use the store at `root`; nothing is read or written yet."""
        self.root = Path(os.path.abspath(root))

    def __repr__(self) -> str:
        """Return how it was made."""
        return f"Store({str(self.root)!r})"

    # -- looking up

    def find(self, address: str) -> Artifact | None:
        """Return the finished artifact, or None; its payload is not looked at.

        Only the hash counts: what was made under another name is found too. One whose manifest
        cannot be trusted is not there, and will be built again.
        """
        try:
            return self._look(address)
        except CorruptArtifact as error:
            log.debug("%s", error)
            return None

    def open(self, address: str) -> Artifact:
        """Return the artifact after checking its payload, once per process and change.

        Raises:
            CorruptArtifact: the payload is not what was written.
            StoreError: there is no such artifact.
        """
        artifact = self._look(address)
        if artifact is None:
            raise StoreError(
                f"{address}: not in the store at {self.root}. "
                "Build it, or point --store at the one that has it."
            )
        self._verify(artifact)
        return artifact

    def _look(self, address: str) -> Artifact | None:
        kind, _, hash16 = split_address(address)
        folder = self.root / address
        with files.disk_errors(self.root):
            if not (folder / MANIFEST).exists():
                found = sorted((self.root / kind).glob(f"*-{hash16}/{MANIFEST}"))
                if not found:
                    return None
                folder = found[0].parent
            try:
                return Artifact.read(folder)
            except FileNotFoundError:  # cleared up this very moment
                return None

    def _verify(self, artifact: Artifact) -> None:
        key = (str(artifact.path), artifact.manifest.payload)
        try:
            with files.disk_errors(self.root):
                fingerprint = artifact.fingerprint()
                if _verified.get(key) != fingerprint:
                    artifact.verify()
                    with _verified_lock:
                        _verified[key] = fingerprint
        except FileNotFoundError as error:
            raise CorruptArtifact(f"{error.filename}: is missing.") from None
        except CorruptArtifact as error:
            raise CorruptArtifact(
                f"{error} Run its study again to rebuild {artifact.address}."
            ) from None
        try:
            os.utime(artifact.path / MANIFEST)  # tells clearing up when it was last used
        except OSError:
            log.debug("%s: cannot note its use", artifact.address)

    # -- building

    def build(self, spec: Spec, write: Write) -> Artifact:
        """Return the artifact that `spec` names, made by `write` unless it is there.

        `write` gets a folder that belongs to the address. All that it leaves there is payload,
        except `.work` (`work_folder`), where it finds its unfinished work when it was killed;
        anything else that a killed run left is gone, so that it cannot end up in the payload. What
        a run had finished and only not moved is published without `write`.

        Args:
            spec: what is wanted.
            write: makes the payload and returns stats (plain data) or None.

        Raises:
            StoreError: the disk is full, read-only or forbidden, or the address already has
                another content.
            ConfigError: the stats are no plain data.
        """

        def make(partial: Path, lease: Lease) -> Manifest:
            start = time.monotonic()
            stats = write(partial)
            seconds = time.monotonic() - start
            lease.check()
            return finish(partial, spec, stats or {}, seconds)

        return self._add(spec, make)

    def receive(self, manifest: Manifest, fill: Callable[[Path], None]) -> Artifact:
        """Return the artifact that `manifest` is of, made elsewhere and filled in by `fill`.

        Args:
            manifest: as it was written there.
            fill: puts the payload, and what stands beside it but the manifest, into a folder.

        Raises:
            CorruptArtifact: what `fill` left is not what the manifest says.
            StoreError: as `build`.
        """
        spec = Spec(
            manifest.kind, manifest.name, manifest.version, manifest.config, manifest.inputs
        )

        def make(partial: Path, lease: Lease) -> Manifest:
            fill(partial)
            lease.check()
            close(partial, manifest)
            return manifest

        return self._add(spec, make)

    def _add(self, spec: Spec, make: Callable[[Path, Lease], Manifest]) -> Artifact:
        artifact = self._usable(spec)
        if artifact is not None:
            return artifact
        short = f"{spec.kind}-{spec.hash}"
        lease = Lease(self.root / ".leases" / short, spec.inputs.values())
        with files.disk_errors(self.root), lease:
            # Another process may have built it while this one waited.
            artifact = self._usable(spec)
            if artifact is not None:
                return artifact
            replaced = self._set_corrupt_aside(spec)
            partial = self.root / ".partial" / short
            manifest = read_finished(partial)
            try:
                if manifest is None:
                    clear(partial)
                    manifest = make(partial, lease)
                lease.check()
                self._compare(manifest, replaced)
                lease.check()
            except BaseException:
                if lease.is_held():
                    with contextlib.suppress(OSError):
                        leave(partial)
                raise
            # What stops this leaves a finished folder, which the next build publishes.
            return self._publish(partial, manifest)

    def _usable(self, spec: Spec) -> Artifact | None:
        artifact = self.find(spec.address)
        if artifact is None:
            return None
        try:
            self._verify(artifact)
        except CorruptArtifact as error:
            log.debug("%s", error)
            return None
        return artifact

    def _set_corrupt_aside(self, spec: Spec) -> Manifest | None:
        """Move what stands at the address and is not usable; return what it should have been."""
        for folder in sorted((self.root / spec.kind).glob(f"*-{spec.hash}")):
            corrupt = self.root / ".corrupt" / uuid.uuid4().hex[:8] / folder.name
            corrupt.parent.mkdir(parents=True)
            os.rename(folder, corrupt)
            log.warning("%s: is damaged; moved to %s and built again", spec.address, corrupt)
        for folder in sorted((self.root / ".corrupt").glob(f"*/*-{spec.hash}")):
            try:
                return Manifest.read(folder)
            except (OSError, CorruptArtifact):  # what it was cannot be known any more
                continue
        return None

    def _compare(self, manifest: Manifest, replaced: Manifest | None) -> None:
        """Refuse another content than the damaged artifact had, if something was made from that.

        Raises:
            StoreError: names what was made from the old content.
        """
        if replaced is None or replaced.payload == manifest.payload:
            return
        hash16 = split_address(manifest.address)[2]
        heirs = [
            artifact.address
            for artifact in self.ls()
            if hash16 in (split_address(a)[2] for a in artifact.manifest.inputs.values())
        ]
        if heirs:
            raise StoreError(
                f"{manifest.address}: two contents at one address: rebuilt, it is not what it was "
                f"({manifest.payload[:8]} instead of {replaced.payload[:8]}), and "
                f"{', '.join(heirs[:3])}{', ...' if len(heirs) > 3 else ''} came from the old one. "
                "Remove those, or run `ikusi store gc` to forget the old content."
            )
        log.warning("%s: rebuilt with another content than before", manifest.address)

    def _publish(self, partial: Path, manifest: Manifest) -> Artifact:
        address = manifest.address
        final = self.root / address
        final.parent.mkdir(parents=True, exist_ok=True)
        # Only now: a full disk up to here must not cost the unfinished work.
        files.remove(partial / WORK)
        try:
            os.rename(partial, final)
        except OSError:
            # Only a process that we took over from, and that was not dead, can have been here.
            other = self.find(address)
            if other is None:
                raise
            files.remove(partial)
            if other.manifest.payload != manifest.payload:
                raise StoreError(
                    f"{address}: two contents at one address "
                    f"({manifest.payload[:8]} and {other.manifest.payload[:8]}): the step does "
                    "not repeat exactly. Please report this with the recipe."
                ) from None
            return other
        files.fsync_folder(final.parent)
        artifact = Artifact(address, final, manifest)
        with _verified_lock:
            _verified[str(final), manifest.payload] = artifact.fingerprint()
        return artifact

    # -- names

    def link(self, link_path: Path | str, artifact: Artifact) -> None:
        """Make a readable link to `artifact`, which is then kept as long as the link is there.

        Raises:
            StoreError: something else is in the way, or the disk refuses.
        """
        link = Path(link_path)
        with files.disk_errors(self.root):
            note_root(self.root / "roots", link)  # first: a link without a note protects nothing
            make_link(link, artifact.path)

    def locate(self, name: Path | str) -> Artifact:
        """Return the artifact that `name` means; its payload is not looked at.

        Args:
            name: an address, the beginning of one, a hash or the beginning of one (4 characters
                or more), a link, or an artifact's folder in any store.

        Raises:
            StoreError: nothing or more than one thing has this name.
            CorruptArtifact: its manifest cannot be trusted.
        """
        text = os.fspath(name)
        path = Path(text)
        target = read_link(path)
        if target is not None or (path / MANIFEST).is_file():
            folder = target or Path(os.path.abspath(path))
            try:
                return Artifact.read(folder)
            except FileNotFoundError:
                raise StoreError(
                    f"{path}: points to {folder}, which is not there any more. Build it again."
                ) from None
        known = self._addresses()
        text = text.replace(os.sep, "/").rstrip("/")
        matches = [a for a in known if text == a or text == split_address(a)[2]]
        matches = matches or [
            a
            for a in known
            if a.startswith(text)
            or (len(text) >= _MIN_PREFIX and split_address(a)[2].startswith(text))
        ]
        if len(matches) == 1:
            return Artifact.read(self.root / matches[0])
        if not matches or not text:
            raise StoreError(
                f"{text!r}: no artifact, link or folder of this name in the store at {self.root}. "
                "`ikusi store ls` lists them."
            )
        shown = ", ".join(matches[:4]) + (", ..." if len(matches) > 4 else "")
        raise StoreError(f"{text!r}: can be {shown}. Give more of the address.")

    def resolve(self, name: Path | str) -> Artifact:
        """Return the artifact that `name` means (see `locate`), its payload checked.

        Raises:
            StoreError: nothing or more than one thing has this name.
            CorruptArtifact: the payload is not what was written.
        """
        artifact = self.locate(name)
        self._verify(artifact)
        return artifact

    def _addresses(self) -> list[str]:
        """Return the addresses of all finished artifacts, sorted."""
        found = []
        for path in self.root.glob(f"[a-z]*/*/{MANIFEST}"):
            address = path.parent.relative_to(self.root).as_posix()
            try:
                split_address(address)
            except StoreError:
                continue
            found.append(address)
        return sorted(found)

    # -- looking after it

    def ls(self, kind: str | None = None) -> list[Artifact]:
        """Return the finished artifacts, all or of one kind, sorted by address."""
        found = []
        with files.disk_errors(self.root):
            for address in self._addresses():
                if kind is None or address.startswith(f"{kind}/"):
                    try:
                        found.append(Artifact.read(self.root / address))
                    except FileNotFoundError:
                        continue
                    except CorruptArtifact as error:
                        log.warning("%s", error)
        return found

    def du(self) -> list[Usage]:
        """Return how much each kind takes, and what partial and damaged artifacts take."""
        from ikusi.core import upkeep

        return upkeep.usage(self)

    def why(self, address: str) -> Why:
        """Return the tree of what an artifact was made from."""
        from ikusi.core import upkeep

        return upkeep.explain(self, address)

    def gc(self, dry_run: bool = False, unused_seconds: float = 3600.0) -> list[Garbage]:
        """Remove what no link reaches and nobody works on; return it, with its bytes.

        Args:
            dry_run: remove nothing, only return what would go.
            unused_seconds: leave alone what was used or written to in the last so many seconds:
                it may belong to a run that has not linked it yet.

        Raises:
            StoreError: a root cannot be read, or the disk refuses.
        """
        from ikusi.core import upkeep

        with files.disk_errors(self.root):
            return upkeep.collect(self, dry_run=dry_run, unused_seconds=unused_seconds)
