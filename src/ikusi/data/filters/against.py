"""Decontamination: what of the training data is in a benchmark, by its pictures or its texts.

Place: benchmark -> [Benchmarks] -> `pass_one.py`. Contract: a benchmark is held in memory, the
training data passes by; nothing depends on the order of the benchmarks' records but which of
several matches is named.

A text is looked for turn by turn, so a question is found in a longer conversation. Very short ones
are not looked for, since the same few words are asked of many pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ikusi.core.types import ImageRef, Record
from ikusi.data.filters.near import hamming_join, join
from ikusi.data.filters.pictures import Pictures, tells_apart
from ikusi.data.filters.settings import ContaminationFilter
from ikusi.data.filters.texts import Texts, bands, short, similarity


class Benchmarks:
    """The pictures and texts of all benchmarks."""

    def __init__(self, settings: ContaminationFilter) -> None:
        """Begin without any."""
        self._settings = settings
        self._gram = min(settings.ngram, settings.min_tokens)
        self._names: list[str] = []  # of an item: "vqav2: 4471"
        self._owners: list[int] = []  # of a text: the item that it is of
        self._stats_of: list[dict[str, int]] = []
        self._hashes: dict[str, int] = {}  # sha256 of a picture -> its item
        self._phashes: dict[int, int] = {}  # perceptual hash -> its item
        self._grams = np.empty(0, np.uint64)  # sorted
        self._gram_texts = np.empty(0, np.int64)
        self._sizes = np.empty(0, np.int64)  # of a text: how many runs are looked for
        self._bands = np.empty((0, 0), np.uint64)
        self._signatures = np.empty((0, 0), np.uint8)
        self._whole = np.empty(0, np.int64)
        self._texts: list[str] = []
        self.stats: dict[str, dict[str, int]] = {}
        """Benchmark -> how many records, texts and pictures; how many texts are too short or say
        only what all do, and how many pictures were never seen."""

    def __bool__(self) -> bool:
        """Return whether there is anything to look for."""
        return bool(self._names)

    def add(
        self,
        name: str,
        records: Iterable[Record],
        look: Callable[[ImageRef], tuple[str, int | None]],
    ) -> None:
        """Add a benchmark.

        Args:
            name: for people.
            records: its records.
            look: of a picture, its sha256 (or "") and its perceptual hash, as far as known.
        """
        stats = dict.fromkeys(
            ("records", "texts", "texts_too_short", "pictures", "pictures_unseen"), 0
        )
        if name in self.stats:
            name = f"{name} ({len(self.stats) + 1})"
        self.stats[name] = stats
        for record in records:
            item = len(self._names)
            self._names.append(f"{name}: {record.id}")
            stats["records"] += 1
            for ref in record.images:
                sha256, phash = look(ref)
                if sha256:
                    self._hashes.setdefault(sha256, item)
                if phash is not None:
                    self._phashes.setdefault(phash, item)
                stats["pictures"] += 1
                stats["pictures_unseen"] += phash is None
            for text in _texts_of(record):
                self._texts.append(text)
                self._owners.append(item)
                self._stats_of.append(stats)

    def finish(self) -> None:
        """Make the indices; call it after the last `add`."""
        texts = Texts(self._texts)
        owners = np.array(self._owners, np.int64)
        runs, of_text = texts.runs(self._gram)
        distinct = np.unique(np.stack([runs, of_text.astype(np.uint64)], 1), axis=0)
        runs, of_text = distinct[:, 0], distinct[:, 1].astype(np.int64)
        # What stands in many records is a benchmark's form ("Answer with the letter ...").
        held = np.unique(np.stack([runs, owners[of_text].astype(np.uint64)], 1), axis=0)[:, 0]
        values, counts = np.unique(held, return_counts=True)
        formal = values[counts > self._settings.max_common]
        long = texts.counts >= self._settings.min_tokens
        rare = long[of_text] & ~np.isin(runs, formal)
        self._grams, self._gram_texts = runs[rare], of_text[rare]
        self._sizes = np.bincount(self._gram_texts, minlength=len(owners))
        said = Counter(self._texts)
        own = [said[text] <= self._settings.max_common for text in self._texts]
        whole = np.flatnonzero(long & np.array(own, bool) & (self._sizes > 0))
        self._whole = whole
        signatures = texts.signatures(whole)
        self._bands, self._signatures = bands(signatures), short(signatures)
        for stats, size in zip(self._stats_of, self._sizes, strict=True):
            stats["texts" if size else "texts_too_short"] += 1
        self._texts, self._stats_of = [], []

    def meet_pictures(self, pictures: Pictures) -> dict[int, str]:
        """Return row of the manifest -> the item that its picture meets, and how."""
        known = np.array(sorted(self._phashes), np.uint64)
        known = known[tells_apart(known)]
        rows = np.flatnonzero(pictures.has_phash & tells_apart(pictures.phash))
        places = hamming_join(pictures.phash[rows], known, self._settings.image_distance)
        met: dict[int, str] = {}
        for row, place in zip(rows[places >= 0], places[places >= 0], strict=True):
            bits = int(pictures.phash[row] ^ known[place]).bit_count()
            name = self._names[self._phashes[int(known[place])]]
            met[int(row)] = f"{name} (picture: {bits} of 64 bits differ)"
        return met

    def meet_sha256(self, sha256: str | None) -> str | None:
        """Return the item that has the very same picture."""
        item = self._hashes.get(sha256 or "")
        return None if item is None else f"{self._names[item]} (the same picture)"

    def meet_texts(self, texts: Texts) -> dict[int, str]:
        """Return text -> the item that it meets, and how."""
        met: dict[int, str] = {}
        if not self._names:
            return met
        self._meet_whole(texts, met)
        self._meet_runs(texts, met)
        return met

    def _meet_runs(self, texts: Texts, met: dict[int, str]) -> None:
        runs, of_text = texts.runs(self._gram)
        if not len(self._grams) or not len(runs):
            return
        places = np.minimum(np.searchsorted(self._grams, runs), len(self._grams) - 1)
        hits = np.flatnonzero(self._grams[places] == runs)
        if not len(hits):
            return
        found = [
            np.stack([of_text[hits[hit]], self._gram_texts[place], place], 1)
            for hit, place in join(runs[hits], self._grams)
        ]
        unique = np.unique(np.concatenate(found), axis=0)  # a run that is said twice counts once
        both, counts = np.unique(unique[:, :2], axis=0, return_counts=True)
        shares = counts / self._sizes[both[:, 1]]
        for (text, target), share in zip(both.tolist(), shares.tolist(), strict=True):
            if share >= self._settings.min_overlap and text not in met:
                name = self._names[self._owners[target]]
                met[text] = f"{name} ({share:.0%} of its runs of {self._gram} words)"

    def _meet_whole(self, texts: Texts, met: dict[int, str]) -> None:
        long = np.flatnonzero(texts.counts >= self._settings.min_tokens)
        if not len(self._whole) or not len(long):
            return
        signatures = texts.signatures(long)
        own, compared = bands(signatures), short(signatures)
        found = [
            np.stack([row, place], 1)
            for band in range(own.shape[1])
            for row, place in join(own[:, band], self._bands[:, band])
        ]
        if not found:
            return
        both = np.unique(np.concatenate(found), axis=0)
        alike = similarity(compared[both[:, 0]], self._signatures[both[:, 1]])
        for (row, place), share in zip(both.tolist(), alike.tolist(), strict=True):
            text = int(long[row])
            if share >= self._settings.text_similarity and text not in met:
                name = self._names[self._owners[int(self._whole[place])]]
                met[text] = f"{name} (text, similarity {share:.2f})"


def _texts_of(record: Record) -> Sequence[str]:
    """Return what is looked for: each turn, and the question with its options."""
    texts = [turn.text for turn in record.turns if turn.role != "system" and turn.text]
    if record.choices and texts:
        texts.append("\n".join((texts[-1], *record.choices)))
    return texts
