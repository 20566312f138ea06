"""The commands `ikusi languages new, check, sheet, import`.

Place: thin functions over `pack`, `sheet`, `dump` and `identify`, mounted by `cli.py`. Contract: a
ConfigError goes up to the command line, which prints it on one line and exits with 1; only `check`
catches it, to go on with the next language.

    ikusi languages check
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ikusi.languages.pack import Pack

app = typer.Typer(
    name="languages",
    help="Add a language, by YAML or by a spreadsheet, and see what a language still lacks.",
    no_args_is_help=True,
    rich_markup_mode=None,  # examples keep their lines
)

FOLDER = Path("languages")
"""Where new packs are written: found first by every command that is run from here."""


@app.command()
def new(
    code: Annotated[str, typer.Argument(help="Language code (BCP-47), such as qu or pt-BR.")],
) -> None:
    """Write languages/CODE.yaml, an empty pack to fill in.

    One sentence is enough for it to work. What each key means: docs/languages.md.

    Example: ikusi languages new qu
    """
    from ikusi.core.errors import ConfigError
    from ikusi.languages.dump import dump_skeleton, write_text
    from ikusi.languages.pack import find_pack, load_pack
    from ikusi.languages.parts import CODE

    if not CODE.fullmatch(code):
        raise ConfigError(f"{code!r}: a language code is written like eu, quz or pt-BR (BCP-47).")
    path = FOLDER / f"{code}.yaml"
    there = find_pack(code)
    if there == path:
        raise ConfigError(f"{path}: exists already. Fill it in, or move it away.")
    if there:
        raise ConfigError(
            f"{there}: is a pack for {code!r} already. To change it, copy it to {path}."
        )
    write_text(dump_skeleton(code, load_pack("en")), path)
    typer.echo(f"Wrote {path}. Fill in one sentence of `what`, then: ikusi languages check {code}")


@app.command()
def check(
    codes: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]...", help="Default: all that there are.")
    ] = None,
) -> None:
    """Say what is ready, what is missing, and how well the language is identified.

    Exits with 1 if a pack is invalid; a pack that is only partial is fine.

    Example: ikusi languages check eu cy
    """
    from rich.console import Console

    from ikusi.core.errors import ConfigError
    from ikusi.languages.pack import available, load_pack

    console = Console(highlight=False, soft_wrap=True, markup=False)
    packs, errors = {}, {}
    for code in dict.fromkeys([*(codes or ()), *available()]):
        try:
            packs[code] = load_pack(code)
        except ConfigError as error:
            errors[code] = str(error)
    chosen = list(dict.fromkeys(codes or available()))
    for code in chosen:
        if code in errors:
            console.print(f"{code}: invalid", style="bold red")
            console.print(f"  {errors[code]}")
        else:
            _report(packs[code], [packs[other] for other in packs], console)
    if any(code in errors for code in chosen):
        raise typer.Exit(1)


def _report(pack: Pack, others: list[Pack], console: Console) -> None:
    from ikusi.languages.identify import PASSAGE_WORDS, measure
    from ikusi.languages.pack import TASKS

    ready = pack.tasks_ready()
    name = " / ".join(dict.fromkeys(part for part in (pack.names.own, pack.names.en) if part))
    console.print(f"{pack.code}: {name}", style="bold")
    console.print(f"  ready ({len(ready)} of {len(TASKS)} tasks): {', '.join(ready) or 'none'}")
    for line in pack.missing():
        console.print(f"  missing: {line}")
    for text, unknown in pack.unknown_words().items():
        words = ", ".join(unknown)
        console.print(f"  unseen: {text!r} has words that no training sentence has: {words}")
    console.print(f"  checked by: {pack.checked_by}")
    for min_words in (1, PASSAGE_WORDS):
        console.print(f"  identification: {measure(pack, others, min_words).explain()}")


@app.command()
def sheet(
    code: Annotated[str, typer.Argument(help="Language code (BCP-47); it need not exist yet.")],
    reference: Annotated[
        str, typer.Option(help="Language to translate from, beside the empty cells.")
    ] = "en",
) -> None:
    """Print a spreadsheet (CSV) of the language's words and sentences, to fill in.

    Example: ikusi languages sheet qu > qu.csv
    """
    from ikusi.core.errors import ConfigError
    from ikusi.languages.pack import find_pack, load_pack
    from ikusi.languages.parts import CODE
    from ikusi.languages.sheet import write_sheet

    if not CODE.fullmatch(code):
        raise ConfigError(f"{code!r}: a language code is written like eu, quz or pt-BR (BCP-47).")
    text = write_sheet(load_pack(code) if find_pack(code) else code, load_pack(reference))
    # with the byte order mark, without which Excel takes UTF-8 for something else
    typer.echo(text.encode("utf-8-sig"), nl=False)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A sheet that was filled in, saved as CSV.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace languages/CODE.yaml if it exists.")
    ] = False,
) -> None:
    """Make languages/CODE.yaml of a filled-in sheet, and say what it can do.

    Example: ikusi languages import qu.csv
    """
    from ikusi.languages.dump import write_pack
    from ikusi.languages.sheet import read_sheet

    pack = read_sheet(file)
    path = FOLDER / f"{pack.code}.yaml"
    write_pack(pack, path, overwrite=overwrite)
    typer.echo(f"Wrote {path}. Ready: {', '.join(pack.tasks_ready()) or 'nothing yet'}.")
    for line in pack.missing():
        typer.echo(f"  {line}")
    typer.echo(f"Next: ikusi languages check {pack.code}")
