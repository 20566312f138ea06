"""Studies made up from a seed, with known scores."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ikusi.evaluate.cells import Cell
from ikusi.evaluate.report_data import Cost, Sample, StudySummary
from ikusi.evaluate.results import Control, result_table
from ikusi.evaluate.verdicts import VerdictRules

TASKS = ("what", "where", "exists", "choice")
DROP = {"wording": 0.05, "design": 0.25, "probe": 0.45, "blank": 0.5, "shuffled": 0.55}


def make_results(
    score: float,
    seed: int,
    *,
    per_task: int = 60,
    splits: Sequence[str] = ("main", "wording", "design", "probe", "blank", "shuffled", "text"),
    languages: Sequence[str] = ("eu", "en"),
    answer: str = "katu",
) -> pa.Table:
    """Return results whose expected score is `score` in eu, a little more in en."""
    draw = np.random.default_rng([seed, int(1000 * score), 7])
    rows: list[dict[str, Any]] = []
    for split in splits:
        for task in TASKS:
            for number in range(per_task):
                for language in languages:
                    level = score - DROP.get(split, 0.0) + (0.05 if language == "en" else 0.0)
                    right = bool(draw.random() < min(max(level, 0.02), 0.98))
                    closed = task in ("exists", "choice")
                    gold = ("bai", "ez")[number % 2] if closed else f"izen{number % 20}"
                    home = language == "eu"
                    elsewhere = not right and draw.random() < 0.3
                    rows.append(
                        {
                            "sample_id": f"{split}/{task}/{number}/{language}",
                            "group": f"{split if split in ('probe', 'text') else 'main'}-{number}",
                            "task": task,
                            "language": language,
                            "split": split,
                            "prompt": f"{task}? {number}",
                            "answer": gold if right else answer,
                            "gold": gold,
                            "correct": right,
                            "said": ("target" if home != elsewhere else "pivot")
                            if draw.random() < 0.9
                            else "neither",
                            "right_elsewhere": elsewhere,
                            "finished": True,
                            "choices": ["bai", "ez"] if closed else [],
                            "likely": gold if closed else None,
                            "likely_correct": right if closed else None,
                            "prompt_sha256": hashlib.sha256(task.encode()).hexdigest(),
                            "gold_sha256": hashlib.sha256(gold.encode()).hexdigest(),
                        }
                    )
    return result_table(rows)


def make_cell(
    backbone: str, share: float, seed: int, score: float, control: Control | None = None, **how: Any
) -> Cell:
    return Cell(
        backbone=backbone,
        target_share=share,
        seed=seed,
        control=control,
        address=f"train/instruct-{seed}{int(100 * share):03d}abcdef012345",
        results=make_results(score, 100 * seed + len(backbone), **how),
        text_before=make_results(
            0.8, 900 + seed, splits=("text",), per_task=how.get("per_task", 60)
        ),
        seconds=120.0 + seed,
        supervised_tokens=100_000 + int(20_000 * share),
    )


LEVELS = {0.0: 0.15, 0.05: 0.45, 0.2: 0.72, 0.5: 0.78, 0.8: 0.8, 1.0: 0.82}


def make_study(
    backbones: Sequence[str] = ("pivot-centric", "adapted"),
    shares: Sequence[float] = tuple(LEVELS),
    seeds: Sequence[int] = (0, 1, 2),
    *,
    controls: bool = True,
    gap: float = 0.05,
    samples: int = 3,
    more: int = 0,
    **how: Any,
) -> StudySummary:
    cells = [
        make_cell(name, share, seed, LEVELS[share] + gap * place + 0.01 * (seed - 1), **how)
        for place, name in enumerate(backbones)
        for share in shares
        for seed in seeds
    ]
    if controls:
        kinds: tuple[Control, ...] = ("target_alone_equal_exposure", "target_alone_equal_steps")
        cells += [
            make_cell(name, 0.2, seed, 0.5 + 0.1 * number, control, **how)
            for name in backbones
            for number, control in enumerate(kinds)
            for seed in seeds
        ]
    return StudySummary(
        title="Quickstart: how much Basque is enough?",
        target="eu",
        pivot="en",
        cells=cells,
        expected_cells=len(cells) + more,
        rules=VerdictRules(resamples=400),
        language_names={"eu": "Basque", "en": "English"},
        recipe="target: eu\npivot: en\n",
        costs=[
            Cost("encoder", True, 1, 1, len(cells), 95.2, 95.2 * len(cells)),
            Cost("align", False, 2, 2, len(cells), 30.5, 15.25 * len(cells)),
            Cost("instruct", False, len(cells), len(cells), len(cells), 800.0, 800.0),
        ],
        peak_memory_bytes=2_100_000_000,
        samples=[
            Sample(
                picture=make_picture(number),
                task="what",
                group=f"main-{number}",
                question=f"Zer dago irudian? ({number})",
                gold="katu",
                language="eu",
                answers={
                    c.label: ("katu" if c.target_share > 0.1 else "cat", c.target_share > 0.1)
                    for c in cells
                },
            )
            for number in range(samples)
        ],
        reproduce=["pip install ikusi", "ikusi study quickstart"],
        notes=["Left out for lack of wordings: kind (add 3 sentences to cy.yaml)."],
        long_answers_by="lexicon",
        confusion={
            "target": {"target": 41, "pivot": 1, "neither": 8},
            "pivot": {"target": 0, "pivot": 23, "neither": 27},
        },
        vocabulary="132 concepts, 8 colours, 1 to 4 things on a 3x3 scene.",
    )


def make_picture(seed: int, side: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def results() -> Callable[..., pa.Table]:
    return make_results


@pytest.fixture
def cell() -> Callable[..., Cell]:
    return make_cell


@pytest.fixture(scope="session")
def study_of() -> Callable[..., StudySummary]:
    return make_study


@pytest.fixture(scope="session")
def whole_study() -> StudySummary:
    """Two backbones, six shares, three seeds, and the controls."""
    return make_study()
