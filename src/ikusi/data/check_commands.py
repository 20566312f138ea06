"""`ikusi check`: how the verdict is shown."""

from __future__ import annotations

from pathlib import Path

import typer

from ikusi.data.check import NOTES, Verdict, check_rows
from ikusi.data.import_plan import version_for
from ikusi.data.sources.local import find_files, looks_headerless, open_file
from ikusi.data.sources.mapping import read_mapping
from ikusi.data.sources.registry import find_source, guess
from ikusi.data.sources.source import Source

_WIDE = 160  # columns when the output is no terminal
_EXAMPLE_CHARACTERS = 80


def run_check(
    file: Path,
    *,
    format_name: str = "",
    mapping: Path | None = None,
    images: Path | None = None,
    language: str = "",
    limit: int | None = None,
) -> None:
    """Print what is wrong with a file, and exit with 1 if anything is.

    Raises:
        ConfigError: there is no such format.
        DataError: it cannot be read, or is in no known format.
    """
    files = find_files(file)
    source = _source(files[0], format_name, mapping)
    verdict = check_rows(source, files, images=images, language=language, limit=limit)
    _show(file, verdict)
    if not verdict.is_fine:
        raise typer.Exit(1)


def _source(first: Path, format_name: str, mapping: Path | None) -> Source:
    if mapping is not None:
        return read_mapping(mapping)
    if format_name:
        return version_for(find_source(format_name, "--format")[0], first)
    table, headerless = open_file(first), looks_headerless(first)
    return guess(
        table.columns(), str(first), typed=table.typed, headerless=headerless, any_source=True
    )


def _show(file: Path, verdict: Verdict) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_WIDE)
    if verdict.findings:
        table = Table(box=None, pad_edge=False)
        for title in ("", "what", "rows", "first at", "example"):
            table.add_column(title, justify="right" if title == "rows" else "left")
        ordered = sorted(verdict.findings.values(), key=lambda found: (-found.count, found.reason))
        for found in ordered:
            example = found.example.encode("utf-8", "backslashreplace").decode()
            if len(example) > _EXAMPLE_CHARACTERS:
                example = example[: _EXAMPLE_CHARACTERS - 1] + "…"
            table.add_row(
                "note" if found.reason in NOTES else "error",
                found.reason,
                str(found.count),
                Text(", ".join(found.places)),
                Text(example),
            )
        console.print(table)
    name = verdict.source.name or "mapping"
    ending = "no errors" if verdict.is_fine else f"{verdict.wrong} with errors"
    if verdict.source.schema == "assumed":
        name += ", whose columns are assumed"
    console.print(f"{file}: {name}, {verdict.rows} rows, {ending}", soft_wrap=True)
