"""Random generators that belong to a thing rather than to a place in the program.

A scene's generator is made from the scene's id, so that scenes can be made in any order, by any
number of processes, and stay the same.
"""

from __future__ import annotations

import hashlib

import numpy as np


def rng_for(*parts: object) -> np.random.Generator:
    """Return the random generator that belongs to `parts`, the same on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest[:16], dtype=np.uint32))


def seed_for(*parts: object) -> int:
    """Return a 63-bit seed that belongs to `parts`."""
    return int(rng_for(*parts).integers(2**63))
