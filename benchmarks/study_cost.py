"""What a study of N cells costs against N independent runs.

    python benchmarks/study_cost.py quickstart --store store

Counted is everything after the vision encoder and the backbones, which count on neither side with
all that only they need. Twice:

- recorded: the seconds of the study's steps, each once, against each as often as cells need it;
- measured: some of its cells are run by themselves, from the command line, in stores that hold
  the encoder and the backbones and nothing else, as many at a time as the study had workers. Here
  each makes its own pictures, records, vision features and stage 1, as it would have to.

Both in seconds of one process with one thread, summed over the steps.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import COMMAND, Row, conditions, parser, tell

from ikusi.core.artifact import Artifact
from ikusi.core.store import Store
from ikusi.study.plan import Plan, plan_study
from ikusi.study.recipe import read_recipe
from ikusi.study.run import default_workers

BEFORE = ("encoder", "tokenizer", "text")
LIMIT = 0.6


def main() -> None:
    """Measure, and tell."""
    arguments = parser(__doc__)
    arguments.add_argument("--store", type=Path, required=True, help="of the finished study")
    arguments.add_argument(
        "--cells", type=int, default=default_workers(), help="run alone, all at the same time"
    )
    chosen = arguments.parse_args()
    where = conditions() | {"side by side": chosen.cells}
    name = str(Path(chosen.recipe).resolve()) if Path(chosen.recipe).is_file() else chosen.recipe
    recipe, data = read_recipe(name, chosen.overrides)
    plan = plan_study(data, name)
    store = Store(chosen.store)
    made = {address: find(store, address) for address in plan.steps}
    spent = {address: artifact.manifest.seconds for address, artifact in made.items()}

    counted = [plan.needs(cell) - before(plan) for cell in plan.cells]
    shared = sum(spent[address] for address in set().union(*counted))
    unshared = sum(spent[address] for needs in counted for address in needs)

    axes = recipe.study.axes
    grid = list(itertools.product(recipe.study.seeds, *axes.values()))
    number = min(chosen.cells, len(grid))
    some = [grid[i * len(grid) // number] for i in range(number)]
    with tempfile.TemporaryDirectory(prefix="ikusi-study-cost-") as folder:
        runs = [Alone(name, chosen.overrides, cell, list(axes), Path(folder)) for cell in some]
        for run in runs:
            run.prepare(store)
        for run in runs:
            run.start()
        alone = [run.finish(made) for run in runs]
    in_grid = [needs for cell, needs in zip(plan.cells, counted, strict=True) if not cell.control]
    shared_grid = sum(spent[address] for address in set().union(*in_grid))
    independent = len(grid) * sum(run["seconds"] for run in alone) / number

    rows = [
        Row("cells of the study", len(plan.cells), "cells"),
        Row("study, recorded", shared, "s"),
        Row("each cell with all its steps, recorded", unshared, "s"),
        Row("study / independent, recorded", shared / unshared, "", LIMIT),
        Row("one cell alone, measured", independent / len(grid), "s"),
        Row("study's grid / independent, measured", shared_grid / independent, "", LIMIT),
    ]
    tell(chosen, where, rows, {"alone": alone})


def before(plan: Plan) -> set[str]:
    """Return the encoder and the backbones, with all that they are made from."""
    return plan.closure(a for a, spec in plan.steps.items() if spec.kind in BEFORE)


def find(store: Store, address: str) -> Artifact:
    """Return an artifact that must be there."""
    artifact = store.find(address)
    assert artifact is not None, f"{store.root} has no {address}: finish the study there first"
    return artifact


class Alone:
    """One cell of the study in a store of its own."""

    def __init__(
        self, name: str, overrides: list[str], cell: tuple[Any, ...], keys: list[str], folder: Path
    ) -> None:
        axes = [
            f"study.axes.{key}={json.dumps([value])}"
            for key, value in zip(keys, cell[1:], strict=True)
        ]
        only = [*overrides, *axes, f"study.seeds=[{cell[0]}]", "study.controls=false"]
        self.arguments = ["study", name, *only, "--workers", "1"]
        self.plan = plan_study(read_recipe(name, only)[1], name)
        self.folder = folder / "-".join(map(str, cell)).replace("/", "-")

    def prepare(self, store: Store) -> None:
        """Give it the encoder and its backbone."""
        for address in before(self.plan):
            source = find(store, address).path
            shutil.copytree(source, self.folder / "store" / source.relative_to(store.root))

    def start(self) -> None:
        """Run it."""
        self.begun = time.monotonic()
        self.process = subprocess.Popen([*COMMAND, *self.arguments], cwd=self.folder)

    def finish(self, study: dict[str, Artifact]) -> dict[str, Any]:
        """Wait for it, and return what it took and whether it came to the same."""
        assert self.process.wait() == 0
        wall = time.monotonic() - self.begun
        store = Store(self.folder / "store")
        steps = self.plan.needs(self.plan.cells[0])
        made = {address: find(store, address) for address in steps}
        different = [a for a in made if made[a].manifest.payload != study[a].manifest.payload]
        return {
            "cell": self.folder.name,
            "seconds": sum(made[a].manifest.seconds for a in steps - before(self.plan)),
            "wall_seconds": wall,
            "not the study's result": sorted(different),
        }


if __name__ == "__main__":
    main()
