"""Scenes: pictures of emoji on a coloured ground, in a grid of cells.

A scene is a `GRID` x `GRID` grid of `CELL_PX` cells on one ground colour; a cell is empty or holds
one concept, drawn at a random size and place inside its cell. A vision tower whose patch is one
cell learns such scenes in about a minute.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ikusi.world import assets

Design = Literal["noto", "twemoji"]

GRID = 3
CELL_PX = 32
SIDE_PX = GRID * CELL_PX
SIZES_PX = (24, 26, 28, 30)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (243, 146, 55),
    "yellow": (250, 219, 74),
    "green": (76, 175, 80),
    "blue": (60, 120, 216),
    "purple": (142, 80, 180),
    "grey": (140, 143, 148),
    "white": (246, 246, 243),
}
_JITTER = 10  # of a ground colour, per channel: no two pictures share a ground by accident

SIDES = {"top": 1, "left": 3, "right": 5, "bottom": 7}
"""The cells that lie on one side of the picture and on no other, by the side's name."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A concept in a cell: `size_px` wide, `left_px` and `top_px` from the cell's corner."""

    emoji: str
    cell: int
    size_px: int
    left_px: int
    top_px: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Things in reading order on a ground `colour`, whose exact value is `rgb`."""

    id: str
    things: tuple[Thing, ...]
    colour: str
    rgb: tuple[int, int, int]

    @property
    def emojis(self) -> tuple[str, ...]:
        """The concepts in reading order."""
        return tuple(thing.emoji for thing in self.things)


def place(
    identity: str,
    emojis: Sequence[str],
    cells: Sequence[int],
    colour: str,
    rng: np.random.Generator,
) -> Scene:
    """Return a scene with `emojis[i]` in `cells[i]`, drawn at random sizes and places."""
    things = []
    for emoji, cell in sorted(zip(emojis, cells, strict=True), key=lambda pair: pair[1]):
        size = int(rng.choice(SIZES_PX))
        left, top = rng.integers(0, CELL_PX - size + 1, size=2)
        things.append(Thing(emoji, int(cell), size, int(left), int(top)))
    jitter = rng.integers(-_JITTER, _JITTER + 1, size=3)
    red, green, blue = np.clip(np.asarray(COLOURS[colour]) + jitter, 0, 255).tolist()
    return Scene(identity, tuple(things), colour, (red, green, blue))


def draw(scene: Scene, design: Design = "noto") -> NDArray[np.uint8]:
    """Return the scene's picture, uint8[SIDE_PX, SIDE_PX, 3]."""
    canvas = np.empty((SIDE_PX, SIDE_PX, 3), dtype=np.float32)
    canvas[:] = scene.rgb
    for thing in scene.things:
        row, column = divmod(thing.cell, GRID)
        top = row * CELL_PX + thing.top_px
        left = column * CELL_PX + thing.left_px
        colour, alpha = _sticker(thing.emoji, design, thing.size_px)
        spot = canvas[top : top + thing.size_px, left : left + thing.size_px]
        spot += alpha * (colour - spot)
    return canvas.round().astype(np.uint8)


@functools.lru_cache(maxsize=8192)
def _sticker(
    emoji: str, design: Design, size_px: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    picture = np.asarray(assets.picture(emoji, design, size_px), dtype=np.float32)
    return picture[..., :3].copy(), picture[..., 3:] / np.float32(255)
