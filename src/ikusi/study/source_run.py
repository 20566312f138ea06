"""`ikusi run` of a recipe that names sets: its data, both stages, and a link to the model.

Place: source_data, plan -> [source_run] -> store. The data come first, since what they hold decides
on what follows; then the steps of training are planned and run like those of any study.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikusi.core.artifact import Artifact
from ikusi.core.files import disk_errors
from ikusi.core.store import Store
from ikusi.study.plan import plan_model
from ikusi.study.recipe import Recipe
from ikusi.study.source_data import make_data, source_steps, stage_data


def run_on_sets(
    recipe: Recipe,
    data: Mapping[str, Any],
    where: str,
    store: Store,
    runs: Path,
    workers: int | None,
    *,
    dry_run: bool,
) -> None:
    """Make a recipe's data and its model, or say what would be done.

    Args:
        recipe: names sets.
        data: the same as plain data.
        where: its name, for messages.
        store: where artifacts are.
        runs: where readable links go.
        workers: steps of training side by side; None for one per core.
        dry_run: print the plan and stop; nobody is asked, and of files only what they are is read.

    Raises:
        IkusiError: something can be mended; what was done is kept.
    """
    steps = source_steps(recipe, where)
    if dry_run:
        print(f"{recipe.name}: data")
        width = max(len(step.name) for step in steps)
        for step in steps:
            print(f"  {step.name:<{width}}  {step.about}")
        model = recipe.model
        print(f"then: {model.vision} x {model.connector} x {model.llm}")
        for stage, settings in (("align", recipe.align), ("instruct", recipe.instruct)):
            budget = settings.mixture.budget.samples
            print(f"  {stage:<8}  {budget:,} samples of {', '.join(settings.data)}")
        print("How much of it is there already is seen when it runs: a step's inputs decide on it.")
        return
    folder = runs / recipe.name
    with disk_errors(folder, "--runs"):
        folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Artifact] = {}
    for step, artifact in make_data(recipe, steps, store):
        made[step.name] = artifact
        link = folder / "data" / step.name.replace(" ", "-")
        store.link(link, artifact)
        told = artifact.stats
        counts = f": {told['kept']:,} of {told['read']:,} kept" if "kept" in told else ""
        print(f"{step.name}{counts}  ({link})", flush=True)
    sets = {stage: stage_data(recipe, stage, made, where) for stage in ("align", "instruct")}
    plan, model_address = plan_model(data, where, sets)
    from ikusi.study.estimate import estimate
    from ikusi.study.run import default_workers, run_plan

    workers = workers or default_workers()
    expected = estimate(plan, store, workers).seconds
    run_plan(plan, store, workers=workers, expected=expected, on_done=lambda spec, done: None)
    store.link(folder / "best", store.open(model_address))
    print(f"Model: {folder / 'best'}. Talk to it: ikusi ask {folder / 'best'} picture.jpg")
