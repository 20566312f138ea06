"""How one stage is trained; names are those of transformers' `TrainingArguments`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from ikusi.core.config import Settings


class TrainSettings(Settings):
    """Optimiser, schedule and batch of one stage."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "lr": "learning_rate",
        "epochs": "num_train_epochs",
        "batch_size": "per_device_train_batch_size",
        "micro_batch_size": "per_device_train_batch_size",
        "gradient_clipping": "max_grad_norm",
        "scheduler": "lr_scheduler_type",
    }

    learning_rate: float = Field(gt=0)
    """Peak learning rate of AdamW."""
    num_train_epochs: float = Field(default=1.0, gt=0)
    """Passes over the mixture; not whole numbers are allowed."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimiser steps; when given, it decides instead of `num_train_epochs`."""
    per_device_train_batch_size: int = Field(default=32, gt=0)
    """Conversations in a batch."""
    gradient_accumulation_steps: int = Field(default=1, gt=0)
    """Batches in an optimiser step."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps over which the learning rate rises. LLaVA's convention."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = "cosine"
    """How the learning rate falls after the warm-up. LLaVA's convention is cosine;
    `warmup_stable_decay` keeps it until the last tenth of the steps, where it falls to zero."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay, on matrices only. LLaVA's convention is 0."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW's first moment decay."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """AdamW's second moment decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    seed: int = 0
    """Of the order of samples and of new weights."""
