"""What is wrong with a translation, if anything; the first fault that is found is told.

Place: an answer -> [verify] -> taken, or the next rung of the ladder. Contract: nothing is mended
here. A preamble or quotes around the text are a fault, not cut off: what is cut off could be text.
Rules that could condemn good translations say why they are as lenient as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ikusi.data.translate.faults import Fault
from ikusi.data.translate.settings import VerifySettings
from ikusi.languages.identify import MIN_TEXTS, PASSAGE_WORDS, identify, measure
from ikusi.languages.pack import Pack, available, load_pack
from ikusi.languages.rules import UNSPACED

_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_SYLLABLES = re.compile(r"[\uac00-\ud7af]")
# A CLDR name in Chinese or Japanese has 0.28 to 0.43 characters for one in English, in Korean
# 0.39; in all other scripts 0.80 to 1.24 (medians of their languages).
_IDEOGRAPH_WEIGHT, _SYLLABLE_WEIGHT = 2.6, 2.5

_WORDS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_NUMBERS = re.compile(r"\d+")
_QUOTES = {
    '"': '"', "“": "”", "”": "”", "«": "»", "»": "«", "„": "“", "‘": "’", "'": "'", "「": "」",
    "『": "』", "‹": "›", "`": "`",
}  # fmt: skip
_INTRODUCTION = re.compile(r"[^\W\d_][^\n:：]{0,60}[:：]\s*\S")
_SAME_LETTER = re.compile(r"([^\W\d_])\1{11,}")

COPY_WORDS = 4
"""A text of fewer words may be the same in two languages: a name, an animal, a loan word."""
# Of 3,000 lists of three to ten CLDR names in Welsh, 56 are taken for English with 0.5 or more,
# 14 with this; of those in Basque none.
_SHORT_SCORE = 0.7
_RUN = 5  # words in a row that two languages share only by a copy
_MAX_PERIOD = 8  # words of a loop
_REPEATS = 4


def weigh(text: str) -> float:
    """Return the length of a text, in letters of an alphabet."""
    count: float = len(text) - text.count(" ")
    if not text.isascii():
        count += (_IDEOGRAPH_WEIGHT - 1) * len(_IDEOGRAPHS.findall(text))
        count += (_SYLLABLE_WEIGHT - 1) * len(_SYLLABLES.findall(text))
    return count


class Checker:
    """Judges translations from one language into another."""

    def __init__(self, source: Pack, target: Pack, settings: VerifySettings) -> None:
        """Prepare, and find out for which texts the language can be identified."""
        self.source, self.target, self.settings = source, target, settings
        packs = [load_pack(code) for code in available()]
        # Of every language: a model introduces a translation in whichever it was spoken to.
        self._preambles = tuple(p.casefold() for pack in packs for p in pack.translation.preambles)
        self._numbers = _number_words(source), _number_words(target)
        self.passages = self.sentences = False
        self.about_language = "off by the settings"
        if settings.language:
            found = measure(target, packs, PASSAGE_WORDS)
            self.passages = found.reliable
            # A sentence that is still in the source's language: that language must be told for
            # certain, and the target's must not be taken for it.
            left = measure(source, [target], 1)
            self.sentences = left.reliable and left.n >= MIN_TEXTS
            self.about_language = f"{target.code}: {found.explain()}"

    def piece(self, source: str, translated: str, *, written: bool = False) -> Fault | None:
        """Return what is wrong with a text's translation.

        Args:
            source: the text, with what was protected in it.
            translated: its translation, with the same.
            written: it was not translated but written anew; `source` then says nothing about it.
        """
        if not translated.strip():
            return Fault("translation-empty")
        if written:
            return _loop(translated) or self._preamble("", translated) or _quotes("", translated)
        return (
            self._preamble(source, translated)
            or _quotes(source, translated)
            or self._copy(source, translated)
            or _loop(translated, source)
            or self._length(source, translated)
            or self._lost_numbers(source, translated)
        )

    def language(self, texts: Iterable[str]) -> Fault | None:
        """Return a fault if texts, taken together, are in another language than the target.

        Args:
            texts: what was translated together, without what was protected in it.
        """
        if not (self.passages or self.sentences):
            return None
        joined = " ".join(texts)
        count = len(_WORDS.findall(joined))
        unspaced = self.target.script in UNSPACED
        is_passage = len(joined) >= 5 * PASSAGE_WORDS if unspaced else count >= PASSAGE_WORDS
        if not (self.passages if is_passage else self.sentences and count >= COPY_WORDS):
            return None
        label, score = identify(joined)
        if label == self.target.ids.langid or score < self.settings.language_score:
            return None
        if not is_passage and (label != self.source.ids.langid or score < _SHORT_SCORE):
            return None
        return Fault("translation-language", f"{label} ({score:.2f}), not {self.target.code}")

    def _preamble(self, source: str, translated: str) -> Fault | None:
        start = translated[:80].casefold().lstrip("*_#> \n\"'“«")
        if start.startswith(self._preambles) and not source.casefold().startswith(self._preambles):
            return Fault("preamble", repr(translated[:60]))
        # In any language: an introduction that ends in a colon, where the source has no colon.
        if source and not (":" in source or "：" in source):
            found = _INTRODUCTION.match(translated)
            if found:
                return Fault("preamble", repr(found[0][:60]))
        return None

    def _copy(self, source: str, translated: str) -> Fault | None:
        one, other = _words(source), _words(translated)
        if len(one) < COPY_WORDS:
            return None
        if one == other:
            return Fault("untranslated", "is the source")
        if len(one) >= 2 * _RUN:
            runs = {tuple(other[i : i + _RUN]) for i in range(len(other) - _RUN + 1)}
            total = len(one) - _RUN + 1
            kept = sum(tuple(one[i : i + _RUN]) in runs for i in range(total))
            if 2 * kept > total:
                return Fault("untranslated", f"{kept} of {total} runs of {_RUN} words are left")
        return None

    def _length(self, source: str, translated: str) -> Fault | None:
        one, other = weigh(source), weigh(translated)
        ratio, slack = self.settings.length_ratio, self.settings.length_slack
        if other > ratio * one + slack or one > ratio * other + slack:
            return Fault("translation-length", f"{other:.0f} letters for {one:.0f}")
        return None

    def _lost_numbers(self, source: str, translated: str) -> Fault | None:
        wanted = Counter(_numbers(source))
        if not wanted:
            return None
        missing = wanted - Counter(_numbers(translated))
        if not missing:
            return None
        words = _words(translated)
        for value, count in missing.items():
            # "2" may become "two" or "XIX." what was "19th"; words are inflected at their ends.
            forms = self._numbers[1].get(value, ())
            roman = _roman(value).casefold()
            said = sum(word == roman or word.startswith(forms) for word in words if forms or roman)
            if said < count:
                return Fault("numbers-lost", f"{value} in {source[:80]!r}")
        return None


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def _numbers(text: str) -> list[int]:
    return [int(number[:400]) for number in _NUMBERS.findall(text)]


def _number_words(pack: Pack) -> dict[int, tuple[str, ...]]:
    return {value: tuple(f.casefold() for f in forms) for value, forms in enumerate(pack.numbers)}


def _roman(value: int) -> str:
    if not 0 < value < 4000:
        return ""
    out = ""
    for number, letters in (
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
        (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    ):  # fmt: skip
        count, value = divmod(value, number)
        out += letters * count
    return out


def _quotes(source: str, translated: str) -> Fault | None:
    text, before = translated.strip(), source.strip()
    closing = _QUOTES.get(text[:1])
    if closing is None or len(text) < 2 or text[-1] != closing:
        return None
    if before[:1] in _QUOTES or before[-1:] in _QUOTES.values():
        return None
    if closing in text[1:-1]:  # two quotations, not one around all
        return None
    return Fault("quotes", repr(text[:60]))


def _loop(translated: str, source: str = "") -> Fault | None:
    """Return a fault if the same words come again and again, and do not in the source."""
    found = _repeated(translated)
    if found is None or _repeated(source) is not None:
        return None
    return Fault("repetition", repr(found[:80]))


def _repeated(text: str) -> str | None:
    same = _SAME_LETTER.search(text) if len(text) > 11 else None
    if same:
        return same[0]
    words: Sequence[str] = text.casefold().split()
    if 15 * len(words) < len(text):  # a script without spaces
        words = text
    # Of what loops, few words differ; most texts end here.
    if len(words) < _REPEATS + 1 or len(set(words)) > 0.7 * len(words):
        return None
    longest = 4 * _MAX_PERIOD if isinstance(words, str) else _MAX_PERIOD
    for period in range(1, min(longest, len(words) // _REPEATS) + 1):
        run = 0
        least = (_REPEATS - 1) * period if period > 1 else _REPEATS
        if isinstance(words, str):
            least = max(least, 12)
        for index in range(period, len(words)):
            run = run + 1 if words[index] == words[index - period] else 0
            if run >= least:
                piece = words[index - period + 1 : index + 1]
                return "".join(piece) if isinstance(words, str) else " ".join(piece)
    return None
