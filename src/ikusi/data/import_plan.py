"""What a person asks to be imported -> an `Import`: names, files and options are understood here.

Place: command line, recipe -> [import_plan] -> importing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ikusi.core.artifact import hash_data, hash_file
from ikusi.core.errors import ConfigError, DataError
from ikusi.data.importing import Import
from ikusi.data.sources import hub as hub_module
from ikusi.data.sources.local import (
    PICTURE_ENDINGS,
    LocalTable,
    find_files,
    kind_of_file,
    looks_headerless,
    open_file,
    split_of,
)
from ikusi.data.sources.mapping import columns_of_pictures, read_mapping
from ikusi.data.sources.registry import SOURCES, find_source, guess, matching, versions_of
from ikusi.data.sources.source import Column, Fault, Row, Source, View
from ikusi.languages.parts import CODE


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line says; empty: nothing."""

    what: str
    """Name of a source, of a file or folder, or id of a set on the hub."""
    files: Path | None = None
    """A published source's files, instead of the hub."""
    format: str = ""
    """Source whose schema the files are in."""
    mapping: Path | None = None
    captions: Path | None = None
    """Table that says what is on the pictures of the folder `what`."""
    images: Path | None = None
    """Folder that the names of pictures start from. Default: the one of the table."""
    language: str = ""
    licence: str = ""
    name: str = ""
    split: str = ""
    subset: str = ""
    revision: str = ""
    limit: int | None = None


def resolve(request: Request) -> Import:
    """Return what `request` means.

    Raises:
        ConfigError: a name, a language or a combination of options is wrong.
        DataError: there are no such files, or they are in another schema.
    """
    if request.language and not CODE.fullmatch(request.language):
        raise ConfigError(f"--language {request.language!r}: is written like eu, quz or pt-BR.")
    # A set's name means the set, whatever lies in this folder: a file can be written ./cc3m.
    is_set = request.what.partition("@")[0] in SOURCES
    there = not is_set and os.path.exists(request.what)
    path = request.files or (Path(request.what) if there else None)
    if request.captions is not None:
        return _photos(request)
    source, language = _source(request, path)
    language = _language(request, source, language)
    name = request.name or _name(request, source, language, path)
    if not source.name:
        source = replace(source, name=name)
    elif source.is_format:
        source = replace(source, set=name)
    if path is None:
        return _from_hub(request, source, language, name)
    files = _of_language(find_files(path), source, language)
    if not any(split_of(source, file) for file in files) and source.split_languages:
        if not language:
            codes = ", ".join(source.languages)
            raise ConfigError(f"{path}: says not which of {codes} it is in. Give --language.")
        source = replace(source, split_languages=None)
    table = LocalTable(source, files)
    table.unread_columns()  # in another schema: say so before anything is hashed
    pictures = (request.images or files[0].parent) if _names_files(source, files) else None
    return Import(
        name=name,
        source=source,
        table=table,
        where={"files": [hash_file(file) for file in files]},
        language=language,
        licence=request.licence,
        pictures=pictures,
        limit=request.limit,
    )


def _source(request: Request, path: Path | None) -> tuple[Source, str]:
    if request.mapping is not None:
        source = read_mapping(request.mapping)
        if path is None and "/" in request.what and not source.hub:
            source = replace(source, hub=request.what.partition("@")[0])
        elif path is None and not source.hub:
            raise DataError(f"{request.what}: there is no such file, nor an id on the hub.")
        return source, source.language
    if path is None:
        if _is_path(request.what):
            raise DataError(f"{request.what}: there is no such file or folder.")
        return find_source(request.what)
    if request.files is None and not request.format:
        table, headerless = open_file(find_files(path)[0]), looks_headerless(find_files(path)[0])
        found = guess(table.columns(), str(path), typed=table.typed, headerless=headerless)
        return found, ""
    if request.format:
        source, language = find_source(request.format, "--format")
    else:
        source, language = find_source(request.what)
    first = find_files(path)[0]
    return version_for(source, first), language


def _is_path(what: str) -> bool:
    """Return whether a name can only be meant as that of a file or folder."""
    return what.startswith((".", "/", "~")) or kind_of_file(Path(what)) is not None


def version_for(source: Source, file: Path) -> Source:
    """Return the version of a set that a file is in, such as a TSV of what is Parquet on the hub.

    Where it fits none, the source itself, which then says what it expects.
    """
    versions = versions_of(source)
    if len(versions) == 1:
        return source
    table = open_file(file)
    fitting = matching(
        versions, table.columns(), typed=table.typed, headerless=looks_headerless(file)
    )
    return fitting[0] if fitting else source


def _language(request: Request, source: Source, language: str) -> str:
    """Return the language to make, empty for all that the source has."""
    wanted = request.language or language
    if not wanted and (source.is_format or source.any_language) and not source.language:
        if all(view.fields.language for view in source.views) and not source.any_language:
            return ""
        raise ConfigError(
            f"{request.what}: {source.name or 'a table of your own'} can be in any language. "
            "Say --language, such as --language eu."
        )
    if wanted and source.languages and wanted not in source.languages:
        raise ConfigError(
            f"{source.name} is in {', '.join(source.languages)}, not in {wanted!r}. "
            "Import it as it is, and make the other one with `ikusi translate`."
        )
    return wanted


def _from_hub(request: Request, source: Source, language: str, name: str) -> Import:
    if not source.hub:
        raise ConfigError(
            f"{source.name} is not on the hub. Download it, and give its files with --from."
        )
    splits = (request.split,) if request.split else source.splits
    if not request.split and language and source.split_languages:
        splits = tuple(split for split in splits if source.split_languages[split] == language)
    subset = request.subset or source.subset
    commit = hub_module.resolve_revision(source.hub, request.revision)
    return Import(
        name=name,
        source=source,
        table=hub_module.HubTable(source, source.hub, subset, splits, commit),
        where={"hub": source.hub, "subset": subset, "splits": splits, "revision": commit},
        language=language,
        licence=request.licence,
        limit=request.limit,
    )


def _of_language(files: Sequence[Path], source: Source, language: str) -> list[Path]:
    """Leave out files that are known to hold a split in another language."""
    known = source.split_languages or {}
    return [
        file
        for file in files
        if not language or known.get(split_of(source, file), language) == language
    ]


def _names_files(source: Source, files: Sequence[Path]) -> bool:
    """Return whether a row can name a picture's file."""
    if kind_of_file(files[0]) == "tar":
        return False
    fields = [view.fields for view in source.views if view.fields.images]
    columns = open_file(files[0], source.header, quoted=source.quoted).columns()
    return any(field.pictures == "any" and columns.get(field.images) != "image" for field in fields)


def _name(request: Request, source: Source, language: str, path: Path | None) -> str:
    asked = request.what.partition("@")[0]
    if language and ("@" in request.what or source.any_language or len(source.languages) > 1):
        return f"{_clean(source.base)}@{language}"
    if asked in SOURCES:
        return asked
    if source.name and (not source.is_format or source.name not in SOURCES):  # a mapping's
        return _clean(source.name)
    return _clean(Path(os.path.abspath(path)).name.partition(".")[0] if path else asked)


def _clean(name: str) -> str:
    """Return what can be part of an address."""
    plain = re.sub(r"[^A-Za-z0-9._+=,-]+", "-", name).strip("-._")[:60]
    return plain or "data"


# -- a folder of photos and a table that describes them


def _photos(request: Request) -> Import:
    folder, captions = Path(request.what), request.captions
    assert captions is not None
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of pictures.")
    files = find_files(captions)
    header = _photo_header(files[0], folder)
    name = request.name or _clean(Path(os.path.abspath(folder)).name)
    if request.mapping is not None:
        source = read_mapping(request.mapping)
    else:
        found = open_file(files[0], header).columns()
        fields = columns_of_pictures(found, str(captions))
        source = Source(
            name=name,
            about="one's own pictures",
            columns=(Column(fields.images, "text"), Column(fields.caption, "text")),
            views=(View(fields=fields),),
            header=header,
            task="caption",
            is_format=True,
        )
    source = replace(source, name=source.name or name, set=name)
    language = _language(request, source, source.language)
    table = PhotoTable(source, files, folder)
    table.unread_columns()
    return Import(
        name=name,
        source=source,
        table=table,
        where={
            "files": [hash_file(file) for file in files],
            "undescribed": hash_data(table.undescribed()),
        },
        language=language,
        licence=request.licence,
        pictures=request.images or folder,
        limit=request.limit,
    )


def _photo_header(path: Path, folder: Path) -> tuple[str, ...]:
    """Return names for the columns of a table whose first line already describes a picture."""
    if kind_of_file(path) not in ("csv", "tsv"):
        return ()
    first = list(open_file(path).columns())
    is_row = len(first) == 2 and (folder / first[0]).is_file()
    return ("image", "caption") if is_row else ()


class PhotoTable(LocalTable):
    """The rows of a table, and then a faulty one for each picture that it does not describe."""

    def __init__(self, source: Source, files: Sequence[Path], folder: Path) -> None:
        """Read `files`, which describe the pictures in `folder`."""
        super().__init__(source, files)
        self._folder = folder
        self._images = source.views[0].fields.images

    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of the table, then the pictures without one."""
        count = 0
        for row in super().rows(split):
            yield row
            count += 1
        fault = Fault("caption-none", "no row of the table describes it")
        for number, name in enumerate(self.undescribed(), count):
            yield Row(number, name, {self._images: name}, fault)

    def undescribed(self) -> list[str]:
        """Return the names of the pictures that no row names, sorted."""
        named = set()
        for row in super().rows(""):
            cell = row.values.get(self._images)
            for name in cell if isinstance(cell, list) else [cell]:
                if isinstance(name, str):
                    named.add(os.path.normpath(name.strip()))
        found = (path for path in sorted(self._folder.rglob("*")) if path.is_file())
        names = (path.relative_to(self._folder).as_posix() for path in found)
        pictures = (name for name in names if name.lower().endswith(PICTURE_ENDINGS))
        return [name for name in pictures if os.path.normpath(name) not in named]
