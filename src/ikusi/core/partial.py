"""An artifact in the making: a folder that is filled, closed with a manifest, and then moved.

Contract: what a killed run left can only be found in `.work`, unless it left a whole artifact;
everything is on the disk before the manifest is, and the manifest is written last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from ikusi.core import files
from ikusi.core.artifact import (
    CONFIG,
    MANIFEST,
    NOT_PAYLOAD,
    STATS,
    WORK,
    Artifact,
    Manifest,
    Spec,
    hash_file,
    payload_hash,
    plain,
    scan_payload,
)
from ikusi.core.errors import CorruptArtifact, StoreError


def work_folder(partial: Path) -> Path:
    """Return the folder inside `partial` for unfinished work, made if needed.

    It is there again when a build was killed and runs again, and removed when it succeeds.
    """
    folder = partial / WORK
    folder.mkdir(exist_ok=True)
    return folder


def clear(partial: Path) -> None:
    """Make the folder, without anything that a killed run left outside `.work`."""
    partial.mkdir(parents=True, exist_ok=True)
    for path in sorted(partial.iterdir()):
        if path.name != WORK:
            files.remove(path)


def read_finished(partial: Path) -> Manifest | None:
    """Return the manifest of a folder that only was not moved any more; None when it is not whole.

    Its payload is compared with the manifest: the folder lay there for anybody to change.
    """
    try:
        artifact = Artifact.read(partial)
        artifact.verify()
    except (FileNotFoundError, CorruptArtifact):
        return None
    return artifact.manifest


def leave(partial: Path) -> None:
    """Keep only the unfinished work of a build that failed: the rest would fill the disk."""
    if partial.is_dir():
        clear(partial)
        if not (partial / WORK).exists():
            partial.rmdir()


def finish(partial: Path, spec: Spec, stats: Mapping[str, Any], seconds: float) -> Manifest:
    """Write what stands beside the payload, the manifest last, everything onto the disk.

    Args:
        partial: the folder, filled by the step.
        spec: what it is.
        stats: what the step told about itself.
        seconds: how long it took.

    Raises:
        StoreError: the step used a name of the store's, or left a link.
        ConfigError: the stats are no plain data.
    """
    from ikusi import __version__
    from ikusi.core.config import dump_yaml

    for name in NOT_PAYLOAD:
        if (partial / name).exists():
            raise StoreError(
                f"{spec.kind}: its step wrote {name}, a name that the store uses itself. "
                "Choose another one in the step."
            )
    notes = {
        CONFIG: dump_yaml(plain(spec.config)).encode(),
        STATS: (json.dumps(plain(stats, f"{spec.kind} stats"), indent=1) + "\n").encode(),
    }
    payload = scan_payload(partial)
    _sync(partial, payload)
    for name, content in notes.items():
        with open(partial / name, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    manifest = Manifest(
        address=spec.address,
        kind=spec.kind,
        name=spec.name,
        version=spec.version,
        config=spec.config,
        inputs=spec.inputs,
        payload=payload_hash(payload),
        files=payload,
        notes={name: hash_file(partial / name) for name in notes},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        ikusi=__version__,
        seconds=round(seconds, 3),
    )
    files.write_durably(partial / MANIFEST, manifest.to_json().encode())
    return manifest


def close(partial: Path, manifest: Manifest) -> None:
    """Close a folder that was filled from elsewhere, everything onto the disk, the manifest last.

    Raises:
        CorruptArtifact: what is in it is not what `manifest` says.
    """
    Artifact(manifest.address, partial, manifest).verify()
    _sync(partial, (*manifest.files, *manifest.notes))
    files.write_durably(partial / MANIFEST, manifest.to_json().encode())


def _sync(partial: Path, names: Iterable[str]) -> None:
    listed = list(names)
    for name in listed:
        files.fsync_file(partial / name)
    for folder in sorted({folder for name in listed for folder in PurePath(name).parents}):
        files.fsync_folder(partial / folder)
