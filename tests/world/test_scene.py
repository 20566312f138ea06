"""A drawn scene shows what it says: each thing in its cell, on the ground it names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ikusi.core.seeds import rng_for
from ikusi.languages import parts
from ikusi.world import assets
from ikusi.world.scene import CELL_PX, COLOURS, GRID, SIDE_PX, SIDES, Design, Scene, draw, place

EMOJIS = [concept.emoji for concept in assets.concepts()]
EVERY_CELL = list(range(GRID**2))


@st.composite
def scenes(pick: st.DrawFn) -> Scene:
    cells = pick(st.lists(st.sampled_from(EVERY_CELL), unique=True, max_size=GRID**2))
    emojis = [pick(st.sampled_from(EMOJIS)) for _ in cells]
    colour = pick(st.sampled_from(sorted(COLOURS)))
    return place("scene", emojis, cells, colour, rng_for(pick(st.integers(0, 999))))


def cell_of(picture: np.ndarray, cell: int) -> np.ndarray:
    row, column = divmod(cell, GRID)
    return picture[row * CELL_PX :, column * CELL_PX :][:CELL_PX, :CELL_PX]


@given(scenes(), st.sampled_from(assets.DESIGNS))
def test_each_cell_holds_its_thing_and_nothing_of_another(scene: Scene, design: Design) -> None:
    picture = draw(scene, design)
    assert picture.shape == (SIDE_PX, SIDE_PX, 3)
    assert picture.dtype == np.uint8
    things = {thing.cell: thing for thing in scene.things}
    for cell in EVERY_CELL:
        wanted = Image.new("RGBA", (CELL_PX, CELL_PX), scene.rgb)
        if cell in things:
            thing = things[cell]
            sticker = assets.picture(thing.emoji, design, thing.size_px)
            wanted.alpha_composite(sticker, (thing.left_px, thing.top_px))
        expected = np.asarray(wanted.convert("RGB"), dtype=int)
        assert np.abs(cell_of(picture, cell) - expected).max() <= 1  # rounding


@given(scenes())
def test_the_ground_is_nearest_to_the_colour_it_is_called(scene: Scene) -> None:
    def distance(colour: str) -> float:
        return float(np.linalg.norm(np.subtract(COLOURS[colour], scene.rgb)))

    assert min(COLOURS, key=distance) == scene.colour
    assert [thing.cell for thing in scene.things] == sorted(thing.cell for thing in scene.things)


def test_things_and_grounds_vary_and_the_same_generator_gives_the_same_scene() -> None:
    def made(seed: int) -> Scene:
        return place("x", EMOJIS[:4], [8, 0, 4, 2], "red", rng_for(seed))

    assert made(1) == made(1)
    assert np.array_equal(draw(made(1)), draw(made(1)))
    several = [made(seed) for seed in range(50)]
    assert len({scene.rgb for scene in several}) == 50
    assert len({scene.things[0].size_px for scene in several}) > 1
    assert len({(scene.things[0].left_px, scene.things[0].top_px) for scene in several}) > 9
    assert made(1).emojis == (EMOJIS[1], EMOJIS[3], EMOJIS[2], EMOJIS[0])


def test_the_two_designs_draw_every_concept_differently() -> None:
    for start in range(0, len(EMOJIS) - 9, 9):
        scene = place("x", EMOJIS[start : start + 9], EVERY_CELL, "grey", rng_for(start))
        noto, twemoji = draw(scene, "noto").astype(int), draw(scene, "twemoji")
        for cell in EVERY_CELL:
            assert np.abs(cell_of(noto - twemoji, cell)).mean() > 2, scene.emojis[cell]


@pytest.mark.parametrize(
    ("of_the_world", "of_a_pack"),
    [(COLOURS, parts.COLOURS), (SIDES, parts.SIDES), (assets.KINDS, parts.KINDS)],
)
def test_packs_have_a_word_for_every_colour_side_and_kind(
    of_the_world: object, of_a_pack: tuple[str, ...]
) -> None:
    assert sorted(of_the_world) == sorted(of_a_pack)  # type: ignore[call-overload]


def test_a_side_is_the_middle_of_that_edge_of_the_picture() -> None:
    centres = {"top": (0, 1), "bottom": (2, 1), "left": (1, 0), "right": (1, 2)}
    assert {side: divmod(cell, GRID) for side, cell in SIDES.items()} == centres
