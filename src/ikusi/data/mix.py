"""Mixtures: nested, paired, and exact to the record.

Place: records -> [mix] -> train. The choice is made on columns (mix_columns.py); the chosen
records are read once, and given in the mixture's order (mix_order.py). Contract:

- a *unit* is a group, such as a picture with all its questions. Units that exist in both languages
  are ranked once by a seeded hash; the first `round(target_share * N)` records take the target
  version, the rest the pivot's. So the target records of a 20% mixture are among those of the 50%
  one, and two mixtures that differ only in the share hold the same pictures in the same order.
- where a part's `sources` have shares of their own, units are ranked within their source, and the
  sources take turns: then the first of them, however many, hold the sources in these shares.
- units without a pair are left out and counted, except through `pivot_only`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ikusi.core.config import Settings
from ikusi.core.errors import ConfigError, suggest
from ikusi.core.types import Record
from ikusi.data.mix_columns import Columns, Integers, Reader, Reading, no_records
from ikusi.data.mix_order import Chosen, in_order


class Budget(Settings):
    """How much of everything."""

    samples: int = Field(gt=0)
    """Records in the mixture."""


class _BySource(Settings):
    sources: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """Source -> its share of this part; they add up to 1. Left out: all sources as they come."""

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: dict[str, float]) -> dict[str, float]:
        if sources and abs(sum(sources.values()) - 1) > 1e-3:  # 0.333 three times is meant well
            raise ValueError(f"the shares add up to {sum(sources.values()):g}, and not to 1")
        return sources


class MultimodalPart(_BySource):
    """The records with pictures: what the other parts leave of the budget."""

    target_share: float = Field(ge=0, le=1)
    """Share of them in the target language, from 0 to 1. The paper finds 0.2 enough."""


class TextPart(_BySource):
    """The text-only records."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of the mixture, from 0 to 1."""
    target_share: float = Field(default=0.5, ge=0, le=1)
    """Share of them in the target language."""


class PivotOnlyPart(Settings):
    """Records that exist in the pivot language alone, such as the transfer probe's pictures."""

    share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the mixture, from 0 to 1."""


class MixtureSettings(Settings):
    """Language x modality x source."""

    foreign_keys: ClassVar[Mapping[str, str]] = {"mixing_ratio": "multimodal", "ratio": "share"}

    budget: Budget
    """Size of the mixture."""
    multimodal: MultimodalPart | None = None
    """Records with pictures; may be left out where `text.share` is 1."""
    text: TextPart = TextPart()
    """Text-only records."""
    pivot_only: PivotOnlyPart = PivotOnlyPart()
    """Records without a pair."""
    only: Literal["target"] | None = None
    """Keep the target language's records of this mixture alone: the control for what the pivot's
    records add."""


@dataclass(frozen=True, slots=True)
class PartCounts:
    """How many records the parts of a mixture are to hold."""

    multimodal: int
    multimodal_target: int
    """How many of them in the target language."""
    text: int
    text_target: int
    pivot_only: int

    def kept(self, settings: MixtureSettings) -> int:
        """Return how many records the mixture comes to, where each unit is one record."""
        if settings.only == "target":
            return self.multimodal_target + self.text_target
        return self.multimodal + self.text + self.pivot_only


def count_parts(settings: MixtureSettings) -> PartCounts:
    """Return how many records each part is to hold.

    Raises:
        ConfigError: the shares contradict each other.
    """
    total = settings.budget.samples
    if settings.text.share + settings.pivot_only.share > 1:
        raise ConfigError(
            "mixture: text.share and pivot_only.share add up to more than 1. Lower one of them."
        )
    text = round(total * settings.text.share)
    pivot_only = min(round(total * settings.pivot_only.share), total - text)
    multimodal = total - text - pivot_only
    if multimodal and settings.multimodal is None:
        raise ConfigError("mixture: say multimodal.target_share, or set text.share to 1.")
    share = settings.multimodal.target_share if settings.multimodal else 0.0
    return PartCounts(
        multimodal=multimodal,
        multimodal_target=round(share * multimodal),
        text=text,
        text_target=round(settings.text.target_share * text),
        pivot_only=pivot_only,
    )


def check_supply(
    settings: MixtureSettings,
    supply: Mapping[str, tuple[int, str]],
    where: str,
    key: str,
    sets: Mapping[str, Sequence[str]],
) -> None:
    """Check before anything is made that sets of a known size can fill a mixture.

    Args:
        settings: the mixture.
        supply: part -> how many records its set will hold, and the key that says so.
        where: the recipe's name, for the message.
        key: the mixture's own key in it.
        sets: part -> the sources that its records come from.

    Raises:
        ConfigError: says which set is too small, for how many, and which key to change.
    """
    place = f"{where}: {key}"
    try:
        counts = count_parts(settings)
    except ConfigError as error:
        raise ConfigError(f"{place}: {str(error).removeprefix('mixture: ')}") from None
    for part in ("multimodal", "text", "pivot_only"):
        wanted = getattr(counts, part)
        of_part = getattr(settings, part)
        for name in getattr(of_part, "sources", None) or ():
            if name not in sets.get(part, ()):
                raise ConfigError(
                    f"{place}: {part}.sources: no set {name!r} here. "
                    f"{suggest(name, sets.get(part, ()))}"
                )
        if wanted and part not in supply:
            change = "text.share to 1" if part == "multimodal" else f"{part}.share to 0"
            raise ConfigError(
                f"{place}: {part}: {wanted:,} records are wanted, and there is no such set here. "
                f"Set {key}.{change}."
            )
        there, source = supply.get(part, (0, ""))
        if wanted > there:
            raise ConfigError(
                f"{place}: {part}: {wanted:,} records are wanted, and {source} makes {there:,}. "
                f"Set {source}={wanted} or more, or lower {key}.budget.samples."
            )
    if not counts.kept(settings):
        raise ConfigError(f"{place}: `only: target` leaves nothing. Raise a target_share.")


@dataclass
class MixtureReport:
    """What a mixture came to, in records: by modality or source and language; what was left out."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    unpaired: dict[str, int] = field(default_factory=dict)
    unequal: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Units:
    """Groups that a part may hold, by rank."""

    groups: Integers
    """Their numbers."""
    sizes: Integers
    """How many records each holds, in either language."""
    labels: Integers
    """Of the first record of each, in the pivot."""

    def __getitem__(self, places: Integers) -> _Units:
        return _Units(self.groups[places], self.sizes[places], self.labels[places])


def mix(
    pools: Mapping[str, Mapping[str, Reader]],
    settings: MixtureSettings,
    pivot: str,
    target: str,
    seed: int,
    scratch: Path,
) -> tuple[Iterator[Record], MixtureReport]:
    """Choose a mixture; return its records in their order, to be read once, and what it came to.

    Args:
        pools: part (`multimodal`, `text`, `pivot_only`) -> language -> records.
        settings: the mixture.
        pivot: language code.
        target: language code.
        seed: of the ranking and the order.
        scratch: a file that may be written while the records are read, and is removed.

    Raises:
        ConfigError: a part cannot be filled; says how many records it lacks.
        DataError: a pool cannot be read.
    """
    wanted = count_parts(settings)
    report = MixtureReport()
    visual = settings.multimodal.sources if settings.multimodal else {}
    sizes: tuple[tuple[str, int, int, Mapping[str, float]], ...] = (
        ("multimodal", wanted.multimodal, wanted.multimodal_target, visual),
        ("text", wanted.text, wanted.text_target, settings.text.sources),
    )
    reading = Reading(seed)
    for part, *_ in sizes:
        pool = pools.get(part, {})
        # The target's units need no rank: they are chosen by their pairs'.
        reading.add((part, pivot), pool.get(pivot, no_records), ranked=True)
        reading.add((part, target), pool.get(target, no_records))
    alone = ("pivot_only", pivot)
    reading.add(alone, pools.get("pivot_only", {}).get(pivot, no_records), ranked=True)
    columns = reading.done()

    chosen: list[Chosen] = []
    everything = settings.only is None
    kept = np.array([everything or label.language == target for label in columns.labels], bool)

    def choose(pool: tuple[str, str], groups: Integers) -> None:
        """Take all records of these groups that are in a pool."""
        found = columns.pools[pool]
        among = np.zeros(columns.num_groups, bool)
        among[groups] = True
        taken = among[found.groups] & kept[found.labels]
        chosen.append(Chosen(found.read, np.where(taken, found.groups, -1)))
        _count(report, columns, found.labels[taken])

    for part, count, target_count, sources in sizes:
        units = _paired_units(columns, (part, pivot), (part, target), report)
        pairs = f"in both {pivot!r} and {target!r}"
        places = _fill_sources(units, count, sources, columns, f"mixture: {part}", pairs)
        taken = units[places]
        in_target = int(np.searchsorted(np.cumsum(taken.sizes), target_count, side="right"))
        # No unit is passed over, or a smaller share's units would not be among a larger one's; so
        # a share is exact where a unit ends at it, and short by less than one unit elsewhere.
        choose((part, pivot), taken.groups[in_target:])
        choose((part, target), taken.groups[:in_target])
    units = _units(columns, alone, columns.sizes(alone) > 0)
    places = _fill(units, wanted.pivot_only, "mixture: pivot_only", pairs=f"in {pivot!r} alone")
    choose(alone, units.groups[places])
    if not report.counts:
        raise ConfigError("mixture: `only: target` leaves nothing; raise a target_share.")
    # The order depends on the groups alone, so that two languages' mixtures are in step.
    return in_order(chosen, columns.num_groups, scratch), report


def _count(report: MixtureReport, columns: Columns, labels: Integers) -> None:
    counts = np.bincount(labels, minlength=len(columns.labels))
    for label, count in zip(columns.labels, counts.tolist(), strict=True):
        if count:
            kind = "multimodal" if label.pictured else "text"
            for told, key in ((report.counts, kind), (report.sources, label.source)):
                counter = told.setdefault(key, {})
                counter[label.language] = counter.get(label.language, 0) + count


def _apportion(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Cut `count` into whole parts in these shares, by the largest remainders."""
    exact = {name: count * share / sum(shares.values()) for name, share in shares.items()}
    parts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: parts[name] - exact[name])
    for name in by_remainder[: count - sum(parts.values())]:
        parts[name] += 1
    return parts


def _paired_units(
    columns: Columns, pivot: tuple[str, str], target: tuple[str, str], report: MixtureReport
) -> _Units:
    pivots, targets = columns.sizes(pivot), columns.sizes(target)
    both = (pivots > 0) & (targets > 0)
    report.unpaired[pivot[0]] = int(((pivots > 0) ^ (targets > 0)).sum())
    equal = both & (pivots == targets)
    report.unequal[pivot[0]] = int(both.sum() - equal.sum())
    return _units(columns, pivot, equal)


def _units(columns: Columns, pool: tuple[str, str], which: NDArray[np.bool_]) -> _Units:
    found = columns.pools[pool]
    groups = np.flatnonzero(which)
    groups = groups[np.argsort(found.ranks[groups])]
    first = np.zeros(columns.num_groups, np.int32)
    first[found.groups[::-1]] = found.labels[::-1]  # of several values, the last one stays
    return _Units(groups, columns.sizes(pool)[groups], first[groups])


def _fill_sources(
    units: _Units,
    count: int,
    sources: Mapping[str, float],
    columns: Columns,
    where: str,
    pairs: str,
) -> Integers:
    """Take units to exactly `count` records, from each source its share; in turns."""
    if not sources:
        return _fill(units, count, where, pairs)
    labels = np.array([label.source for label in columns.labels], object)
    turns, places = [np.empty(0)], [np.empty(0, np.int64)]
    for source, wanted in _apportion(count, sources).items():
        own = np.flatnonzero((labels == source)[units.labels])
        taken = own[_fill(units[own], wanted, f"{where}.sources.{source}", pairs)]
        sizes = units.sizes[taken]
        turns.append((np.cumsum(sizes) - sizes + sizes / 2) / wanted)
        places.append(taken)
    found = np.concatenate(places)
    return found[np.lexsort((found, np.concatenate(turns)))]


def _fill(units: _Units, count: int, where: str, pairs: str) -> Integers:
    """Take units by rank until they hold exactly `count` records; one too large is passed over."""
    taken = [np.empty(0, np.int64)]
    left, rest = count, np.arange(len(units.sizes))
    while left and len(rest):
        rest = rest[units.sizes[rest] <= left]
        ends = np.cumsum(units.sizes[rest])
        fit = int(np.searchsorted(ends, left, side="right"))
        taken.append(rest[:fit])
        left -= int(ends[fit - 1]) if fit else 0
        rest = rest[fit:]
    if left:
        there = int(units.sizes.sum())
        wanted = f"{where}: {count:,} records are wanted, and {there:,} exist {pairs}"
        if there >= count:
            raise ConfigError(
                f"{wanted}, but in whole groups (a picture with all its questions), of which none "
                f"is small enough for the last {left:,}. Change mixture.budget.samples a little."
            )
        raise ConfigError(
            f"{wanted}: {left:,} are missing. Lower mixture.budget.samples, or add data."
        )
    return np.concatenate(taken)
