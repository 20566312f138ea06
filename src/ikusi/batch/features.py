"""Vision features of pictures, computed once per encoder and picture set.

Place: beside the graph. A table holds the tower's selected hidden state *before* the connector, so
the connector always runs live, and a run with cached features is the same artifact as one without.

Shapes: `P` patches of an image, `C` vision width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from ikusi.core.errors import DataError
from ikusi.core.log import track
from ikusi.model.vlm import tower_features

log = logging.getLogger(__name__)

_BATCH = 64
# What configurations say of the files that they were read from, and not of what is computed.
_ABOUT_FILES = (
    "_name_or_path",
    "architectures",
    "dtype",
    "processor_class",
    "transformers_version",
)


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
        if not self.rows or not other.rows:
            return self if self.rows else other
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
    model: LlavaForConditionalGeneration,
    image_processor: Any,
    sha256s: Sequence[str],
    open_picture: Callable[[str], Image.Image],
) -> FeatureTable:
    """Return `encode_pictures`, kept in `folder` for the next run with this encoder.

    Args:
        folder: of the cache; anything in it may be deleted at any time.
        model: its vision tower is used.
        image_processor: the tower's own.
        sha256s: the pictures.
        open_picture: returns an RGB picture by its sha256.
    """
    key = hashlib.sha256(_identify(model, image_processor))
    key.update("\n".join(sha256s).encode())
    file = folder / f"{key.hexdigest()[:32]}.features"
    kept = _read(file)
    if kept is not None:
        return FeatureTable(kept, {sha256: row for row, sha256 in enumerate(sha256s)})
    table = encode_pictures(model, image_processor, sha256s, open_picture)
    try:
        _write(file, table.features)
    except OSError as error:
        log.warning("%s: the vision features are not kept (%s).", folder, error.strerror)
    return table


def _identify(model: LlavaForConditionalGeneration, image_processor: Any) -> bytes:
    """Return a hash of everything but the pictures that decides their features."""
    config = cast(Any, model.config)
    about = [
        {key: value for key, value in settings.items() if key not in _ABOUT_FILES}
        for settings in (config.vision_config.to_dict(), image_processor.to_dict())
    ]
    about.append(
        {
            "layer": config.vision_feature_layer,
            "strategy": config.vision_feature_select_strategy,
            "processor": type(image_processor).__name__,
            "transformers": transformers.__version__,
        }
    )
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.model.vision_tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def _read(file: Path) -> NDArray[np.float32] | None:
    """Return what `_write` wrote, or None when it is absent or damaged."""
    try:
        with file.open("rb") as stream:
            features: NDArray[np.float32] = np.load(stream, allow_pickle=False)
            whole = stream.read() == hashlib.sha256(features.data).digest()
    except (OSError, ValueError, EOFError):
        return None
    return features if whole else None


def _write(file: Path, features: NDArray[np.float32]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with partial.open("wb") as stream:
            np.save(stream, features)
            stream.write(hashlib.sha256(features.data).digest())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
