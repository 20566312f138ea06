"""What `ikusi study`, `run` and `report` do, above the parts that do it."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ikusi.core import log
from ikusi.core.artifact import Artifact, Spec, hash_data
from ikusi.core.config import to_plain
from ikusi.core.errors import (
    ConfigError,
    CorruptArtifact,
    DataError,
    IkusiError,
    StoreError,
    suggest,
)
from ikusi.core.files import disk_errors, write_durably
from ikusi.core.links import read_link
from ikusi.core.store import Store
from ikusi.study.parts import vocabulary_of
from ikusi.study.plan import CellPlan, Plan, plan_study
from ikusi.study.recipe import names, read_recipe
from ikusi.study.world_data import check_world, left_out_notes, world_config

if TYPE_CHECKING:
    from ikusi.study.summary import Summariser

_PAUSE = 10.0
"""A report is written again after so many times what writing it took: a tenth of a core at most."""
_MADE_FROM = "made-from.json"


def run_study(
    verb: str,
    recipe: str,
    overrides: Sequence[str],
    store_path: Path,
    runs: Path,
    workers: int | None,
    *,
    dry_run: bool,
    only: Sequence[str] = (),
) -> None:
    """Plan a recipe, run what the store lacks, print and report each cell's result as it comes.

    Args:
        verb: `study`, or `run` for one model.
        recipe: a name or a file.
        overrides: `key=value` each.
        store_path: where artifacts are.
        runs: where readable links and the report go.
        workers: steps side by side; None for one per core.
        dry_run: print the plan and stop.
        only: addresses; make these and what they are made from, and no report.
    """
    log.setup()
    found, data = read_recipe(recipe, overrides)
    if found.sets_named:
        from ikusi.study.source_run import run_on_sets

        if verb == "study" or found.study.axes:
            plan_of(verb, recipe, overrides)  # which says why not
        run_on_sets(found, data, recipe, Store(store_path), runs, workers, dry_run=dry_run)
        return
    plan = plan_of(verb, recipe, overrides)
    if only:
        plan = _part(plan, only)
    store = Store(store_path)
    from ikusi.study.run import default_workers, run_plan

    workers = workers or default_workers()
    if dry_run:
        _print_plan(plan, store, workers)
        return
    from ikusi.study.estimate import estimate
    from ikusi.study.summary import Summariser

    for line in left_out_notes(plan.recipe):
        print(line)
    if only:
        with disk_errors(store.root):
            store.root.mkdir(parents=True, exist_ok=True)
        expected = estimate(plan, store, workers).seconds
        run_plan(plan, store, workers=workers, expected=expected, on_done=lambda spec, made: None)
        return
    begun = time.monotonic()
    summariser = Summariser(plan, store, [_command(verb, recipe, overrides)])
    folder = runs / plan.recipe.name
    for place, option in ((store.root, "--store"), (folder, "--runs")):
        with disk_errors(place, option):  # told now, and not after an hour's work
            place.mkdir(parents=True, exist_ok=True)
    report = _Report(summariser, folder / "report")
    cells: dict[str, list[CellPlan]] = {}
    for cell in plan.cells:
        cells.setdefault(cell.results, []).append(cell)

    def on_done(spec: Spec, artifact: Artifact) -> None:
        for cell in cells.get(spec.address, ()):
            print(_cell_line(summariser, cell, time.monotonic() - begun), flush=True)
            _link(summariser, folder / _link_name(cell), cell)
            if (best := summariser.best()) is not None:
                _link(summariser, folder / "best", best)
            report.note()

    expected = estimate(plan, store, workers).seconds
    try:
        run_plan(plan, store, workers=workers, expected=expected, on_done=on_done)
    except IkusiError:  # a failed step takes nothing away from the cells that are done
        if summariser.evaluated():
            report.finish()
        raise
    print(f"Report: {report.finish()}")


def write_report(name: str, overrides: Sequence[str], store_path: Path, runs: Path) -> None:
    """Write the report on whatever `name` is: a study's recipe, or a data set in the store.

    Args:
        name: a recipe's name or file, else an artifact, a link or a Parquet file.
        overrides: `key=value` each, of a study.
        store_path: where artifacts are.
        runs: where the report goes.

    Raises:
        ConfigError: it is neither.
    """
    path = Path(name)
    if name in names() or path.suffix in (".yaml", ".yml"):
        write_study_report(name, overrides, store_path, runs)
        return
    from ikusi.data.dataset import find_link, open_dataset
    from ikusi.data.report import write_data_report

    log.setup()
    store = Store(store_path)
    try:
        dataset = open_dataset(name, store, runs)
    except CorruptArtifact:
        raise
    except StoreError:
        if find_link(name, runs):  # to something that is gone
            raise
        raise ConfigError(
            f"{name!r} is no recipe, and no data set in the store at {store.root}. "
            f"{suggest(name, names())}"
        ) from None
    if overrides:
        raise ConfigError(f"{overrides[0]!r}: {name} is a data set and takes no such changes.")
    print(f"Report: {write_data_report(dataset, store, runs / 'data' / f'{dataset.name}-report')}")


def write_study_report(recipe: str, overrides: Sequence[str], store_path: Path, runs: Path) -> None:
    """Write a study's report from what the store has of it; nothing is trained.

    Args:
        recipe: a name or a file.
        overrides: `key=value` each, those of the study.
        store_path: where artifacts are.
        runs: where the report goes.

    Raises:
        DataError: the store has no cell of this study.
    """
    from ikusi.study.summary import Summariser

    log.setup()
    plan = plan_of("study", recipe, overrides)
    store = Store(store_path)
    command = _command("study", recipe, overrides)
    summariser = Summariser(plan, store, [command])
    if not summariser.evaluated():
        raise DataError(
            f"{recipe}: the store at {store.root} has no result of this study. Run `{command}`, "
            "or point --store at the one that has it."
        )
    report = _Report(summariser, runs / plan.recipe.name / "report")
    report.write()
    print(f"Report: {report.page}")


class _Report:
    """The report of a study that goes on: written again now and then, and at the end."""

    def __init__(self, summariser: Summariser, folder: Path) -> None:
        self._summariser = summariser
        self._folder = folder
        self._next = 0.0
        self._stale = False

    @property
    def page(self) -> Path:
        return self._folder / "report.html"

    def note(self) -> None:
        """Take in a finished cell, at once or, where writing takes long, with a later one."""
        self._stale = True
        if time.monotonic() >= self._next and not self._is_current():
            self.write()

    def finish(self) -> Path:
        """Write what is not written yet and return the path of the page."""
        if self._stale and not self._is_current():
            self.write()
        return self.page

    def write(self) -> None:
        from ikusi.evaluate.report import write_report

        begun = time.monotonic()
        with disk_errors(self._folder, "--runs"):
            write_report(self._folder, self._summariser.summary())
            write_durably(self._folder / _MADE_FROM, self._made_from().encode())
        self._stale = False
        took = time.monotonic() - begun
        self._next = time.monotonic() + _PAUSE * took

    def _is_current(self) -> bool:
        try:
            written = (self._folder / _MADE_FROM).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False
        return self.page.is_file() and written == self._made_from()

    def _made_from(self) -> str:
        """Return what the report depends on: while this stays, it need not be written again."""
        from ikusi.study.summary import versions

        cells = {
            cell.results: artifact.manifest.payload
            for cell in self._summariser.evaluated()
            if (artifact := self._summariser.artifact(cell.results)) is not None
        }
        facts = {
            "command": self._summariser.command,
            "recipe": hash_data(to_plain(self._summariser.plan.recipe)),
            "versions": versions(),
            "cells": cells,
        }
        return json.dumps(facts, indent=1) + "\n"


def plan_of(verb: str, recipe: str, overrides: Sequence[str]) -> Plan:
    """Return the plan of a recipe, for `study` or, of one model, for `run`."""
    _, data = read_recipe(recipe, overrides)
    if verb == "run":
        axes = (data.get("study") or {}).get("axes")
        if axes:
            raise ConfigError(
                f"{recipe}: is a study of several models ({', '.join(axes)}). "
                f"Use `ikusi study {recipe}`, or run a recipe without axes."
            )
    return plan_study(data, recipe)


def _part(plan: Plan, only: Sequence[str]) -> Plan:
    """Return the steps that some addresses need; of a job that makes a part of a study."""
    for address in only:
        if address not in plan.steps:
            raise ConfigError(f"--only {address}: is no step of {plan.recipe.name}.")
    needed = plan.closure(only)
    return Plan(plan.recipe, {a: spec for a, spec in plan.steps.items() if a in needed})


def _command(verb: str, recipe: str, overrides: Sequence[str]) -> str:
    return shlex.join(["ikusi", verb, recipe, *overrides])


def _print_plan(plan: Plan, store: Store, workers: int) -> None:
    from ikusi.study.estimate import estimate

    there = {address for address in plan.steps if store.find(address) is not None}
    for line in left_out_notes(plan.recipe):
        print(line)
    print(f"{plan.recipe.name}: {_count(len(plan.cells), 'cell')}")
    for cell in plan.cells:
        print(f"  {_label(cell):<52} {'done' if cell.results in there else 'to do'}")
    print(f"{_count(len(plan.steps), 'step')}, {len(there)} of them in the store at {store.root}")
    wanted = Counter(spec.kind for spec in plan.steps.values())
    found = Counter(plan.steps[address].kind for address in there)
    expected = estimate(plan, store, workers)
    spent = dict.fromkeys(wanted, 0.0)
    for address, seconds in expected.seconds.items():
        spent[plan.steps[address].kind] += seconds
    for kind, count in wanted.items():
        left = f"about {log.show_duration(spent[kind])}" if count > found[kind] else "-"
        print(f"  {kind:<10} {count:>4} steps, {found[kind]:>4} in the store; to do: {left}")
    if not expected.seconds:
        print("Nothing to do: the report is written again at most.")
        return
    first = expected.first_cell_seconds
    line = f"Time: about {log.show_duration(expected.total_seconds)}"
    if first is not None:
        line += f", the first cell after about {log.show_duration(first)}"
    print(f"{line}; {_count(workers, 'step')} side by side, {expected.source}.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _link(summariser: Summariser, link: Path, cell: CellPlan) -> None:
    """Point `link` to the checkpoint of a cell, unless it does so already."""
    artifact = summariser.artifact(cell.model)
    if artifact is not None and read_link(link) != artifact.path:
        summariser.store.link(link, artifact)


def _link_name(cell: CellPlan) -> str:
    control = f"-{cell.control}" if cell.control else ""
    share = f"{100 * cell.target_share:.4g}"
    return f"{cell.backbone.replace('/', '-').strip('-')}-{share}-s{cell.seed}{control}"


def _label(cell: CellPlan) -> str:
    control = f", {cell.control.replace('_', ' ')}" if cell.control else ""
    return f"{cell.backbone}, {cell.target_share:.0%} target, seed {cell.seed}{control}"


def _cell_line(summariser: Summariser, cell: CellPlan, seconds: float) -> str:
    recipe = summariser.plan.recipe
    scores = (
        f"{code} {summariser.score(cell, code):.3f}" for code in (recipe.target, recipe.pivot)
    )
    return f"[{seconds / 60:5.1f} min] {_label(cell):<44} {'  '.join(scores)}"


def print_memory(recipe: str, overrides: Sequence[str]) -> None:
    """Print the translation memory of a recipe's world, from its pivot into its target.

    Raises:
        ConfigError: there is no such recipe, or its languages make no world.
    """
    from ikusi.languages.pack import load_pack
    from ikusi.world.memory import HEADER, memory_rows

    found, _ = read_recipe(recipe, overrides)
    check_world(found, recipe)
    source, target = load_pack(found.pivot), load_pack(found.target)
    vocabulary = vocabulary_of(world_config(found))
    for row in (HEADER, *memory_rows(source, target, vocabulary)):
        print("\t".join(row))
