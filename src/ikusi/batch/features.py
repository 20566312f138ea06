"""Vision features of pictures, computed once per encoder and picture set.

Place: beside the graph. A table holds the tower's selected hidden state *before* the connector, so
the connector always runs live, and a run with cached features is the same artifact as one without.

Shapes: `P` patches of an image, `C` vision width.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from ikusi.core.errors import DataError
from ikusi.core.log import track
from ikusi.model.vlm import tower_features

_BATCH = 64


@dataclass(frozen=True)
class FeatureTable:
    """`features` float32[images, P, C], and the row of each picture by its sha256."""

    features: NDArray[np.float32]
    rows: dict[str, int]

    def look_up(self, sha256s: Sequence[str]) -> Tensor:
        """Return float32[len(sha256s), P, C].

        Raises:
            DataError: a picture has no features; names it.
        """
        try:
            index = [self.rows[sha256] for sha256 in sha256s]
        except KeyError as error:
            raise DataError(
                f"picture {error.args[0]}: no vision features. Encode it first."
            ) from None
        return torch.from_numpy(self.features[index])

    def join(self, other: FeatureTable) -> FeatureTable:
        """Return one table with the pictures of both."""
        shift = len(self.features)
        rows = {sha256: shift + row for sha256, row in other.rows.items()}
        return FeatureTable(np.concatenate([self.features, other.features]), {**self.rows, **rows})


@torch.inference_mode()
def encode_pictures(
    model: LlavaForConditionalGeneration,
    image_processor: Any,
    sha256s: Sequence[str],
    open_picture: Callable[[str], Image.Image],
) -> FeatureTable:
    """Return the features of pictures, in the order given.

    Args:
        model: its vision tower is used.
        image_processor: the tower's own.
        sha256s: the pictures.
        open_picture: returns an RGB picture by its sha256.
    """
    blocks: list[NDArray[np.float32]] = []
    with track("encode pictures", total=len(sha256s)) as advance:
        for start in range(0, len(sha256s), _BATCH):
            pictures = [open_picture(sha256) for sha256 in sha256s[start : start + _BATCH]]
            pixels = image_processor(images=pictures, return_tensors="pt")["pixel_values"]
            blocks.append(tower_features(model, pixels).numpy().astype(np.float32))
            advance(len(pictures))
    if not blocks:
        return FeatureTable(np.zeros((0, 1, 1), dtype=np.float32), {})
    return FeatureTable(np.concatenate(blocks), {s: row for row, s in enumerate(sha256s)})


def cached_features(
    folder: Path,
    encoder_hash: str,
    model: LlavaForConditionalGeneration,
    image_processor: Any,
    sha256s: Sequence[str],
    open_picture: Callable[[str], Image.Image],
) -> FeatureTable:
    """Return `encode_pictures`, kept in `folder` for the next run with this encoder.

    Args:
        folder: of the cache; anything in it may be deleted at any time.
        encoder_hash: of the encoder's weights and preprocessing.
        model: its vision tower is used.
        image_processor: the tower's own.
        sha256s: the pictures.
        open_picture: returns an RGB picture by its sha256.
    """
    digest = hashlib.sha256("\n".join((encoder_hash, *sha256s)).encode()).hexdigest()
    file = folder / f"{digest[:32]}.npy"
    rows = {sha256: row for row, sha256 in enumerate(sha256s)}
    if file.is_file():
        try:
            return FeatureTable(np.load(file, allow_pickle=False), rows)
        except (OSError, ValueError):
            file.unlink(missing_ok=True)  # cut short by a full disk: it is only a cache
    table = encode_pictures(model, image_processor, sha256s, open_picture)
    partial = file.with_suffix(f".{uuid.uuid4().hex}.tmp")
    folder.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as stream:
        np.save(stream, table.features)
    os.replace(partial, file)
    return table
