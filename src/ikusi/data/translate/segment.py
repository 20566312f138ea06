"""Sentences, for translators that take one at a time; what lies between them is kept exactly.

Contract: only whitespace and marks of lists lie between sentences, so that sentences and what is
between them, put together, are the text. Where one ends is told by the script (the marks of
Devanagari, Ethiopic, Chinese, ...) and by the pack's abbreviations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_MARKS = {
    "Deva": "।॥?!.", "Beng": "।॥?!.", "Guru": "।॥?!.", "Gujr": "।॥?!.", "Orya": "।॥?!.",
    "Arab": ".؟!۔?", "Ethi": "።፧?!", "Armn": "։:!?", "Khmr": "។៕?!", "Mymr": "။?!", "Tibt": "།༎",
    "Grek": ".!;?…", "Jpan": "。！？!?", "Hans": "。！？!?", "Hant": "。！？!?", "Hani": "。！？!?",
}  # fmt: skip
_OTHER_MARKS = ".!?…"
_WIDE = "。！？།༎"  # no space needs to follow these
_CLOSING = "\"'”’»)\\]）」』"
# What begins a line of a list or a heading: it is no part of the sentence, and models lose it.
_LIST_MARK = re.compile(r"(?:[-*+•–#>]{1,6}|[0-9]{1,3}[.)])[ \t]+")


def sentences(text: str, script: str, abbreviations: Iterable[str] = ()) -> list[tuple[int, int]]:
    """Return start and end of each sentence in `text`.

    Args:
        text: any.
        script: ISO 15924 code, such as Latn.
        abbreviations: what ends in a full stop without ending a sentence, such as `Dr.`.
    """
    known = frozenset(word.casefold() for word in abbreviations)
    found: list[tuple[int, int]] = []
    start = _skip(text, 0, line_start=True)
    for match in _boundary(script).finditer(text):
        if match.start() < start:
            continue
        is_line = match["line"] is not None
        if match["marks"] and "\n" not in match["space"] and not _ends(text, match, known):
            continue
        end = match.start("space") if match["marks"] else match.start() if is_line else match.end()
        end = start + len(text[start:end].rstrip())
        if end > start:
            found.append((start, end))
        start = _skip(text, match.end(), line_start="\n" in match[0])
    end = len(text.rstrip())
    if end > start:
        found.append((start, end))
    return found


def _skip(text: str, start: int, *, line_start: bool) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    mark = _LIST_MARK.match(text, start) if line_start else None
    return mark.end() if mark else start


@lru_cache(maxsize=32)
def _boundary(script: str) -> re.Pattern[str]:
    marks = re.escape(_MARKS.get(script, _OTHER_MARKS))
    wide = "".join(sorted(set(_MARKS.get(script, "")) & set(_WIDE)))
    # Possessive, and only from the first of several marks on: a line of dots takes linear time.
    ends = rf"(?<![{marks}])(?P<marks>[{marks}]++)[{_CLOSING}]*+(?P<space>\s++)|(?P<line>\n)"
    return re.compile(rf"{ends}|[{wide}]++[{_CLOSING}]*+" if wide else ends)


def _ends(text: str, match: re.Match[str], abbreviations: frozenset[str]) -> bool:
    """Return whether a sentence ends at a mark that a space follows."""
    if text[match.end() : match.end() + 1].islower():
        return False
    if match["marks"] != ".":
        return True
    words = text[max(0, match.start() - 40) : match.start()].split()
    word = words[-1].lstrip("(\"'“«[") if words else ""
    if f"{word}.".casefold() in abbreviations:
        return False
    return not (len(word) == 1 and word.isupper())  # an initial
