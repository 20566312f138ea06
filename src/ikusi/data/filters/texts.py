"""Texts as numbers: words, runs of words, and MinHash signatures, for thousands of texts at once.

Place: under `duplicates.py` and `against.py`. Contract: what comes out depends on a text's letters,
digits and their order alone, not on case, punctuation, spaces or Unicode form; it is the same on
every machine and in every batch. A word is a run of letters, marks and digits; of scripts that are
written without spaces each character is one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ikusi.core.errors import ConfigError

Numbers = np.ndarray[Any, np.dtype[np.uint64]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Signatures = np.ndarray[Any, np.dtype[np.uint32]]

SHINGLE_CHARACTERS = 5
"""Length of the pieces that MinHash compares; short enough that one changed ending of a word,
which inflecting languages are full of, leaves most of a sentence's pieces alone."""
PERMUTATIONS = 128
BANDS, ROWS = 16, 8
"""Bands of a signature: two texts of similarity 0.85 share one with a chance of 0.99."""
_SEED = 42

_SEPARATOR, _LETTER, _ALONE = 0, 1, 2
_UNSPACED = (  # blocks of scripts without spaces between words
    *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
_CHARACTER, _WORD, _RUN = (  # odd multipliers of polynomial hashes
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xC2B2AE3D27D4EB4F),
    np.uint64(0xD6E8FEB86659FD93),
)


def mix(values: Numbers) -> Numbers:
    """Return 64-bit numbers scrambled one to one (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def normalise(text: str) -> str:
    """Return a text in compatible Unicode form, without case."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def tokens(text: str) -> list[str]:
    """Return the words of one text, as they stand there; for a look at few texts."""
    kinds = _kinds()
    found: list[str] = []
    before = _SEPARATOR
    for character in text:
        kind = kinds[ord(character)]
        if kind == _ALONE or (kind == _LETTER and before != _LETTER):
            found.append(character)
        elif kind == _LETTER:
            found[-1] += character
        before = kind
    return found


class Texts:
    """A batch of texts, cut into words."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Cut `texts` into words."""
        normal = [normalise(text) for text in texts]
        ends = np.cumsum([0, *map(len, normal)], dtype=np.int64)
        codes = np.frombuffer("".join(normal).encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = _kinds()[codes]
        before = np.zeros_like(kinds)
        before[1:] = kinds[:-1]
        before[ends[:-1][ends[:-1] < len(before)]] = _SEPARATOR  # a text begins with a new word
        begins = (kinds == _ALONE) | ((kinds == _LETTER) & (before != _LETTER))
        kept = kinds != _SEPARATOR
        self._characters = codes[kept].astype(np.uint64)
        self._begins = begins[kept]
        self._character_ends = np.concatenate(([0], np.cumsum(kept)))[ends].astype(np.int64)
        self.ends: Places = np.concatenate(([0], np.cumsum(begins)))[ends].astype(np.int64)
        """int64[texts + 1]: text i has the words ends[i] to ends[i + 1]."""
        self._signed: Signatures = np.empty((0, PERMUTATIONS), np.uint32)
        self._signed_at = np.full(len(texts), -1)

    @property
    def counts(self) -> Places:
        """How many words each text has."""
        return np.diff(self.ends)

    @cached_property
    def words(self) -> Numbers:
        """uint64[words]: a hash of each."""
        starts = np.flatnonzero(self._begins)
        if not len(starts):
            return np.empty(0, np.uint64)
        lengths = np.diff(starts, append=len(self._begins))
        place = np.arange(len(self._begins)) - np.repeat(starts, lengths)
        powers = np.full(int(lengths.max()), _CHARACTER)
        powers = np.multiply.accumulate(powers)
        return mix(np.add.reduceat(mix(self._characters) * powers[place], starts))

    def runs(self, length: int) -> tuple[Numbers, Places]:
        """Return a hash of each run of `length` words within a text, and the text it is of."""
        return _windows(self.words, self.ends, length, _RUN)

    def repeats(self, length: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return float64[texts]: which share of a text's runs of `length` words are repeats."""
        runs, of = self.runs(length)
        order = np.lexsort((runs, of))
        runs, of = runs[order], of[order]
        again = np.zeros(len(runs), bool)
        again[1:] = (runs[1:] == runs[:-1]) & (of[1:] == of[:-1])
        count = len(self.ends) - 1
        total = np.bincount(of, minlength=count)
        return np.bincount(of[again], minlength=count) / np.maximum(total, 1)

    def signatures(self, chosen: Places) -> Signatures:
        """Return uint32[len(chosen), PERMUTATIONS]: the MinHash signatures of these texts.

        Those that were asked for before are not computed again. Of a text without a piece of
        `SHINGLE_CHARACTERS` they say nothing.

        Raises:
            ConfigError: rensa is not installed.
        """
        new = np.unique(chosen[self._signed_at[chosen] < 0])
        if len(new):
            self._signed_at[new] = len(self._signed) + np.arange(len(new))
            self._signed = np.concatenate([self._signed, self._sign(new)])
        found: Signatures = self._signed[self._signed_at[chosen]]
        return found

    def _sign(self, chosen: Places) -> Signatures:
        minhash = _minhash()
        # With a space before each word, so that a word's beginning and end count.
        places = np.arange(len(self._characters)) + np.cumsum(self._begins)
        spaced = np.full(len(self._characters) + int(self._begins.sum()), np.uint64(32))
        spaced[places] = self._characters
        ends = self._character_ends + self.ends
        hashes, texts = _windows(mix(spaced), ends, SHINGLE_CHARACTERS, _WORD)
        is_chosen = np.zeros(len(self.ends) - 1, bool)
        is_chosen[chosen] = True
        hashes, texts = hashes[is_chosen[texts]], texts[is_chosen[texts]]
        offsets = np.append(np.searchsorted(texts, chosen), len(texts)).astype(np.uint64)
        matrix = minhash.digest_matrix_from_flat_token_hashes(hashes, offsets, PERMUTATIONS, _SEED)
        return np.array(matrix.to_rows(), np.uint32).reshape(-1, PERMUTATIONS)


def bands(signatures: Signatures) -> Numbers:
    """Return uint64[len(signatures), BANDS]: one hash for each band."""
    wide = signatures.reshape(-1, BANDS, ROWS).astype(np.uint64)
    powers = np.multiply.accumulate(np.full(ROWS, _RUN))
    folded = (mix(wide + np.uint64(1)) * powers).sum(2, dtype=np.uint64)
    return mix(folded + np.arange(BANDS, dtype=np.uint64))


def short(signatures: Signatures) -> np.ndarray[Any, Any]:
    """Return uint8[len(signatures), PERMUTATIONS]: enough of a signature to compare it."""
    return signatures.astype(np.uint8)


def similarity(
    one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the estimated Jaccard similarity of short signatures, row by row.

    The standard error is 0.035 at 0.8. Of 256 unequal bytes one is equal by chance.
    """
    equal = (one == other).mean(1, dtype=np.float32)
    alike: np.ndarray[Any, np.dtype[np.float32]] = (equal - 1 / 256) / (1 - 1 / 256)
    return alike.clip(0, 1)


def _windows(
    values: Numbers, ends: Places, length: int, multiplier: np.uint64
) -> tuple[Numbers, Places]:
    """Return a hash of each window of `length` values within a text, and the text it is of."""
    count = len(values) - length + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    owners = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    # Within one text: the last value's owner is the first's.
    starts = np.flatnonzero(owners[:count] == owners[length - 1 :])
    hashes = np.zeros(len(starts), np.uint64)
    for step in range(length):
        hashes = hashes * multiplier + values[starts + step]
    return mix(hashes), owners[starts]


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return uint8[0x110000]: what each character is to a word."""
    kinds = np.zeros(0x110000, np.uint8)
    category = unicodedata.category
    words = [code for code in range(0x110000) if category(chr(code))[0] in "LMN"]
    kinds[words] = _LETTER
    for first, last in _UNSPACED:
        block = kinds[first : last + 1]
        block[block == _LETTER] = _ALONE
    return kinds


def _minhash() -> Any:
    try:
        from rensa import RMinHash
    except ImportError:
        raise ConfigError(
            "Near-duplicates need the package rensa, which is not installed. "
            "Run: pip install 'ikusi[data]'"
        ) from None
    return RMinHash
