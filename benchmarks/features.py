"""Training from cached vision features against computing them live, in the same run.

    python benchmarks/features.py quickstart --store store

Stage 2 of the study's first cell is trained for some steps from the same weights on the same
batches, in turns with features from the table and with pictures that are decoded, preprocessed and
put through the tower in each step, and once more from the table with linear maps by PyTorch's own
(model/fast_linear.py). One process with one thread, as a study's workers.
"""

from __future__ import annotations

import copy
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from measuring import Row, conditions, parser, tell
from torch import Tensor

from ikusi.batch.chat import ChatRenderer, Sample
from ikusi.batch.features import cached_features
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.data.images import ImageReader
from ikusi.model.checkpoint import Checkpoint, load_checkpoint
from ikusi.model.fast_linear import fast_linear
from ikusi.model.vlm import tower_features
from ikusi.study.parts import IMAGES, MODEL, RECORDS
from ikusi.study.plan import plan_study
from ikusi.study.recipe import read_recipe
from ikusi.train.chat_objective import ChatObjective
from ikusi.train.loop import fit
from ikusi.train.params import choose_trainable
from ikusi.train.settings import TrainSettings


class Clock:
    """Counts seconds of the wall and of the processor, which a busy machine changes less."""

    def __init__(self) -> None:
        self._begun = time.monotonic(), time.process_time()

    def stop(self) -> tuple[float, float]:
        """Return both since the beginning."""
        return time.monotonic() - self._begun[0], time.process_time() - self._begun[1]


class Live:
    """Stands for a `FeatureTable`, and computes what it is asked for."""

    def __init__(self, checkpoint: Checkpoint, readers: dict[str, ImageReader]) -> None:
        self.rows = readers
        self._model: Any = checkpoint.model
        self._processor: Any = checkpoint.image_processor

    @torch.no_grad()
    def look_up(self, sha256s: Sequence[str]) -> Tensor:
        """Return float32[len(sha256s), P, C]."""
        pictures = [self.rows[sha256].open(sha256) for sha256 in sha256s]
        pixels = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
        return tower_features(self._model, pixels)


def main() -> None:
    """Measure, and tell."""
    arguments = parser(__doc__)
    arguments.add_argument("--store", type=Path, required=True, help="of the finished study")
    arguments.add_argument("--steps", type=int, default=100, help="optimiser steps in a turn")
    arguments.add_argument("--turns", type=int, default=3, help="of each way")
    chosen = arguments.parse_args()
    where = conditions() | {"threads": 1}
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    _, data = read_recipe(chosen.recipe, chosen.overrides)
    plan = plan_study(data, chosen.recipe)
    store = Store(chosen.store)
    spec = plan.steps[plan.cells[0].model]
    inputs = {role: store.open(address) for role, address in spec.inputs.items()}
    checkpoint = load_checkpoint(inputs["model"].path / MODEL)
    readers = {
        sha256: reader
        for role, artifact in inputs.items()
        if role.startswith("pictures")
        for reader in [ImageReader(artifact.path / IMAGES)]
        for sha256 in reader.sha256s()
    }
    model: Any = checkpoint.model
    about = model, checkpoint.image_processor, sorted(readers)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        table = cached_features(Path(folder), *about, lambda s: readers[s].open(s))
        encoding = clock.stop()
        clock = Clock()
        cached_features(Path(folder), *about, lambda s: readers[s].open(s))
        reading = clock.stop()

    renderer = ChatRenderer(
        checkpoint.tokenizer, checkpoint.image_token_id, checkpoint.tokens_per_image
    )
    samples = [renderer.render(r) for r in read_records(inputs["mixture"].path / RECORDS)]
    settings = TrainSettings.parse({**spec.config["train"], "max_steps": chosen.steps}, "train")
    start = copy.deepcopy(model.state_dict())
    ways: dict[str, Any] = {"cached": table, "live": Live(checkpoint, readers), "plain": table}
    took: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    losses: dict[str, list[float]] = {}
    for way in [*ways] * chosen.turns:
        model.load_state_dict(start)
        with nullcontext() if way == "plain" else fast_linear():  # as the steps of a study do
            seconds, losses[way] = train(checkpoint, samples, ways[way], settings)
        took[way].append(seconds)
    a_step = {
        way: [statistics.median(x) / chosen.steps for x in zip(*took[way], strict=True)]
        for way in took
    }
    (cached, cached_busy), (live, live_busy) = a_step["cached"], a_step["live"]
    apart = max(
        (max(all_) - min(all_)) / abs(all_[0]) for all_ in zip(*losses.values(), strict=True)
    )
    rows = [
        Row("a step, cached", 1000 * cached, "ms"),
        Row("a step, live", 1000 * live, "ms"),
        Row("live / cached", live / cached, "times"),
        Row("a step, cached, linear maps by PyTorch's own", 1000 * a_step["plain"][0], "ms"),
        Row("PyTorch's own / oneDNN's", a_step["plain"][0] / cached, "times"),
        Row("live / cached, processor time", live_busy / cached_busy, "times"),
        Row(f"encoding {len(readers):,} pictures once", encoding[0], "s"),
        Row("reading their features back", reading[0], "s"),
        Row("largest relative difference of a loss", apart, ""),
    ]
    if live_busy > cached_busy:
        rows.append(Row("encoding is paid after", encoding[1] / (live_busy - cached_busy), "steps"))
        batches = math.ceil(len(samples) / settings.per_device_train_batch_size)
        rows.append(Row("an epoch has", batches, "steps"))
    tell(chosen, where, rows, {"wall and processor seconds": took})


def train(
    checkpoint: Checkpoint, samples: list[Sample], features: Any, settings: TrainSettings
) -> tuple[tuple[float, float], list[float]]:
    """Train stage 2 and return the seconds it took, and the loss of each step."""
    model, losses = checkpoint.model, list[float]()
    model.train()
    trainable, _ = choose_trainable(model, "instruct")
    objective = ChatObjective(
        model,
        trainable,
        samples,
        features,
        cast(int, checkpoint.tokenizer.pad_token_id),
        batch_size=settings.per_device_train_batch_size,
        seed=0,
    )
    clock = Clock()
    fit(objective, settings, on_step=lambda step, steps, loss: losses.append(loss))
    return clock.stop(), losses


if __name__ == "__main__":
    main()
