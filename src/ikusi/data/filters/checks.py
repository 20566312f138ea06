"""What can be said of a record by itself: language, length, repetition, markup, ratings, words.

Contract: `Checks.problem` returns the first reason to drop a record, with a detail for people, or
None; it looks at no other record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ikusi.core.types import Record, Turn
from ikusi.data.filters.settings import FilterSettings
from ikusi.data.filters.texts import normalise, tokens

Problem = tuple[str, str]
"""Reason and detail."""

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_ADDRESS = re.compile(r"https?://\S+|\S+@\S+\.\S+")
_TAGS = (
    "a|abbr|b|blockquote|body|br|button|center|cite|code|dd|div|dl|dt|em|figcaption|figure|font|"
    "form|h[1-6]|head|hr|html|i|iframe|img|input|label|li|link|meta|nav|ol|option|p|pre|q|s|script|"
    "section|select|small|span|strong|style|sub|sup|svg|table|tbody|td|textarea|tfoot|th|thead|"
    "title|tr|u|ul|video"
)
_HTML = re.compile(
    rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|<!--.*?-->|<!doctype[^>]*>"
    r"|&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8}\d{0,2});",
    re.IGNORECASE | re.DOTALL,
)
# The first byte of a two-byte letter read as a letter of its own, and what the second then looks
# like; quotation marks and dashes after it also occur in sound text ("SÃO" is no such thing).
_MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf]|Ã[ƒŠŽšžŸœŒ†‡‰]|â€[\u0080-\u00bf™œžšŸ¢¦“”˜¡]|\ufffd")
_RULES = r"\s\-=_*#.~|+·•─━…"


@dataclass(frozen=True)
class Identifier:
    """How a language is told from others."""

    label: str
    """What the identifier calls it."""
    min_words: int | None
    """Length from which it is reliable; None where it never is."""


def prose(text: str) -> str:
    """Return a text without its code and addresses."""
    if "`" in text:
        text = _CODE.sub(" ", text)
    return _ADDRESS.sub(" ", text) if "://" in text or "@" in text else text


class Checks:
    """The filters that look at one record."""

    def __init__(
        self,
        settings: FilterSettings,
        identifiers: Mapping[str, Identifier],
        certain: Collection[str],
        words: Mapping[str, Sequence[str]],
        identify: Callable[[str], tuple[str, float]],
    ) -> None:
        """Prepare them.

        Args:
            settings: how strict they are.
            identifiers: language -> how it is told from others; languages that are not here are
                not judged.
            certain: labels that can be trusted for single sentences, such as English's, so that
                what was left untranslated is found in any language.
            words: language -> unwanted words; `*` at the end stands for any ending.
            identify: text -> label and confidence.
        """
        self._settings = settings
        self._identifiers = identifiers
        self._certain = frozenset(certain)
        self._words = {code: _pattern(of) for code, of in words.items() if of}
        self._identify = identify
        self._run = re.compile(rf"([^{_RULES}])\1{{{settings.repetition.max_run},}}")

    def problem(
        self, record: Record, counts: Sequence[int], repeats: Sequence[float]
    ) -> Problem | None:
        """Return why to drop the record, or None.

        Args:
            record: to look at.
            counts: tokens of each of its turns.
            repeats: of each turn, the share of its runs of `repetition.ngram` tokens that repeat.
        """
        return (
            self._length(record, counts)
            or self._ratings(record)
            or self._turns(record, counts, repeats)
            or self._unwanted(record)
            or self._language(record, counts)
        )

    def _length(self, record: Record, counts: Sequence[int]) -> Problem | None:
        limits = self._settings.length
        for number, turn in enumerate(record.turns, 1):
            if not turn.text.strip() and (turn.role == "assistant" or not _has_image(turn)):
                return "empty-turn", f"turn {number} ({turn.role}) holds nothing"
        characters = sum(len(turn.text) for turn in record.turns)
        for count, unit, least, most in (
            (characters, "characters", limits.min_characters, limits.max_characters),
            (sum(counts), "tokens", limits.min_tokens, limits.max_tokens),
        ):
            if count < least:
                return "too-short", f"{count} {unit}; at least {least} are wanted"
            if count > most:
                return "too-long", f"{count} {unit}; at most {most} are wanted"
        return None

    def _ratings(self, record: Record) -> Problem | None:
        for name, least in self._settings.ratings.items():
            for number, value in enumerate(record.ratings.get(name, ()), 1):
                if value is not None and value < least:
                    detail = f"{name} {value} of exchange {number}; at least {least} is wanted"
                    return "low-rating", detail
        return None

    def _turns(
        self, record: Record, counts: Sequence[int], repeats: Sequence[float]
    ) -> Problem | None:
        repetition, markup = self._settings.repetition, self._settings.markup
        turns = zip(record.turns, counts, repeats, strict=True)
        for number, (turn, count, share) in enumerate(turns, 1):
            where, text = f"turn {number}", turn.text
            if run := self._run.search(text):
                return "repetition", f"{where}: {len(run[0])} times {run[1]!r}"
            if count >= repetition.min_tokens and share > repetition.max_share:
                most = _most_frequent(text, repetition.ngram)
                return "repetition", f"{where}: {share:.0%} are repeats, such as {most!r}"
            if markup.mojibake and not text.isascii():
                broken = _MOJIBAKE.search(text)
                if broken:
                    around = text[max(0, broken.start() - 10) : broken.end() + 10]
                    return "mojibake", f"{where}: {around!r}"
            if markup.max_html_share < 1 and ("<" in text or "&" in text):
                found = [match[0] for match in _HTML.finditer(_CODE.sub(" ", text))]
                if sum(map(len, found)) > markup.max_html_share * len(text):
                    return "html", f"{where}: {' '.join(found[:3])}"
        return None

    def _unwanted(self, record: Record) -> Problem | None:
        pattern = self._words.get(record.language)
        if pattern:
            for text in (*(turn.text for turn in record.turns), *record.choices):
                if found := pattern.search(normalise(text)):
                    return "unwanted-word", found[0]
        return None

    def _language(self, record: Record, counts: Sequence[int]) -> Problem | None:
        about, settings = self._identifiers.get(record.language), self._settings.language
        if about is None:
            return None
        for number, (turn, count) in enumerate(zip(record.turns, counts, strict=True), 1):
            if count < settings.min_words or turn.role == "system":
                continue
            text = prose(turn.text)
            if text != turn.text:
                count = len(tokens(text))
            is_long = about.min_words is not None and count >= about.min_words
            if count < settings.min_words or not (is_long or self._certain - {about.label}):
                continue
            label, confidence = self._identify(text)
            wrong = label not in (about.label, "und") and (is_long or label in self._certain)
            if wrong and confidence >= settings.min_confidence:
                return "wrong-language", f"turn {number}: {label} ({confidence:.2f})"
        return None


def _has_image(turn: Turn) -> bool:
    return any(not hasattr(part, "text") for part in turn.parts)


def _most_frequent(text: str, length: int) -> str:
    words = tokens(normalise(text))
    runs = Counter(zip(*(words[start:] for start in range(length)), strict=False))
    return " ".join(runs.most_common(1)[0][0])


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    ends = [
        re.escape(normalise(word[:-1])) + r"\w*"
        if word.endswith("*")
        else re.escape(normalise(word))
        for word in words
    ]
    return re.compile(rf"(?<!\w)(?:{'|'.join(ends)})(?!\w)")
