"""The packaged assets keep their promises, and the loader explains what it refuses."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from ikusi.core.errors import ConfigError
from ikusi.world import assets

ASSETS = files("ikusi.world").joinpath("assets")
COMPLETE = ("en", "eu", "es", "gl", "cy")


def test_all_assets_together_stay_under_3_mb() -> None:
    sizes = {entry.name: len(entry.read_bytes()) for entry in ASSETS.iterdir() if entry.is_file()}
    assert set(sizes) == {
        "LICENSES.md",
        "concepts.parquet",
        "names.parquet",
        "noto.png",
        "twemoji.png",
    }
    assert sum(sizes.values()) < 3_000_000, sizes


def test_concepts_are_numbered_in_sheet_order() -> None:
    concepts = assets.concepts()
    assert len(concepts) >= 600
    assert [concept.index for concept in concepts] == list(range(len(concepts)))
    assert len({concept.emoji for concept in concepts}) == len(concepts)


@pytest.mark.parametrize("design", assets.DESIGNS)
def test_every_concept_has_its_own_picture(design: str) -> None:
    seen: dict[bytes, str] = {}
    for concept in assets.concepts():
        pixels = np.asarray(assets.picture(concept.emoji, design, assets.CELL_PX))
        # The thinnest, Twemoji's white cane, covers 6% of its square.
        assert (pixels[..., 3] > 128).mean() > 0.05, concept
        assert pixels.tobytes() not in seen, (concept, seen[pixels.tobytes()])
        seen[pixels.tobytes()] = concept.emoji


def test_known_pictures_lie_where_the_index_says() -> None:
    for design in assets.DESIGNS:  # catches a sheet and a table built from different versions
        red, green, blue = _mean_colour("🍌", design)
        assert min(red, green) > blue + 50, "a banana is yellow"
        red, green, _ = _mean_colour("🥦", design)
        assert green > red, "broccoli is green"
        red, green, blue = _mean_colour("🍅", design)
        assert red > green + 60, "a tomato is red"
        assert red > blue + 60, "a tomato is red"


def test_kinds_are_as_promised() -> None:
    members = Counter(concept.kind for concept in assets.concepts())
    assert set(members) == set(assets.KINDS)
    assert sum(count >= 20 for kind, count in members.items() if kind != "object") >= 6
    kind_of = {concept.emoji: concept.kind for concept in assets.concepts()}
    expected = {
        "🐕": "animal",
        "🦀": "animal",
        "🍎": "food",
        "🌹": "plant",
        "🚌": "vehicle",
        "🦽": "object",
        "🏰": "building",
        "🧦": "clothing",
        "🔨": "tool",
        "🎻": "music",
        "⚽": "sport",
        "🌧️": "sky",
        "🪑": "object",
    }
    assert {emoji: kind_of[emoji] for emoji in expected} == expected


def test_no_people_flags_or_skin_tones() -> None:
    for concept in assets.concepts():
        points = [ord(character) for character in concept.emoji]
        assert not any(0x1F3FB <= point <= 0x1F3FF for point in points), concept
        assert not any(0x1F1E6 <= point <= 0x1F1FF for point in points), concept
        assert not any(0x1F464 <= point <= 0x1F469 or point == 0x1F9D1 for point in points), concept


def test_at_least_forty_languages_with_500_names_each() -> None:
    languages = assets.languages()
    assert len(languages) >= 40
    assert list(languages) == sorted(set(languages))
    known = {concept.emoji for concept in assets.concepts()}
    for language in languages:
        names = assets.names(language)
        assert len(names) >= 500, language
        assert set(names) <= known, language
        assert all(name.text for name in names.values()), language


@pytest.mark.parametrize("language", COMPLETE)
def test_names_are_complete(language: str) -> None:
    assert set(assets.names(language)) == {concept.emoji for concept in assets.concepts()}


@pytest.mark.parametrize("language", ["en", "eu"])
def test_a_name_belongs_to_one_concept(language: str) -> None:
    texts = Counter(name.text for name in assets.names(language).values())
    assert [text for text, count in texts.items() if count > 1] == []


def test_names_are_those_of_cldr() -> None:
    assert assets.names("eu")["🪡"].text == "jostorratz"
    assert assets.names("eu")["🥁"].text == "danborra"
    assert assets.names("en")["🦍"] == assets.Name("gorilla", ("gorilla",))


def test_names_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        assets.names("eu")["🥁"] = assets.Name("x", ())  # type: ignore[index]


def test_licences_name_every_source() -> None:
    text = ASSETS.joinpath("LICENSES.md").read_text(encoding="utf-8")
    for part in (
        "SIL OPEN FONT LICENSE Version 1.1",
        "Apache License",
        "CC-BY-4.0",
        "Copyright (c) 2013 Cal Henderson",
        "Unicode-DFS-2016",
        "Copyright © 1991-2022 Unicode, Inc.",
    ):
        assert part in text, part


def test_an_unknown_language_suggests_a_known_one() -> None:
    with pytest.raises(ConfigError, match=r"'eus'.*'eu'"):
        assets.names("eus")


def test_an_unknown_design_suggests_a_known_one() -> None:
    with pytest.raises(ConfigError, match=r"'twemojis'.*'twemoji'"):
        assets.picture("🥁", "twemojis", 32)


def test_an_unknown_emoji_and_a_bad_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="no picture of"):
        assets.picture("😀", "noto", 32)
    with pytest.raises(ConfigError, match="0 px"):
        assets.picture("🥁", "noto", 0)


@pytest.mark.parametrize("size_px", [16, 48, 100])
def test_a_picture_has_the_size_asked_for(size_px: int) -> None:
    image = assets.picture("🥁", "noto", size_px)
    assert (image.mode, image.size) == ("RGBA", (size_px, size_px))


def test_drawing_on_a_picture_does_not_change_the_next_one() -> None:
    first = assets.picture("🥁", "noto", 32)
    before = first.tobytes()
    first.paste((255, 0, 0, 255), (0, 0, 32, 32))
    assert assets.picture("🥁", "noto", 32).tobytes() == before


def _mean_colour(emoji: str, design: str) -> tuple[float, float, float]:
    """Return the mean red, green and blue (0 to 255) of a picture's opaque pixels."""
    image: Image.Image = assets.picture(emoji, design, assets.CELL_PX)
    pixels = np.asarray(image, dtype=np.float64)
    red, green, blue = pixels[pixels[..., 3] > 200][:, :3].mean(axis=0)
    return float(red), float(green), float(blue)
