"""What no translator may touch, put out of its reach: placeholders in, the very same spans back.

Place: units -> [protect] -> backend -> [protect] -> verify. Contract: `restore(protect(t), its
text)` is `t` for every text, those that hold look-alikes of placeholders included; and what comes
back with a placeholder lost, doubled or made up is a fault, never a guess.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ikusi.data.translate.faults import Fault

Style = Literal["brackets", "words"]
"""How a placeholder is written: for models that read instructions, or for those that only know
words (their tokenizers hold no rare brackets, but copy a word that they never saw)."""

TOKENS: Mapping[Style, re.Pattern[str]] = {
    "brackets": re.compile(r"⟦([0-9]{1,6})⟧"),
    "words": re.compile(r"XQ([0-9]{1,6})"),
}

_UNITS = (
    "km/h|m/s|km²|km|cm²|cm|mm²|mm|nm|µm|m²|m³|m|kg|mg|µg|g|ml|cl|dl|kWh|kW|MW|W|GHz|MHz|kHz|Hz|"
    "GB|MB|kB|KB|TB|px|dpi|ppm|mph|rpm|kcal|kJ|dB|mAh|°C|°F|°|%|‰|€|£|\\$|¥"
)
_NUMBER = r"[0-9]++(?:[.,\u00a0\u202f'][0-9]++)*+"
_COORDINATE = (
    r"-?[0-9]++(?:\.[0-9]++)?+%?"  # no comma: else it would be guessed which one parts what
)
# Quantifiers have bounds or give nothing back, so that no line takes more than linear time.
_KINDS: Sequence[tuple[str, str]] = (
    ("code", r"```[\s\S]{0,20000}?```|``[^\n]{1,2000}?``|`[^`\n]{1,2000}`"),
    (
        "latex",
        r"\$\$[^$]{1,2000}\$\$"
        r"|\\\((?:[^\\]|\\[^()]){1,500}?\\\)|\\\[(?:[^\\]|\\[^\[\]]){1,500}?\\\]"
        r"|\\begin\{([A-Za-z*]{1,30})\}[\s\S]{0,1000}?\\end\{[A-Za-z*]{1,30}\}"
        # Money is no formula: no space inside the marks, no digit after them (pandoc's rule), and
        # something in it that prose does not have.
        r"|\$(?=[^$\n]{0,400}[\\^_=+{}<>|]|[A-Za-z]\$|[A-Za-z]\([^$\n]{0,20}\)\$)"
        r"(?![\s$])[^$\n]{1,400}(?<!\s)\$(?!\d)"
        r"|\\[A-Za-z]{2,30}(?:\{[^{}\n]{0,200}\}){1,4}",
    ),
    ("token", r"<\|[^|<>\n]{1,60}\|>|\[/?(?:INST|SYS|IMG|IMAGE|image|img)(?:[ _-]?[0-9]+)?\]"),
    (
        "url",
        r"(?:https?|ftp)://[^\s<>\"'`⟦⟧]{1,2000}(?<![.,;:!?)\]}»”’…])|www\.[\w-]{1,63}"
        r"(?:\.[\w-]{1,63}){1,8}(?:/[^\s<>\"'`⟦⟧]{0,2000}(?<![.,;:!?)\]}»”’…]))?",
    ),
    ("email", r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,8}"),
    (
        "markup",
        r"<!--[\s\S]{0,500}?-->|</?[A-Za-z][\w:.-]{0,40}(?:\s[^<>]{0,500})?/?>"
        r"|&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});",
    ),
    ("box", rf"[\[(]\s?{_COORDINATE}(?:\s?[,;]\s?{_COORDINATE}){{1,31}}\s?[\])]"),
    ("template", r"\{\{?[A-Za-z_][\w.]{0,60}\}\}?|(?<![\w%])%(?:\([A-Za-z_]\w{0,60}\))?[sdif]\b"),
    (
        "quantity",
        rf"(?<![\w.,])(?:[$€£¥]\s?{_NUMBER}(?!\w)"
        r"|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}"
        r"|[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?!\w)"
        rf"|{_NUMBER}[\s\u00a0]?(?:{_UNITS})(?!\w)"
        r"|[0-9]++(?:[.,\u00a0\u202f'][0-9]++)++(?!\w)|[0-9]{5,}+(?!\w))",
    ),
    ("name", r"(?<!\w)[A-Z][A-Za-z]{0,15}-?[0-9][A-Za-z0-9-]{0,20}(?!\w)"),
    ("letter", r"\([A-Z]\)|(?<!\w)[A-Z]\)|(?m:^)[A-Z][.:](?=\s)"),
    ("look-alike", r"⟦[0-9]{1,6}⟧|[⟦⟧]|XQ[0-9]{1,6}"),
)
_PATTERN = re.compile(
    "|".join(f"(?P<k{number}>{pattern})" for number, (_, pattern) in enumerate(_KINDS))
)
_NAMES = {f"k{number}": kind for number, (kind, _) in enumerate(_KINDS)}
# Most captions hold nothing to protect: one quick look instead of twelve rules at each letter.
_SUSPECT = re.compile(r"[\\$`<>&{}\[\]()@%0-9⟦⟧]|://|www\.|XQ|(?m:^)[A-Z][.:]\s")
_MARKER = r"(?:(?<![^\s(])\(?[A-Z][).:]\s{0,4}|(?m:^)\(?[0-9][).]\s{0,4})"  # of an option
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text that stands behind a placeholder."""

    kind: str
    """`code`, `latex`, `token`, `url`, `email`, `markup`, `box`, `template`, `quantity`, `name`,
    `letter`, `look-alike`, `glossary` or `option`."""
    text: str
    target: str | None = None
    """What comes back in its place; None: the text itself."""
    padded: tuple[bool, bool] = (False, False)
    """Whether a space was put before and after the placeholder."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A text with placeholders, and what they stand for."""

    text: str
    spans: Mapping[int, Span]
    """Number in the placeholder -> span."""
    style: Style = "brackets"


class Glossary:
    """Names and terms that have one translation, or none: they stay as they are."""

    def __init__(self, terms: Mapping[str, str]) -> None:
        """Take source -> target; an empty target keeps the source. Case counts."""
        self.terms = dict(terms)
        self._by_word: dict[str, list[str]] = {}
        for term in sorted(self.terms, key=lambda term: (-len(term), term)):
            word = _WORD.search(term)
            if word and word.start() == 0:
                self._by_word.setdefault(word[0], []).append(term)

    def find(self, text: str) -> list[tuple[int, int]]:
        """Return where terms stand as whole words, the longest first, none in another."""
        found: list[tuple[int, int]] = []
        end = 0
        for word in _WORD.finditer(text) if self._by_word else ():
            start = word.start()
            for term in self._by_word.get(word[0], ()) if start >= end else ():
                stop = start + len(term)
                if text.startswith(term, start) and not text[stop : stop + 1].isalnum():
                    found.append((start, stop))
                    end = stop
                    break
        return found


NO_GLOSSARY = Glossary({})


def find_spans(
    text: str, glossary: Glossary = NO_GLOSSARY, options: Iterable[str] = ()
) -> list[tuple[int, int, str]]:
    """Return start, end and kind of what must not be translated, in order, without overlaps.

    Args:
        text: any.
        glossary: terms with a fixed translation.
        options: of the question that the text is; protected where they follow a letter.
    """
    found: list[tuple[int, int, str]] = []
    if _SUSPECT.search(text):
        for match in _PATTERN.finditer(text):
            found.append((match.start(), match.end(), _NAMES[match.lastgroup or "k0"]))
    more = [(start, end, "glossary") for start, end in glossary.find(text)]
    for option in sorted(set(options), key=lambda option: (-len(option), option)):
        pattern = rf"{_MARKER}({re.escape(option)})(?!\w)"
        more += [(*match.span(1), "option") for match in re.finditer(pattern, text)]
    for start, end, kind in more:
        met = [one for one in found if one[1] > start and one[0] < end]
        if kind == "option" and all(start <= one[0] and one[1] <= end for one in met):
            found = [one for one in found if one not in met]  # it is translated as a whole
            met = []
        if not met:
            found.append((start, end, kind))
    return sorted(found)


def protect(
    text: str,
    style: Style = "brackets",
    *,
    glossary: Glossary = NO_GLOSSARY,
    options: Iterable[str] = (),
) -> Protected:
    """Return `text` with placeholders for what must not be translated.

    Args:
        text: any.
        style: how placeholders are written.
        glossary: terms with a fixed translation.
        options: see `find_spans`; their spans have the kind `option`.
    """
    spans: dict[int, Span] = {}
    out: list[str] = []
    last = 0  # the end of the last span
    previous = ""  # the last character of `out`
    for number, (start, end, kind) in enumerate(find_spans(text, glossary, options), start=1):
        between = text[last:start]
        if between:
            out.append(between)
            previous = between[-1]
        before = after = False
        token = f"⟦{number}⟧" if style == "brackets" else f"XQ{number}"
        if style == "words":
            before = previous.isalnum() or previous == "_"
            follows = text[end : end + 1]
            after = follows.isalnum() or follows == "_"
        out.append(f"{' ' * before}{token}{' ' * after}")
        previous = " " if after else token[-1]
        original = text[start:end]
        target = (glossary.terms[original] or None) if kind == "glossary" else None
        spans[number] = Span(kind, original, target, (before, after))
        last = end
    out.append(text[last:])
    return Protected("".join(out), spans, style)


def restore(
    protected: Protected, translated: str, options: Mapping[str, str] | None = None
) -> str | Fault:
    """Return the translation with the spans in the place of their placeholders.

    Args:
        protected: what was sent.
        translated: what came back.
        options: option -> its translation; None puts the option itself.
    """
    spans, pattern = protected.spans, TOKENS[protected.style]
    if not spans and not pattern.search(translated):
        return translated
    out: list[str] = []
    end, padded = 0, False
    seen: Counter[int] = Counter()
    for match in pattern.finditer(translated):
        number = int(match[1])
        span = spans.get(number)
        if span is None:
            return Fault("placeholder-unknown", f"{match[0]} was not in the source")
        seen[number] += 1
        between = translated[end : match.start()]
        if padded:
            between = between.removeprefix(" ")
        if span.padded[0]:
            between = between.removesuffix(" ")
        told = (options or {}).get(span.text) if span.kind == "option" else span.target
        out += (between, span.text if told is None else told)
        end, padded = match.end(), span.padded[1]
    for number, span in spans.items():
        if seen[number] != 1:
            what = "lost" if not seen[number] else "doubled"
            return Fault(f"placeholder-{what}", f"{span.kind} {span.text[:200]!r}")
    rest = translated[end:]
    out.append(rest.removeprefix(" ") if padded else rest)
    return "".join(out)


def renumber(protected: Protected, start: int, end: int, first: int = 1) -> Protected:
    """Return a stretch of a protected text as one of its own, its placeholders counted anew.

    Equal sentences so become equal requests. `start` and `end` must not cut a placeholder.
    """
    if not protected.spans:
        return Protected(protected.text[start:end], {}, protected.style)
    spans: dict[int, Span] = {}

    def count(match: re.Match[str]) -> str:
        number = first + len(spans)
        spans[number] = protected.spans[int(match[1])]
        return match[0].replace(match[1], str(number))

    text = TOKENS[protected.style].sub(count, protected.text[start:end])
    return Protected(text, spans, protected.style)


def without_placeholders(protected: Protected) -> str:
    """Return the text that is left to translate."""
    if not protected.spans:
        return protected.text
    return TOKENS[protected.style].sub(" ", protected.text)


def changed_spans(source: str, translated: str, glossary: Glossary = NO_GLOSSARY) -> Fault | None:
    """Return a fault if a span of `source` is not in a text translated without placeholders."""
    wanted: Counter[tuple[str, str]] = Counter()
    for start, end, kind in find_spans(source, glossary):
        original = source[start:end]
        target = glossary.terms[original] or original if kind == "glossary" else original
        wanted[kind, target] += 1
    for (kind, span), count in wanted.items():
        if translated.count(span) < count:
            return Fault("span-changed", f"{kind} {span[:200]!r}")
    return None
