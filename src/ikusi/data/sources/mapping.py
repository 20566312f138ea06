"""A mapping: which column of somebody's table is what, as YAML instead of code.

language: eu
fields: {images: fitxategia, caption: testua}
"""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ikusi.core.config import Settings, read_yaml
from ikusi.core.errors import ConfigError
from ikusi.data.sources.registry import PICTURE_COLUMNS, find_source
from ikusi.data.sources.source import Column, Fields, Source, View


class Mapping(Settings):
    """One table's columns; the names are the table's own."""

    foreign_keys: ClassVar[AnyMapping[str, str]] = {
        "license": "licence",
        "columns": "fields",
        "lang": "language",
    }

    extends: str = ""
    """A known source that it changes, such as one whose columns are only assumed."""
    name: str = ""
    """Of the set. Default: the extended source's, or the file's name."""
    language: str = ""
    """BCP-47 code of the texts."""
    licence: str = ""
    """Of the texts."""
    provenance: str = ""
    """Who or what wrote the texts: `native`, or a model's name."""
    task: str = ""
    """What is asked. Default: `caption`, `text`, or `chat`; of an evaluation set, its name."""
    header: tuple[str, ...] = ()
    """Names of the columns, where the table has no header."""
    fields: dict[str, Any] = {}  # noqa: RUF012  # a field of pydantic, copied for each
    """Which column is what; see `Fields`. Over an extended source, only what differs."""


def read_mapping(path: Path) -> Source:
    """Return the source that a mapping describes.

    Raises:
        ConfigError: it cannot be read, or a key is wrong; names the key and the file.
    """
    data = read_yaml(path)
    mapping = Mapping.parse(data if data is not None else {}, str(path))
    base = find_source(mapping.extends, "extends")[0] if mapping.extends else None
    where = f"{path}: fields"
    given = dict(mapping.fields)
    if base is None or (given and (base.reshape or len(base.views) > 1)):
        fields = Fields.parse(given, where)
        base_columns: dict[str, Column] = {}
    else:
        inherited = base.views[0].fields.model_dump(exclude_defaults=True)
        fields = Fields.parse({**inherited, **given}, where)
        base_columns = {column.name: column for column in base.columns}
    if base is not None and not given:
        changed = base
    else:
        # The columns of a conversation's pictures may be absent: some are about none.
        maybe = {fields.images} if fields.conversation else set()
        maybe |= {fields.hint, fields.system, fields.group, *fields.meta, *fields.ratings.values()}
        changed = replace(
            base or _EMPTY,
            columns=tuple(
                base_columns.get(name) or Column(name, "any", name in maybe)
                for name in fields.columns()
            ),
            views=(View(fields=fields),),
            schema="published",
            reshape=None,
            prepare=base.prepare if base and not given else None,
            evaluates=bool(fields.answers or fields.correct),
            language=base.language if base else "",
            any_language=False,
            is_format=base is None or base.is_format,
            task=base.task if base else _task(fields),
        )
    name = mapping.name or changed.name
    told = {
        key: value
        for key, value in mapping.model_dump().items()
        if key in ("language", "licence", "provenance", "task", "header") and value
    }
    if base is None:
        told.setdefault("task", name if changed.evaluates and name else changed.task)
    if told.get("language") and changed.split_languages:
        told["split_languages"] = None
    return replace(changed, name=name, set=changed.set if not mapping.name else "", **told)


def _task(fields: Fields) -> str:
    return "caption" if fields.caption else "text" if fields.text else "chat"


_EMPTY = Source(name="", about="one's own", columns=(), views=(), task="chat", is_format=True)


def columns_of_pictures(found: AnyMapping[str, str], where: str) -> Fields:
    """Return the fields of a table of captions, by the usual names of its columns.

    Raises:
        ConfigError: it has none of them; shows what it has.
    """
    lower = {name.strip().lower(): name for name in found}
    picture = next((lower[name] for name in PICTURE_COLUMNS if name in lower), None)
    caption = next((lower[name] for name in _CAPTION_NAMES if name in lower), None)
    if picture is None or caption is None:
        lacking = "pictures" if picture is None else "captions"
        known = PICTURE_COLUMNS if picture is None else _CAPTION_NAMES
        raise ConfigError(
            f"{where}: no column of {lacking} ({', '.join(known)}). Found: {', '.join(found)}. "
            "Rename one, or say which column is what in a --mapping."
        )
    return Fields(images=picture, caption=caption)


_CAPTION_NAMES = ("caption", "text", "description")
