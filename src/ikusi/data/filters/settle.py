"""Between the passes: which records are equal or nearly so, and what goes together.

Place: columns of `look.py` -> [settle] -> second pass. Contract: of records that are the same the
first stays; versions of one record (in other languages) stay or go together. Memory is some tens of
numbers a record; signatures are on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ikusi.data.filters.look import load_column
from ikusi.data.filters.near import components, pairs
from ikusi.data.filters.settings import DuplicatesFilter
from ikusi.data.filters.texts import BANDS, PERMUTATIONS, Places, mix, similarity

REASONS = (
    "",
    "parallel-contaminated",
    "duplicate-id",
    "duplicate",
    "near-duplicate",
    "parallel-duplicate",
)
_KEPT, _CONTAMINATED, _SAME_ID, _EXACT, _NEAR, _PARALLEL = range(len(REASONS))
_CHUNK = 1 << 18  # pairs that are compared at a time


@dataclass
class Fates:
    """What becomes of each row that the first pass did not drop."""

    code: np.ndarray[Any, Any]
    """uint8[rows]: index into `REASONS`; 0 is kept."""
    witness: Places
    """int64[rows]: the row that it is like, or that it goes with; -1 where it is kept."""
    pairs_compared: int = 0
    """Pairs of texts whose signatures were compared."""


def settle(
    shards: Sequence[Path],
    settings: DuplicatesFilter,
    work: Path,
    advance: Callable[[int], None] = lambda bands: None,
) -> Fates:
    """Return what becomes of each row.

    Args:
        shards: files of the first pass, in order.
        settings: what counts as a duplicate.
        work: folder for a file of signatures.
        advance: called with the number of bands done.
    """
    if not shards:
        return Fates(np.empty(0, np.uint8), np.empty(0, np.int64))
    dropped = load_column(shards, "is_dropped")
    count = len(dropped)
    fates = Fates(np.zeros(count, np.uint8), np.full(count, -1))
    alive = ~dropped
    family = _families(shards)
    contaminated = np.flatnonzero(load_column(shards, "is_contaminated"))
    first_bad = np.full(count, -1)
    first_bad[family[contaminated[::-1]]] = contaminated[::-1]
    _drop(fates, alive, _CONTAMINATED, np.flatnonzero(first_bad[family] >= 0), first_bad[family])
    _drop_same_ids(shards, fates, alive)
    if settings.by != "off":
        _drop_duplicates(shards, settings, work, fates, alive, family, advance)
    return fates


def _drop(fates: Fates, alive: Any, code: int, rows: Places, witness: Places) -> None:
    """Drop those of `rows` that are alive; `witness` has one for each row of all."""
    rows = rows[alive[rows]]
    fates.code[rows], fates.witness[rows] = code, witness[rows]
    alive[rows] = False


def _families(shards: Sequence[Path]) -> Places:
    """Return of each row the first row that is a version of the same record.

    Versions are: a record and what was translated from it; else, where a group has records in
    several languages that say nothing of a parent, the first of each, the second of each, ...
    """
    language, group, ids, parent = (
        load_column(shards, name) for name in ("language", "group", "id", "parent")
    )
    count = len(group)
    rows = np.arange(count)
    links = []
    children = np.flatnonzero(parent)
    roots = rows[parent == 0]
    of_parent = mix(group + mix(parent))[children]
    own = mix(group + mix(ids))
    order = np.argsort(own, kind="stable")
    place = np.minimum(np.searchsorted(own[order], of_parent), max(count - 1, 0))
    if len(children):
        hit = own[order][place] == of_parent
        links.append((children[hit], order[place[hit]]))
        links += pairs(of_parent, children, window=1)
    order = roots[np.lexsort((roots, language[roots], group[roots]))]
    if len(order):
        change = np.ones(len(order), bool)
        change[1:] = (group[order][1:] != group[order][:-1]) | (
            language[order][1:] != language[order][:-1]
        )
        starts = np.flatnonzero(change)
        ordinal = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        keys = np.empty(count, np.uint64)
        keys[order] = mix(mix(group[order]) + ordinal.astype(np.uint64))
        links += pairs(keys[roots], roots, window=1)
    return components(count, *_ends(links))


def _drop_same_ids(shards: Sequence[Path], fates: Fates, alive: Any) -> None:
    keys = mix(load_column(shards, "id") + mix(load_column(shards, "language")))
    rows = np.flatnonzero(alive)
    first = components(len(alive), *_ends(list(pairs(keys[rows], rows, window=1))))
    _drop(fates, alive, _SAME_ID, np.flatnonzero(first != np.arange(len(first))), first)


def _drop_duplicates(
    shards: Sequence[Path],
    settings: DuplicatesFilter,
    work: Path,
    fates: Fates,
    alive: Any,
    family: Places,
    advance: Callable[[int], None],
) -> None:
    count = len(alive)
    rows = np.flatnonzero(alive)
    exact = load_column(shards, "exact")
    same = _ends(list(pairs(exact[rows], rows, window=1)))
    first = components(count, *same)
    near = _near_links(shards, settings, work, fates, alive & (first == np.arange(count)), advance)
    is_exact, is_near = np.zeros(count, bool), np.zeros(count, bool)
    is_exact[np.concatenate(same)] = True
    is_near[np.concatenate(near)] = True
    one, other = (np.concatenate(ends) for ends in zip(same, near, strict=True))
    # Families are linked where any of their versions are; the one with the first row stays.
    head = np.full(count, count)
    np.minimum.at(head, family[rows], rows)
    label = head[family]
    label[~alive] = np.flatnonzero(~alive)
    keeper = components(count, label[one], label[other])[label]
    gone = np.flatnonzero(alive & (keeper != label))
    linked = is_exact | is_near
    # Of a version that goes with another, that other one; of the others, the first that stays.
    leader = np.full(count, -1)
    links = np.flatnonzero(linked & alive)[::-1]
    leader[label[links]] = links
    for code, chosen, witness in (
        (_EXACT, is_exact[gone], keeper),
        (_NEAR, is_near[gone], keeper),
        (_PARALLEL, ~linked[gone], leader[label]),
    ):
        _drop(fates, alive, code, gone[chosen], witness)
    # The same twice within what stays: two translations of one record, one question asked twice.
    inside = label[one] == label[other]
    twin = components(count, one[inside], other[inside])
    gone = np.flatnonzero(alive & (twin != np.arange(count)))
    _drop(fates, alive, _EXACT, gone[is_exact[gone]], twin)
    _drop(fates, alive, _NEAR, gone, twin)


def _near_links(
    shards: Sequence[Path],
    settings: DuplicatesFilter,
    work: Path,
    fates: Fates,
    alive: Any,
    advance: Callable[[int], None],
) -> tuple[Places, Places]:
    """Return pairs of rows whose texts are nearly equal."""
    near_rows, offset = [], 0
    path = work / "signatures.bin"
    with open(path, "wb") as stream:
        for shard in shards:
            with np.load(shard) as file:
                near_rows.append(file["near_rows"] + offset)
                offset += len(file["is_dropped"])
                stream.write(file["signatures"].tobytes())
    rows = np.concatenate(near_rows) if near_rows else np.empty(0, np.int64)
    chosen = np.flatnonzero(alive[rows])
    if not len(chosen):
        path.unlink()
        return _ends([])
    signatures = np.memmap(path, np.uint8, "r", shape=(len(rows), PERMUTATIONS))
    links = []
    for band in range(BANDS):
        keys = load_column(shards, f"band{band:02d}")[chosen]
        for one, other in pairs(keys, chosen):
            for start in range(0, len(one), _CHUNK):
                a, b = one[start : start + _CHUNK], other[start : start + _CHUNK]
                alike = similarity(signatures[a], signatures[b]) >= settings.text_similarity
                links.append((rows[a[alike]], rows[b[alike]]))
                fates.pairs_compared += len(a)
        advance(1)
    del signatures
    path.unlink()
    return _ends(links)


def _ends(links: Sequence[tuple[Places, Places]]) -> tuple[Places, Places]:
    """Return links in two arrays."""
    empty = np.empty(0, np.int64)
    one, other = zip((empty, empty), *links, strict=True)
    return np.concatenate(one), np.concatenate(other)
