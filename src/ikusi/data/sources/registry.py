"""The sources by name: `pixmo-cap`, `cc3m@eu`, a hub id, or what a file's columns look like."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from ikusi.core.errors import ConfigError, DataError, suggest
from ikusi.data.sources.benchmarks import BENCHMARKS
from ikusi.data.sources.captions import CAPTIONS
from ikusi.data.sources.instructions import INSTRUCTIONS
from ikusi.data.sources.source import Source
from ikusi.data.sources.tables import Found, differences

PICTURE_COLUMNS = (
    "image", "images", "jpg", "file", "file_name", "filename", "path", "photo", "picture", "url",
    "image_url",
)  # fmt: skip
"""Usual names of columns with pictures."""
SOURCES = MappingProxyType(
    {source.name: source for source in (*CAPTIONS, *INSTRUCTIONS, *BENCHMARKS)}
)
"""Name -> source, all that ikusi knows."""


def find_source(name: str, option: str = "") -> tuple[Source, str]:
    """Return the source that `name` or `name@language` means, and the language.

    Args:
        name: of a source or its set, or its id on the hub; with `@` and a language, the published
            version in that language.
        option: where it was said, when files may not be meant.

    Raises:
        ConfigError: there is no such source, or none in that language.
    """
    plain, _, language = name.partition("@")
    found = SOURCES.get(plain) or _by_hub(plain)
    if found is None:
        hint = suggest(plain, SOURCES)
        if option:
            raise ConfigError(f"{option} {plain!r}: there is no such format or set. {hint}")
        raise ConfigError(
            f"{plain!r}: no source and no file of this name. {hint} Of another set on the hub, say "
            "which column is what in a --mapping."
        )
    if not language:
        return found, ""
    versions = [found, *(s for s in SOURCES.values() if s.base == found.base and s is not found)]
    for source in versions:
        if language in source.languages or source.any_language or source.is_format:
            return source, language
    published = sorted({code for source in versions for code in source.languages})
    raise ConfigError(
        f"{name}: {found.base} is published in {', '.join(published)}, not in {language!r}. "
        f"Import one of these and make it with `ikusi translate`."
    )


def _by_hub(name: str) -> Source | None:
    wanted = name.lower()
    for source in SOURCES.values():
        hub = source.hub.lower()
        if hub and wanted in (hub, hub.partition("/")[2]):
            return source
    return None


def versions_of(source: Source) -> list[Source]:
    """Return the source, and the same set in the same languages in other files, it first."""
    same = [s for s in SOURCES.values() if s.base == source.base]
    return [source, *(s for s in same if s is not source and s.languages == source.languages)]


def guess(
    found: Found, where: str, *, typed: bool, headerless: bool = False, any_source: bool = False
) -> Source:
    """Return the format whose columns a table has, the one with the most of them.

    Args:
        found: the table's columns.
        where: the file, for the message.
        typed: whether the kinds of columns can be told.
        headerless: whether the first line is no header.
        any_source: whether the columns of published sets count, too, and not only formats.

    Raises:
        DataError: it is none of them.
    """
    fitting = matching([*SOURCES.values()], found, typed=typed, headerless=headerless)
    # A text beside a picture is no plain text.
    shows = any(kind == "image" or name.lower() in PICTURE_COLUMNS for name, kind in found.items())
    blind = [s for s in fitting if not any(view.fields.images for view in s.views)]
    fitting = [source for source in fitting if not (shows and source in blind)]
    formats = [source for source in fitting if source.is_format]
    if formats:
        return formats[0]
    if fitting and any_source:
        return fitting[0]
    if not found:
        raise DataError(f"{where}: holds no row that can be read.")
    shown = ", ".join(found) if not headerless else "none (the first line is no header)"
    if fitting:
        names = list(dict.fromkeys(source.name for source in fitting))
        raise DataError(
            f"{where}: has the columns of {', '.join(names[:4])}. If it is that set, import it as "
            f"`ikusi import {names[0]} --from {where}`; else say which column is what in a "
            "--mapping."
        )
    photos = f" What describes a folder of pictures: `ikusi import FOLDER --captions {where}`."
    raise DataError(
        f"{where}: is in no known format. Its columns: {shown}. Give its --format (llava, "
        "sharegpt, ms-swift, text, or a set's name), or say which column is what in a --mapping."
        + (photos if shows else "")
    )


def matching(
    sources: Sequence[Source], found: Found, *, typed: bool, headerless: bool = False
) -> list[Source]:
    """Return the sources whose columns a table has, those with the most of them first."""
    scored = []
    for source in sources:
        if headerless:
            names: Found = dict.fromkeys(source.header, "text")
            fits = len(source.header) == len(found)
        else:
            names, fits = found, not source.header
        if fits and not differences(source.columns, names, typed):
            scored.append((sum(column.name in names for column in source.columns), source))
    return [source for _, source in sorted(scored, key=lambda pair: -pair[0])]
