"""In which language is an answer?

Place: languages -> [fidelity] -> runner. Up to `MAX_WORDS` words the lexicon decides: the embedded
world's answers are names, colours, sides, numbers and yes/no, a closed list in each language. Above
that, identification does where it is reliable; that is measured on the longer accepted answers of
the evaluation items themselves, whose language is known, and recorded with the results. Where it is
poor (a caption that lists names is harder than a sentence), the lexicon decides longer answers too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ikusi.core.types import Record
from ikusi.languages import identify
from ikusi.languages.pack import Pack

MAX_WORDS = 4
"""Longest answer, in words, that the lexicon decides alone."""


class Lexicon:
    """The words that answers are made of, in two languages.

    Args:
        target: words and phrases of the target language.
        pivot: those of the pivot language.
    """

    def __init__(self, target: Iterable[str], pivot: Iterable[str]) -> None:
        self._target = _words(target)
        self._pivot = _words(pivot)

    def said(self, answer: str) -> str:
        """Return whose language `answer` is in: `target`, `pivot`, `both` or `neither`.

        A word that both languages have (a letter, a number sign, a cognate) speaks for neither
        against the other: an answer of such words alone is `both`.
        """
        words = _words([answer])
        shared = self._target & self._pivot
        target = len(words & self._target - shared)
        pivot = len(words & self._pivot - shared)
        if target and not pivot:
            return "target"
        if pivot and not target:
            return "pivot"
        return "both" if words & shared or (target and pivot) else "neither"


@dataclass(frozen=True)
class Confusion:
    """What identification takes texts of known languages for.

    `labels[side]` is the identifier's name of the `target` and of the `pivot`; `counts[side][said]`
    the number of that side's texts that were taken for `target`, `pivot` or `neither`.
    """

    labels: Mapping[str, str]
    counts: Mapping[str, Mapping[str, int]]

    @property
    def reliable(self) -> bool:
        """Whether both languages are recognised well enough to judge answers by it."""
        return all(
            sum(counts.values()) >= identify.MIN_TEXTS
            and counts[side] >= identify.MIN_RECALL * sum(counts.values())
            and counts[_OTHER[side]] <= identify.MAX_FALSE * sum(counts.values())
            for side, counts in self.counts.items()
        )

    def said(self, answer: str) -> str:
        """Return whose language `answer` is in by identification: `target`, `pivot`, `neither`."""
        return _said(answer, self.labels)

    def to_plain(self) -> dict[str, Any]:
        """Return the measurement as plain data, for a step's statistics."""
        return {
            "long_answers_judged_by": "identification" if self.reliable else "lexicon",
            "labels": dict(self.labels),
            "counts": {side: dict(counts) for side, counts in self.counts.items()},
        }


_OTHER = {"target": "pivot", "pivot": "target"}


def measure_identification(target: Pack, pivot: Pack, records: Iterable[Record]) -> Confusion:
    """Identify the accepted answers of more than `MAX_WORDS` words, each once.

    Args:
        target: pack of the target language.
        pivot: pack of the pivot language.
        records: evaluation items in both languages.
    """
    labels = {"target": target.ids.langid, "pivot": pivot.ids.langid}
    sides = {target.code: "target", pivot.code: "pivot"}
    texts: dict[str, dict[str, None]] = {"target": {}, "pivot": {}}
    for record in records:
        for answer in record.answers:
            if record.language in sides and is_long(answer):
                texts[sides[record.language]][answer] = None
    counts = {side: dict.fromkeys(("target", "pivot", "neither"), 0) for side in texts}
    for side, answers in texts.items():
        for answer in answers:
            counts[side][_said(answer, labels)] += 1
    return Confusion(labels, counts)


class Fidelity:
    """Tells the language of an answer, short or long.

    Args:
        lexicon: of the two languages.
        confusion: of identification on long answers.
    """

    def __init__(self, lexicon: Lexicon, confusion: Confusion) -> None:
        self._lexicon = lexicon
        self._long = confusion if confusion.reliable else lexicon

    def said(self, answer: str) -> str:
        """Return whose language `answer` is in: `target`, `pivot`, `both` or `neither`."""
        return (self._long if is_long(answer) else self._lexicon).said(answer)


def is_long(answer: str) -> bool:
    """Return whether `answer` has more words than the lexicon decides alone."""
    return len(answer.split()) > MAX_WORDS


def right_elsewhere(answer: str, gold: Mapping[str, str], asked: str) -> bool:
    """Return whether `answer` is the accepted one of another language and not of `asked`.

    Args:
        answer: what the model said.
        gold: language -> accepted answer to the same question.
        asked: the language of the question.
    """
    given = normal(answer)
    return given != normal(gold[asked]) and any(
        given == normal(text) for language, text in gold.items() if language != asked
    )


def normal(text: str) -> str:
    """Return `text` as it is compared: case, outer space and a final stop do not matter."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).rstrip(".")


def _said(answer: str, labels: Mapping[str, str]) -> str:
    label, _ = identify.identify(answer)
    return next((side for side, own in labels.items() if own == label), "neither")


def _words(texts: Iterable[str]) -> set[str]:
    parts = (part for text in texts for part in normal(text).split())
    return {word for part in parts if (word := part.strip(".,:;!?¿¡\"'()«»"))}
