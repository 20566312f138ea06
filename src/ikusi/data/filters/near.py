"""What is near to what, found by equal keys instead of comparing all pairs.

Place: under `duplicates.py`, `against.py` and `pictures.py`. Contract: depends on the order of the
rows alone; memory is a few numbers a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ikusi.data.filters.texts import Numbers, Places, mix

MAX_DISTANCE = 7
"""Largest number of differing bits that pictures are searched for."""
WINDOW = 64
"""With how many of the next rows of equal key a row is compared."""


def pairs(keys: Numbers, rows: Places, window: int = WINDOW) -> Iterator[tuple[Places, Places]]:
    """Yield pairs (earlier, later) of `rows` whose keys are equal.

    Each is paired with the next `window` of its key: what forms a large cluster is found all the
    same, since neighbours in it are near to each other.

    Args:
        keys: of `rows`.
        rows: increasing.
        window: how many of the next ones.
    """
    order = np.argsort(keys, kind="stable")
    ordered, rows = keys[order], rows[order]
    places = np.arange(len(keys))
    for step in range(1, window + 1):
        places = places[places + step < len(keys)]
        places = places[ordered[places] == ordered[places + step]]
        if not len(places):
            return
        yield rows[places], rows[places + step]


def components(count: int, one: Places, other: Places) -> Places:
    """Return int64[count]: of each of `count` rows the first that it is linked to, over others too.

    Args:
        count: of rows.
        one: ends of the links.
        other: their other ends.
    """
    labels = np.arange(count)
    while len(one):
        # Only the first of each component is moved, and what it leads goes with it: a link whose
        # ends are in one component then stays so, and can be left out.
        heads, others = labels[one], labels[other]
        np.minimum.at(labels, np.maximum(heads, others), np.minimum(heads, others))
        while not np.array_equal(labels, labels[labels]):
            labels = labels[labels]
        apart = labels[one] != labels[other]
        one, other = one[apart], other[apart]
    return labels


def hamming_pairs(values: Numbers, distance: int) -> Iterator[tuple[Places, Places]]:
    """Yield pairs of places in `values`, some twice, that differ in at most `distance` bits.

    Of `distance` + 2 bands at least two are the same in such a pair, so each two bands make a key.

    Args:
        values: distinct.
        distance: 0 to `MAX_DISTANCE`.
    """
    rows = np.arange(len(values))
    for keys in _hamming_keys(values, distance):
        for one, other in pairs(keys, rows, window=len(values)):
            near = np.bitwise_count(values[one] ^ values[other]) <= distance
            yield one[near], other[near]


def hamming_join(values: Numbers, known: Numbers, distance: int) -> Places:
    """Return int64[len(values)]: the first of `known` within `distance` bits of each, or -1."""
    found = np.full(len(values), len(known))
    for keys, known_keys in zip(
        _hamming_keys(values, distance), _hamming_keys(known, distance), strict=True
    ):
        for row, place in join(keys, known_keys):
            near = np.bitwise_count(values[row] ^ known[place]) <= distance
            np.minimum.at(found, row[near], place[near])
    return np.where(found < len(known), found, -1)


def join(keys: Numbers, known: Numbers) -> Iterator[tuple[Places, Places]]:
    """Yield (place in `keys`, place in `known`) of all equal ones."""
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    first = np.searchsorted(ordered, keys, "left")
    last = np.searchsorted(ordered, keys, "right")
    rows = np.flatnonzero(first < last)
    while len(rows):
        yield rows, order[first[rows]]
        first[rows] += 1
        rows = rows[first[rows] < last[rows]]


def _hamming_keys(values: Numbers, distance: int) -> Iterator[Numbers]:
    edges = np.linspace(0, 64, distance + 3).round().astype(int)
    parts: list[Any] = [
        (values >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for low, high in pairwise(edges)
    ]
    for one, other in combinations(range(len(parts)), 2):
        yield mix(parts[one]) + parts[other]
