"""Batches: padding, masks, pictures in reading order, and every sample once an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ikusi.batch.chat import Sample
from ikusi.batch.features import FeatureTable
from ikusi.batch.loader import collate, epoch_order
from ikusi.core.errors import DataError


def sample(identity: str, ids: list[int], *images: str) -> Sample:
    target = np.array([token % 2 == 0 for token in ids], dtype=np.bool_)
    return Sample(identity, np.array(ids, dtype=np.int32), target, images)


TABLE = FeatureTable(
    np.arange(12, dtype=np.float32).reshape(3, 2, 2), {name: i for i, name in enumerate("abc")}
)


@pytest.mark.parametrize("pad_left", [False, True])
def test_padding(pad_left: bool) -> None:
    batch = collate([sample("x", [7, 8]), sample("y", [4, 5, 6])], None, 9, pad_left=pad_left)
    short = [9, 7, 8] if pad_left else [7, 8, 9]
    assert batch.input_ids.tolist() == [short, [4, 5, 6]]
    assert batch.attention_mask.tolist() == [[0, 1, 1] if pad_left else [1, 1, 0], [1, 1, 1]]
    assert batch.is_target.tolist() == [[i == 8 for i in short], [True, False, True]]
    assert (batch.ids, batch.features) == (("x", "y"), None)
    assert (batch.input_ids.dtype, batch.is_target.dtype) == (torch.int64, torch.bool)


def test_features_come_in_reading_order() -> None:
    batch = collate([sample("x", [1], "c", "a"), sample("y", [2]), sample("z", [3], "c")], TABLE, 0)
    assert batch.features is not None
    assert np.array_equal(batch.features.numpy(), TABLE.features[[2, 0, 2]])


@pytest.mark.parametrize("table", [TABLE, None])
def test_a_picture_without_features_is_an_error(table: FeatureTable | None) -> None:
    with pytest.raises(DataError, match="sample 'y': no vision features of picture d"):
        collate([sample("x", [1]), sample("y", [2], "d")], table, 0)


LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=400)


@given(lengths=LENGTHS, size=st.integers(1, 9), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_every_sample_once_an_epoch(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = list(epoch_order(lengths, size, seed, epoch))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    short = [batch for batch in batches if len(batch) != size]
    assert len(short) <= 1
    assert len(batches) == -(-len(lengths) // size)
    assert batches == list(epoch_order(lengths, size, seed, epoch))


def test_the_order_is_decided_by_seed_and_epoch() -> None:
    lengths = [1 + i % 7 for i in range(200)]
    orders = [list(epoch_order(lengths, 4, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))


def test_little_is_padded_and_lengths_do_not_order_the_epoch() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, size=2000)
    batches = list(epoch_order(lengths.tolist(), 16, 0, 0))
    longest = np.array([lengths[batch].max() for batch in batches])
    sizes = np.array([len(batch) for batch in batches])
    assert lengths.sum() / (longest * sizes).sum() > 0.95  # in a random order it is 0.57
    halves = np.array_split(longest, 2)
    assert abs(halves[0].mean() - halves[1].mean()) < 6
