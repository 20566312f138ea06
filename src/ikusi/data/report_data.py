"""What a report on a data set says: counts, lengths, samples of what was kept and of what was not.

Place: store -> [report_data] -> report. Contract: one pass over the records and one over each
ledger, constant memory; samples are drawn by a hash of their names, so they are the same each time
and nobody chose them.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ikusi.core import log
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.core.types import Record
from ikusi.data.dataset import Dataset
from ikusi.data.history import History, Pictures, Step, trace
from ikusi.data.steps import read_drops

PICTURES = 24
"""Pictures that are shown."""
DROPS = 4
"""Rows that are shown of each reason."""
_PER_OCTAVE = 4  # of the lengths' histogram: a bin is 19% wide


@dataclass
class Lengths:
    """Lengths of texts in characters, in bins that grow with them."""

    bins: Counter[int] = field(default_factory=Counter)

    def add(self, characters: int) -> None:
        """Count a text."""
        self.bins[int(_PER_OCTAVE * math.log2(characters)) if characters else -1] += 1

    def quantile(self, share: float) -> int:
        """Return about which length `share` of the texts stay below."""
        left = share * sum(self.bins.values())
        for number in sorted(self.bins):
            left -= self.bins[number]
            if left <= 0:
                return middle(number)
        return 0


def middle(number: int) -> int:
    """Return a bin's length in characters."""
    return round(2 ** ((number + 0.5) / _PER_OCTAVE)) if number >= 0 else 0


@dataclass
class LanguageCounts:
    """What there is in one language."""

    records: int = 0
    pictured: int = 0
    turns: int = 0
    asked: Lengths = field(default_factory=Lengths)
    """Texts of users."""
    answered: Lengths = field(default_factory=Lengths)
    """Texts of assistants."""


@dataclass(frozen=True)
class DropSample:
    """Rows that one step dropped for one reason."""

    step: Step
    reason: str
    count: int
    rows: tuple[dict[str, str], ...]
    """Of the ledger; those whose hash is least."""


@dataclass
class DataReport:
    """All that a report on a data set says."""

    name: str
    history: History
    pictures: Pictures
    languages: dict[str, LanguageCounts] = field(default_factory=dict)
    by_source: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """(source, language, licence, provenance) -> records."""
    groups: dict[str, list[Record]] = field(default_factory=dict)
    """Some groups with pictures -> their records, and those that they were translated from."""
    drops: list[DropSample] = field(default_factory=list)

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(counts.records for counts in self.languages.values())


def gather(dataset: Dataset, store: Store) -> DataReport:
    """Read a data set and what is behind it."""
    history = trace([dataset], store)
    report = DataReport(dataset.name, history, Pictures(history))
    groups = Lowest(PICTURES)
    with log.track("read the data set", dataset.count()) as advance:
        for record in dataset.read():
            _count(report, record)
            if any(image.sha256 in report.pictures for image in record.images):
                groups.offer(record.group, record)
            advance()
    report.groups = groups.found
    _add_parents(report, dataset)
    for step in history.steps:
        if step.ledger and step.dropped:
            report.drops += _drops(step)
    return report


def _count(report: DataReport, record: Record) -> None:
    counts = report.languages.setdefault(record.language, LanguageCounts())
    counts.records += 1
    counts.pictured += bool(record.images)
    counts.turns += len(record.turns)
    for turn in record.turns:
        if turn.role == "user":
            counts.asked.add(len(turn.text))
        elif turn.role == "assistant":
            counts.answered.add(len(turn.text))
    key = record.source, record.language, record.licence, record.provenance
    report.by_source[key] += 1


class Lowest:
    """Keeps what belongs to the names with the lowest hashes."""

    def __init__(self, names: int) -> None:
        """Keep so many names."""
        self._names = names
        self._hashes: dict[str, bytes] = {}
        self._worst = b""
        self.found: dict[str, list[Record]] = {}

    def offer(self, name: str, record: Record) -> None:
        """Keep `record` as long as `name` is among the lowest."""
        if name in self.found:
            self.found[name].append(record)
            return
        digest = _hash(name)
        if len(self.found) == self._names:
            if digest >= self._worst:
                return
            out = max(self._hashes, key=self._hashes.__getitem__)
            del self._hashes[out], self.found[out]
        self.found[name] = [record]
        self._hashes[name] = digest
        self._worst = max(self._hashes.values())


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _add_parents(report: DataReport, dataset: Dataset) -> None:
    """Put before each record that is shown the one that it was translated from."""
    shown = [record for records in report.groups.values() for record in records]
    wanted = {record.parent for record in shown} - {None, *(record.id for record in shown)}
    parents: dict[str | None, Record] = {}
    for step in report.history.steps:
        if step.records is None or step.artifact == dataset.artifact or not wanted:
            continue
        for record in read_records(step.records):
            if record.id in wanted:
                wanted.discard(record.id)
                parents[record.id] = record
                if not wanted:
                    break
    for group, records in report.groups.items():
        found = [parents[r.parent] for r in records if r.parent in parents]
        report.groups[group] = _unique([*found, *records])


def _unique(records: Iterable[Record]) -> list[Record]:
    return list({(record.id, record.language): record for record in records}.values())


def _drops(step: Step) -> list[DropSample]:
    kept: dict[str, dict[bytes, dict[str, str]]] = defaultdict(dict)
    for row in read_drops(step.artifact.path):
        rows = kept[row["reason"]]
        rows[_hash(row["id"] + row["content"])] = row
        if len(rows) > DROPS:
            del rows[max(rows)]
    return [
        DropSample(step, reason, count, tuple(row for _, row in sorted(kept[reason].items())))
        for reason, count in sorted(step.dropped.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
