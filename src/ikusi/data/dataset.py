"""A set of records by any name that a person gives it: an artifact, a link, or a Parquet file.

Place: command line, recipe -> [dataset] -> data's steps. Contract: what is no artifact goes into
the address of what is made from it by its content, never by its path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ikusi.core.artifact import MANIFEST, Artifact, hash_data, hash_file, is_name
from ikusi.core.config import parse_override, set_dotted
from ikusi.core.errors import ConfigError, DataError
from ikusi.core.links import read_link
from ikusi.core.records import count_records, read_records
from ikusi.core.store import Store
from ikusi.core.types import Record
from ikusi.data.steps import RECORDS

_FILE = "records.parquet"


@dataclass(frozen=True)
class Dataset:
    """Records that can be read."""

    name: str
    """For people: the link's that it was found by, else as it was made."""
    path: Path
    """A Parquet file, or a folder of them."""
    artifact: Artifact | None = field(default=None, repr=False)
    """Where they are in the store, if they are."""

    def read(self, limit: int | None = None) -> Iterator[Record]:
        """Yield the records, in their order."""
        return read_records(self.path, limit=limit)

    def count(self) -> int:
        """Return how many there are."""
        return count_records(self.path)

    def inputs(self, role: str = "records") -> Mapping[str, str]:
        """Return the `inputs` of a `Spec` that reads them: none when they are no artifact."""
        return {role: self.artifact.address} if self.artifact else {}

    def config(self, role: str = "records") -> Mapping[str, Any]:
        """Return what a `Spec` says of them in its configuration: a hash if no artifact."""
        if self.artifact:
            return {}
        if self.path.is_dir():  # of what is read; their names say in which order
            files = sorted(self.path.glob("*.parquet"))
            return {role: hash_data([[file.name, hash_file(file)] for file in files])}
        return {role: hash_file(self.path)}


def records_of(payload: Path) -> Path:
    """Return where the records of an artifact are.

    Raises:
        DataError: it holds none.
    """
    for path in (payload / RECORDS, payload / _FILE):
        if path.exists():
            return path
    raise DataError(
        f"{payload}: holds no records. Give what `ikusi import`, `translate` or `filter` made."
    )


def find_artifact(name: str, store: Store, runs: Path | None = None) -> Artifact:
    """Return the artifact that `name` means, its payload checked.

    Args:
        name: a link or an artifact's folder, the name of a link below `<runs>/data`, or what a
            store knows (`Store.locate`).
        store: where addresses are looked up.
        runs: where verbs put their links; None looks at none of them.

    Raises:
        StoreError: there is nothing of this name.
        CorruptArtifact: it is not what was written.
    """
    return store.resolve(find_link(name, runs) or name)


def find_link(name: str, runs: Path | None) -> Path | None:
    """Return the link that `name` is, or that it means as the name of one below `<runs>/data`."""
    path = Path(name)
    if read_link(path) is not None:
        return path
    if runs is None or path.name != name or (path / MANIFEST).exists():
        return None
    link = runs / "data" / name
    return link if read_link(link) is not None else None


def _of_records(dataset: Dataset) -> Dataset:
    """Return it when its first record can be read: anybody's file can have this name."""
    next(dataset.read(limit=1), None)
    return dataset


def open_dataset(name: str, store: Store, runs: Path | None = None) -> Dataset:
    """Return the records that `name` means: a Parquet file, a folder of them, or an artifact.

    Args:
        name: as in `find_artifact`, or a path.
        store: where addresses are looked up.
        runs: where verbs put their links.

    Raises:
        StoreError: there is nothing of this name.
        CorruptArtifact: it is not what was written.
        DataError: it holds no records, or is damaged.
    """
    path = Path(name)
    if path.suffix == ".parquet" and path.is_file():
        return _of_records(Dataset(path.stem, path))
    # A folder that is there is meant rather than an artifact whose address begins like its name;
    # one of the store's own has to be checked, and may be damaged.
    if read_link(path) is None and not (path / MANIFEST).exists() and any(path.glob("*.parquet")):
        return _of_records(Dataset(path.resolve().name, path))
    link = find_link(name, runs)
    artifact = store.resolve(link or name)
    shown = link.name if link and is_name(link.name) else artifact.manifest.name
    return Dataset(shown, records_of(artifact.path), artifact)


def joined_name(datasets: Iterable[Dataset], otherwise: str) -> str:
    """Return a name, fit for an address, for what is made of several sets; else `otherwise`."""
    text = "+".join(dict.fromkeys(dataset.name for dataset in datasets))
    return re.sub(r"[^A-Za-z0-9._+@=,-]", "-", text)[:60].strip(".,-_+@=") or otherwise


def split_arguments(
    arguments: Sequence[str], settings: Mapping[str, Any], verb: str
) -> tuple[list[str], dict[str, Any]]:
    """Return the names among a verb's arguments, and `settings` changed by its `key=value`.

    Raises:
        ConfigError: nothing is named.
    """
    names = [text for text in arguments if "=" not in text or Path(text).exists()]
    changed = dict(settings)
    for text in arguments:
        if text not in names:
            changed = set_dotted(changed, *parse_override(text))
    if not names:
        raise ConfigError(f"{verb}: no records are named. `ikusi store ls import` lists some.")
    return names, changed
