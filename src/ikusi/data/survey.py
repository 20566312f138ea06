"""What is in data sets before they are published: rows by split, licence, language and origin.

Place: records -> [survey] -> publish, dataset card. Contract: one pass, constant memory, and
nothing is left out of its counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ikusi.core import log
from ikusi.core.types import Image, Record, Text
from ikusi.data.dataset import Dataset
from ikusi.data.history import Pictures
from ikusi.data.licences import RowsUnder

REVIEW = "review"
"""Kind of the artifacts that hold what people have corrected."""
NATIVE = "native"
TRAIN = "train"
_SAMPLES = 3


@dataclass
class Survey:
    """Counts over all records of some data sets."""

    rows: int = 0
    benchmark: bool = True
    """Whether every record has answers or options to be judged by."""
    by_split: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """(language, reviewed) -> rows."""
    by_source: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(source, licence, language) -> rows."""
    by_writer: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(provenance, language) -> rows."""
    by_task: Counter[str] = field(default_factory=Counter)
    under: dict[tuple[str, str, str, bool], tuple[int, str]] = field(default_factory=dict)
    """(licence, source, provenance, derived) -> rows, id of the first."""
    pictured: int = 0
    """Rows with a picture."""
    no_url: int = 0
    """References to pictures that have no address."""
    absent: int = 0
    """References to pictures that no artifact has."""
    first_absent: str = ""
    """Record of the first of those."""
    samples: dict[tuple[str, bool], list[Record]] = field(default_factory=dict)
    """The first records of each split."""

    def licences(self) -> Iterator[RowsUnder]:
        """Yield the rows by licence and origin, the most first."""
        for key, (count, first) in sorted(self.under.items(), key=lambda pair: -pair[1][0]):
            licence, source, provenance, derived = key
            yield RowsUnder(licence, source, provenance, derived, count, first)

    @property
    def languages(self) -> list[str]:
        """Codes, the most rows first."""
        counts: Counter[str] = Counter()
        for (language, _), number in self.by_split.items():
            counts[language] += number
        return [language for language, _ in counts.most_common()]

    def splits(self, benchmark: bool) -> dict[str, list[tuple[str, bool]]]:
        """Return split -> the (language, reviewed) that are in it, in the order of `by_split`."""
        found: dict[str, list[tuple[str, bool]]] = {}
        for key in self.by_split:
            found.setdefault(split_name(*key, benchmark), []).append(key)
        return found


def split_name(language: str, reviewed: bool, benchmark: bool) -> str:
    """Return the split of a record: `eu`, `eu_reviewed`, or `train` in what is no benchmark."""
    if not benchmark:
        return TRAIN
    name = re.sub(r"\W", "_", language) or "und"  # `pt-BR` is no name of a split
    return f"{name}_reviewed" if reviewed else name


def is_reviewed(dataset: Dataset) -> bool:
    """Return whether people have corrected the records."""
    return dataset.artifact is not None and dataset.artifact.kind == REVIEW


def is_derived(record: Record) -> bool:
    """Return whether a record's text was made from another one's, or by a machine."""
    return record.parent is not None or record.provenance not in ("", NATIVE)


def survey(datasets: Sequence[Dataset], pictures: Pictures) -> Survey:
    """Read all records once and return what is in them."""
    found = Survey()
    total = sum(dataset.count() for dataset in datasets)
    with log.track("look at the rows", total) as advance:
        for dataset in datasets:
            reviewed = is_reviewed(dataset)
            for record in dataset.read():
                _count(found, record, reviewed, pictures)
                advance()
    found.benchmark = found.benchmark and found.rows > 0
    return found


def _count(found: Survey, record: Record, reviewed: bool, pictures: Pictures) -> None:
    found.rows += 1
    found.benchmark = found.benchmark and bool(record.answers or record.choices)
    split = record.language, reviewed
    found.by_split[split] += 1
    found.by_source[record.source, record.licence, record.language] += 1
    found.by_writer[record.provenance or NATIVE, record.language] += 1
    found.by_task[record.task] += 1
    key = record.licence, record.source, record.provenance, is_derived(record)
    count, first = found.under.get(key, (0, record.id))
    found.under[key] = count + 1, first
    found.pictured += bool(record.images)
    for image in record.images:
        found.no_url += image.url is None
        if image.sha256 not in pictures:
            found.absent += 1
            found.first_absent = found.first_absent or record.id
    kept = found.samples.setdefault(split, [])
    if len(kept) < _SAMPLES:
        kept.append(record)


def conversation(record: Record, max_turns: int = 6, max_characters: int = 600) -> str:
    """Return a record's turns as plain text, a line a turn, pictures as `[picture]`."""
    lines = []
    for turn in islice(record.turns, max_turns):
        text = "".join(
            part.text if isinstance(part, Text) else f"[{_picture_name(record, part)}] "
            for part in turn.parts
        )
        short = text if len(text) <= max_characters else f"{text[:max_characters]}…"
        lines.append(f"{turn.role}: {short}")
    if len(record.turns) > max_turns:
        lines.append(f"… {len(record.turns) - max_turns} more turns")
    if record.choices:
        lines.append(f"choices: {' | '.join(record.choices)}")
    if record.answers:
        lines.append(f"answers: {' | '.join(record.answers[:5])}")
    return "\n".join(lines)


def _picture_name(record: Record, part: Image) -> str:
    return "picture" if len(record.images) < 2 else f"picture {part.index + 1}"
