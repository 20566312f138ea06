"""What a mixture is chosen by: of each record a group's number and a label, 8 bytes in all.

Place: pools of records -> [mix_columns] -> mix.py. Contract: groups of all pools are numbered
together, in the order in which the mixture holds them. Memory does not depend on how long the
groups' names are: they are hashed as they come, and only hashes are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ikusi.core.errors import DataError

Integers = NDArray[np.integer[Any]]
Hashes = NDArray[np.bytes_]
"""Of 16 bytes each: two groups that share as much of a SHA-256 are not to be expected, so they
order and tell groups apart as the whole would."""

Reader = Callable[[Sequence[str] | None], Iterator[pa.RecordBatch]]
"""(columns, None for all) -> a pool's records, in the same order each time."""

_COLUMNS = ("group", "language", "source", "images")


def no_records(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Read a pool that holds nothing."""
    return iter(())


class Label(NamedTuple):
    """What records are counted by."""

    pictured: bool
    source: str
    language: str


@dataclass(frozen=True, slots=True)
class Pool:
    """The columns of a pool, and how to read its records."""

    read: Reader
    groups: Integers
    """Of each record."""
    labels: Integers
    """Of each record."""
    ranks: Hashes
    """Of each group of any pool; empty for those that are not in this one, or if not `ranked`."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of all pools."""

    pools: Mapping[tuple[str, str], Pool]
    """(part, language) -> its columns."""
    labels: Sequence[Label]
    num_groups: int

    def sizes(self, pool: tuple[str, str]) -> Integers:
        """Return how many records of a pool each group has."""
        return np.bincount(self.pools[pool].groups, minlength=self.num_groups)


class Reading:
    """Reads pools, one after the other."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._labels: dict[Label, int] = {}
        self._pools: dict[tuple[str, str], _Read] = {}

    def add(self, pool: tuple[str, str], read: Reader, *, ranked: bool = False) -> None:
        """Read the columns of a pool: (part, language).

        Args:
            pool: its name.
            read: gives its records.
            ranked: its groups are to be ranked within the part.

        Raises:
            DataError: a record has no group, language or source; or what `read` raises.
        """
        entries: list[Integers] = []
        labels: list[Integers] = []
        orders, ranks = [_hashes(self._seed, "order", [])], [_hashes(self._seed, pool[0], [])]
        count = 0
        for batch in read(_COLUMNS):
            for name in ("group", "language", "source"):
                if batch.column(name).null_count:
                    raise DataError(f"{pool[0]} in {pool[1]!r}: a record has no {name}. Drop it.")
            # Records of a group mostly stand together: it is hashed once for all in a batch.
            coded = batch.column("group").dictionary_encode()
            names: list[Any] = coded.dictionary.cast(pa.binary()).to_pylist()
            entries.append(coded.indices.to_numpy() + np.int32(count))
            count += len(names)
            orders.append(_hashes(self._seed, "order", names))
            if ranked:
                ranks.append(_hashes(self._seed, pool[0], names))
            labels.append(self._label(batch))
        self._pools[pool] = _Read(
            read, _join(entries), _join(labels), np.concatenate(orders), np.concatenate(ranks)
        )

    def _label(self, batch: pa.RecordBatch) -> Integers:
        sources = batch.column("source").dictionary_encode()
        languages = batch.column("language").dictionary_encode()
        images = pc.list_value_length(batch.column("images")).fill_null(0).to_numpy()
        pairs = sources.indices.to_numpy() * len(languages.dictionary)
        pairs = 2 * (pairs + languages.indices.to_numpy()) + (images > 0)
        codes, found = np.unique(pairs, return_inverse=True)
        own = []
        for code in codes.tolist():
            source, language = divmod(code // 2, len(languages.dictionary))
            label = Label(
                bool(code % 2),
                sources.dictionary[source].as_py(),
                languages.dictionary[language].as_py(),
            )
            own.append(self._labels.setdefault(label, len(self._labels)))
        return np.array(own, np.int32)[found]

    def done(self) -> Columns:
        """Number the groups of what was read."""
        every = [pool.orders for pool in self._pools.values()]
        order, numbers = np.unique(np.concatenate(every), return_inverse=True)
        count, start = len(order), 0
        numbers = numbers.astype(np.int32)
        del every, order
        pools = {}
        for name in list(self._pools):
            read = self._pools.pop(name)  # its hashes go as soon as they are not needed
            own = numbers[start : start + len(read.orders)]
            start += len(own)
            ranks = np.empty(0, read.ranks.dtype)
            if len(read.ranks):
                ranks = np.zeros(count, read.ranks.dtype)
                ranks[own] = read.ranks
            pools[name] = Pool(read.read, own[read.entries], read.labels, ranks)
        return Columns(pools, list(self._labels), count)


@dataclass(frozen=True, slots=True)
class _Read:
    read: Reader
    entries: Integers
    """Of each record: a place in `orders` and `ranks`, where a group may stand several times."""
    labels: Integers
    orders: Hashes
    ranks: Hashes


def _join(arrays: Sequence[Integers]) -> Integers:
    return np.concatenate([np.empty(0, np.int32), *arrays])


def _hashes(seed: int, part: str, groups: Sequence[bytes]) -> Hashes:
    before, sha256 = f"{seed}\x1f{part}\x1f".encode(), hashlib.sha256
    digests = b"".join([sha256(before + group).digest() for group in groups])
    return np.frombuffer(digests, "S32").astype("S16")
