"""The training loop, one for every stage.

Place: loader, model -> [loop] -> checkpoint. Contract: the loss is a sum over supervised tokens,
divided once by the optimiser step's count of them; a loss or a gradient that is not finite stops
the run before the weights are touched, and names the samples of that step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from ikusi.core.errors import TrainError
from ikusi.train.settings import TrainSettings

DECAY_SHARE = 0.1
"""Of the planned steps: the decay of `warmup_stable_decay`."""


class Objective(Protocol):
    """What a stage optimises."""

    def trainable(self) -> Sequence[nn.Parameter]:
        """Return the parameters that the stage trains."""
        ...

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the sample indices of every batch of an epoch."""
        ...

    def num_batches(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def loss(self, indices: list[int]) -> tuple[Tensor, int]:
        """Return the loss summed over the batch's supervised tokens, and how many there are."""
        ...

    def names(self, indices: list[int]) -> list[str]:
        """Return the ids of the samples, for messages."""
        ...


@dataclass
class History:
    """What a run logged: one row per `every` steps, and totals."""

    rows: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    supervised_tokens: int = 0
    samples: int = 0


def num_steps(objective: Objective, settings: TrainSettings) -> int:
    """Return the number of optimiser steps that the settings come to, at least one."""
    return math.ceil(_num_batches(objective, settings) / settings.gradient_accumulation_steps)


def _num_batches(objective: Objective, settings: TrainSettings) -> int:
    if settings.max_steps is not None:
        return settings.max_steps * settings.gradient_accumulation_steps
    batches = objective.num_batches() * settings.num_train_epochs
    return max(1, math.ceil(batches - 1e-9))


def decay_steps(steps: int) -> int:
    """Return over how many of `steps` the learning rate of `warmup_stable_decay` falls."""
    return math.ceil(steps * DECAY_SHARE)


def learning_rate_factor(
    step: int, steps: int, settings: TrainSettings, end: int | None = None
) -> float:
    """Return the share of the peak learning rate at `step` (counted from 0).

    Args:
        step: the step.
        steps: how many are planned.
        settings: the schedule.
        end: how many there will be, when that is known to be fewer.
    """
    warmup = math.ceil(steps * settings.warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    if settings.lr_scheduler_type == "warmup_stable_decay":
        return min(1.0, ((end or steps) - step) / decay_steps(steps))
    progress = (step - warmup) / max(1, steps - warmup)
    if settings.lr_scheduler_type == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if settings.lr_scheduler_type == "linear" else 1.0


def fit(
    objective: Objective,
    settings: TrainSettings,
    *,
    on_step: Callable[[int, int, float], None] | None = None,
    is_enough: Callable[[int], bool] | None = None,
    log_every: int = 20,
) -> History:
    """Train for the settings' steps and return what was logged.

    Args:
        objective: the stage.
        settings: optimiser and schedule.
        on_step: called after each step with (step, steps, loss per supervised token).
        is_enough: called after each step with its number until it says so; then the learning rate
            of `warmup_stable_decay` falls, and training ends, earlier than planned.
        log_every: steps between two rows of the history.

    Raises:
        TrainError: the loss or the gradient is not finite; names the step and its samples.
    """
    parameters = list(objective.trainable())
    decayed = [p for p in parameters if p.ndim >= 2]
    plain = [p for p in parameters if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        fused=True,
    )
    steps = end = num_steps(objective, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: learning_rate_factor(min(step, end - 1), steps, settings, end)
    )
    history = History()
    # The last step may be short of batches, so that no sample is seen once more than the others.
    stream = itertools.islice(_endless(objective), _num_batches(objective, settings))
    window_loss, window_count = 0.0, 0
    step = 0
    while step < end:
        loss_sum, count = 0.0, 0
        step_indices: list[int] = []
        for indices in itertools.islice(stream, settings.gradient_accumulation_steps):
            loss, tokens = objective.loss(indices)
            if loss.requires_grad:  # a text-only batch does not while the connector alone trains
                torch.autograd.backward(loss)
            loss_sum, count = loss_sum + float(loss.detach()), count + tokens
            step_indices.extend(indices)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(max(1, count))
        norm = float(nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm, foreach=True))
        if not (math.isfinite(loss_sum) and math.isfinite(norm)):
            names = objective.names(step_indices)
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            raise TrainError(
                f"step {step + 1} of {end}: the loss is {loss_sum} and the gradient norm {norm}. "
                f"The weights are those of the step before. Samples: {', '.join(names[:8])}{more}. "
                "Look at them, or lower learning_rate."
            )
        learning_rate = float(optimiser.param_groups[0]["lr"])
        optimiser.step()
        step += 1
        if is_enough is not None and is_enough(step):
            end, is_enough = min(steps, step + decay_steps(steps)), None
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        history.samples += len(step_indices)
        history.supervised_tokens += count
        window_loss, window_count = window_loss + loss_sum, window_count + count
        if step % log_every == 0 or step == end:
            history.rows.append(
                {
                    "step": step,
                    "loss": window_loss / max(1, window_count),
                    "grad_norm": norm,
                    "learning_rate": learning_rate,
                }
            )
            window_loss, window_count = 0.0, 0
        if on_step is not None:
            on_step(step, end, loss_sum / max(1, count))
    history.steps = end
    return history


def _endless(objective: Objective) -> Iterator[list[int]]:
    epoch = 0
    while True:
        yield from objective.batches(epoch)
        epoch += 1
