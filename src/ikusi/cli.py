"""The command line: one thin function per verb.

Nothing heavy is imported before a verb runs, so `ikusi --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ikusi.core.store_commands import app as store_app
from ikusi.languages.commands import app as languages_app

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Turn a text LLM into a multimodal one that sees and answers in a low-resource language.",
)
app.add_typer(store_app, name="store")
app.add_typer(languages_app, name="languages")

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe, such as target=cy."),
]
StorePath = Annotated[Path, typer.Option("--store", envvar="IKUSI_STORE", help="Artifacts.")]
RunsPath = Annotated[Path, typer.Option("--runs", help="Readable links and reports.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Steps side by side. Default: one per core.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; compute nothing.")]
_STORE, _RUNS = Path("store"), Path("runs")

WELCOME = """\
ikusi turns a text LLM into a multimodal one that sees and answers in a low-resource language.

Three next steps:
  ikusi study quickstart --dry-run    what the first study would do, and how long it takes
  ikusi study quickstart              do it: real pictures, names in two languages, a report
  ikusi languages check               the languages that are there, and what they lack

ikusi --help lists every verb."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from ikusi import __version__

        typer.echo(f"ikusi {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print it and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Say what to do next when no verb is given."""
    if context.invoked_subcommand is None:
        typer.echo(WELCOME)


@app.command()
def study(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    store: StorePath = _STORE,
    runs: RunsPath = _RUNS,
    workers: Workers = None,
    dry_run: DryRun = False,
) -> None:
    """Run a grid of models over one chain, each shared step once, and report.

    Example: `ikusi study quickstart target=cy`
    """
    from ikusi.study.commands import run_study

    run_study("study", recipe, overrides or [], store, runs, workers, dry_run=dry_run)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    store: StorePath = _STORE,
    runs: RunsPath = _RUNS,
    workers: Workers = None,
    dry_run: DryRun = False,
) -> None:
    """Make one model, from its sources to the report.

    Example: `ikusi run world instruct.mixture.multimodal.target_share=0.5`
    """
    from ikusi.study.commands import run_study

    run_study("run", recipe, overrides or [], store, runs, workers, dry_run=dry_run)


@app.command()
def report(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    store: StorePath = _STORE,
    runs: RunsPath = _RUNS,
) -> None:
    """Write a study's report again, from what the store has; nothing is trained.

    Example: `ikusi report quickstart target=cy`
    """
    from ikusi.study.commands import write_study_report

    write_study_report(recipe, overrides or [], store, runs)


@app.command()
def ask(
    model: Annotated[str, typer.Argument(help="A folder, a link, an artifact, or a hub id.")],
    picture: Annotated[str | None, typer.Argument(help="None: a scene is drawn.")] = None,
    question: Annotated[str | None, typer.Argument(help="In a language it learned.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the scene. Default: a new one.")] = None,
    store: StorePath = _STORE,
) -> None:
    """Ask a model about a picture, or about a scene that is drawn and shown.

    Example: `ikusi ask runs/quickstart/best picture.png "Zer dago irudian?"`
    """
    from ikusi.ask import ask as ask_model

    ask_model(
        model, [text for text in (picture, question) if text is not None], seed=seed, store=store
    )


@app.command()
def show(
    artifact: Annotated[str, typer.Argument(help="Address, hash, the start of one, or a link.")],
    limit: Annotated[int, typer.Option(min=0, help="Records, pictures or answers.")] = 4,
    store: StorePath = _STORE,
) -> None:
    """Have a look at an artifact: what is in it, and what it was made from.

    Example: `ikusi show runs/quickstart/best`
    """
    from ikusi.show import show as show_artifact

    show_artifact(artifact, limit=limit, store=store)


@app.command("import")
def import_(
    what: Annotated[
        str,
        typer.Argument(
            help="A published set (cc3m, cc3m@eu), a hub id, a file, or a folder.",
            metavar="SOURCE",
        ),
    ],
    files: Annotated[
        Path | None, typer.Option("--from", help="A published set's files, instead of the hub.")
    ] = None,
    format: Annotated[  # noqa: A002  # the option's name
        str, typer.Option("--format", help="Of one's own file: llava, sharegpt, ms-swift, text.")
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option(help="YAML that says which column is what.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Table that describes the pictures in the folder.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the names of pictures start from.")
    ] = None,
    language: Annotated[str, typer.Option(help="BCP-47 code, such as eu.")] = "",
    licence: Annotated[str, typer.Option(help="Of the texts. Default: as published.")] = "",
    name: Annotated[str, typer.Option(help="Of what is made. Default: the source's.")] = "",
    subset: Annotated[str, typer.Option(help="Configuration on the hub.")] = "",
    split: Annotated[str, typer.Option(help="Split on the hub.")] = "",
    revision: Annotated[str, typer.Option(help="Commit, tag or branch on the hub.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Rows of each split at most.")] = None,
    store: StorePath = _STORE,
    runs: RunsPath = _RUNS,
) -> None:
    """Read a set of any published schema, or one's own, into records and pictures.

    Example: `ikusi import ./photos --captions captions.csv --language eu`
    """
    from ikusi.data.import_commands import run_import
    from ikusi.data.import_plan import Request

    request = Request(
        what=what,
        files=files,
        format=format,
        mapping=mapping,
        captions=captions,
        images=images,
        language=language,
        licence=licence,
        name=name,
        subset=subset,
        split=split,
        revision=revision,
        limit=limit,
    )
    run_import(request, store, runs)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Anybody's file, or a folder of files.")],
    format: Annotated[  # noqa: A002  # the option's name
        str, typer.Option("--format", help="Format or set. Default: as the columns look.")
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option(help="YAML that says which column is what.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the names of pictures start from.")
    ] = None,
    language: Annotated[str, typer.Option(help="Of a set in many: only this one's rows.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Rows at most.")] = None,
) -> None:
    """Judge a training file: marks, pictures, turns, roles, tokens, ids; exit 1 on errors.

    Example: `ikusi check train.jsonl`
    """
    from ikusi.data.check_commands import run_check

    run_check(
        file, format_name=format, mapping=mapping, images=images, language=language, limit=limit
    )
