"""Ikusi's own paths against plain torch and transformers; each test prints its measured error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.model import tiny
from tests.train.test_loop import samples
from torch import Tensor
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from ikusi.batch.features import FeatureTable
from ikusi.batch.loader import collate
from ikusi.model.checkpoint import Checkpoint
from ikusi.model.vlm import supervised_logits, tower_features
from ikusi.train.chat_objective import ChatObjective
from ikusi.train.loop import fit
from ikusi.train.params import choose_trainable
from ikusi.train.settings import TrainSettings


def within(error: float, tolerance: float, what: str, record_property: Any) -> None:
    print(f"{what}: measured {error:.1e}, tolerance {tolerance:.0e}")
    record_property("measured_error", error)
    record_property("tolerance", tolerance)
    assert error <= tolerance


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("connector", ["linear", "mlp", "pixel-shuffle"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_gradients_from_cached_features_are_those_of_the_pixel_path(
    connector: Any, dtype: torch.dtype, tolerance: float, record_property: Any
) -> None:
    made: Any = tiny.checkpoint(connector, tied=False)
    made.model.to(dtype)
    pixels = made.image_processor([tiny.picture(n) for n in range(4)], return_tensors="pt")
    pixels = pixels["pixel_values"].to(dtype)
    with torch.no_grad():
        cached = tower_features(made.model, pixels).numpy()
    table = FeatureTable(cached, {str(n): n for n in range(4)})
    trainable, _ = choose_trainable(made.model, "instruct")
    goal = ChatObjective(made.model, trainable, samples(made), table, 0, batch_size=8, seed=0)
    loss, count = goal.loss(list(range(8)))
    ours = torch.autograd.grad(loss / count, trainable)

    batch = collate(goal.samples, table, 0)
    shown = [int(name) for sample in goal.samples for name in sample.images]
    logits = made.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        pixel_values=pixels[shown],
    ).logits
    labels = batch.input_ids.masked_fill(~batch.is_target, -100)
    mean = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    theirs = torch.autograd.grad(mean, trainable)
    within(relative(loss / count, mean), tolerance, f"loss, {connector}, {dtype}", record_property)
    error = max(relative(a, b) for a, b in zip(ours, theirs, strict=True))
    within(error, tolerance, f"gradient, {connector}, {dtype}", record_property)


@pytest.mark.parametrize("pad_left", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_a_batch_predicts_as_its_samples_one_by_one(
    pad_left: bool, dtype: torch.dtype, tolerance: float, record_property: Any
) -> None:
    made: Any = tiny.checkpoint()
    table = tiny.features(made)
    made.model.to(dtype)
    if dtype == torch.float64:
        table = FeatureTable(table.features.astype(np.float64), table.rows)
    chosen = samples(made)

    def logits(some: list[Any]) -> Tensor:
        batch = collate(some, table, 0, pad_left=pad_left)
        with torch.no_grad():
            return supervised_logits(
                made.model, batch.input_ids, batch.attention_mask, batch.is_target, batch.features
            )

    alone = torch.cat([logits([sample]) for sample in chosen])
    side = "left" if pad_left else "right"
    error = relative(logits(chosen), alone)
    within(error, tolerance, f"logits, padded on the {side}, {dtype}", record_property)


def test_three_steps_equal_a_loop_written_by_hand(record_property: Any) -> None:
    def start() -> tuple[Any, Any]:
        made = Checkpoint(tiny.llama(tied=False).double(), tiny.tokenizer())
        for parent in [*made.model.modules()]:
            for name, norm in parent.named_children():
                if isinstance(norm, LlamaRMSNorm):  # which rounds to float32 on its way
                    exact = torch.nn.RMSNorm(tiny.TEXT_WIDTH, eps=norm.variance_epsilon)
                    parent.set_submodule(name, exact.double())
        trainable, _ = choose_trainable(made.model, "text")
        renderer = tiny.renderer(made)
        texts = [renderer.render(tiny.record("Zer? " * n, "katua " * (9 - n))) for n in range(1, 9)]
        return made.model, ChatObjective(
            made.model, trainable, texts, None, 0, batch_size=2, seed=3
        )

    settings = TrainSettings(
        learning_rate=1e-2,
        max_steps=3,
        gradient_accumulation_steps=2,
        warmup_ratio=0.3,
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=0.5,
    )
    ours, goal = start()
    fit(goal, settings)

    theirs, goal = start()
    first = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in first.items()}
    batches = [*goal.batches(0), *goal.batches(1)]
    rates = [1e-2 * factor for factor in (1.0, 1.0, 0.5)]
    for step, rate in enumerate(rates):
        total, count = torch.zeros((), dtype=torch.float64), 0
        for index in (i for batch in batches[2 * step : 2 * step + 2] for i in batch):
            ids = torch.from_numpy(goal.samples[index].input_ids.astype(np.int64))
            picked = torch.from_numpy(goal.samples[index].is_target[1:])
            logprobs = theirs(ids[None]).logits[0, :-1].log_softmax(-1)
            total = total - logprobs[picked, ids[1:][picked]].sum()
            count += int(picked.sum())
        theirs.zero_grad()
        (total / count).backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in theirs.parameters()))
        with torch.no_grad():
            for name, p in theirs.named_parameters():
                gradient = p.grad * min(1.0, 0.5 / (norm + 1e-6))
                mean, square = moments[name]
                mean.mul_(0.9).add_(0.1 * gradient)
                square.mul_(0.95).add_(0.05 * gradient**2)
                p.mul_(1 - rate * (0.1 if p.ndim >= 2 else 0.0))
                unbiased = (square / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8
                p.sub_(rate * mean / (1 - 0.9 ** (step + 1)) / unbiased)
    moved = [
        relative(p - first[name], q - first[name])
        for (name, q), p in zip(theirs.named_parameters(), ours.parameters(), strict=True)
    ]
    within(max(moved), 1e-9, "weights after three steps, of how far they moved", record_property)
