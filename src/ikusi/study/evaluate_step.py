"""The step that evaluates a model.

Place: plan -> [evaluate_step] -> store; see steps.py for the contract.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ikusi.core.records import read_records
from ikusi.core.types import Record
from ikusi.study.parts import MODEL, RECORDS, Inputs, vocabulary_of, voices
from ikusi.study.train_steps import picture_features
from ikusi.world.grammar import LETTERS, Voice
from ikusi.world.scene import SIDE_PX


def evaluate(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Answer the evaluation items with a checkpoint; a text-only one gets the text split alone."""
    import numpy as np
    from PIL import Image

    from ikusi.batch.features import FeatureTable, encode_pictures
    from ikusi.evaluate.fidelity import Fidelity, measure_identification
    from ikusi.evaluate.results import write_results
    from ikusi.evaluate.runner import (
        BLANK,
        answer_items,
        gold_of,
        with_blank,
        with_shuffled,
    )
    from ikusi.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(inputs["model"].path / MODEL)
    checkpoint.model.train(False)
    vocabulary = vocabulary_of(config["world"])
    by_language = voices(config["world"], vocabulary)
    features: FeatureTable | None = None
    if checkpoint.image_processor is not None:
        blank = encode_pictures(
            cast(Any, checkpoint.model),
            checkpoint.image_processor,
            [BLANK],
            lambda _: Image.fromarray(np.full((SIDE_PX, SIDE_PX, 3), 128, dtype=np.uint8)),
        )
        features = picture_features(checkpoint, inputs).join(blank)
    items = {
        split: [
            record
            for language in by_language
            for record in read_records(inputs[f"items-{split}@{language}"].path / RECORDS)
        ]
        for split in config["splits"]
        if features is not None or split == "text"
    }
    pivot, target = (voice.pack for voice in by_language.values())
    confusion = measure_identification(target, pivot, itertools.chain(*items.values()))
    fidelity = Fidelity(_lexicon(by_language), confusion)
    rows: list[dict[str, Any]] = []
    for split, records in items.items():
        gold = gold_of(records)
        variants = [(split, records)]
        if split == "main" and config["blind"]:
            some = _first_per_task(records, config["blind_per_task"])
            variants += [("blank", with_blank(some)), ("shuffled", with_shuffled(some))]
        for name, asked in variants:
            rows.extend(
                answer_items(
                    checkpoint,
                    asked,
                    name,
                    gold,
                    fidelity,
                    features,
                    batch_size=config["batch_size"],
                    max_new_tokens=config["max_new_tokens"],
                )
            )
    rows.sort(key=lambda row: row["sample_id"])
    count = write_results(out / "results.parquet", rows)
    correct = sum(row["correct"] for row in rows) / max(1, count)
    return {"samples": count, "correct": correct, "identification": confusion.to_plain()}


def _first_per_task(records: list[Record], count: int) -> list[Record]:
    seen: dict[tuple[str, str], int] = {}
    chosen = []
    for record in records:
        key = (record.language, record.task)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= count:
            chosen.append(record)
    return chosen


def _lexicon(by_language: Mapping[str, Voice]) -> Any:
    from ikusi.evaluate.fidelity import Lexicon

    pivot, target = by_language.values()

    def texts(voice: Voice) -> list[str]:
        pack = voice.pack
        numbers = [form for forms in pack.numbers for form in forms]
        words = [*pack.terms.colours.values(), *pack.terms.sides.values()]
        words += [*pack.terms.kinds.values(), *pack.yes_no.yes, *pack.yes_no.no]
        written = [*voice.names.values(), *words, pack.caption_answer]
        return [*written, *numbers, *LETTERS]

    return Lexicon(texts(target), texts(pivot))
