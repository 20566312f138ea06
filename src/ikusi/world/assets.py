"""Pictures of emoji in two designs, their kinds, and their names in many languages.

Place: packaged assets -> [assets] -> every scene and question of the embedded world.
Contract: reads only what ships with ikusi (see `assets/LICENSES.md`); same call, same answer.
Names are exactly as CLDR gives them: some bare, some determined, so put no case ending on one.

    python -c "from ikusi.world import assets; print(assets.names('eu')['🐎'].text)"
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from ikusi.core.errors import ConfigError, suggest

__all__ = [
    "CELL_PX",
    "DESIGNS",
    "KINDS",
    "Concept",
    "Name",
    "concepts",
    "languages",
    "names",
    "picture",
]

DESIGNS = ("noto", "twemoji")
CELL_PX = 48
"""Side of one picture on a sheet, in pixels: asking for more only blurs."""
KINDS = (
    "animal",
    "building",
    "clothing",
    "food",
    "music",
    "object",
    "plant",
    "sky",
    "sport",
    "tool",
    "vehicle",
)
"""Every kind, in alphabetical order. `food` includes drinks; `object` is any other thing."""


@dataclass(frozen=True)
class Concept:
    """One concrete thing that both designs have a picture of."""

    emoji: str
    index: int
    """Place on both sheets, in reading order."""
    kind: str
    """One of `KINDS`."""


@dataclass(frozen=True)
class Name:
    """What one language calls a concept."""

    text: str
    keywords: tuple[str, ...]


@cache
def concepts() -> tuple[Concept, ...]:
    """Return every concept, in the order of the sheets."""
    rows = _table("concepts.parquet").select(["emoji", "index", "kind"]).to_pylist()
    return tuple(Concept(row["emoji"], row["index"], row["kind"]) for row in rows)


@cache
def languages() -> tuple[str, ...]:
    """Return the BCP-47 codes of all languages with names, sorted."""
    return tuple(sorted(str(code) for code in pc.unique(_table("names.parquet")["language"])))


@cache
def names(language: str) -> Mapping[str, Name]:
    """Return emoji -> name in one language; a language may lack some concepts.

    Args:
        language: BCP-47 code, such as "eu" or "zh-Hant".

    Raises:
        ConfigError: there are no names in this language. Gives the nearest code.
    """
    if language not in languages():
        raise ConfigError(
            f"no emoji names in language {language!r}. {suggest(language, languages())}"
        )
    table = _table("names.parquet")
    rows = table.filter(pc.equal(table["language"], pa.scalar(language))).to_pylist()
    return MappingProxyType(
        {row["emoji"]: Name(row["name"], tuple(row["keywords"])) for row in rows}
    )


def picture(emoji: str, design: str, size_px: int) -> Image.Image:
    """Return the picture of a concept as a square RGBA image with transparent background.

    The image is the caller's own copy of a cached one: drawing on it changes nothing else.

    Args:
        emoji: a concept's emoji, exactly as in `concepts()`.
        design: one of `DESIGNS`.
        size_px: side of the result in pixels, 1 or more.

    Raises:
        ConfigError: the emoji or the design is unknown, or the size is not positive.
    """
    if size_px < 1:
        raise ConfigError(f"a picture of {size_px} px is asked for; size_px must be 1 or more")
    return _scaled(emoji, design, size_px).copy()


# Scenes ask for a few sizes of each picture again and again; 4,096 of 48 px take 38 MB.
@lru_cache(maxsize=4096)
def _scaled(emoji: str, design: str, size_px: int) -> Image.Image:
    place = _places().get(emoji)
    if place is None:
        raise ConfigError(
            f"no picture of {emoji!r}; `concepts()` lists the {len(concepts())} there are"
        )
    sheet = _sheet(design)
    row, column = divmod(place, sheet.width // CELL_PX)
    left, top = column * CELL_PX, row * CELL_PX
    cell = sheet.crop((left, top, left + CELL_PX, top + CELL_PX))
    if size_px == CELL_PX:
        return cell
    # Pillow scales RGBA with premultiplied alpha, so transparent pixels do not darken the edges.
    return cell.resize((size_px, size_px), Image.Resampling.LANCZOS)


@cache
def _places() -> Mapping[str, int]:
    return {concept.emoji: concept.index for concept in concepts()}


@cache
def _sheet(design: str) -> Image.Image:
    if design not in DESIGNS:
        raise ConfigError(f"unknown design {design!r}. {suggest(design, DESIGNS)}")
    with Image.open(io.BytesIO(_read(f"{design}.png"))) as image:
        return image.convert("RGBA")


@cache
def _table(name: str) -> pa.Table:
    return pq.read_table(io.BytesIO(_read(name)))


def _read(name: str) -> bytes:
    return files("ikusi.world").joinpath("assets", name).read_bytes()
