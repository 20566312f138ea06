"""`ikusi store`: what is in the store, how big, where, made from what, and what can go.

ikusi store ls
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # nothing heavy at import: `ikusi --help` lists this too
    from rich.console import Console
    from rich.tree import Tree

    from ikusi.core.store import Store
    from ikusi.core.upkeep import Why

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="See what is in the store, where it came from, and clear up.",
)

StorePath = Annotated[
    Path,
    typer.Option("--store", envvar="IKUSI_STORE", help="The store's folder.", show_default=True),
]
_DEFAULT_STORE = Path("store")
_WIDE = 200  # columns when the output is no terminal: an address must not be cut


@app.command("ls")
def ls(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, such as instruct.")] = None,
    store: StorePath = _DEFAULT_STORE,
) -> None:
    """List the finished artifacts.

    Example: `ikusi store ls instruct`
    """
    from rich.table import Table

    from ikusi.core.files import show_bytes

    artifacts = _open(store).ls(kind)
    table = Table(box=None, pad_edge=False)
    table.add_column("artifact", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("made", no_wrap=True)
    for artifact in artifacts:
        manifest = artifact.manifest
        made = manifest.created[:16].replace("T", " ")
        table.add_row(
            artifact.address, show_bytes(manifest.bytes), f"{manifest.seconds:.1f} s", made
        )
    console = _console()
    if artifacts:
        console.print(table)
    else:
        of_kind = f" of kind {kind}" if kind else ""
        console.print(f"No artifact{of_kind} in {store} yet.", markup=False, highlight=False)


@app.command("du")
def du(store: StorePath = _DEFAULT_STORE) -> None:
    """Show how much each kind of artifact takes.

    Example: `ikusi store du --store /data/ikusi`
    """
    from rich.table import Table

    from ikusi.core.files import show_bytes

    usage = _open(store).du()
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("kind", "all", no_wrap=True)
    table.add_column("number", str(sum(u.count for u in usage)), justify="right")
    table.add_column("size", show_bytes(sum(u.bytes for u in usage)), justify="right", no_wrap=True)
    for row in usage:
        table.add_row(row.kind, str(row.count), show_bytes(row.bytes))
    _console().print(table)


@app.command("path")
def path(
    artifact: Annotated[str, typer.Argument(help="Address, hash, the start of one, or a link.")],
    store: StorePath = _DEFAULT_STORE,
) -> None:
    """Print the folder of an artifact.

    Example: `ls "$(ikusi store path runs/quickstart/best)"`
    """
    typer.echo(_open(store).locate(artifact).path)


@app.command("why")
def why(
    artifact: Annotated[str, typer.Argument(help="Address, hash, the start of one, or a link.")],
    store: StorePath = _DEFAULT_STORE,
) -> None:
    """Show what an artifact was made from, as a tree.

    Example: `ikusi store why runs/quickstart/best`
    """
    from rich.text import Text
    from rich.tree import Tree

    opened = _open(store)
    found = opened.why(opened.locate(artifact).address)
    seen: set[str] = set()
    tree = Tree(Text(_describe(found, seen)))
    _grow(tree, found, seen)
    _console().print(tree)


@app.command("gc")
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    unused_hours: Annotated[
        float,
        typer.Option(min=0, help="Keep what was used or written to in the last so many hours."),
    ] = 1.0,
    store: StorePath = _DEFAULT_STORE,
) -> None:
    """Remove what no link reaches, unfinished and damaged artifacts included.

    Links are made by runs (`runs/<recipe>/<step>`); remove a link to let its artifacts go.

    Example: `ikusi store gc --dry-run`
    """
    from rich.table import Table

    from ikusi.core.files import show_bytes

    opened = _open(store)
    seconds = unused_hours * 3600
    garbage = opened.gc(dry_run=True, unused_seconds=seconds)
    if not garbage:
        if not dry_run:
            opened.gc(unused_seconds=seconds)  # traces of finished work, which nobody asks about
        typer.echo("Nothing to remove.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("why")
    for item in garbage:
        name = item.path.relative_to(opened.root).as_posix()
        table.add_row(name, show_bytes(item.bytes), item.reason)
    _console().print(table)
    total = show_bytes(sum(item.bytes for item in garbage))
    if dry_run:
        typer.echo(f"{len(garbage)} things, {total}, would be removed.")
        return
    if not yes and not typer.confirm(f"Remove these {len(garbage)} things, {total}?"):
        typer.echo("Nothing was removed.")
        return
    removed = opened.gc(unused_seconds=seconds)
    typer.echo(f"Removed {len(removed)} things, {show_bytes(sum(item.bytes for item in removed))}.")


@app.command("pack")
def pack(
    artifacts: Annotated[list[str], typer.Argument(help="Addresses, hashes, starts, or links.")],
    to: Annotated[Path, typer.Option("--to", help="The file to make, such as data.tar.")],
    store: StorePath = _DEFAULT_STORE,
) -> None:
    """Put artifacts, and all that they were made from, into one file for another machine.

    Example: `ikusi store pack runs/data/cc3m-eu --to cc3m-eu.tar`
    """
    from ikusi.core import log
    from ikusi.core.files import show_bytes
    from ikusi.core.pack import pack as pack_artifacts

    log.setup()
    packed = pack_artifacts(_open(store), artifacts, to)
    for address in packed.gone:
        typer.echo(f"Not in the store any more, so not in the file: {address}")
    count = len(packed.artifacts)
    typer.echo(f"{to}: {count} artifacts, {show_bytes(packed.bytes)}")


@app.command("unpack")
def unpack(
    file: Annotated[Path, typer.Argument(help="What `ikusi store pack` made.")],
    store: StorePath = _DEFAULT_STORE,
    runs: Annotated[Path, typer.Option("--runs", help="Where readable links go.")] = Path("runs"),
) -> None:
    """Put what a file holds into the store, every byte checked; it goes on if it was stopped.

    Example: `ikusi store unpack cc3m-eu.tar`
    """
    from ikusi.core import log
    from ikusi.core.pack import unpack as unpack_artifacts
    from ikusi.core.store import Store

    log.setup()
    opened = Store(store)
    packed = unpack_artifacts(file, opened)
    for address in packed.wanted:
        artifact = opened.locate(address)
        link = runs / "data" / f"{artifact.kind}-{artifact.manifest.name}"
        opened.link(link, artifact)  # so that clearing up leaves it alone
        typer.echo(f"{link} -> {artifact.address}")
    typer.echo(f"{len(packed.artifacts)} artifacts are in {opened.root}")


def _open(folder: Path) -> Store:
    from ikusi.core.errors import StoreError
    from ikusi.core.store import Store

    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no store here. Give --store, or set IKUSI_STORE.")
    return Store(folder)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def _describe(found: Why, seen: set[str]) -> str:
    role = f"{found.role}: " if found.role else ""
    if found.artifact is None:
        return f"{role}{found.address} (not in the store any more)"
    again = " (see above)" if found.address in seen and found.inputs else ""
    return f"{role}{found.address}{again}"


def _grow(tree: Tree, found: Why, seen: set[str]) -> None:
    from rich.text import Text

    if found.address in seen:
        return
    seen.add(found.address)
    for child in found.inputs:
        _grow(tree.add(Text(_describe(child, seen))), child, seen)
