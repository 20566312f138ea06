"""Training until enough is answered: earlier than planned, or with a warning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.model import tiny

from ikusi.core.artifact import Artifact, Spec
from ikusi.core.records import write_records
from ikusi.core.store import Store
from ikusi.study.parts import MODEL, RECORDS
from ikusi.study.train_steps import train_text

NUMBERS = ("bat", "bi", "hiru")


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Artifact]:
    """A tokenizer, and a mixture in which three questions come again and again."""
    store = Store(tmp_path / "store")

    def write_tokenizer(out: Path) -> None:
        tiny.tokenizer().save_pretrained(out / MODEL)

    def write_mixture(out: Path) -> None:
        records = (
            tiny.record(f"Zer da {number % 3}?", NUMBERS[number % 3], identity=f"r{number}")
            for number in range(1024)
        )
        write_records(out / RECORDS, records)

    return {
        "tokenizer": store.build(Spec("tokenizer", "t", 1), write_tokenizer),
        "mixture": store.build(Spec("mix", "m", 1), write_mixture),
    }


def config(until: float | None, epochs: float) -> dict[str, Any]:
    return {
        "name": "primer",
        "seed": 0,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "initializer_range": 0.08,
        "until": until,
        "train": {
            "learning_rate": 1e-2,
            "num_train_epochs": epochs,
            "per_device_train_batch_size": 8,
            "lr_scheduler_type": "warmup_stable_decay",
        },
    }


def test_training_ends_when_what_is_kept_out_is_answered(
    inputs: dict[str, Artifact], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stats = train_text(config(1.0, 10), inputs, tmp_path)
    planned = 10 * 512 // 8  # of the 1024, half are kept out
    looks, (last_step, last) = stats["answered"][:-1], stats["answered"][-1]
    assert [step for step, _ in looks] == list(range(50, looks[-1][0] + 1, 50))
    assert all(share < 1 for _, share in looks[:-1])
    assert looks[-1][1] == last == 1
    assert stats["steps"] == last_step == looks[-1][0] + 64 < planned
    assert stats["samples"] == 8 * last_step
    assert "kept out" not in caplog.text


def test_not_enough_is_said(
    inputs: dict[str, Artifact], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stats = train_text(config(0.9, 0.1), inputs, tmp_path)
    assert stats["steps"] == 7
    assert stats["answered"] == [[7, stats["answered"][0][1]]]
    assert "primer: answers 0." in caplog.text
    assert "less than the 0.90" in caplog.text


def test_without_a_goal_all_is_read(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    stats = train_text(config(None, 1), inputs, tmp_path)
    assert (stats["steps"], stats["samples"]) == (128, 1024)
    assert "answered" not in stats
