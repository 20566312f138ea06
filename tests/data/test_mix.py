"""Mixtures are exact to the record, nested, and paired, whatever the pools and the settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ikusi.core.errors import ConfigError
from ikusi.core.records import RECORD_SCHEMA, to_batch
from ikusi.core.types import ImageRef, Record, assistant, user
from ikusi.data.mix import MixtureReport, MixtureSettings, check_supply, mix

PIVOT, TARGET = "en", "eu"
Pools = dict[str, dict[str, list[Record]]]
Mixed = tuple[list[Record], MixtureReport]


def records(part: str, language: str, groups: dict[str, int]) -> list[Record]:
    """Return `groups[name]` records of each group."""
    return [
        Record(
            id=f"{part}-{group}-{number}@{language}",
            group=f"{part}-{group}",
            turns=(user("?"), assistant("!")),
            language=language,
            task="chat",
            source=part,
            images=() if part == "text" else (ImageRef(sha256=f"{part}-{group}"),),
        )
        for group, size in groups.items()
        for number in range(size)
    ]


def pools_of(multimodal: dict[str, int], text: dict[str, int]) -> Pools:
    parts = {"multimodal": multimodal, "text": text}
    return {
        part: {language: records(part, language, groups) for language in (PIVOT, TARGET)}
        for part, groups in parts.items()
    }


def in_memory(
    pool: list[Record], columns: Sequence[str] | None, size: int = 32
) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(pool), size):
        batch = to_batch(pool[start : start + size])
        yield batch.select(columns or RECORD_SCHEMA.names)


def ones(count: int) -> dict[str, int]:
    return {f"g{number}": 1 for number in range(count)}


def mixed(pools: Pools, alone: list[Record] | None = None, seed: int = 0, **settings: Any) -> Mixed:
    made = MixtureSettings.parse(settings, "test")
    readers = {
        part: {language: partial(in_memory, pool) for language, pool in by_language.items()}
        for part, by_language in (pools | {"pivot_only": {PIVOT: alone or []}}).items()
    }
    chosen, report = mix(readers, made, PIVOT, TARGET, seed, Path("no", "such", "folder"))
    return list(chosen), report


def settings_of(
    samples: int, share: float, text: float = 0.0, text_target: float = 0.5, alone: float = 0.0
) -> dict[str, Any]:
    return {
        "budget": {"samples": samples},
        "multimodal": {"target_share": share},
        "text": {"share": text, "target_share": text_target},
        "pivot_only": {"share": alone},
    }


def in_target(chosen: list[Record]) -> set[str]:
    return {record.group for record in chosen if record.language == TARGET}


shares = st.floats(0, 1) | st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.8, 1.0])
samples = st.integers(1, 40)
seeds = st.integers(0, 5)


@given(samples, shares, shares, shares, st.floats(0, 0.99), seeds, st.integers(0, 9))
@example(3, 0.0, 0.5, 0.5, 0.5, 0, 0)
def test_every_part_is_exact_to_the_record(
    total: int, share: float, text: float, text_target: float, alone: float, seed: int, extra: int
) -> None:
    assume(text + alone <= 1)  # more is refused, below
    pools = pools_of(ones(total + extra), ones(total + extra))
    alone_records = records("probe", PIVOT, ones(total + extra))
    settings = settings_of(total, share, text, text_target, alone)
    chosen, report = mixed(pools, alone_records, seed, **settings)
    counts = Counter((record.source, record.language) for record in chosen)
    num_text, num_alone = round(total * text), round(total * alone)
    if num_text + num_alone > total:  # both were rounded up
        num_alone = total - num_text
    num_visual = total - num_text - num_alone
    target, text_in_target = round(share * num_visual), round(text_target * num_text)
    assert counts == +Counter(
        {
            ("multimodal", TARGET): target,
            ("multimodal", PIVOT): num_visual - target,
            ("text", TARGET): text_in_target,
            ("text", PIVOT): num_text - text_in_target,
            ("probe", PIVOT): num_alone,
        }
    )
    assert len({record.id for record in chosen}) == len({r.group for r in chosen}) == total
    told = {(part, code): n for part, by in report.counts.items() for code, n in by.items()}
    seen = Counter(("multimodal" if r.images else "text", r.language) for r in chosen)
    assert told == dict(seen)


@given(samples, st.lists(shares, min_size=2, max_size=4), shares, seeds)
def test_a_smaller_share_is_among_a_larger_one_over_the_same_pictures_in_the_same_order(
    total: int, several: list[float], text: float, seed: int
) -> None:
    pools = pools_of(ones(40), ones(40))
    cells = [mixed(pools, None, seed, **settings_of(total, s, text))[0] for s in sorted(several)]
    for smaller, larger in pairwise(cells):
        assert in_target(smaller) <= in_target(larger)
        assert [record.group for record in smaller] == [record.group for record in larger]
        assert [r for r in smaller if not r.images] == [r for r in larger if not r.images]


groups_of_any_size = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 4))


@given(groups_of_any_size, samples, st.lists(shares, min_size=2, max_size=3), seeds)
def test_groups_are_never_split_and_a_share_is_short_by_less_than_one(
    groups: dict[str, int], total: int, several: list[float], seed: int
) -> None:
    pools = pools_of(groups, {})
    try:
        cells = [mixed(pools, None, seed, **settings_of(total, s))[0] for s in sorted(several)]
    except ConfigError as error:
        there = sum(groups.values())
        if there < total:
            assert f"{there:,} exist" in str(error)
            assert f"{total - there:,} are missing" in str(error)
        else:
            assert "whole groups" in str(error)
        return
    for share, chosen in zip(sorted(several), cells, strict=True):
        assert len(chosen) == total
        counts = Counter(record.group for record in chosen)
        assert all(counts[f"multimodal-{group}"] in (0, size) for group, size in groups.items())
        assert len({(r.group, r.language) for r in chosen}) == len(counts)
        short = round(share * total) - sum(record.language == TARGET for record in chosen)
        left = [counts[record.group] for record in chosen if record.language == PIVOT]
        assert 0 <= short < max(left, default=1)
    for smaller, larger in pairwise(cells):
        assert in_target(smaller) <= in_target(larger)
        assert [record.group for record in smaller] == [record.group for record in larger]


@given(st.randoms(use_true_random=False), seeds)
def test_the_mixture_depends_on_the_seed_and_not_on_the_order_of_the_pools(
    random: Any, seed: int
) -> None:
    pools = pools_of(dict.fromkeys("abcdefghij", 2), ones(10))
    alone = records("probe", PIVOT, ones(5))
    settings = settings_of(20, 0.5, 0.2, 0.5, 0.1)
    wanted = mixed(pools, alone, seed, **settings)
    for by_language in pools.values():
        for pool in by_language.values():
            random.shuffle(pool)
    random.shuffle(alone)
    assert mixed(pools, alone, seed, **settings) == wanted
    assert mixed(pools, alone, seed + 1, **settings)[0] != wanted[0]


def test_the_order_mixes_languages_and_parts_and_the_seed_decides_who_takes_the_target() -> None:
    pools, settings = pools_of(ones(400), ones(400)), settings_of(400, 0.5, 0.5)
    chosen, _ = mixed(pools, None, **settings)
    assert len(in_target(chosen) & in_target(mixed(pools, None, 1, **settings)[0])) < 150
    for half in (chosen[:200], chosen[200:]):
        counts = Counter((bool(record.images), record.language) for record in half)
        assert len(counts) == 4
        assert min(counts.values()) > 25


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3))
def test_units_without_a_pair_are_left_out_and_counted(
    only_pivot: int, only_target: int, unequal: int
) -> None:
    pools = pools_of(ones(10), ones(4))
    multimodal = pools["multimodal"]
    multimodal[PIVOT] += records("multimodal", PIVOT, {f"p{i}": 1 for i in range(only_pivot)})
    multimodal[TARGET] += records("multimodal", TARGET, {f"t{i}": 2 for i in range(only_target)})
    multimodal[PIVOT] += records("multimodal", PIVOT, {f"u{i}": 1 for i in range(unequal)})
    multimodal[TARGET] += records("multimodal", TARGET, {f"u{i}": 2 for i in range(unequal)})
    chosen, report = mixed(pools, None, **settings_of(10, 0.5))
    assert {record.group for record in chosen} == {f"multimodal-g{i}" for i in range(10)}
    assert report.unpaired == {"multimodal": only_pivot + only_target, "text": 0}
    assert report.unequal == {"multimodal": unequal, "text": 0}
    with pytest.raises(ConfigError, match=r"11 records .* 10 exist in both .* 1 are missing"):
        mixed(pools, None, **settings_of(11, 0.5))


@given(samples, shares, shares, seeds)
def test_only_target_is_the_target_part_of_the_whole_mixture(
    total: int, share: float, text: float, seed: int
) -> None:
    pools, alone = pools_of(ones(40), ones(40)), records("probe", PIVOT, ones(40))
    settings = settings_of(total, share, text / 2, 0.5, 0.25)
    whole, _ = mixed(pools, alone, seed, **settings)
    kept = [record for record in whole if record.language == TARGET]
    if kept:
        assert mixed(pools, alone, seed, **settings, only="target")[0] == kept
    else:
        with pytest.raises(ConfigError, match="leaves nothing"):
            mixed(pools, alone, seed, **settings, only="target")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            settings_of(21, 0.2),
            r"multimodal: 21 records .* 20 exist in both 'en' and 'eu': 1 are m",
        ),
        (settings_of(1500, 0.2), r"1,500 records .* 20 exist .* 1,480 are missing.*budget"),
        (settings_of(20, 0.2, 0.5), r"text: 10 records are wanted, and 4 exist .*: 6 are missing"),
        (settings_of(20, 0.2, 0, 0, 0.5), r"pivot_only: 10 .* and 3 exist in 'en' alone: 7 are"),
        (settings_of(20, 0.2, 0.6, 0.5, 0.6), "add up to more than 1"),
        ({"budget": {"samples": 4}}, r"multimodal\.target_share"),
        (settings_of(0, 0.2), "samples"),
        (settings_of(4, 1.2), "target_share"),
    ],
)
def test_impossible_mixtures_say_what_is_missing(settings: dict[str, Any], message: str) -> None:
    alone = records("probe", PIVOT, ones(3))
    with pytest.raises(ConfigError, match=message):
        mixed(pools_of(ones(20), ones(4)), alone, **settings)


@given(samples, shares, shares, st.floats(0, 0.99), st.lists(st.integers(0, 40), min_size=3))
def test_a_plan_is_refused_exactly_when_the_mixture_would_be(
    total: int, share: float, text: float, alone: float, supply: list[int]
) -> None:
    settings = settings_of(total, share, text, 0.5, alone)
    pools = pools_of(ones(supply[0]), ones(supply[1]))
    parts = zip(("multimodal", "text", "pivot_only"), supply, strict=False)
    there = {part: (count, f"world.{part}") for part, count in parts}
    outcomes = []
    for attempt in (
        lambda: mixed(pools, records("probe", PIVOT, ones(supply[2])), **settings),
        lambda: check_supply(MixtureSettings.parse(settings, ""), there, "recipe", "mixture", {}),
    ):
        try:
            attempt()
            outcomes.append("fine")
        except ConfigError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]


def test_records_are_passed_on_as_they_are() -> None:
    pools = pools_of(ones(3), {})
    marked = [replace(r, meta={"of": r.id}) for r in pools["multimodal"][TARGET]]
    pools["multimodal"][TARGET] = marked
    chosen, _ = mixed(pools, None, **settings_of(3, 1))
    assert sorted(chosen, key=lambda record: record.id) == marked


@given(samples, shares, seeds, st.lists(st.integers(1, 9), min_size=1, max_size=4))
@example(39, 0.0, 0, [1, 2, 1, 2])
def test_sources_have_their_shares_of_the_whole_and_of_the_target(
    total: int, share: float, seed: int, weights: list[int]
) -> None:
    names = [f"source{number}" for number in range(len(weights))]
    parts = {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
    pools: Pools = {"multimodal": {}, "text": {}}
    for language in (PIVOT, TARGET):
        made = [r for name in names for r in records(name, language, ones(total))]
        pools["multimodal"][language] = made
    settings: dict[str, Any] = {"budget": {"samples": total}}
    visual = {"target_share": share, "sources": parts}
    chosen, report = mixed(pools, None, seed, **settings, multimodal=visual)
    everywhere = Counter(record.source for record in chosen)
    assert everywhere.total() == total
    in_target_language = Counter(r.source for r in chosen if r.language == TARGET)
    assert in_target_language.total() == round(share * total)
    for name, part in parts.items():
        assert abs(everywhere[name] - part * total) < 1
        # By turns: no source is ahead of its share by more than a record of each source.
        assert abs(in_target_language[name] - share * everywhere[name]) <= 1 + len(names) / 2
        assert report.sources.get(name, {}).get(TARGET, 0) == in_target_language[name]
    more = mixed(pools, None, seed, **settings, multimodal={**visual, "target_share": 1.0})[0]
    assert in_target(chosen) <= in_target(more)
    assert [record.group for record in chosen] == [record.group for record in more]


def test_one_source_with_a_share_of_its_own_is_the_mixture_without() -> None:
    pools = pools_of(ones(30), ones(30))
    plain, _ = mixed(pools, **settings_of(20, 0.5, 0.5))
    settings = settings_of(20, 0.5, 0.5)
    settings["multimodal"]["sources"] = {"multimodal": 1.0}
    settings["text"]["sources"] = {"text": 1}
    assert mixed(pools, **settings)[0] == plain


def test_impossible_sources_are_refused() -> None:
    pools = pools_of(ones(10), {})
    visual: dict[str, Any] = {"target_share": 0.5}
    with pytest.raises(ConfigError, match=r"add up to 0\.75, and not to 1"):
        mixed(pools, budget={"samples": 4}, multimodal=visual | {"sources": {"a": 0.5, "b": 0.25}})
    with pytest.raises(ConfigError, match=r"sources\.other: 2 records are wanted, and 0 exist"):
        sources = {"multimodal": 0.5, "other": 0.5}
        mixed(pools, budget={"samples": 4}, multimodal=visual | {"sources": sources})
