"""Ask a model every item, by generation and by likelihood, and keep one row per sample.

Place: checkpoint, items -> [runner] -> results. The prompt of an item is read once: its cache gives
the greedy answer and the likelihood of every option.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ikusi.batch.chat import ChatRenderer
from ikusi.batch.features import FeatureTable
from ikusi.batch.loader import collate
from ikusi.core.log import track
from ikusi.core.seeds import rng_for
from ikusi.core.types import ImageRef, Record
from ikusi.evaluate.fidelity import Fidelity, normal, right_elsewhere
from ikusi.model.checkpoint import Checkpoint
from ikusi.model.generate import continue_prompts

BLANK = "blank"
"""Stands for the picture that shows nothing in a `FeatureTable`."""


def answer_items(
    checkpoint: Checkpoint,
    records: Sequence[Record],
    split: str,
    gold: Mapping[str, Mapping[str, str]],
    fidelity: Fidelity,
    features: FeatureTable | None,
    *,
    batch_size: int,
    max_new_tokens: int,
) -> Iterator[dict[str, Any]]:
    """Yield a row of `results.RESULT_SCHEMA` per record.

    Args:
        checkpoint: the model under test.
        records: items; the last turn is the accepted answer.
        split: what the rows are filed under.
        gold: group and task -> language -> accepted answer, for answers in the wrong language.
        fidelity: tells the language of an answer.
        features: of the pictures, or None for text-only items.
        batch_size: prompts in a batch.
        max_new_tokens: answers are cut there.
    """
    tokenizer = checkpoint.tokenizer
    renderer = ChatRenderer(tokenizer, checkpoint.image_token_id, checkpoint.tokens_per_image)
    prompts = [renderer.render_prompt(record) for record in records]
    order = sorted(range(len(records)), key=lambda i: len(prompts[i]))
    with track(f"evaluate {split}", total=len(records)) as advance:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = collate(
                [prompts[i] for i in chosen],
                features,
                cast(int, tokenizer.pad_token_id),
                pad_left=True,
            )
            options = [[renderer.encode_text(o) for o in records[i].choices] for i in chosen]
            answers = continue_prompts(
                checkpoint.model,
                batch.input_ids,
                batch.attention_mask,
                batch.features,
                end_token_id=renderer.end_token_id,
                max_new_tokens=max_new_tokens,
                options=options,
            )
            for index, said in zip(chosen, answers, strict=True):
                record = records[index]
                text = str(tokenizer.decode(list(said.token_ids), skip_special_tokens=True)).strip()
                expected = record.answers[0]
                likely = None
                if said.option_logprobs:
                    likely = record.choices[int(np.argmax(said.option_logprobs))]
                prompt = record.turns[-2].text
                yield {
                    "sample_id": f"{split}:{record.id}",
                    "group": record.group,
                    "task": record.task,
                    "language": record.language,
                    "split": split,
                    "prompt": prompt,
                    "answer": text,
                    "gold": expected,
                    "correct": normal(text) == normal(expected),
                    "said": fidelity.said(text),
                    "right_elsewhere": right_elsewhere(
                        text, gold[f"{record.group}/{record.task}"], record.language
                    ),
                    "finished": said.finished,
                    "choices": list(record.choices),
                    "likely": likely,
                    "likely_correct": None if likely is None else likely == expected,
                    "prompt_sha256": _hash(prompt),
                    "gold_sha256": _hash(expected),
                    "image_sha256": record.images[0].sha256 if record.images else None,
                }
            advance(len(chosen))


def gold_of(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Return group and task -> language -> accepted answer."""
    gold: dict[str, dict[str, str]] = {}
    for record in records:
        gold.setdefault(f"{record.group}/{record.task}", {})[record.language] = record.answers[0]
    return gold


def with_blank(records: Sequence[Record]) -> list[Record]:
    """Return the items with a picture that shows nothing."""
    blank = ImageRef(sha256=BLANK)
    return [replace(record, images=(blank,) * len(record.images)) for record in records]


def with_shuffled(records: Sequence[Record]) -> list[Record]:
    """Return the items with the picture of another item of the same task.

    A task with one picture alone has no other, and is left out.
    """
    pictures: dict[str, dict[tuple[ImageRef, ...], int]] = {}
    for record in records:
        seen = pictures.setdefault(record.task, {})
        seen.setdefault(record.images, len(seen))
    shuffled = []
    for record in records:
        places = pictures[record.task]
        if len(places) > 1:
            # A seeded rotation: no item keeps its picture, and both languages get the same one.
            shift = int(rng_for("shuffled", record.task).integers(1, len(places)))
            other = (places[record.images] + shift) % len(places)
            shuffled.append(replace(record, images=list(places)[other]))
    return shuffled


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
