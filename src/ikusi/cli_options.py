"""The options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
Launch = Annotated[
    Literal["slurm", "local"] | None,
    typer.Option("--launch", help="Submit it as jobs; `local` runs the same jobs here."),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option("--slurm", metavar="KEY=VALUE", help="Of the jobs, such as partition=gpu."),
]
Only = Annotated[list[str] | None, typer.Option("--only", hidden=True)]
STORE, RUNS = Path("store"), Path("runs")
