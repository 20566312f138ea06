"""Mixtures: nested, paired, and exact to the record.

Place: records -> [mix] -> train. Works on columns (group and record count per language); records
are only picked at the end. Contract:

- a *unit* is a group, such as a picture with all its questions. Units that exist in both languages
  are ranked once by a seeded hash; the first `round(target_share * N)` records take the target
  version, the rest the pivot's. So the target records of a 20% mixture are among those of the 50%
  one, and two mixtures that differ only in the share hold the same pictures in the same order.
- where a part's `sources` have shares of their own, units are ranked within their source, and the
  sources take turns: then the first of them, however many, hold the sources in these shares.
- units without a pair are left out and counted, except through `pivot_only`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ikusi.core.config import Settings
from ikusi.core.errors import ConfigError, suggest
from ikusi.core.types import Record

Modality = Literal["multimodal", "text"]


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
class _Unit:
    rank: str
    group: str
    size: int
    source: str


def mix(
    pools: Mapping[Modality, Mapping[str, Sequence[Record]]],
    pivot_only: Sequence[Record],
    settings: MixtureSettings,
    pivot: str,
    target: str,
    seed: int,
) -> tuple[list[Record], MixtureReport]:
    """Return the ordered mixture and what it came to.

    Args:
        pools: modality -> language -> records.
        pivot_only: records that only the pivot has.
        settings: the mixture.
        pivot: language code.
        target: language code.
        seed: of the ranking and the order.

    Raises:
        ConfigError: a part cannot be filled; says how many records it lacks.
    """
    wanted = count_parts(settings)
    report = MixtureReport()
    chosen: list[Record] = []
    visual = settings.multimodal.sources if settings.multimodal else {}
    sizes: tuple[tuple[Modality, int, int, Mapping[str, float]], ...] = (
        ("multimodal", wanted.multimodal, wanted.multimodal_target, visual),
        ("text", wanted.text, wanted.text_target, settings.text.sources),
    )
    for part, count, target_count, sources in sizes:
        pool = pools.get(part, {})
        pivots, targets = _by_group(pool.get(pivot, ())), _by_group(pool.get(target, ()))
        units = _paired_units(pivots, targets, seed, part, report)
        pairs = f"in both {pivot!r} and {target!r}"
        taken = _fill_sources(units, count, sources, f"mixture: {part}", pairs)
        in_target = _first(taken, target_count)
        for unit in taken:
            chosen.extend((targets if unit.group in in_target else pivots)[unit.group])
    alone = _by_group(pivot_only)
    units = [_unit(seed, "pivot_only", group, found) for group, found in alone.items()]
    for unit in _fill(units, wanted.pivot_only, "mixture: pivot_only", pairs=f"in {pivot!r} alone"):
        chosen.extend(alone[unit.group])
    if settings.only == "target":
        chosen = [record for record in chosen if record.language == target]
        if not chosen:
            raise ConfigError("mixture: `only: target` leaves nothing; raise a target_share.")
    for record in chosen:
        kind = "multimodal" if record.images else "text"
        for counts, key in ((report.counts, kind), (report.sources, record.source)):
            counter = counts.setdefault(key, {})
            counter[record.language] = counter.get(record.language, 0) + 1
    # The order depends on the groups alone, so that two languages' mixtures are in step.
    chosen.sort(key=lambda record: (_hash(seed, "order", record.group), record.id))
    return chosen, report


def _apportion(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Cut `count` into whole parts in these shares, by the largest remainders."""
    exact = {name: count * share / sum(shares.values()) for name, share in shares.items()}
    parts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: parts[name] - exact[name])
    for name in by_remainder[: count - sum(parts.values())]:
        parts[name] += 1
    return parts


def _by_group(records: Sequence[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    return groups


def _paired_units(
    pivots: Mapping[str, list[Record]],
    targets: Mapping[str, list[Record]],
    seed: int,
    part: str,
    report: MixtureReport,
) -> list[_Unit]:
    both = pivots.keys() & targets.keys()
    report.unpaired[part] = len(pivots.keys() ^ targets.keys())
    equal = [group for group in both if len(pivots[group]) == len(targets[group])]
    report.unequal[part] = len(both) - len(equal)
    return [_unit(seed, part, group, pivots[group]) for group in equal]


def _unit(seed: int, part: str, group: str, records: Sequence[Record]) -> _Unit:
    return _Unit(_hash(seed, part, group), group, len(records), records[0].source)


def _fill_sources(
    units: Sequence[_Unit], count: int, sources: Mapping[str, float], where: str, pairs: str
) -> list[_Unit]:
    """Take units to exactly `count` records, from each source its share; in turns."""
    if not sources:
        return _fill(units, count, where, pairs)
    turns: list[tuple[float, _Unit]] = []
    for source, wanted in _apportion(count, sources).items():
        own = [unit for unit in units if unit.source == source]
        filled = 0
        for unit in _fill(own, wanted, f"{where}.sources.{source}", pairs):
            turns.append(((filled + unit.size / 2) / wanted, unit))
            filled += unit.size
    return [unit for _, unit in sorted(turns, key=lambda turn: (turn[0], turn[1].rank))]


def _fill(units: Sequence[_Unit], count: int, where: str, pairs: str) -> list[_Unit]:
    """Take units by rank until they hold exactly `count` records; one too large is passed over."""
    taken: list[_Unit] = []
    left = count
    for unit in sorted(units, key=lambda unit: unit.rank):
        if left == 0:
            break
        if unit.size <= left:
            taken.append(unit)
            left -= unit.size
    if left:
        there = sum(unit.size for unit in units)
        wanted = f"{where}: {count:,} records are wanted, and {there:,} exist {pairs}"
        if there >= count:
            raise ConfigError(
                f"{wanted}, but in whole groups (a picture with all its questions), of which none "
                f"is small enough for the last {left:,}. Change mixture.budget.samples a little."
            )
        raise ConfigError(
            f"{wanted}: {left:,} are missing. Lower mixture.budget.samples, or add data."
        )
    return taken


def _first(units: Sequence[_Unit], count: int) -> set[str]:
    """Return the groups of the longest run of first units that holds at most `count` records.

    No unit is passed over, or a smaller share's units would not be among a larger one's; so a
    share is exact where a unit ends at it, and short by less than one unit elsewhere.
    """
    groups: set[str] = set()
    for unit in units:
        if unit.size > count:
            break
        groups.add(unit.group)
        count -= unit.size
    return groups


def _hash(seed: int, part: str, group: str) -> str:
    return hashlib.sha256(f"{seed}\x1f{part}\x1f{group}".encode()).hexdigest()
