"""A hub in memory that downloads into the real cache layout, and can fail."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ikusi.core.hub import HubError, HubFile, Kind, Repository, page

REVISION = "0123456789abcdef0123456789abcdef01234567"
MODEL = {
    "config.json": b"{}",
    "model.safetensors": b"\x00" * 5000,
    "pytorch_model.bin": b"\x01" * 5000,
    "tf_model.h5": b"\x02" * 5000,
    "original/consolidated.pth": b"\x03" * 9000,
    "tokenizer.json": b"{}",
}


@dataclass
class FakeHub:
    """Repositories by name."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: tuple[str, ...] = ()
    down: bool = False
    revision: str = REVISION
    break_after: int | None = None
    """Files until a download breaks off."""
    damage: str = ""
    """Name of a file that arrives changed."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    brought: list[str] = field(default_factory=list)

    def look(self, name: str, kind: Kind, revision: str | None) -> Repository:
        self.asked.append((name, revision))
        if self.down:
            raise HubError(f"{name}: the hub cannot be reached (no route).")
        if name in self.gated:
            raise HubError(
                f"{name}: is gated. Accept its terms at {page(name, kind)}, then log in."
            )
        if name not in self.repositories:
            raise HubError(f"{name}: the hub has no such {kind}.")
        files = {
            path: HubFile(len(data), hashlib.sha256(data).hexdigest() if len(data) > 99 else None)
            for path, data in self.repositories[name].items()
        }
        return Repository(name, kind, revision or self.revision, files)

    def download(self, repository: Repository, names: Sequence[str], cache: Path) -> Path:
        root = cache / f"{repository.kind}s--{repository.name.replace('/', '--')}"
        folder = root / "snapshots" / repository.revision
        for name in names:
            path = folder / name
            if path.is_file():
                continue
            if self.break_after is not None and len(self.brought) >= self.break_after:
                self.break_after = None
                raise HubError(f"{repository.name}: the hub answered 503. Try again.")
            path.parent.mkdir(parents=True, exist_ok=True)
            data = self.repositories[repository.name][name]
            path.write_bytes(b"x" * len(data) if name == self.damage else data)
            self.brought.append(name)
        return folder

    def upload(self, folder: Path, name: str, *, private: bool) -> str:
        raise NotImplementedError
