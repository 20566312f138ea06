"""Worlds to test with: vocabulary and voices of a pair of languages."""

from __future__ import annotations

from functools import cache

from ikusi.languages.pack import load_pack
from ikusi.world.assets import KINDS
from ikusi.world.grammar import Voice
from ikusi.world.vocabulary import Vocabulary, choose_vocabulary

PAIRS = [("en", "eu"), ("en", "es"), ("en", "gl"), ("en", "cy"), ("es", "gl")]
"""Pivot and target: every complete pack is a target, and a pivot need not be English."""


@cache
def vocabulary_of(pivot: str, target: str, paired: int = 60, probe: int = 12) -> Vocabulary:
    return choose_vocabulary(pivot, target, num_paired=paired, num_probe=probe, kinds=KINDS[:6])


@cache
def voices_of(pivot: str, target: str) -> tuple[Voice, Voice]:
    """Return the pivot's voice and the target's."""
    here, there, vocabulary = load_pack(pivot), load_pack(target), vocabulary_of(pivot, target)
    return Voice(here, there, vocabulary), Voice(there, here, vocabulary)
