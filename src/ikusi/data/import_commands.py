"""`ikusi import`: what it prints, and the link that it makes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from ikusi.core.store import Store
from ikusi.data.import_plan import Request, resolve
from ikusi.data.importing import Import

log = logging.getLogger(__name__)


def run_import(request: Request, store: Path, runs: Path, *, dry_run: bool = False) -> None:
    """Import what `request` means, link it, and print what came of its rows.

    Args:
        request: what the command line says.
        store: where it is made.
        runs: where the link `data/<name>` is made.
        dry_run: only say what would be read and made.

    Raises:
        IkusiError: it cannot be imported.
    """
    wanted = resolve(request)
    opened = Store(store)
    spec, write = wanted.plan()
    known = opened.find(spec.address) is not None
    if dry_run:
        typer.echo(f"{spec.address} {'is there already' if known else 'would be made'}, of:")
        for line in preview(wanted):
            typer.echo(f"  {line}")
        return
    artifact = opened.build(spec, write)
    link = runs / "data" / spec.name
    opened.link(link, artifact)
    typer.echo(f"{artifact.address}{' (was there already)' if known else ''}")
    for line in explain(artifact.stats):
        typer.echo(line)
    if not artifact.stats["kept"]:
        log.warning("%s: no row became a record; the reasons are above", spec.name)
    typer.echo(f"Linked as {link}. Look at it: ikusi show {link}")


def preview(wanted: Import) -> list[str]:
    """Return what would be read, in lines for people."""
    source, where = wanted.source, wanted.where
    if "hub" in where:
        subset = f", {where['subset']}" if where["subset"] else ""
        read = f"the hub's {where['hub']}{subset} at {where['revision'][:12]}"
    else:
        read = f"{len(where['files'])} files"
    splits = ", ".join(filter(None, wanted.table.splits()))
    lines = [f"{read}, as {source.name}{f', splits: {splits}' if splits else ''}"]
    lines.append(f"language: {wanted.language or source.language or 'as each row says'}")
    if wanted.limit is not None:
        lines.append(f"rows of each split at most: {wanted.limit}")
    if wanted.pictures is not None:
        lines.append(f"pictures from {wanted.pictures}")
    if unread := wanted.table.unread_columns():
        lines.append(f"columns that are not read: {', '.join(unread[:12])}")
    lines.append(f"licence: {wanted.licence or source.licence or 'not known'}")
    return lines


def explain(stats: Mapping[str, Any]) -> list[str]:
    """Return what an import did, in lines for people."""
    dropped = sum(stats["dropped"].values())
    per_row = stats["records_a_row"]
    of_one = f", {per_row} of each" if per_row > 1 else ""
    lines = [f"{stats['read']} rows: {stats['kept']} records{of_one}, {dropped} dropped"]
    lines += [f"  dropped {count}: {reason}" for reason, count in stats["dropped"].items()]
    if other := stats["passed_over"].get("other-language"):
        lines.append(f"  passed over: {other} rows without this language")
    if stats["unread_columns"]:
        shown = ", ".join(stats["unread_columns"][:12])
        lines.append(f"  columns not read: {shown}")
    if stats["schema"] == "assumed":
        lines.append("  the columns of this source are assumed, not published: look at a few")
    if not stats["licence"]:
        lines.append("  licence: not known; give --licence to publish what comes of it")
    return lines
