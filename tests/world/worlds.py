"""Worlds to test with: vocabulary and voices of a pair of languages."""

from __future__ import annotations

import re
from functools import cache

from ikusi.languages.pack import TASKS, load_pack
from ikusi.languages.rules import POOLS
from ikusi.world.grammar import Voice
from ikusi.world.vocabulary import Vocabulary, choose_vocabulary

SIX = ("animal", "food", "vehicle", "building", "clothing", "object")
PAIRS = [("en", "eu"), ("en", "es"), ("en", "gl"), ("en", "cy"), ("es", "gl")]
"""Pivot and target: every complete pack is a target, and a pivot need not be English."""


@cache
def vocabulary_of(pivot: str, target: str, paired: int = 60, probe: int = 12) -> Vocabulary:
    return choose_vocabulary(pivot, target, num_paired=paired, num_probe=probe, kinds=SIX)


@cache
def voices_of(pivot: str, target: str) -> tuple[Voice, Voice]:
    """Return the pivot's voice and the target's."""
    here, there, vocabulary = load_pack(pivot), load_pack(target), vocabulary_of(pivot, target)
    return Voice(here, there, vocabulary), Voice(there, here, vocabulary)


def read(text: str, wording: str) -> dict[str, str] | None:
    """Return what stands in the marks of a wording that ends `text`, or None."""
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(wording))
    found = re.fullmatch(f"(?:.* )?{pattern}", text)
    return found.groupdict() if found else None


def wording_of(text: str, voice: Voice) -> tuple[str, str, int]:
    """Return task, pool and number of the wording that ends `text`, a scene before it or not."""
    found = [
        (len(wording), task, pool, number)
        for task in TASKS
        for pool in POOLS
        for number, wording in enumerate(voice.pack.wordings(task, pool))
        if read(text, wording) is not None
    ]
    assert found, text
    return max(found)[1:]
