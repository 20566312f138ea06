"""Batches of similar length, in an order that the seed and the epoch alone decide.

Place: chat, features -> [loader] -> train. Sequences are grouped by length so that little is
padded: the shuffled samples are cut into windows, and each window is sorted into batches.

Shapes: `B` batch, `T` token position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ikusi.batch.chat import Sample
from ikusi.batch.features import FeatureTable
from ikusi.core.errors import DataError

_WINDOW_BATCHES = 32  # larger windows pad less but order the epoch more by length


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded conversations.

    `input_ids` int64[B, T], `attention_mask` int64[B, T], `is_target` bool[B, T]; the vision
    `features` float[images, P, C] in reading order, or None; `ids` names the samples.
    """

    input_ids: Tensor
    attention_mask: Tensor
    is_target: Tensor
    features: Tensor | None
    ids: tuple[str, ...]


def collate(
    samples: Sequence[Sample],
    features: FeatureTable | None,
    pad_token_id: int,
    *,
    pad_left: bool = False,
) -> Batch:
    """Pad `samples` to one length (on the left for generation) and look their pictures up.

    Raises:
        DataError: a picture has no features; names it and its sample.
    """
    length = max(len(sample) for sample in samples)
    ids = np.full((len(samples), length), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(samples), length), dtype=np.int64)
    target = np.zeros((len(samples), length), dtype=np.bool_)
    for row, sample in enumerate(samples):
        place = slice(length - len(sample), length) if pad_left else slice(0, len(sample))
        ids[row, place] = sample.input_ids
        mask[row, place] = 1
        target[row, place] = sample.is_target
    images = [sha256 for sample in samples for sha256 in sample.images]
    for sample in samples:
        for sha256 in sample.images:
            if features is None or sha256 not in features.rows:
                raise DataError(
                    f"sample {sample.id!r}: no vision features of picture {sha256}. "
                    "Encode the pictures of every set that is used."
                )
    return Batch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        is_target=torch.from_numpy(target),
        features=features.look_up(images) if images and features else None,
        ids=tuple(sample.id for sample in samples),
    )


def epoch_order(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> Iterator[list[int]]:
    """Yield the sample indices of each batch of one epoch; the last batch may be short."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    window = batch_size * _WINDOW_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window].tolist(), key=lambda i: lengths[i])
        batches.extend(part[i : i + batch_size] for i in range(0, len(part), batch_size))
    for index in generator.permutation(len(batches)):
        yield batches[index]
