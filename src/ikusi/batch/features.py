"""Vision features of pictures, computed once per encoder and picture set.

Place: beside the graph. A table holds the tower's selected hidden state *before* the connector, so
the connector always runs live, and a run with cached features is the same artifact as one without.

Shapes: `P` patches of an image, `C` vision width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ikusi.core.errors import DataError


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
