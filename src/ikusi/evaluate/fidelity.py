"""In which language is an answer? By lexicon, for answers of up to four words.

The embedded world's answers are names, colours, sides, numbers and yes/no: a closed list in each
language, so the list decides. Longer answers are left to identification where it is reliable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def _words(texts: Iterable[str]) -> set[str]:
    return {
        word for text in texts for part in text.casefold().split() if (word := part.strip(".,:;!?"))
    }


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
    return " ".join(text.casefold().split()).rstrip(".")
