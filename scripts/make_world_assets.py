"""Rebuild the embedded world's assets: two sheets of emoji pictures, the concepts and their names.

Place: public packages -> [make_world_assets] -> `src/ikusi/world/assets/` -> `ikusi.world.assets`.
Contract: the same package versions give the same sheets and rows; nothing is downloaded here.
Nobody needs this script to use ikusi. It documents where every picture and every name comes from.

Install the sources (Debian 12; versions used: fonts-noto-color-emoji 2.042, unicode-cldr-core 41,
unicode-data 15.0, emoji-datasource-twitter 16.0.0), the last one in a temporary folder:

    apt-get install --no-install-recommends fonts-noto-color-emoji unicode-cldr-core unicode-data
    npm pack emoji-datasource-twitter@16.0.0 && tar -xzf emoji-datasource-twitter-16.0.0.tgz

`dpkg -L PACKAGE` shows where Debian put a file. Then, with Pillow (with raqm), numpy, pyarrow:

    python scripts/make_world_assets.py --font NotoColorEmoji.ttf --cldr cldr/common \
        --emoji-test emoji-test.txt --twemoji package --out src/ikusi/world/assets

`LICENSES.md` in the output folder is written by hand: read it again whenever a version changes.
"""

import argparse
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

CELL_PX = 48
COLUMNS = 28
FONT_SIZE = 109  # the only size in Noto's bitmap (CBDT) table: FreeType refuses any other
BITMAP_PX = 136  # width of one Noto bitmap at that size; it is 128 high
PALETTE_COLORS = 256
PALETTE_STEPS = 12  # k-means passes; twice as many gain less than 0.2 dB on either sheet
MIN_NAMED = 500
"""A language is kept when it names at least this many concepts."""
COMPLETE = ("en", "eu", "es", "gl", "cy")
"""Every concept has a name in these languages."""
DISTINCT = ("en", "eu")
"""No two concepts share a name in these languages, so a name is a unique answer."""

# Unicode subgroup -> kind. A subgroup that is not here is left out: people, faces, body parts,
# flags, symbols and landscapes (a mountain is neither an object nor any other of our kinds).
KIND_OF_SUBGROUP = {
    "animal-mammal": "animal",
    "animal-bird": "animal",
    "animal-amphibian": "animal",
    "animal-reptile": "animal",
    "animal-marine": "animal",
    "animal-bug": "animal",
    "plant-flower": "plant",
    "plant-other": "plant",
    "food-fruit": "food",
    "food-vegetable": "food",
    "food-prepared": "food",
    "food-asian": "food",
    "food-marine": "food",
    "food-sweet": "food",
    "drink": "food",  # as in Unicode's own group, "Food & Drink"
    "dishware": "object",
    "place-map": "object",
    "place-building": "building",
    "place-religious": "building",
    "place-other": "object",
    "transport-ground": "vehicle",
    "transport-water": "vehicle",
    "transport-air": "vehicle",
    "hotel": "object",
    "time": "object",
    "sky & weather": "sky",
    "event": "object",
    "award-medal": "object",
    "sport": "sport",
    "game": "object",
    "arts & crafts": "object",
    "clothing": "clothing",
    "sound": "object",
    "music": "music",
    "musical-instrument": "music",
    "phone": "object",
    "computer": "object",
    "light & video": "object",
    "book-paper": "object",
    "money": "object",
    "mail": "object",
    "writing": "tool",
    "office": "object",
    "lock": "object",
    "tool": "tool",
    "science": "object",
    "medical": "object",
    "household": "object",
    "other-object": "object",
}

# Members whose subgroup says something else than their picture does. Separated by spaces.
KIND_OF_EMOJI = {
    "animal": "🦀 🦞 🦐 🦑",
    "clothing": "🎽 🥋",
    "music": "📯",
    "sport": "🛹 🛼 🎱",
    "tool": "🔪 ✂️ 📏 📐 🪡 🌡️ 🧭 🔬 🔭 🔍 🔎 🩺 💉",
    "object": (
        "🪶 🐚 🕸️ 🪹 🪺 "  # what animals leave behind
        "🍼 🫖 🧊 "  # not eaten or drunk
        "🧱 🪨 🪵 🗽 "  # material and a statue, not buildings
        "🦽 🦼 🚏 🛢️ ⛽ 🛞 🚨 🚥 🚦 🛑 ⚓ 🛟 🪂 💺 🛰️ "  # traffic, but not vehicles
        "🌂 ☂️ ☔ ⛱️ ☃️ ⛄ "  # weather, but not in the sky
        "👓 🕶️ 🥽 👛 👜 👝 🛍️ 🎒 📿 💄 💍 💎 "  # worn or carried, not clothes
        "🎚️ 🎛️ 📻 "  # sound technology
        "📝 "  # written paper
        "🗡️ ⚔️ 💣 🪃 🏹 🛡️ 🔩 ⚙️ 🦯 ⛓️ 🪝 🧲"  # weapons and parts
    ),
}

# Concepts left out of a kept subgroup, by reason.
LEFT_OUT = {
    "part of a body, or microscopic": "🐽 🐾 🦠 🩸 🩻 🧬",
    "a face where a thing is named": "🌚 🌛 🌜 🌝 🌞 🌬️",
    "a sign or mark, not a thing": (
        "💮 🏵️ 🌐 ♨️ ⚡ 🌀 ✨ ♠️ ♥️ ♦️ ♣️ 🀄 🔇 🔈 🔉 🔊 🔕 📲 💸 💹 📧 📨 📩 📤 📥 📈 📉 📊 🔗 🛗"
    ),
    "a scene or an event, not one thing": ("🗾 🏗️ 💒 🌁 🌃 🏙️ 🌄 🌅 🌆 🌇 🌉 🚉 🛣️ 🛤️ 🚧 🎑 🎭 🫗 🫧"),
    "an element, which fits no kind": "🔥 💧 🌊",
    "one globe in three almost equal pictures": "🌍 🌎 🌏",
    "a clock named by its hour": " ".join(map(chr, range(0x1F550, 0x1F568))),
}


@dataclass(frozen=True)
class Source:
    """One emoji as Unicode lists it."""

    emoji: str
    codepoints: str
    group: str
    subgroup: str


def read_emoji_test(path: Path) -> list[Source]:
    """Return the fully-qualified emoji without skin tones, in Unicode's order."""
    found = []
    group = subgroup = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif match := re.match(r"([0-9A-F ]+?) *; fully-qualified ", line):
            codepoints = match[1].split()
            if not any(0x1F3FB <= int(point, 16) <= 0x1F3FF for point in codepoints):
                emoji = "".join(chr(int(point, 16)) for point in codepoints)
                found.append(Source(emoji, "-".join(codepoints), group, subgroup))
    return found


def read_names(cldr: Path) -> dict[str, dict[str, tuple[str, list[str]]]]:
    """Return language -> emoji without U+FE0F -> (name, keywords), as CLDR's own files give them.

    A locale's file holds only what differs from its parent. Regional files are therefore small and
    fall below `MIN_NAMED` by themselves; nothing is inherited here.
    """
    names: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for folder in ("annotations", "annotationsDerived"):
        for path in sorted((cldr / folder).glob("*.xml")):
            keywords: dict[str, list[str]] = {}
            texts: dict[str, str] = {}
            for node in ET.parse(path).iter("annotation"):
                text = (node.text or "").strip()
                if not text or "↑↑↑" in text:  # "same as the parent locale"
                    continue
                if node.get("type") == "tts":
                    texts[node.attrib["cp"]] = text
                else:
                    keywords[node.attrib["cp"]] = [part.strip() for part in text.split("|")]
            language = names.setdefault(path.stem.replace("_", "-"), {})
            language.update({cp: (text, keywords.get(cp, [])) for cp, text in texts.items()})
    names.pop("root", None)
    return names


def bare(emoji: str) -> str:
    """Return `emoji` as CLDR writes its keys: without the presentation selector U+FE0F."""
    return emoji.replace("\ufe0f", "")


def kind_of(source: Source) -> str | None:
    """Return the kind of a source, or None when it is left out."""
    if any(source.emoji in emoji.split() for emoji in LEFT_OUT.values()):
        return None
    for kind, emoji in KIND_OF_EMOJI.items():
        if source.emoji in emoji.split():
            return kind
    return KIND_OF_SUBGROUP.get(source.subgroup)


def check_tables(sources: list[Source]) -> None:
    """Stop when a table names something that Unicode does not list, or one emoji twice."""
    listed = [
        emoji for row in (*KIND_OF_EMOJI.values(), *LEFT_OUT.values()) for emoji in row.split()
    ]
    unknown = set(listed) - {source.emoji for source in sources}
    unknown |= set(KIND_OF_SUBGROUP) - {source.subgroup for source in sources}
    repeated = [emoji for emoji, count in Counter(listed).items() if count > 1]
    if unknown or repeated:
        raise SystemExit(f"tables name unknown entries {sorted(unknown)}, repeated {repeated}")


def draw_noto(font: ImageFont.FreeTypeFont, emoji: str) -> Image.Image | None:
    """Return one emoji as the font draws it, or None when the font has no single glyph for it."""
    canvas = Image.new("RGBA", (BITMAP_PX, BITMAP_PX))
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = draw.textbbox((0, 0), emoji, font=font, embedded_color=True)
    if right - left > BITMAP_PX:  # a sequence the font does not know comes out as several glyphs
        return None
    at = (
        (BITMAP_PX - (right - left)) / 2 - left,
        (BITMAP_PX - (bottom - top)) / 2 - top,
    )
    draw.text(at, emoji, font=font, embedded_color=True)
    return canvas if canvas.getbbox() else None


def read_twemoji(package: Path) -> dict[str, Path]:
    """Return emoji -> file for the emoji that the package has a 64 px Twemoji picture of."""
    entries = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    return {
        "".join(chr(int(point, 16)) for point in entry["unified"].split("-")): (
            package / "img" / "twitter" / "64" / entry["image"]
        )
        for entry in entries
        if entry["has_img_twitter"]
    }


def paste_sheet(pictures: list[Image.Image], margin: float) -> Image.Image:
    """Return one RGBA sheet, in reading order, with `margin` (0 to 1) of a cell around each."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * CELL_PX, rows * CELL_PX))
    inset = round(margin * CELL_PX)
    side = CELL_PX - 2 * inset
    for index, picture in enumerate(pictures):
        # Pillow scales RGBA with premultiplied alpha, so edges do not darken.
        scaled = picture.resize((side, side), Image.Resampling.LANCZOS)
        row, column = divmod(index, COLUMNS)
        sheet.paste(scaled, (column * CELL_PX + inset, row * CELL_PX + inset))
    return sheet


def nearest(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return for each point the number of the closest centre."""
    found = np.empty(len(points), dtype=np.intp)
    offsets = (centres**2).sum(axis=1)
    for start in range(0, len(points), 65_536):  # keeps the distance table under 70 MB
        part = slice(start, start + 65_536)
        found[part] = (offsets - 2 * points[part] @ centres.T).argmin(axis=1)
    return found


def quantise(sheet: Image.Image) -> Image.Image:
    """Return `sheet` as a palette image with transparency, its colours chosen by k-means.

    Pillow's own RGBA quantiser (octree) shows bands when one palette serves hundreds of
    pictures: 27.8 dB against 33.2 dB here on the Noto sheet, 30.5 against 36.1 on Twemoji's
    (over black). A colour is compared as it looks on black and as it looks on white: the colour
    of an almost invisible pixel then costs nothing, and an edge that would shine on either
    background costs much.
    """
    pixels = np.asarray(sheet, dtype=np.uint8).reshape(-1, 4)
    pixels = np.where(pixels[:, 3:] < 8, 0, pixels)  # invisible, but expensive to compress
    colours, place, count = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    alpha = colours[:, 3:].astype(np.float32)
    on_black = colours[:, :3] * alpha / 255
    points = np.hstack([on_black, on_black + 255 - alpha]).astype(np.float32)
    weight = np.sqrt(count).astype(np.float32)  # plain counts would spend the palette on flat areas
    weight[0] = 0  # the transparent colour has palette entry 0 to itself

    rng = np.random.default_rng(0)
    chosen = rng.choice(len(points), PALETTE_COLORS - 1, replace=False, p=weight / weight.sum())
    centres = points[chosen]
    for _ in range(PALETTE_STEPS):
        owner = nearest(points, centres)
        mass = np.bincount(owner, weight, len(centres))
        for axis in range(points.shape[1]):
            total = np.bincount(owner, weight * points[:, axis], len(centres))
            centres[:, axis] = np.where(mass > 0, total / np.maximum(mass, 1e-9), centres[:, axis])

    owner = nearest(points, centres) + 1
    owner[0] = 0
    palette = np.zeros((PALETTE_COLORS, 4))
    palette[1:, 3] = 255 - (centres[:, 3:] - centres[:, :3]).mean(axis=1)
    palette[1:, :3] = centres[:, :3] * 255 / np.maximum(palette[1:, 3:], 1)
    indices = owner[place.reshape(-1)].astype(np.uint8).reshape(sheet.height, sheet.width)
    image = Image.fromarray(indices)
    image.putpalette(palette.round().clip(0, 255).astype(np.uint8).tobytes(), "RGBA")
    return image


def main() -> None:
    """Build all assets and print what was kept."""
    parser = argparse.ArgumentParser(description="Rebuild the embedded world's assets.")
    parser.add_argument("--font", type=Path, required=True, help="NotoColorEmoji.ttf")
    parser.add_argument("--cldr", type=Path, required=True, help="CLDR's folder `common`")
    parser.add_argument("--emoji-test", type=Path, required=True, help="emoji-test.txt")
    parser.add_argument("--twemoji", type=Path, required=True, help="unpacked npm package")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    args = parser.parse_args()
    if not features.check("raqm"):
        raise SystemExit(
            "this Pillow has no raqm: joined emoji such as the polar bear would fall apart"
        )

    sources = read_emoji_test(args.emoji_test)
    check_tables(sources)
    names = read_names(args.cldr)
    twemoji = read_twemoji(args.twemoji)
    font = ImageFont.truetype(str(args.font), FONT_SIZE)

    dropped: Counter[str] = Counter()
    taken: dict[str, set[str]] = {language: set() for language in DISTINCT}
    rows: list[dict[str, object]] = []
    noto_pictures, twemoji_pictures = [], []
    for source in sources:
        kind = kind_of(source)
        if kind is None:
            continue
        key = bare(source.emoji)
        noto = draw_noto(font, source.emoji)
        if noto is None or source.emoji not in twemoji:
            dropped["no picture in one design"] += 1
        elif any(key not in names[language] for language in COMPLETE):
            dropped["no name in one of " + " ".join(COMPLETE)] += 1
        elif any(names[language][key][0] in taken[language] for language in DISTINCT):
            dropped["name already taken"] += 1
            print(f"name already taken: {source.emoji} {names['en'][key][0]} {names['eu'][key][0]}")
        else:
            for language in DISTINCT:
                taken[language].add(names[language][key][0])
            rows.append(
                {
                    "emoji": source.emoji,
                    "codepoints": source.codepoints,
                    "index": len(rows),
                    "unicode_group": source.group,
                    "unicode_subgroup": source.subgroup,
                    "kind": kind,
                }
            )
            noto_pictures.append(noto)
            with Image.open(twemoji[source.emoji]) as picture:
                twemoji_pictures.append(picture.convert("RGBA"))

    args.out.mkdir(parents=True, exist_ok=True)
    noto_sheet = quantise(paste_sheet(noto_pictures, margin=0))
    noto_sheet.save(args.out / "noto.png", optimize=True)
    # Twemoji fills its square and Noto does not: with this margin both look equally large.
    twemoji_sheet = quantise(paste_sheet(twemoji_pictures, margin=1 / 24))
    twemoji_sheet.save(args.out / "twemoji.png", optimize=True)

    concepts = pa.Table.from_pylist(rows).set_column(
        2, "index", pa.array([row["index"] for row in rows], pa.int32())
    )
    pq.write_table(
        concepts,
        args.out / "concepts.parquet",
        compression="zstd",
        compression_level=19,
    )

    named: dict[str, list[object]] = {
        "language": [],
        "emoji": [],
        "name": [],
        "keywords": [],
    }
    languages = 0
    for language in sorted(names):
        known = [row["emoji"] for row in rows if bare(str(row["emoji"])) in names[language]]
        if len(known) < MIN_NAMED:
            continue
        languages += 1
        for emoji in known:
            name, keywords = names[language][bare(str(emoji))]
            named["language"].append(language)
            named["emoji"].append(emoji)
            named["name"].append(name)
            named["keywords"].append(keywords)
    schema = pa.schema(
        {
            "language": pa.string(),
            "emoji": pa.string(),
            "name": pa.string(),
            "keywords": pa.list_(pa.string()),
        }
    )
    pq.write_table(
        pa.table(named, schema=schema),
        args.out / "names.parquet",
        compression="zstd",
        compression_level=19,
        # Names and keywords rarely repeat inside a language: plain text packs 7% smaller there.
        use_dictionary=["language", "emoji"],  # type: ignore[arg-type]  # the stubs know only bool
    )

    print(f"{len(rows)} concepts, {languages} languages, {len(named['name'])} names")
    print("kinds:", dict(Counter(str(row["kind"]) for row in rows).most_common()))
    print("dropped:", dict(dropped))
    for path in sorted(args.out.iterdir()):
        print(f"{path.stat().st_size:>9,} {path.name}")


if __name__ == "__main__":
    main()
