"""The command line: one thin function per verb.

Nothing heavy is imported before a verb runs, so `ikusi --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ikusi.cli_data import app as data_app
from ikusi.cli_options import (
    RUNS,
    STORE,
    DryRun,
    Launch,
    Only,
    Overrides,
    RunsPath,
    Slurm,
    StorePath,
    Workers,
)
from ikusi.core.store_commands import app as store_app
from ikusi.languages.commands import app as languages_app

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Turn a text LLM into a multimodal one that sees and answers in a low-resource language.",
)
app.add_typer(data_app)
app.add_typer(store_app, name="store")
app.add_typer(languages_app, name="languages")

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
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
    workers: Workers = None,
    launch: Launch = None,
    slurm: Slurm = None,
    only: Only = None,
    dry_run: DryRun = False,
) -> None:
    """Run a grid of models over one chain, each shared step once, and report.

    Example: `ikusi study quickstart target=cy`
    """
    if launch is not None:
        from ikusi.launch import launch_study

        how = (store, runs, workers, launch, slurm)
        launch_study("study", recipe, overrides or [], *how, dry_run=dry_run)
        return
    from ikusi.study.commands import run_study

    here = (store, runs, workers)
    run_study("study", recipe, overrides or [], *here, dry_run=dry_run, only=only or ())


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
    workers: Workers = None,
    launch: Launch = None,
    slurm: Slurm = None,
    only: Only = None,
    dry_run: DryRun = False,
) -> None:
    """Make one model, from its sources to the report.

    Example: `ikusi run world instruct.mixture.multimodal.target_share=0.5`
    """
    if launch is not None:
        from ikusi.launch import launch_study

        how = (store, runs, workers, launch, slurm)
        launch_study("run", recipe, overrides or [], *how, dry_run=dry_run)
        return
    from ikusi.study.commands import run_study

    here = (store, runs, workers)
    run_study("run", recipe, overrides or [], *here, dry_run=dry_run, only=only or ())


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="A recipe, or a data set: an artifact, link, file.")],
    overrides: Overrides = None,
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
) -> None:
    """Write the report of a study, or of a data set, from what the store has.

    Examples: `ikusi report quickstart target=cy`, `ikusi report runs/data/cc3m-eu`
    """
    from ikusi.study.commands import write_report

    write_report(name, overrides or [], store, runs)


@app.command()
def ask(
    model: Annotated[str, typer.Argument(help="A folder, a link, an artifact, or a hub id.")],
    picture: Annotated[str | None, typer.Argument(help="None: a scene is drawn.")] = None,
    question: Annotated[str | None, typer.Argument(help="In a language it learned.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the scene. Default: a new one.")] = None,
    store: StorePath = STORE,
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
    artifact: Annotated[
        str, typer.Argument(help="Address, hash, the start of one, or a link (name).")
    ],
    limit: Annotated[int, typer.Option(min=0, help="Records, pictures or answers.")] = 4,
    dropped: Annotated[
        str | None, typer.Option(metavar="REASON", help="Show what was dropped for this reason.")
    ] = None,
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
) -> None:
    """Have a look at an artifact: what is in it, and what it was made from.

    Example: `ikusi show runs/quickstart/best`
    """
    from ikusi.show import show as show_artifact

    show_artifact(artifact, limit=limit, store=store, runs=runs, dropped=dropped)


@app.command()
def fetch(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    to: Annotated[Path, typer.Option("--to", help="A folder to carry to the other machine.")],
    overrides: Overrides = None,
    wheels: Annotated[bool, typer.Option("--wheels/--no-wheels", help="Packages, too.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Bring all that a recipe needs from the network, for a machine without internet.

    Example: `ikusi fetch quickstart --to bundle --dry-run`
    """
    from ikusi.offline.fetch import fetch as fetch_all

    fetch_all(recipe, overrides or [], to, wheels=wheels, dry_run=dry_run)


@app.command()
def doctor(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no network.")] = False,
    store: StorePath = STORE,
    workers: Workers = None,
) -> None:
    """Say whether a recipe would run here, and what is absent; exit 1 when something is.

    Example: `ikusi doctor quickstart --offline`
    """
    from ikusi.offline.doctor import doctor as examine

    examine(recipe, overrides or [], store, offline=offline, workers=workers)


@languages_app.command()
def memory(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")] = "quickstart",
    overrides: Overrides = None,
) -> None:
    """Print the embedded world's names and wordings as a translation memory (TSV).

    From the pivot language into the target, to try `ikusi translate --backend memory` with.

    Example: `ikusi languages memory quickstart target=cy > memory.tsv`
    """
    from ikusi.study.commands import print_memory

    print_memory(recipe, overrides or [])
