"""Local files as one table: a file, or a folder of files of one kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ikusi.core.errors import DataError
from ikusi.data.sources.binary_files import ArrowTable, ParquetTable, TarTable
from ikusi.data.sources.source import Row, Source
from ikusi.data.sources.tables import Found, Table, check_columns
from ikusi.data.sources.text_files import JsonArray, JsonLines, PlainText, Separated

_ENDINGS = {
    "parquet": "parquet",
    "arrow": "arrow",
    "ipc": "arrow",
    "json": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
    "tsv": "tsv",
    "txt": "txt",
    "tar": "tar",
}
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


def kind_of_file(path: Path) -> str | None:
    """Return which kind of table a file's name says it is, or None."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".tar", ".tgz")):
        return "tar"
    return _ENDINGS.get(name.rpartition(".")[2]) if "." in name else None


def find_files(path: Path) -> list[Path]:
    """Return the tables that a path means: itself, or all in a folder, sorted by name.

    Raises:
        DataError: there is none, or they are of several kinds.
    """
    known = ", ".join(dict.fromkeys(_ENDINGS))
    if path.is_file():
        if kind_of_file(path) is None:
            raise DataError(f"{path}: no known kind of file. Known by their endings: {known}.")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder.")
    found = [file for file in sorted(path.rglob("*")) if kind_of_file(file) and file.is_file()]
    hidden = (".", "_")  # such as caches
    found = [f for f in found if not any(p.startswith(hidden) for p in f.relative_to(path).parts)]
    # Beside tables there lie notes; where there are only notes, they are what is meant.
    data = [f for f in found if kind_of_file(f) not in ("txt",)] or found
    kinds = sorted({kind_of_file(file) or "" for file in data})
    if not data:
        raise DataError(
            f"{path}: holds no table. Known by their endings: {known}. A folder of pictures needs "
            "--captions FILE."
        )
    if len(kinds) > 1:
        raise DataError(f"{path}: holds tables of several kinds ({', '.join(kinds)}). Give one.")
    return data


def open_file(path: Path, header: Sequence[str] = (), *, quoted: bool = True) -> Table:
    """Return a file as a table.

    Args:
        path: a file that `find_files` found.
        header: names of the columns, if it is a CSV or TSV without a header.
        quoted: whether cells of a CSV or TSV may stand in quotation marks.

    Raises:
        DataError: it cannot be read.
    """
    kind = kind_of_file(path)
    if kind == "json":
        return JsonArray(path) if _starts_with_bracket(path) else JsonLines(path)
    if kind in ("csv", "tsv"):
        delimiter = _delimiter(path) if kind == "csv" else "\t"
        return Separated(path, delimiter, header, quoted=quoted)
    plain: dict[str, Callable[[Path], Table]] = {
        "parquet": ParquetTable,
        "arrow": ArrowTable,
        "jsonl": JsonLines,
        "txt": PlainText,
        "tar": TarTable,
    }
    return plain[kind or ""](path)


def _delimiter(path: Path) -> str:
    """Return what stands between the first cells of a CSV: spreadsheets of many countries use `;`.

    Quotation marks may hold any of them; without any there is one column.
    """
    lines = (content or b"" for _, content in JsonLines(path)._lines())
    line = next((line for line in lines if line.strip()), b"").decode("utf-8", "replace")
    bare = re.sub(r'"(?:[^"]|"")*("|$)', "", line)
    return next((sign for sign in bare if sign in ",;\t"), ",")


def _starts_with_bracket(path: Path) -> bool:
    with JsonLines(path)._open() as stream:
        while block := stream.read(4096):
            if text := block.lstrip():
                return text[:1] == b"["
    return False


def looks_headerless(path: Path) -> bool:
    """Return whether the first line of a CSV or TSV has a url, and so cannot be a header."""
    if kind_of_file(path) not in ("csv", "tsv"):
        return False
    return any(name.startswith(("http://", "https://")) for name in open_file(path).columns())


class LocalTable:
    """The rows of several files, numbered through."""

    def __init__(self, source: Source, files: Sequence[Path]) -> None:
        """Read `files` as the source's."""
        self._source = source
        self._files = files

    @property
    def files(self) -> Sequence[Path]:
        """What it is made of."""
        return self._files

    def _open(self, path: Path) -> Table:
        return open_file(path, self._source.header, quoted=self._source.quoted)

    def unread_columns(self) -> list[str]:
        """Return the first file's columns that the source does not know.

        Raises:
            DataError: the file cannot be read, or is not in the source's schema.
        """
        found = self._check(self._open(self._files[0]))
        known = {column.name for column in self._source.columns} | {*self._source.uses()}
        return sorted(set(found) - known - {"__key__", "__url__"})

    def _check(self, table: Table) -> Found:
        found = table.columns()
        check_columns(self._source, found, str(table.path), typed=table.typed)
        return found

    def splits(self) -> Sequence[str]:
        """Return the splits that the names of files tell, else one without a name."""
        return list(dict.fromkeys(split_of(self._source, path) for path in self._files))

    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of all files of a split.

        Raises:
            DataError: a file is damaged, or not in the source's schema.
        """
        first = 0
        for path in self._files:
            if split_of(self._source, path) != split:
                continue
            table = self._open(path)
            self._check(table)
            count = 0
            for row in table.rows(self._source.uses()):
                place = row.place if len(self._files) == 1 else f"{path.name}, {row.place}"
                yield replace(row, number=first + row.number, place=place, split=split)
                count += 1
            first += count


def split_of(source: Source, path: Path) -> str:
    """Return which split a file holds, of a source whose splits are in several languages.

    Files of the hub are called `eu-00000-of-00001.parquet`.
    """
    name = path.name.partition(".")[0].partition("-")[0]
    return name if source.split_languages and name in source.split_languages else ""
