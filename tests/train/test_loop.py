"""The loop: one loss whatever the batches, a schedule, and a stop that leaves the weights alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.model import tiny
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ikusi.core.errors import DataError, TrainError
from ikusi.train.chat_objective import ChatObjective
from ikusi.train.loop import fit, learning_rate_factor, num_steps
from ikusi.train.params import choose_trainable
from ikusi.train.settings import TrainSettings

QUESTIONS = ("Zer dago irudian?", "What?", "Beth sydd yn y llun hwn?", "a")
ANSWERS = ("katua", "a red house, a cat and a dog", "cath", "bai", "etxe gorria eta katua")
SETTINGS = TrainSettings(learning_rate=1e-3, max_grad_norm=1e9)


def samples(made: Any, count: int = 8) -> list[Any]:
    renderer = tiny.renderer(made)
    return [
        renderer.render(
            tiny.record(
                QUESTIONS[n % 4],
                ANSWERS[n % 5],
                *([n % 4, (n + 1) % 4][: n % 3]),
                identity=f"sample-{n}",
            )
        )
        for n in range(count)
    ]


def objective(made: Any, *, batch_size: int = 4, stage: Any = "instruct", count: int = 8) -> Any:
    table = tiny.features(made)
    if made.model.dtype == torch.float64:
        table = type(table)(table.features.astype(np.float64), table.rows)
    parameters, _ = choose_trainable(made.model, stage)
    return ChatObjective(
        made.model, parameters, samples(made, count), table, 0, batch_size=batch_size, seed=0
    )


def gradients(batch_size: int, accumulation: int) -> list[Tensor]:
    made: Any = tiny.checkpoint()
    made.model.double()
    goal = objective(made, batch_size=batch_size)
    found: list[Tensor] = []
    hook = register_optimizer_step_pre_hook(
        lambda *_: found.extend(p.grad.clone() for p in goal.trainable())
    )
    try:
        steps = SETTINGS.model_copy(
            update={"gradient_accumulation_steps": accumulation, "max_steps": 1}
        )
        fit(goal, steps)
    finally:
        hook.remove()
    return found


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 2), (1, 8), (3, 3)])
def test_accumulation_and_batching_do_not_change_the_gradient(
    batch_size: int, accumulation: int, record_property: Any
) -> None:
    whole = gradients(8, 1)
    parts = gradients(batch_size, accumulation)
    assert len(whole) == len(parts) > 20
    largest = max(
        float((a - b).norm() / a.norm()) for a, b in zip(whole, parts, strict=True) if a.any()
    )
    print(f"relative error of the gradient {largest:.1e} (tolerance 1e-9)")
    record_property("relative_error", largest)
    assert largest <= 1e-9


class Line:
    """Fits `w * x` to 0; each sample is (x, tokens), and its loss may be anything."""

    def __init__(self, data: Sequence[tuple[float, int]], batch_size: int = 1) -> None:
        self.weights = nn.Parameter(torch.tensor([[1.0, 2.0]], dtype=torch.float64))
        self.data, self.batch_size, self.seen = data, batch_size, list[int]()

    def trainable(self) -> list[nn.Parameter]:
        return [self.weights]

    def num_batches(self) -> int:
        return math.ceil(len(self.data) / self.batch_size)

    def batches(self, epoch: int) -> Iterator[list[int]]:
        order = list(range(len(self.data)))
        yield from (order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size))

    def names(self, indices: list[int]) -> list[str]:
        return [f"line-{index}" for index in indices]

    def loss(self, indices: list[int]) -> tuple[Tensor, int]:
        self.seen += indices
        loss = sum((self.weights * self.data[i][0]).square().sum() for i in indices)
        return loss + 0 * self.weights.sum(), sum(self.data[i][1] for i in indices)


def weights_after(data: Sequence[tuple[float, int]], batch_size: int, **how: Any) -> list[float]:
    line = Line(data, batch_size)
    fit(line, SETTINGS.model_copy(update={"lr_scheduler_type": "constant"} | how))
    return line.weights.detach().flatten().tolist()


def test_a_batch_without_supervised_tokens_changes_nothing() -> None:
    data = [(3.0, 2), (0.0, 0), (1.0, 3), (0.0, 0)]
    with_empty = weights_after(data, 1, gradient_accumulation_steps=4)
    assert with_empty == weights_after([(3.0, 2), (1.0, 3)], 2)


def test_a_step_without_supervised_tokens_stays_finite() -> None:
    assert weights_after([(0.0, 0)], 1) == [1.0, 2.0]


def test_a_text_only_batch_while_the_connector_alone_trains() -> None:
    made: Any = tiny.checkpoint()
    goal = objective(made, batch_size=1, stage="align")
    assert not all(sample.images for sample in goal.samples)
    history = fit(goal, SETTINGS, log_every=1)
    assert {row["grad_norm"] > 0 for row in history.rows} == {True, False}


def test_conversations_without_an_answer_are_refused() -> None:
    made: Any = tiny.checkpoint()
    silent = tiny.renderer(made).render(tiny.record("Zer?", None, identity="silent"))
    with pytest.raises(DataError, match=r"1 of 3 conversations have no answer .* 'silent'"):
        ChatObjective(made.model, [], [*samples(made, 2), silent], None, 0, batch_size=2, seed=0)


@pytest.mark.parametrize(
    ("how", "steps", "seen"),
    [
        ({}, 5, 5),
        ({"gradient_accumulation_steps": 2}, 3, 5),
        ({"num_train_epochs": 2.0, "gradient_accumulation_steps": 4}, 3, 10),
        ({"num_train_epochs": 0.5}, 3, 3),
        ({"num_train_epochs": 0.01}, 1, 1),
        ({"max_steps": 4, "gradient_accumulation_steps": 2}, 4, 8),
        ({"max_steps": 7}, 7, 7),
    ],
)
def test_steps_and_samples(how: dict[str, Any], steps: int, seen: int) -> None:
    line = Line([(1.0, 1)] * 5)
    settings = SETTINGS.model_copy(update=how)
    called: list[int] = []
    history = fit(line, settings, on_step=lambda step, all_, loss: called.append(all_ - step))
    assert num_steps(line, settings) == history.steps == steps
    assert called == list(reversed(range(steps)))
    assert (history.samples, history.supervised_tokens, len(line.seen)) == (seen, seen, seen)
    assert line.seen == (list(range(5)) * 2)[:seen]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("warmup_stable_decay", [0.5, 1, 1, 1, 1, 1]),  # the last tenth is the last step
    ],
)
def test_schedule(kind: str, expected: list[float]) -> None:
    settings = TrainSettings.parse(
        {"learning_rate": 0.1, "warmup_ratio": 0.3, "lr_scheduler_type": kind, "max_steps": 6}, "t"
    )
    factors = [learning_rate_factor(step, 6, settings) for step in range(6)]
    assert factors == pytest.approx(expected, abs=1e-6)
    history = fit(Line([(1.0, 1)]), settings, log_every=1)
    assert [row["learning_rate"] for row in history.rows] == pytest.approx(
        [0.1 * factor for factor in factors]
    )


def test_the_stable_schedule_ends_when_it_is_enough() -> None:
    settings = TrainSettings.parse(
        {
            "learning_rate": 1.0,
            "warmup_ratio": 0.05,
            "lr_scheduler_type": "warmup_stable_decay",
            "max_steps": 40,
        },
        "t",
    )
    asked: list[int] = []

    def is_enough(step: int) -> bool:
        asked.append(step)
        return step == 10

    line = Line([(0.0, 1)])
    told: list[tuple[int, int]] = []
    history = fit(
        line,
        settings,
        is_enough=is_enough,
        on_step=lambda step, steps, loss: told.append((step, steps)),
        log_every=1,
    )
    rates = [row["learning_rate"] for row in history.rows]
    assert asked == list(range(1, 11))
    assert (history.steps, len(line.seen), told[-1], told[0]) == (14, 14, (14, 14), (1, 40))
    assert rates[:10] == pytest.approx([0.5, *[1] * 9])
    assert rates[10:] == pytest.approx([(14 - step) / 4 for step in range(10, 14)])

    planned = fit(Line([(0.0, 1)]), settings, log_every=1)
    rates = [row["learning_rate"] for row in planned.rows]
    assert planned.steps == 40
    assert rates[35:] == pytest.approx([1, 1, *[(40 - step) / 4 for step in range(37, 40)]])


def test_what_is_enough_too_late_changes_nothing() -> None:
    settings = SETTINGS.model_copy(
        update={"lr_scheduler_type": "warmup_stable_decay", "max_steps": 40}
    )
    one, other = Line([(1.0, 1)]), Line([(1.0, 1)])
    fit(one, settings)
    fit(other, settings, is_enough=lambda step: step == 38)
    assert torch.equal(one.weights, other.weights)


def test_gradients_are_scaled_down_to_the_norm() -> None:
    found: list[float] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimiser, *_: found.append(
            float(optimiser.param_groups[0]["params"][0].grad.norm())
        )
    )
    try:
        history = fit(
            Line([(10.0, 1)]), SETTINGS.model_copy(update={"max_grad_norm": 0.5}), log_every=1
        )
    finally:
        hook.remove()
    assert found == pytest.approx([0.5], rel=1e-5)
    assert history.rows[0]["grad_norm"] == pytest.approx(200 * math.sqrt(5))


def test_only_matrices_decay() -> None:
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    line = Line([(0.0, 1)])
    line.trainable = lambda: [matrix, vector]  # type: ignore[method-assign]
    line.loss = lambda indices: (0 * (matrix.sum() + vector.sum()), 1)  # type: ignore[method-assign]
    settings = {"weight_decay": 0.1, "learning_rate": 0.5, "lr_scheduler_type": "constant"}
    fit(line, SETTINGS.model_copy(update=settings))
    assert matrix.flatten().tolist() == pytest.approx([0.95] * 4)
    assert vector.tolist() == [1, 1]


def test_a_loss_that_is_not_finite_stops_with_the_samples() -> None:
    made: Any = tiny.checkpoint()
    goal = objective(made, batch_size=2, count=8)
    goal._features.features[goal._features.rows["1"]] = math.nan
    bad = {s.id for s in goal.samples if "1" in s.images}
    before: dict[str, Tensor] = {}

    def remember(*_: Any) -> None:
        before.update({name: t.clone() for name, t in made.model.state_dict().items()})

    remember()
    with pytest.raises(TrainError, match=r"step \d of 4: the loss is nan") as caught:
        fit(goal, SETTINGS, on_step=remember)
    named = str(caught.value).partition("Samples: ")[2].partition(". Look")[0].split(", ")
    assert len(named) == 2
    assert bad & set(named)
    assert all(torch.equal(before[name], t) for name, t in made.model.state_dict().items())


def test_a_gradient_that_is_not_finite_stops_too() -> None:
    line = Line([(1.0, 1)] * 12, batch_size=12)
    line.loss = lambda indices: ((line.weights * 0).abs().sqrt().sum(), 1)  # type: ignore[method-assign]
    with pytest.raises(TrainError, match=r"gradient norm nan.* line-0, .*line-7 and 4 more\. "):
        fit(line, SETTINGS)
    assert line.weights.flatten().tolist() == [1, 2]


def test_the_loss_is_per_supervised_token() -> None:
    history = fit(Line([(1.0, 5), (2.0, 10), (1.0, 10)]), SETTINGS, log_every=3)
    total = sum(row["loss"] for row in history.rows)
    assert total == pytest.approx(30 / 25, rel=5e-2)  # the weights move a little on the way


def test_an_answer_counts_when_each_of_its_tokens_is_chosen() -> None:
    made: Any = tiny.checkpoint()
    learned, unlearned = samples(made, 12)[:4], samples(made, 12)[4:]
    goal = ChatObjective(
        made.model,
        choose_trainable(made.model, "instruct")[0],
        learned,
        tiny.features(made),
        0,
        batch_size=4,
        seed=0,
    )
    assert goal.answered(learned) == 0
    fit(goal, SETTINGS.model_copy(update={"learning_rate": 3e-3, "max_steps": 60}))
    assert goal.answered(learned) == 1
    first = learned[0]
    other = first.input_ids.copy()
    other[np.flatnonzero(first.is_target)[-2]] += 1  # one token of the answer is another one
    changed = dataclasses.replace(first, input_ids=other)
    assert goal.answered([changed, first, *learned]) == pytest.approx(5 / 6)
    assert goal.answered(unlearned) < 1
    assert made.model.training
