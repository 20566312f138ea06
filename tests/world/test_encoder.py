"""The vision tower's objective: right labels, fresh scenes, and something to learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.world.worlds import vocabulary_of
from transformers import CLIPVisionConfig, CLIPVisionModel

from ikusi.train.loop import fit
from ikusi.train.settings import TrainSettings
from ikusi.world.encoder import EncoderObjective
from ikusi.world.scene import CELL_PX, COLOURS, GRID, SIDE_PX

CONCEPTS = vocabulary_of("en", "eu").paired[:6]


def objective(seed: int = 0, num_scenes: int = 960) -> EncoderObjective:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE_PX,
        patch_size=CELL_PX,
    )
    return EncoderObjective(
        CLIPVisionModel(config),
        CONCEPTS,
        lambda pictures: torch.from_numpy(pictures.transpose(0, 3, 1, 2) / 127.5 - 1).float(),
        batch_size=32,
        num_scenes=num_scenes,
        seed=seed,
    )


def test_the_loss_falls_and_unseen_scenes_are_told_above_chance() -> None:
    made = objective()
    before = made.accuracy(100)
    losses: list[float] = []
    settings = TrainSettings(learning_rate=3e-3, per_device_train_batch_size=32)
    fit(made, settings, on_step=lambda step, steps, loss: losses.append(loss))
    after = made.accuracy(100)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert after["colour"] > max(0.5, before["colour"])  # chance is an eighth
    assert after["filled_cells"] > 2 / len(CONCEPTS)
    assert set(after) == {"cells", "filled_cells", "place", "colour"}


def test_a_perfect_tower_scores_one_and_the_loss_counts_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = objective()

    def told(scenes: list) -> tuple[torch.Tensor, ...]:
        concept = torch.zeros(len(scenes), GRID**2, len(CONCEPTS) + 1)
        colour = torch.zeros(len(scenes), GRID**2, len(COLOURS))
        concept[..., 0] = 9.0  # nothing there
        for row, scene in enumerate(scenes):
            colour[row, :, list(COLOURS).index(scene.colour)] = 99.0
            for thing in scene.things:
                concept[row, thing.cell, 1 + CONCEPTS.index(thing.emoji)] = 99.0
        place = 99.0 * torch.eye(GRID**2).expand(len(scenes), -1, -1)
        return concept, place, colour

    monkeypatch.setattr(made, "predict", told)
    told_right = made.accuracy(20)
    assert set(told_right.values()) == {1.0}
    loss, count = made.loss([0, 1, 2])
    assert count == 3 * GRID**2
    assert 0 <= float(loss) < count * 0.01


def test_every_epoch_has_new_scenes_that_depend_on_the_seed() -> None:
    made = objective(num_scenes=100)
    assert made.num_batches() == 3
    first, second = (
        [index for batch in made.batches(epoch) for index in batch] for epoch in (0, 1)
    )
    assert len(set(first) | set(second)) == 2 * 96
    assert made.names([5]) != objective(seed=1).names([5])
    assert len(set(made.names(first + second))) == 2 * 96


def test_the_heads_and_the_tower_train() -> None:
    made = objective()
    loss, _ = made.loss([0, 1])
    loss.backward()
    trained = made.trainable()
    assert len({id(p) for p in trained}) == len(trained)
    by_head = (made.concept_head, made.cell_head, made.colour_head)
    heads = [parameter for head in by_head for parameter in head.parameters()]
    assert {id(p) for p in heads} <= {id(p) for p in trained}
    without = [n for n, p in made.tower.named_parameters() if p.grad is None]
    assert all("post_layernorm" in name for name in without), without
