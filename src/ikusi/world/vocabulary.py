"""Which concepts a world of two languages has, and which of them are held out.

A concept enters when both languages name it, in at most `max_words` words, by different words, and
by a name that no other concept has: then a name alone tells its language (`evaluate/fidelity.py`).
A name with a comma or the like in it is none: captions are lists of names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ikusi.core.errors import DataError
from ikusi.world import assets
from ikusi.world.scene import COLOURS

_NOT_IN_NAMES = frozenset(',;:.!?()[]{}"/،؛、')
MIN_CONCEPTS = 24  # four options of a choice, from several kinds, on eight grounds


@dataclass(frozen=True)
class Vocabulary:
    """The concepts of a world.

    `paired` are pictured with both languages, `probe` only with the pivot; `kinds` maps an emoji to
    its kind, `names[language]` to its name, and `unseen_colour` to the ground that training never
    shows it on.
    """

    pivot: str
    target: str
    paired: tuple[str, ...]
    probe: tuple[str, ...]
    kinds: Mapping[str, str]
    names: Mapping[str, Mapping[str, str]]
    unseen_colour: Mapping[str, str]

    @property
    def all(self) -> tuple[str, ...]:
        """Paired concepts first, then the probe's."""
        return self.paired + self.probe

    @property
    def used_kinds(self) -> tuple[str, ...]:
        """The kinds that occur, in alphabetical order."""
        return tuple(sorted({self.kinds[emoji] for emoji in self.all}))


def choose_vocabulary(
    pivot: str,
    target: str,
    *,
    num_paired: int,
    num_probe: int,
    kinds: Sequence[str],
    cldr: Mapping[str, str] | None = None,
    max_words: int = 2,
) -> Vocabulary:
    """Choose concepts for a pair of languages, the same for the same arguments.

    One-word names come first, since a row of longer ones does not show where one ends; among
    names of one length kinds take turns, so that they stay as even as the languages allow.

    Args:
        pivot: language code.
        target: language code.
        num_paired: concepts pictured with both languages; fewer where there are not enough names.
        num_probe: concepts pictured only with the pivot; fewer likewise.
        kinds: those to take part.
        cldr: language code -> what the CLDR calls the language, where that is another code.
        max_words: longest name, in words.

    Raises:
        ConfigError: the CLDR has no names in a language.
        DataError: the two languages share too few usable names; says how many.
    """
    known_as = cldr or {}
    pivot_names, target_names = (assets.names(known_as.get(c, c)) for c in (pivot, target))
    usable: dict[int, dict[str, list[str]]] = {
        length: {kind: [] for kind in kinds} for length in range(1, max_words + 1)
    }
    taken: dict[str, set[str]] = {pivot: set(), target: set()}

    def words(emoji: str) -> int:
        return max(len(pivot_names[emoji].text.split()), len(target_names[emoji].text.split()))

    both = [c for c in assets.concepts() if c.emoji in pivot_names and c.emoji in target_names]
    both.sort(key=lambda c: (words(c.emoji), _shuffle_key(c.emoji)))
    for concept in both:
        here, there = (normal(n[concept.emoji].text) for n in (pivot_names, target_names))
        if concept.kind not in kinds or words(concept.emoji) > max_words or here == there:
            continue
        if not _NOT_IN_NAMES.isdisjoint(here + there):
            continue
        if {here, there} & (taken[pivot] | taken[target]):
            continue
        taken[pivot].add(here)
        taken[target].add(there)
        usable[words(concept.emoji)][concept.kind].append(concept.emoji)
    order = [emoji for groups in usable.values() for emoji in _take_turns(list(groups.values()))]
    if len(order) < MIN_CONCEPTS:
        raise DataError(
            f"the embedded world has only {len(order)} usable names in both {pivot!r} and "
            f"{target!r}, and needs {MIN_CONCEPTS}. Choose another pivot, or a language that the "
            "Unicode CLDR names more emoji in."
        )
    wanted = num_paired + num_probe
    share = num_probe / wanted if len(order) < wanted else 0
    probe_count = round(len(order) * share) if share else num_probe
    chosen = order[:wanted]
    kind_of = {c.emoji: c.kind for c in assets.concepts()}
    # Kind by kind, so that the probe and every ground get their share of each: in the order of
    # turns, a step or a period that the number of kinds divides would always meet the same kind.
    by_kind = sorted(chosen, key=lambda emoji: kind_of[emoji])
    step = len(chosen) / probe_count if probe_count else 0
    picked = {by_kind[int((i + 0.5) * step)] for i in range(probe_count)}
    probe = [emoji for emoji in chosen if emoji in picked]
    paired = [emoji for emoji in chosen if emoji not in picked]
    colours = list(COLOURS)
    return Vocabulary(
        pivot=pivot,
        target=target,
        paired=tuple(paired),
        probe=tuple(probe),
        kinds={emoji: kind_of[emoji] for emoji in chosen},
        names={
            pivot: {emoji: normal(pivot_names[emoji].text) for emoji in chosen},
            target: {emoji: normal(target_names[emoji].text) for emoji in chosen},
        },
        unseen_colour={
            emoji: colours[index % len(colours)]
            for group in (paired, probe)
            for index, emoji in enumerate(e for e in by_kind if e in group)
        },
    )


def normal(name: str) -> str:
    """Return a name as the world writes it: lower case, since it never starts a sentence."""
    return " ".join(name.lower().split())


def _shuffle_key(emoji: str) -> str:
    return hashlib.sha256(emoji.encode()).hexdigest()


def _take_turns(groups: list[list[str]]) -> list[str]:
    order: list[str] = []
    for round_ in range(max(map(len, groups), default=0)):
        order.extend(group[round_] for group in groups if round_ < len(group))
    return order
