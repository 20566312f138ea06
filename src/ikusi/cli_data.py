"""The command line's verbs about data, each a thin function; see `cli.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ikusi.cli_options import RUNS, STORE, DryRun, Launch, RunsPath, Slurm, StorePath

app = typer.Typer()


@app.command("import")
def import_(
    context: typer.Context,
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
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
    launch: Launch = None,
    slurm: Slurm = None,
    dry_run: DryRun = False,
) -> None:
    """Read a set of any published schema, or one's own, into records and pictures.

    Example: `ikusi import ./photos --captions captions.csv --language eu`
    """
    if launch is not None:
        from ikusi.launch import launch_verb

        launch_verb(context, launch, slurm, runs, dry_run=dry_run)
        return
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
    run_import(request, store, runs, dry_run=dry_run)


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


@app.command()
def images(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME... [KEY=VALUE]...",
            help="Imports, and settings such as max_bytes=5000000 or network.per_host=2.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Of what is made. Default: theirs.")] = None,
    earlier: Annotated[
        str | None,
        typer.Option(
            "--from", help="Images made before: taken over; what they lack is tried again."
        ),
    ] = None,
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
    launch: Launch = None,
    slurm: Slurm = None,
    dry_run: DryRun = False,
) -> None:
    """Fetch and check the pictures of imports: one copy for all languages, and a manifest.

    Example: `ikusi images runs/data/cc3m network.contact=lab@example.org`
    """
    if launch is not None:
        from ikusi.launch import launch_verb

        launch_verb(context, launch, slurm, runs, dry_run=dry_run)
        return
    from ikusi.data.image_commands import run_images

    run_images(names, name=name, earlier=earlier, store=store, runs=runs, dry_run=dry_run)


@app.command("filter")
def filter_(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME... [KEY=VALUE]...",
            help="Records, and settings such as length.max_tokens=200.",
        ),
    ],
    images: Annotated[
        list[str] | None, typer.Option(help="What `ikusi images` made of their pictures.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="A benchmark: what meets it is dropped.")
    ] = None,
    originals: Annotated[
        list[str] | None,
        typer.Option(help="What they were translated from. Default: what the store knows of."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, as a YAML file.")] = None,
    name: Annotated[str | None, typer.Option(help="Of what is made. Default: theirs.")] = None,
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
    launch: Launch = None,
    slurm: Slurm = None,
    dry_run: DryRun = False,
) -> None:
    """Keep the records that are good enough, each other one with the reason why it is not.

    Example: `ikusi filter cc3m-eu --images cc3m-images --against vqav2`
    """
    if launch is not None:
        from ikusi.launch import launch_verb

        launch_verb(context, launch, slurm, runs, dry_run=dry_run)
        return
    from ikusi.data.filter_commands import run_filter

    run_filter(
        names,
        images=images or (),
        against=against or (),
        originals=originals or (),
        config=config,
        name=name,
        store=store,
        runs=runs,
        dry_run=dry_run,
    )


@app.command()
def translate(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Records: a name, an artifact, or a Parquet file.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as backend.path=names.tsv."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Language to translate into.")] = None,
    backend: Annotated[str | None, typer.Option(help="endpoint, seq2seq or memory.")] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file with the settings.")] = None,
    images: Annotated[
        list[str] | None, typer.Option(help="Artifact with the pictures, for mode=describe.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--name", help="Of what is made. Default: NAME-TO.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="TSV of good translations: show what thresholds of chrF++ would do."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER/PARTS",
            help="Only keep the answers for this part of the records, such as 2/8.",
        ),
    ] = None,
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
    launch: Launch = None,
    slurm: Slurm = None,
    dry_run: DryRun = False,
) -> None:
    """Translate records into another language; what cannot be trusted is dropped, with the reason.

    Example: `ikusi translate cc3m --to eu --backend seq2seq backend.model=HiTZ/mt-hitz-en-eu`
    """
    from ikusi.data.translate import commands

    asked = commands.Asked(
        name=name,
        overrides=overrides or [],
        to=to,
        backend=backend,
        settings_file=settings,
        images=images or [],
        output=output,
        limit=limit,
    )
    if launch is not None:
        from ikusi.launch import launch_verb

        is_whole = part is None and calibrate is None
        gpu = commands.runs_models(asked, store, calibrates=calibrate is not None)
        launch_verb(context, launch, slurm, runs, dry_run=dry_run, gpu=gpu, has_parts=is_whole)
        return
    commands.translate(
        asked,
        dry_run=dry_run,
        calibrate=calibrate,
        part=part,
        store=store,
        runs=runs,
    )


@app.command()
def publish(
    names: Annotated[list[str], typer.Argument(help="Artifacts, links, or Parquet files.")],
    to: Annotated[Path | None, typer.Option("--to", help="A folder of its own.")] = None,
    hub: Annotated[str | None, typer.Option("--hub", help="A data set there: org/name.")] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="For the whole, SPDX. Default: what the rows allow together."),
    ] = None,
    images: Annotated[
        Literal["embed", "reference"] | None,
        typer.Option(help="Default: reference where each picture has a url, else embed."),
    ] = None,
    benchmark: Annotated[
        bool | None,
        typer.Option(
            "--benchmark/--training",
            help="Splits by language, or one `train`. Default: by whether each row has answers.",
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="For you alone, on the hub.")] = False,
    store: StorePath = STORE,
    runs: RunsPath = RUNS,
    dry_run: DryRun = False,
) -> None:
    """Make a folder that `datasets.load_dataset` opens, with a card, and send it to the hub.

    Example: `ikusi publish runs/data/cc3m-eu --to cc3m-eu --dry-run`
    """
    from ikusi.data.publish import publish as publish_data

    publish_data(
        names,
        store,
        runs,
        to=to,
        hub_name=hub,
        licence=licence,
        images=images,
        benchmark=benchmark,
        private=private,
        dry_run=dry_run,
    )
