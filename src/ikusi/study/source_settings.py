"""Settings of a recipe whose data are published sets or one's own, not the embedded world's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ikusi.core.config import Settings

TextKind = Literal["captions", "instructions"]
"""What a translator is given: one description of a picture, or a conversation."""


class SetSettings(Settings):
    """Where a set comes from, if not from the hub as it is published."""

    foreign_keys: ClassVar[Mapping[str, str]] = {"path": "files", "max_samples": "limit"}

    source: str = ""
    """A published set, a format or an id on the hub. Left out: the set's own name."""
    files: Path | None = None
    """A file or folder on this machine, instead of the hub."""
    mapping: Path | None = None
    """YAML that says which column is what."""
    images: Path | None = None
    """Folder that the names of pictures start from."""
    language: str = ""
    """BCP-47, of a format that does not say it."""
    subset: str = ""
    """Configuration on the hub."""
    split: str = ""
    """Split on the hub."""
    revision: str = ""
    """Commit, tag or branch on the hub."""
    licence: str = ""
    """Of the texts; left out: as published."""
    limit: int | None = Field(default=None, gt=0)
    """Rows of each split at most."""
