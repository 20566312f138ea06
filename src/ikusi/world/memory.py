"""The embedded world as a translation memory: names, words, and wordings with slots.

Place: languages, vocabulary -> [memory] -> `ikusi translate`. No sentence of the world that names
something is in it, so a world that is translated by it equals the one that was worded in the target
language only if cutting up, looking up and putting together are right. The `translate` task is left
out: what it asks for turns round with the language.

    ikusi languages memory quickstart > memory.tsv
"""

from __future__ import annotations

from collections.abc import Iterator

from ikusi.languages.pack import Pack
from ikusi.languages.rules import POOLS
from ikusi.world.grammar import TEXT_TASKS, VISUAL_TASKS
from ikusi.world.vocabulary import Vocabulary

HEADER = ("source", "target", "context")


def memory_rows(source: Pack, target: Pack, vocabulary: Vocabulary) -> Iterator[tuple[str, ...]]:
    """Yield rows of `HEADER`: first names, then words, then wordings with slots.

    Args:
        source: the language that is translated.
        target: the language that it is translated into; wordings go by their place in a pool, as
            the world chooses them, so both packs need as many.
        vocabulary: the concepts; it has names in both languages.
    """
    for emoji in vocabulary.all:
        names = vocabulary.names
        yield names[source.code][emoji], names[target.code][emoji], "name"
    for key, word in source.terms.colours.items():
        yield word, target.word("colours", key), "colour"
    for key in source.terms.sides:
        yield source.word("sides", key), target.word("sides", key), "side"
    for key in vocabulary.used_kinds:
        yield source.word("kinds", key), target.word("kinds", key), "kind"
    for key in ("yes", "no"):
        yield source.word("yes_no", key), target.word("yes_no", key), ""
    for number in range(len(source.numbers)):
        yield source.word("numbers", str(number)), target.word("numbers", str(number)), "number"
    for letter in "ABCD":
        yield letter, letter, "letter"
    yield "{name1}, {name2}", "{name1}, {name2}", "names"
    yield _slots(source.caption_answer), _slots(target.caption_answer), ""
    for task in (*VISUAL_TASKS, *TEXT_TASKS):
        if task == "translate":
            continue
        for pool in POOLS:
            pairs = zip(source.wordings(task, pool), target.wordings(task, pool), strict=False)
            for one, other in pairs:
                yield _slots(one), _slots(other), ""


def _slots(wording: str) -> str:
    """Return a pack's wording with the slots of a memory: `{a}` to `{d}` are names, too."""
    for number, letter in enumerate("abcd", 1):
        wording = wording.replace("{" + letter + "}", f"{{name{number}}}")
    return wording
