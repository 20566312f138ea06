"""`ikusi import`: what it prints, and the link that it makes."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

from ikusi.core.store import Store
from ikusi.data.import_plan import Request, explain, resolve

log = logging.getLogger(__name__)


def run_import(request: Request, store: Path, runs: Path) -> None:
    """Import what `request` means, link it, and print what came of its rows.

    Raises:
        IkusiError: it cannot be imported.
    """
    wanted = resolve(request)
    opened = Store(store)
    spec, write = wanted.plan()
    known = opened.find(spec.address) is not None
    artifact = opened.build(spec, write)
    link = runs / "data" / spec.name
    opened.link(link, artifact)
    typer.echo(f"{artifact.address}{' (was there already)' if known else ''}")
    for line in explain(artifact.stats):
        typer.echo(line)
    if not artifact.stats["kept"]:
        log.warning("%s: no row became a record; the reasons are above", spec.name)
    typer.echo(f"Linked as {link}. Look at it: ikusi show {link}")
