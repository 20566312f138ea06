"""What `ikusi study`, `ikusi run` and `ikusi ask` do, above the parts that do it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ikusi.core import log
from ikusi.core.artifact import Artifact, Spec
from ikusi.core.errors import DataError
from ikusi.core.store import Store
from ikusi.study.plan import CellPlan, Plan, plan_study
from ikusi.study.recipe import read_recipe


def run_study(
    recipe: str,
    overrides: Sequence[str],
    store_path: Path,
    runs: Path,
    workers: int | None,
    *,
    dry_run: bool,
) -> None:
    """Plan a recipe, run what the store lacks, and print each cell's result as it comes.

    Args:
        recipe: a name or a file.
        overrides: `key=value` each.
        store_path: where artifacts are.
        runs: where readable links go.
        workers: steps side by side; None for one per core.
        dry_run: print the plan and stop.
    """
    from ikusi.study.run import default_workers, link_cells, run_plan

    log.setup()
    _, data = read_recipe(recipe, overrides)
    plan = plan_study(data, recipe)
    store = Store(store_path)
    if dry_run:
        _print_plan(plan, store)
        return
    begun = time.monotonic()
    cells: dict[str, list[CellPlan]] = {}
    for cell in plan.cells:
        cells.setdefault(cell.results, []).append(cell)

    def on_done(spec: Spec, artifact: Artifact) -> None:
        for cell in cells.get(spec.address, ()):
            print(_cell_line(plan, cell, artifact, time.monotonic() - begun), flush=True)

    run_plan(plan, store, workers=workers or default_workers(), on_done=on_done)
    link_cells(plan, store, runs)


def _print_plan(plan: Plan, store: Store) -> None:
    there = Counter(s.kind for a, s in plan.steps.items() if store.find(a) is not None)
    wanted = Counter(spec.kind for spec in plan.steps.values())
    print(f"{plan.recipe.name}: {len(plan.cells)} cells, {len(plan.steps)} steps")
    for kind, count in wanted.items():
        print(f"  {kind:<10} {count:>4}, of them {there[kind]} in the store")
    for cell in plan.cells:
        state = "done" if store.find(cell.results) else "to do"
        print(f"  {_label(cell):<44} {state}")


def _label(cell: CellPlan) -> str:
    control = f", {cell.control.replace('_', ' ')}" if cell.control else ""
    return f"{cell.backbone}, {cell.target_share:.0%} target, seed {cell.seed}{control}"


def _cell_line(plan: Plan, cell: CellPlan, artifact: Artifact, seconds: float) -> str:
    from ikusi.evaluate.results import read_results

    table = read_results(artifact.path / "results.parquet")
    columns = table.select(["split", "language", "task", "correct"]).to_pylist()
    scores = []
    for language in (plan.recipe.target, plan.recipe.pivot):
        by_task: dict[str, list[bool]] = {}
        for row in columns:
            if (row["split"], row["language"]) == ("main", language):
                by_task.setdefault(row["task"], []).append(row["correct"])
        means = [sum(right) / len(right) for right in by_task.values()]
        scores.append(f"{language} {sum(means) / max(1, len(means)):.3f}")
    minutes = seconds / 60
    return f"[{minutes:5.1f} min] {_label(cell):<44} {'  '.join(scores)}"


def ask_model(model: Path, picture: Path | None, question: str | None) -> None:
    """Print a model's answer about a picture."""
    from ikusi.api import load

    if picture is None or question is None:
        raise DataError('give a picture and a question: ikusi ask MODEL picture.png "Zer da hau?"')
    print(load(model).answer(picture, question))
