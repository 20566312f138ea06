"""Vision features and their cache: a hit is the live value, and nothing stale is ever a hit."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.model import tiny

from ikusi.batch import features as module
from ikusi.batch.features import FeatureTable, cached_features, encode_pictures
from ikusi.core.errors import DataError
from ikusi.model.checkpoint import load_checkpoint, save_checkpoint

NAMES = ["2", "0", "1"]


def opened(name: str) -> Image.Image:
    return tiny.picture(int(name))


def never(name: str) -> Image.Image:
    raise AssertionError(f"picture {name} was encoded again")


def fill(folder: Path, made: Any, **how: Any) -> FeatureTable:
    how = {"sha256s": NAMES, "open_picture": opened} | how
    return cached_features(folder, made.model, made.image_processor, **how)


def test_features_are_those_of_each_picture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    made: Any = tiny.checkpoint()
    table = encode_pictures(made.model, made.image_processor, NAMES, opened)
    assert (table.features.shape, table.features.dtype) == ((3, 16, 16), np.float32)
    for name in NAMES:
        alone = encode_pictures(made.model, made.image_processor, [name], opened).features
        torch.testing.assert_close(table.look_up([name]), torch.from_numpy(alone))
    assert len({table.look_up([name]).sum().item() for name in NAMES}) == 3


def test_no_pictures_at_all() -> None:
    made: Any = tiny.checkpoint()
    none = encode_pictures(made.model, made.image_processor, [], opened)
    some = encode_pictures(made.model, made.image_processor, NAMES, opened)
    for table in (none.join(some), some.join(none)):
        assert torch.equal(table.look_up(NAMES), some.look_up(NAMES))


def test_join_and_look_up() -> None:
    one = FeatureTable(np.zeros((1, 2, 2), np.float32), {"a": 0})
    other = FeatureTable(np.ones((2, 2, 2), np.float32), {"b": 0, "c": 1})
    table = one.join(other)
    assert table.look_up(["c", "a"])[:, 0, 0].tolist() == [1, 0]
    with pytest.raises(DataError, match="picture d: no vision features"):
        table.look_up(["a", "d"])


def test_a_hit_is_the_live_value_bit_for_bit(tmp_path: Path) -> None:
    made: Any = tiny.checkpoint()
    live = encode_pictures(made.model, made.image_processor, NAMES, opened)
    first = fill(tmp_path, made)
    second = fill(tmp_path, made, open_picture=never)
    for table in (first, second):
        assert table.features.tobytes() == live.features.tobytes()
        assert table.rows == live.rows


def test_the_same_encoder_in_another_checkpoint_hits(tmp_path: Path) -> None:
    """Both stages of a run read one cache."""
    made = tiny.checkpoint()
    fill(tmp_path / "cache", made)
    save_checkpoint(made, tmp_path / "model")
    fill(tmp_path / "cache", load_checkpoint(tmp_path / "model"), open_picture=never)


def _change_weights(made: Any) -> None:
    with torch.no_grad():
        next(made.model.model.vision_tower.parameters()).mul_(1.001)


def _change_processor(made: Any) -> None:
    made.image_processor.image_std = [0.3, 0.3, 0.3]


def _change_layer(made: Any) -> None:
    made.model.config.vision_feature_layer = -1


def _change_activation(made: Any) -> None:
    made.model.config.vision_config.hidden_act = "relu"


@pytest.mark.parametrize(
    "change", [_change_weights, _change_processor, _change_layer, _change_activation]
)
def test_another_encoder_misses(change: Callable[[Any], None], tmp_path: Path) -> None:
    fill(tmp_path, tiny.checkpoint())
    made = tiny.checkpoint()
    change(made)
    with pytest.raises(AssertionError, match="encoded again"):
        fill(tmp_path, made, open_picture=never)


def test_other_pictures_miss(tmp_path: Path) -> None:
    made = tiny.checkpoint()
    fill(tmp_path, made)
    with pytest.raises(AssertionError, match="encoded again"):
        fill(tmp_path, made, sha256s=["2", "1", "0"], open_picture=never)


def _flip(data: bytes) -> bytes:
    return data[:-50] + bytes([data[-50] ^ 1]) + data[-49:]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:200], lambda data: data[:-1], _flip]
)
def test_a_damaged_file_is_made_again(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    made = tiny.checkpoint()
    expected = fill(tmp_path, made).features
    file = next(tmp_path.iterdir())
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert fill(tmp_path, made).features.tobytes() == expected.tobytes()
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file in the folder's place")
    assert len(fill(tmp_path / "cache", tiny.checkpoint()).features) == 3
    assert "the vision features are not kept" in caplog.text


def _fill_and_return(folder: Path) -> bytes:
    torch.set_num_threads(1)
    return fill(folder, tiny.checkpoint()).features.tobytes()


@pytest.mark.slow
def test_two_processes_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_fill_and_return, [tmp_path] * 4, chunksize=1)
    assert len(set(found)) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".features"]
