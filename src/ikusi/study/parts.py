"""What the steps share: their signature, the names of files in a payload, the world's parts.

Place: below data_steps, train_steps, evaluate_step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ikusi.core.artifact import Artifact
from ikusi.languages.pack import load_pack
from ikusi.world.grammar import Voice
from ikusi.world.vocabulary import Vocabulary, choose_vocabulary

Inputs = Mapping[str, Artifact]
StepFunction = Callable[[Mapping[str, Any], Inputs, Path], Mapping[str, Any]]
"""(configuration and `folders`, inputs, folder to write to) -> what to tell of it."""

RECORDS, IMAGES, SHAS, MODEL = "records.parquet", "images", "pictures.json", "model"


def vocabulary_of(world: Mapping[str, Any]) -> Vocabulary:
    """Return the vocabulary that a step's `world` settings describe."""
    return choose_vocabulary(
        world["pivot"],
        world["target"],
        num_paired=world["paired"],
        num_probe=world["probe"],
        kinds=world["kinds"],
        cldr=world["cldr"],
    )


def voices(world: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Voice]:
    """Return the world's two languages, code -> voice, the pivot's first."""
    pivot, target = load_pack(world["pivot"]), load_pack(world["target"])
    return {
        pivot.code: Voice(pivot, target, vocabulary),
        target.code: Voice(target, pivot, vocabulary),
    }
