"""What a data set went through: every step behind it, with what came in, went on and was dropped.

Place: store -> [history] -> dataset card, data report. Contract: read from manifests and stats
alone; a step that is not in the store any more is named, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ikusi.core.artifact import Artifact
from ikusi.core.store import Store
from ikusi.data.dataset import Dataset, records_of
from ikusi.data.images import ImageReader
from ikusi.data.steps import DROPPED, RECORDS

IMAGES = "images"
"""Folder of an artifact that holds pictures."""
_FLOW = ("read", "kept", "dropped", "records")


@dataclass(frozen=True)
class Step:
    """An artifact behind a data set."""

    artifact: Artifact
    read: int | None
    """Rows that came in; None where it did not count them."""
    kept: int | None
    """Records that went on."""
    dropped: Mapping[str, int]
    """Reason -> rows."""
    measured: Mapping[str, Any]
    """What else it told about itself."""
    inputs: tuple[str, ...]
    """Addresses of what it was made from, those that are gone included."""

    @property
    def name(self) -> str:
        """Kind and readable name."""
        return f"{self.artifact.kind} {self.artifact.manifest.name}"

    @property
    def records(self) -> Path | None:
        """Where its records are, if it has any."""
        has = (self.artifact.path / RECORDS).is_dir()
        has = has or (self.artifact.path / f"{RECORDS}.parquet").is_file()
        return records_of(self.artifact.path) if has else None

    @property
    def ledger(self) -> bool:
        """Whether it says what it dropped."""
        return (self.artifact.path / DROPPED).is_dir()


@dataclass(frozen=True)
class History:
    """All steps behind some data sets, inputs first."""

    steps: tuple[Step, ...]
    gone: tuple[str, ...]
    """Addresses of inputs that the store lacks."""

    @property
    def last(self) -> tuple[Step, ...]:
        """The steps from which nothing else here was made."""
        used = {address for step in self.steps for address in step.inputs}
        return tuple(step for step in self.steps if step.artifact.address not in used)


def trace(datasets: Iterable[Dataset], store: Store) -> History:
    """Return what the data sets went through; those that are no artifacts have no history."""
    steps: dict[str, Step] = {}
    gone: dict[str, None] = {}

    def add(artifact: Artifact, home: Store) -> None:
        found = []
        for _, address in sorted(artifact.manifest.inputs.items()):
            source = home.find(address)
            found.append(source.address if source else address)
            if source is None:
                gone.setdefault(address)
            elif source.address not in steps:
                add(source, home)
        steps[artifact.address] = _step(artifact, tuple(dict.fromkeys(found)))

    for dataset in datasets:
        if dataset.artifact is not None and dataset.artifact.address not in steps:
            home = dataset.artifact.store_root  # a link may lead into another store
            add(dataset.artifact, store if home == store.root else Store(home))
    return History(tuple(steps.values()), tuple(gone))


def _step(artifact: Artifact, inputs: tuple[str, ...]) -> Step:
    stats = artifact.stats
    dropped = stats.get("dropped")
    return Step(
        artifact,
        _count(stats.get("read")),
        _count(stats.get("kept", stats.get("records"))),
        {str(k): int(v) for k, v in dropped.items()} if isinstance(dropped, Mapping) else {},
        {key: value for key, value in stats.items() if key not in _FLOW},
        inputs,
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Pictures:
    """The pictures of all artifacts behind some data sets."""

    def __init__(self, history: History) -> None:
        """Map what is there; reads no picture."""
        self.artifacts = tuple(
            step.artifact for step in history.steps if (step.artifact.path / IMAGES).is_dir()
        )
        self._readers = [ImageReader(artifact.path / IMAGES) for artifact in self.artifacts]

    def read(self, sha256: str | None) -> bytes | None:
        """Return a picture's bytes, None when no artifact has it."""
        for reader in self._readers:
            if sha256 in reader:
                assert sha256 is not None
                return reader.read(sha256)
        return None

    def __contains__(self, sha256: object) -> bool:
        """Return whether a picture is there."""
        return any(sha256 in reader for reader in self._readers)


def measured_numbers(step: Step) -> dict[str, str]:
    """Return the numbers that a step told about itself, those one level down as `quality.chrf`.

    What was counted is exact; what was measured has four digits.
    """
    found: dict[str, str] = {}
    for key, value in step.measured.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, number in inner:
            if isinstance(number, int | float) and not isinstance(number, bool):
                shown = f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"
                found[f"{key}.{name}" if name else key] = shown
    return found
