"""What a sentence of a language pack must be, and how sentences are dealt to pools.

Place: under `pack.py`. Contract: pure functions on strings; a broken rule is a `ValueError` whose
message says what is wrong and what to do, and `pack.py` adds the file and the key.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PLACEHOLDERS: Mapping[str, tuple[str, ...]] = {
    "caption": (),
    "what": (),
    "where": ("name",),
    "count": (),
    "exists": ("name",),
    "colour": (),
    "kind": (),
    "choice": ("a", "b", "c", "d"),
    "kind_of": ("name",),
    "translate": ("language", "name"),
}
"""Every task, and the marks that each of its sentences holds exactly once."""

TASK_HELP: Mapping[str, str] = {
    "caption": "Asks to describe the picture",
    "what": "What is in the picture? It shows one thing",
    "where": "On which side of the picture is {name}? Answer: left, right, top or bottom",
    "count": "How many things are in the picture?",
    "exists": "Is {name} in the picture? Answer: yes or no",
    "colour": "Which colour is the background?",
    "kind": "What kind of thing is in the picture? Answer: animal, food, ...",
    "choice": "Which of four is in the picture? Answer: the letter A, B, C or D",
    "kind_of": "What kind of thing is {name}? Answer: animal, food, ...",
    "translate": "How does one say {name} in {language}?",
}
"""What the sentences of a task ask, for people."""

POOLS = ("text", "train", "held_out")
"""Text pretraining, training on pictures, evaluation."""

SCRIPTS: Mapping[str, str] = {
    "Latn": "LATIN",
    "Cyrl": "CYRILLIC",
    "Arab": "ARABIC",
    "Grek": "GREEK",
    "Hebr": "HEBREW",
    "Deva": "DEVANAGARI",
    "Beng": "BENGALI",
    "Guru": "GURMUKHI",
    "Gujr": "GUJARATI",
    "Orya": "ORIYA",
    "Taml": "TAMIL",
    "Telu": "TELUGU",
    "Knda": "KANNADA",
    "Mlym": "MALAYALAM",
    "Sinh": "SINHALA",
    "Thai": "THAI",
    "Laoo": "LAO",
    "Tibt": "TIBETAN",
    "Mymr": "MYANMAR",
    "Khmr": "KHMER",
    "Ethi": "ETHIOPIC",
    "Geor": "GEORGIAN",
    "Armn": "ARMENIAN",
    "Cher": "CHEROKEE",
    "Cans": "CANADIAN SYLLABICS",
    "Hang": "HANGUL",
    "Tfng": "TIFINAGH",
    "Nkoo": "NKO",
    "Olck": "OL CHIKI",
}
"""ISO 15924 code -> how Unicode's names of its letters begin; a script not here is not checked."""

UNSPACED = frozenset({"Jpan", "Hans", "Hant", "Hani", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})
"""Scripts written without spaces, where a letter next to `{name}` does not inflect it."""

_MARK = re.compile(r"\{([^{}]*)\}")
_OPTIONS = re.compile(r"A\)\s*\{a\}.*B\)\s*\{b\}.*C\)\s*\{c\}.*D\)\s*\{d\}")
_OPTION_LETTER = re.compile(r"\b[A-D]\)")
_DANGLING = re.compile(r"[\s:,]+([.?!])|\s+(,)")
_JOINED_AFTER = re.compile("[-'\u2019]?\\w")
_JOINED_BEFORE = re.compile("\\w[-'\u2019]?$")
_JOINERS = frozenset("\u200c\u200d\u200e\u200f")  # Persian, Indic and right-to-left text need them


def normalise(text: str) -> str:
    """Return `text` in NFC, without spaces at its ends or two in a row.

    Raises:
        ValueError: it holds a control character; gives its code point and place.
    """
    text = unicodedata.normalize("NFC", text)
    for place, character in enumerate(text, start=1):
        category = unicodedata.category(character)
        if category in {"Cc", "Cs", "Co"} or (category == "Cf" and character not in _JOINERS):
            raise ValueError(
                f"character {place} of {text!r} is the control character U+{ord(character):04X}; "
                "remove it"
            )
    return " ".join(text.split())


def normalise_all(data: Any) -> Any:
    """Return plain `data` with every string in it, keys too, normalised."""
    if isinstance(data, str):
        return normalise(data)
    if isinstance(data, Mapping):
        return {normalise_all(key): normalise_all(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [normalise_all(value) for value in data]
    return data


def plain(text: str) -> str:
    """Return a sentence without its marks and options, as natural text."""
    bare = " ".join(_MARK.sub(" ", _OPTION_LETTER.sub(" ", text)).split())
    return _DANGLING.sub(r"\1\2", bare)


def words(text: str) -> tuple[str, ...]:
    """Return the words of a sentence: lower-case, without punctuation, marks and option letters."""
    bare = _OPTION_LETTER.sub(" ", _MARK.sub(" ", text)).lower()
    trimmed = (_strip_punctuation(word) for word in bare.split())
    return tuple(word for word in trimmed if word)


def _strip_punctuation(word: str) -> str:
    def is_outer(character: str) -> bool:
        return unicodedata.category(character)[0] in "PSZ"

    start, stop = 0, len(word)
    while start < stop and is_outer(word[start]):
        start += 1
    while stop > start and is_outer(word[stop - 1]):
        stop -= 1
    return word[start:stop]


def check_marks(text: str, needed: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Check that `text` holds each of the `needed` marks once, and no other but `optional` ones.

    Raises:
        ValueError: says which mark is missing, unknown or repeated.
    """
    found = _MARK.findall(text)
    if "{" in _MARK.sub("", text) or "}" in _MARK.sub("", text):
        raise ValueError(f"{text!r} has a lone brace; a mark is written like {{name}}")
    shown = ", ".join("{" + mark + "}" for mark in (*needed, *optional)) or "none"
    for mark in found:
        if mark not in (*needed, *optional):
            raise ValueError(f"{text!r} has the mark {{{mark}}}; the marks here are: {shown}")
    for mark in dict.fromkeys((*needed, *found)):
        if found.count(mark) != 1:
            raise ValueError(f"{text!r} must hold {{{mark}}} once, not {found.count(mark)} times")


def check_wording(task: str, text: str, script: str) -> None:
    """Check one sentence of `task`.

    Raises:
        ValueError: its marks, the options of a choice, or a name that would be inflected.
    """
    check_marks(text, PLACEHOLDERS[task])
    if task == "choice" and not _OPTIONS.search(text):
        raise ValueError(f"{text!r} must list the options as: A) {{a}} B) {{b}} C) {{c}} D) {{d}}")
    if not words(text):
        raise ValueError(f"{text!r} has no words; write a sentence")
    if script in UNSPACED:
        return
    before, mark, after = text.partition("{name}")
    if mark and (_JOINED_AFTER.match(after) or _JOINED_BEFORE.search(before)):
        raise ValueError(
            f"{text!r} joins letters to {{name}}, but names are never inflected; "
            "put it after a colon or in quotes"
        )


def check_script(text: str, script: str) -> None:
    """Check that the letters of `text` belong to `script` (ISO 15924); unknown scripts pass.

    Raises:
        ValueError: a word mixes two scripts, or most letters are of another one.
    """
    if script not in SCRIPTS:
        return
    inside = total = 0
    for word in words(text):
        scripts = [letter_script(character) for character in word]
        known = [name for name in scripts if name]
        if len(set(known)) > 1 and script in known:
            raise ValueError(
                f"the word {word!r} mixes letters of {' and '.join(sorted(set(known)))}"
            )
        inside += known.count(script)
        total += len(known)
    if total and 2 * inside < total:
        raise ValueError(f"{text!r} is not written in the script {script}; correct it or `script`")


def letter_script(character: str) -> str:
    """Return the ISO 15924 code of a letter, or "" for what is none or is in no table of ours."""
    if not unicodedata.category(character).startswith("L"):
        return ""
    name = unicodedata.name(character, "")
    return next((code for code, start in SCRIPTS.items() if name.startswith(start + " ")), "")


def guess_script(texts: Iterable[str]) -> str:
    """Return the script of most letters in `texts`, or "Zyyy" (common) when there is none."""
    counts: dict[str, int] = {}
    for text in texts:
        for character in "".join(words(text)):
            code = letter_script(character)
            if code:
                counts[code] = counts.get(code, 0) + 1
    return max(counts, key=lambda code: counts[code]) if counts else "Zyyy"


def deal(wordings: Sequence[str]) -> dict[str, list[str]]:
    """Deal a plain list of sentences to the pools, the same way every time.

    One or two sentences all go to `train`. From three on, about 3 in 14 are held out and 5 in 14
    are for text (the shares of the complete packs), at least one of each. Held out are, from the
    end of the list, sentences whose words all occur in the others: a held-out sentence should be
    a new combination of known words.
    """
    count = len(wordings)
    if count < 3:
        return {"text": [], "train": list(wordings), "held_out": []}
    num_held_out, num_text = max(1, 3 * count // 14), max(1, 5 * count // 14)
    held_out: list[int] = []
    for only_known in (True, False):
        for index in reversed(range(count)):
            if len(held_out) == num_held_out or index in held_out:
                continue
            rest = (i for i in range(count) if i != index and i not in held_out)
            known = {word for i in rest for word in words(wordings[i])}
            # a sentence held out earlier must keep its words known, too
            needed = {word for i in (*held_out, index) for word in words(wordings[i])}
            if not only_known or needed <= known:
                held_out.append(index)
    rest_indices = [index for index in range(count) if index not in held_out]
    return {
        "text": [wordings[index] for index in rest_indices[:num_text]],
        "train": [wordings[index] for index in rest_indices[num_text:]],
        "held_out": [wordings[index] for index in sorted(held_out)],
    }
