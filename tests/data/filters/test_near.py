"""Near pairs: the same as comparing all with all."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikusi.data.filters.near import (
    MAX_DISTANCE,
    components,
    hamming_join,
    hamming_pairs,
    join,
    pairs,
)

KEYS = st.lists(st.integers(0, 5), max_size=30)


def numbers(values: list[int]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.uint64)


@given(KEYS)
def test_pairs_are_those_of_equal_key(keys: list[int]) -> None:
    rows = np.arange(len(keys)) * 2
    found = {
        pair
        for one, other in pairs(numbers(keys), rows)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }
    equal = {(2 * i, 2 * j) for i, j in combinations(range(len(keys)), 2) if keys[i] == keys[j]}
    assert found == equal
    near = [pair for pair in pairs(numbers(keys), rows, window=1)]
    assert sum(len(one) for one, _ in near) == len(keys) - len(set(keys))


@given(st.integers(1, 30), st.data())
def test_components_are_named_by_their_first(count: int, data: st.DataObject) -> None:
    ends = st.integers(0, count - 1)
    links = data.draw(st.lists(st.tuples(ends, ends), max_size=40))
    one, other = (np.array([link[side] for link in links], np.int64) for side in (0, 1))
    expected = list(range(count))
    for _ in range(count):
        for a, b in links:
            expected[a] = expected[b] = min(expected[a], expected[b])
    assert components(count, one, other).tolist() == expected


def test_two_ways_that_meet_late_are_one_component() -> None:
    links = np.array([(0, 5), (1, 3), (2, 4), (2, 5), (3, 4)])
    assert not components(6, links[:, 0], links[:, 1]).any()


def test_a_long_chain_takes_few_rounds() -> None:
    count = 200_000
    labels = components(count, np.arange(count - 1), np.arange(1, count))
    assert not labels.any()


@pytest.mark.parametrize("distance", range(MAX_DISTANCE + 1))
def test_hamming_finds_all_that_are_near_and_no_other(distance: int) -> None:
    random = np.random.default_rng(distance)
    base = random.integers(0, 2**64, 40, dtype=np.uint64)
    values = list(base)
    for value in base[:30]:
        for flipped in range(distance + 3):
            bits = random.choice(64, flipped, replace=False)
            values.append(value ^ np.uint64(sum(1 << int(bit) for bit in bits)))
    unique = np.unique(numbers([int(value) for value in values]))
    expected = {
        (i, j)
        for i, j in combinations(range(len(unique)), 2)
        if (int(unique[i]) ^ int(unique[j])).bit_count() <= distance
    }
    found = [
        pair
        for one, other in hamming_pairs(unique, distance)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    assert set(found) == expected
    known, asked = unique[::3], unique
    firsts = [
        next((n for n, k in enumerate(known) if (int(v) ^ int(k)).bit_count() <= distance), -1)
        for v in asked
    ]
    assert hamming_join(asked, known, distance).tolist() == firsts
    assert hamming_join(asked, known[:0], distance).tolist() == [-1] * len(asked)


@settings(max_examples=50)
@given(KEYS, KEYS)
def test_join_finds_all_equal(keys: list[int], known: list[int]) -> None:
    found = {
        pair
        for one, other in join(numbers(keys), numbers(known))
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }
    assert found == {(i, j) for i, a in enumerate(keys) for j, b in enumerate(known) if a == b}
