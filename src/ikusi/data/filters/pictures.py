"""A record's pictures by the manifests of the images step: what became of each, and how it looks.

Place: images step -> [pictures] -> the filters. Contract: a picture is found by its sha256 where
the record has one, else by its url; only numbers are kept in memory (about 120 bytes a picture).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ikusi.core.errors import DataError, first_line
from ikusi.core.types import ImageRef, Record
from ikusi.data.filters.near import components, hamming_pairs
from ikusi.data.filters.settings import ImagesFilter
from ikusi.data.filters.texts import Numbers, Places, mix
from ikusi.data.image_manifest import MANIFEST_FILE

_COLUMNS: dict[str, Any] = {
    "url": pa.string(),
    "sha256": pa.string(),
    "status": pa.string(),
    "reason": pa.string(),
    "detail": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
    "phash": pa.uint64(),
}
_USABLE, _DEAD, _BROKEN = 0, 1, 2
_STATUS = {"fetched": _USABLE, "duplicate": _USABLE, "dead": _DEAD, "broken": _BROKEN}
_FLAT_BITS = 16  # a hash has half its 64 bits set by construction, unless the picture shows nothing


def key_of(text: str) -> int:
    """Return 64 bits of a hash of a url or an id; equal by chance once in 10**19 pairs."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest(), "little"
    )


def keys_of(texts: Iterable[str]) -> Numbers:
    """Return `key_of` each text, uint64."""
    return np.fromiter(map(key_of, texts), np.uint64)


def tells_apart(hashes: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return whether pictures of these hashes show enough to be compared: a plain one does not."""
    bits = np.bitwise_count(hashes).astype(np.int64)
    found: np.ndarray[Any, np.dtype[np.bool_]] = np.abs(bits - 32) <= _FLAT_BITS
    return found


@dataclass(frozen=True)
class Pictures:
    """The rows of one or several manifests."""

    by_url: tuple[Numbers, Places]
    """Sorted keys of urls, and their rows."""
    by_sha256: tuple[Numbers, Places]
    """The first 64 bits of sha256s, sorted, and their rows."""
    status: np.ndarray[Any, Any]
    """uint8[rows]."""
    sha256: np.ndarray[Any, Any]
    """uint8[rows, 32]."""
    size: np.ndarray[Any, Any]
    """int32[rows, 2]: width and height, 0 where not known."""
    phash: Numbers
    has_phash: np.ndarray[Any, np.dtype[np.bool_]]
    why: pa.ChunkedArray[Any]
    """Of each row, what the images step said about it."""

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.status)

    def find(self, refs: Sequence[ImageRef]) -> Places:
        """Return int64[len(refs)]: the row of each picture, -1 where there is none."""
        rows = np.full(len(refs), -1)
        heads = {i: _head(ref.sha256) for i, ref in enumerate(refs) if ref.sha256}
        self._fill(rows, heads, self.by_sha256)
        # A dead picture has a url only, also where its sha256 was published.
        urls = {i: key_of(ref.url) for i, ref in enumerate(refs) if ref.url and rows[i] < 0}
        self._fill(rows, urls, self.by_url)
        return rows

    @staticmethod
    def _fill(rows: Places, wanted: Mapping[int, int], index: tuple[Numbers, Places]) -> None:
        keys, places = index
        if wanted and len(keys):
            asked = np.fromiter(wanted.values(), np.uint64)
            found = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
            hit = keys[found] == asked
            rows[np.fromiter(wanted, np.int64)[hit]] = places[found[hit]]

    def resolve(
        self, record: Record, rows: Sequence[int], settings: ImagesFilter
    ) -> Record | tuple[str, str]:
        """Return the record with its pictures' sha256, or why to drop it and a detail."""
        refs = []
        for ref, row in zip(record.images, rows, strict=True):
            name = ref.url or ref.sha256 or "a picture without url and sha256"
            if row < 0:
                return "image-missing", f"{name}: not in the manifest"
            if self.status[row] != _USABLE:
                reason = "image-dead" if self.status[row] == _DEAD else "image-broken"
                return reason, f"{name}: {self.why[row].as_py() or 'no reason given'}"
            width, height = map(int, self.size[row])
            if width and min(width, height) < settings.min_side:
                return "image-small", f"{name}: {width} x {height}"
            if width and max(width, height) > settings.max_aspect * min(width, height):
                return "image-narrow", f"{name}: {width} x {height}"
            refs.append(ImageRef(sha256=self.sha256[row].tobytes().hex(), url=ref.url))
        return replace(record, images=tuple(refs)) if refs else record

    def same(self, distance: int) -> Numbers:
        """Return uint64[rows]: equal where pictures are the same, to within `distance` bits."""
        first = np.ascontiguousarray(self.sha256[:, :8]).view(">u8").ravel().astype(np.uint64)
        looks = self.has_phash & tells_apart(self.phash)
        values, place = np.unique(self.phash[looks], return_inverse=True)
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        found += hamming_pairs(values, distance) if distance else ()
        one, other = (np.concatenate(ends) for ends in zip(*found, strict=True))
        keys = mix(first)
        keys[looks] = mix(values[components(len(values), one, other)] + np.uint64(1))[place]
        return keys


def read_manifests(folders: Sequence[Path]) -> Pictures:
    """Return the manifests of the images steps whose payloads are these folders.

    Raises:
        DataError: there is no manifest, it is damaged, or lacks a column.
    """
    parts = [part for folder in folders for part in _read(folder / MANIFEST_FILE)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    known = np.flatnonzero(joined["sha256"].any(1))
    known = known[np.argsort(joined["status"][known], kind="stable")]  # what can be used first
    first = np.ascontiguousarray(joined["sha256"][:, :8]).view(">u8").ravel().astype(np.uint64)
    named = joined.pop("named")
    whys = [part for part in joined.pop("why").tolist() if part is not None]
    return Pictures(
        by_url=_index(joined.pop("url")[named], np.flatnonzero(named)),
        by_sha256=_index(first[known], known),
        why=pa.chunked_array(whys, pa.string()),
        **joined,
    )


def _read(path: Path) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Yield a manifest's columns as numbers, some thousand rows at a time."""
    schema = pa.schema(list(_COLUMNS.items()))
    try:
        with pq.ParquetFile(path) as file:
            # An empty one, too, has columns that can be joined.
            yield _to_numbers(pa.Table.from_pylist([], schema))
            for batch in file.iter_batches(1 << 16, columns=list(_COLUMNS)):
                yield _to_numbers(pa.table(batch).select(list(_COLUMNS)).cast(schema))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file. Give what `ikusi images` made.") from None
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is no manifest of pictures ({first_line(error)}).") from None


def _to_numbers(table: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
    columns: dict[str, Any] = {name: table.column(name) for name in _COLUMNS}
    hashes = [sha if len(sha or "") == 64 else "" for sha in columns["sha256"].to_pylist()]
    codes = [_STATUS.get(str(name), _BROKEN) for name in columns["status"].to_pylist()]
    status = np.array(codes, np.uint8)
    status[(status == _USABLE) & ~np.array([bool(sha) for sha in hashes], bool)] = _BROKEN
    digests = b"".join(bytes.fromhex(sha) if sha else bytes(32) for sha in hashes)
    urls = columns["url"].to_pylist()
    told = [part.fill_null("") for part in (columns["reason"], columns["detail"])]
    why = np.empty(1, object)  # in a box: the texts stay in Arrow
    why[0] = pc.binary_join_element_wise(*told, " ").combine_chunks()
    return {
        "url": keys_of(url or "" for url in urls),
        "named": np.array([bool(url) for url in urls], bool),
        "status": status,
        "sha256": np.frombuffer(digests, np.uint8).reshape(-1, 32),
        "size": np.stack([_integers(columns[name], np.int32) for name in ("width", "height")], 1),
        "phash": _integers(columns["phash"], np.uint64),
        "has_phash": columns["phash"].is_valid().to_numpy(),
        "why": why,
    }


def _head(sha256: str) -> int:
    try:
        return int(sha256[:16], 16)
    except ValueError:  # no sha256 of anything
        return 0


def _index(keys: Numbers, rows: Places) -> tuple[Numbers, Places]:
    order = np.argsort(keys, kind="stable")  # of several rows of one key the first is found
    return keys[order], rows[order]


def _integers(column: Any, kind: type[np.generic]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = column.fill_null(0).to_numpy().astype(kind)
    return found
