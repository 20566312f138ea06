"""The objective of the stages `text`, `align` and `instruct`: answer as the assistant did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from ikusi.batch.chat import Sample
from ikusi.batch.features import FeatureTable
from ikusi.batch.loader import collate, epoch_order
from ikusi.core.errors import DataError
from ikusi.model.vlm import supervised_logits


class ChatObjective:
    """Cross-entropy over the supervised tokens of conversations.

    Args:
        model: a LLaVA model, or a causal LM for text alone.
        trainable: the parameters to train; see `train/params.py`.
        samples: tokenised conversations.
        features: of their pictures, or None.
        pad_token_id: fills short rows.
        batch_size: conversations in a batch.
        seed: of the order.

    Raises:
        DataError: a conversation has nothing to learn; names it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        trainable: Sequence[nn.Parameter],
        samples: Sequence[Sample],
        features: FeatureTable | None,
        pad_token_id: int,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        silent = [sample.id for sample in samples if not sample.is_target.any()]
        if silent:
            raise DataError(
                f"{len(silent)} of {len(samples)} conversations have no answer to learn, such as "
                f"{silent[0]!r}. Leave them out."
            )
        self.model = model
        self.samples = samples
        self._trainable = trainable
        self._features = features
        self._pad_token_id = pad_token_id
        self._batch_size = batch_size
        self._seed = seed
        self._lengths = [len(sample) for sample in samples]

    def trainable(self) -> Sequence[nn.Parameter]:
        """Return the parameters that the stage trains."""
        return self._trainable

    def num_batches(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self.samples) / self._batch_size)

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Yield the sample indices of every batch of an epoch."""
        yield from epoch_order(self._lengths, self._batch_size, self._seed, epoch)

    def names(self, indices: list[int]) -> list[str]:
        """Return the ids of the samples."""
        return [self.samples[index].id for index in indices]

    def loss(self, indices: list[int]) -> tuple[Tensor, int]:
        """Return the summed cross-entropy of the batch, and its number of supervised tokens."""
        batch = collate([self.samples[i] for i in indices], self._features, self._pad_token_id)
        logits = supervised_logits(
            self.model, batch.input_ids, batch.attention_mask, batch.is_target, batch.features
        )
        targets = batch.input_ids[batch.is_target]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = functional.cross_entropy(wide, targets, reduction="sum")
        return loss, int(targets.numel())

    def answered(self, samples: Sequence[Sample]) -> float:
        """Return the share of `samples` of which the model chooses every supervised token."""
        right = 0
        self.model.train(False)
        with torch.no_grad():
            for start in range(0, len(samples), self._batch_size):
                part = samples[start : start + self._batch_size]
                batch = collate(part, self._features, self._pad_token_id)
                logits = supervised_logits(
                    self.model,
                    batch.input_ids,
                    batch.attention_mask,
                    batch.is_target,
                    batch.features,
                )
                missed = torch.zeros_like(batch.is_target)
                missed[batch.is_target] = logits.argmax(-1) != batch.input_ids[batch.is_target]
                right += int((~missed.any(-1)).sum())
        self.model.train()
        return right / len(samples)
