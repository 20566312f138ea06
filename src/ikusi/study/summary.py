"""What a study has found so far, for its report: read from the store, nothing computed anew.

Place: plan, store -> [summary] -> evaluate.report. Contract: only finished artifacts count, each
checked against its hash when it is read; a study that is half done gives half a summary.
"""

from __future__ import annotations

import logging
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ikusi.core.artifact import Artifact
from ikusi.core.config import dump_yaml, to_plain
from ikusi.core.errors import CorruptArtifact, StoreError
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.core.types import Record
from ikusi.data.images import ImageReader
from ikusi.evaluate.cells import Cell
from ikusi.evaluate.report import Cost, Sample, StudySummary
from ikusi.evaluate.results import read_results
from ikusi.evaluate.stats import macro_accuracy
from ikusi.study.parts import IMAGES, RECORDS
from ikusi.study.plan import CellPlan, Plan
from ikusi.study.recipe import Recipe, language_name
from ikusi.study.world_data import left_out_notes
from ikusi.world.grammar import VISUAL_TASKS

RESULTS = "results.parquet"
SAMPLES_PER_TASK = 2
_SAMPLE_SPLIT = "main"
_LIBRARIES = ("ikusi", "torch", "transformers", "tokenizers", "numpy", "pyarrow")
_BEFORE_CELLS = frozenset({"encoder", "tokenizer", "text"})
"""Kinds whose steps, and what only they need, are counted on neither side of the comparison."""


log = logging.getLogger(__name__)


class Summariser:
    """Makes summaries of one study again and again while it goes on; what was read is kept."""

    def __init__(self, plan: Plan, store: Store, command: Sequence[str]) -> None:
        """Prepare to read the artifacts of `plan` from `store`.

        Args:
            plan: the study.
            store: where its artifacts are.
            command: command lines that do the study again.
        """
        self.plan = plan
        self.store = store
        self.command = tuple(command)
        self._artifacts: dict[str, Artifact] = {}
        self._tables: dict[str, pa.Table] = {}
        self._cells: dict[tuple[CellPlan, bool], Cell] = {}
        self._items: list[tuple[Record, bytes]] | None = None
        self._users = _users(plan)

    def summary(self) -> StudySummary:
        """Return what the store has of the study now; damaged results are not there."""
        recipe = self.plan.recipe
        there = self._in_order(self.evaluated())
        cells = {id(cell): self._cell(cell) for cell in there}
        judged = self._identification(there)
        return StudySummary(
            title=recipe.title or recipe.name,
            target=recipe.target,
            pivot=recipe.pivot,
            cells=list(cells.values()),
            expected_cells=len(self.plan.cells),
            rules=recipe.study.rules,
            language_names={c: language_name(c) for c in (recipe.target, recipe.pivot)},
            recipe=dump_yaml(_what_counts(recipe)),
            costs=self._costs(),
            peak_memory_bytes=self._peak_bytes(),
            samples=list(self._samples([cells[id(cell)] for cell in there])),
            reproduce=self.command,
            versions=versions(),
            notes=left_out_notes(recipe),
            vocabulary=_world_in_words(recipe),
            protocol=_protocol(recipe),
            long_answers_by=judged.get("long_answers_judged_by", ""),
            confusion=judged.get("counts", {}),
        )

    def artifact(self, address: str) -> Artifact | None:
        """Return the artifact, or None where it is not finished."""
        if address not in self._artifacts:
            found = self.store.find(address)
            if found is None:
                return None
            self._artifacts[address] = found
        return self._artifacts[address]

    def evaluated(self) -> list[CellPlan]:
        """Return the cells whose results are there and whole."""
        return [cell for cell in self.plan.cells if self._has_results(cell.results)]

    def _in_order(self, cells: Sequence[CellPlan]) -> list[CellPlan]:
        """Return cells as a reader looks for them: backbones, controls last, shares rising."""
        backbones = list(dict.fromkeys(cell.backbone for cell in self.plan.cells))

        def place(cell: CellPlan) -> tuple[int, str, float, int]:
            return backbones.index(cell.backbone), cell.control or "", cell.target_share, cell.seed

        return sorted(cells, key=place)

    def _has_results(self, address: str) -> bool:
        if not address:
            return False
        try:
            self.results(address)
        except CorruptArtifact as error:
            log.warning("%s", error)
            return False
        except StoreError:
            return False
        return True

    def results(self, address: str) -> pa.Table:
        """Return an evaluation's rows, checked against the hash once.

        Raises:
            StoreError: they are not there, or are not what was written.
        """
        if address not in self._tables:
            self._tables[address] = read_results(self.store.open(address).path / RESULTS)
        return self._tables[address]

    def score(self, cell: CellPlan, language: str) -> float:
        """Return a cell's macro accuracy on new compositions; nan where it has no such items."""
        return macro_accuracy(self.results(cell.results), language, _SAMPLE_SPLIT)

    def best(self) -> CellPlan | None:
        """Return the cell of the grid with the best score in the target language so far."""
        grid = [cell for cell in self.evaluated() if cell.control is None]
        target = self.plan.recipe.target
        return max(grid, key=lambda cell: self.score(cell, target), default=None)

    def _cell(self, cell: CellPlan) -> Cell:
        """Return a finished cell, the same object each time, so that its sums are taken once."""
        key = (cell, self._has_results(cell.before))
        if key not in self._cells:
            self._cells[key] = self._read_cell(cell)
        return self._cells[key]

    def _read_cell(self, cell: CellPlan) -> Cell:
        steps = self.plan.steps
        stages = [cell.model, steps[cell.model].inputs["model"]]
        made = [self.artifact(address) for address in (*stages, cell.results)]
        return Cell(
            backbone=cell.backbone,
            target_share=cell.target_share,
            seed=cell.seed,
            control=cell.control,
            address=cell.model,
            results=self.results(cell.results),
            text_before=self.results(cell.before) if self._has_results(cell.before) else None,
            seconds=sum(artifact.manifest.seconds for artifact in made if artifact is not None),
            supervised_tokens=sum(
                artifact.stats.get("supervised_tokens", 0)
                for artifact in made
                if artifact is not None
            ),
            target_token_share=_target_token_share(made[0], self.plan.recipe.target),
        )

    def _identification(self, cells: Sequence[CellPlan]) -> Mapping[str, Any]:
        """Return how the language of answers was found: the same for all cells."""
        for cell in cells:
            artifact = self.artifact(cell.results)
            if artifact is not None and "identification" in artifact.stats:
                found: Mapping[str, Any] = artifact.stats["identification"]
                return found
        return {}

    def _costs(self) -> list[Cost]:
        """Return what the finished steps of each kind took, and would have taken unshared."""
        costs: dict[tuple[bool, str], Cost] = {}
        needed_before = self.plan.closure(
            a for a, spec in self.plan.steps.items() if spec.kind in _BEFORE_CELLS
        )
        for address, spec in self.plan.steps.items():
            key = (address not in needed_before, spec.kind)
            cost = costs.get(key) or Cost(spec.kind, before_cells=address in needed_before)
            artifact = self.artifact(address)
            seconds = artifact.manifest.seconds if artifact is not None else 0.0
            costs[key] = Cost(
                spec.kind,
                before_cells=cost.before_cells,
                steps=cost.steps + 1,
                done=cost.done + (artifact is not None),
                users=cost.users + self._users[address],
                seconds=cost.seconds + seconds,
                unshared_seconds=cost.unshared_seconds + seconds * self._users[address],
            )
        return [costs[key] for key in sorted(costs, key=lambda key: key[0])]

    def _peak_bytes(self) -> int | None:
        peaks = [
            artifact.stats["peak_memory_mb"]
            for address in self.plan.steps
            if (artifact := self.artifact(address)) is not None
            and artifact.stats.get("peak_memory_mb") is not None
        ]
        return round(max(peaks) * (1 << 20)) if peaks else None

    def _samples(self, cells: Sequence[Cell]) -> Iterable[Sample]:
        """Yield a few items per task, in both languages, with every cell's answer."""
        if not cells:
            return
        if self._items is None:
            self._items = self._sample_items()
        ids = [f"{_SAMPLE_SPLIT}:{record.id}" for record, _ in self._items]
        answers: dict[str, dict[str, tuple[str, bool]]] = {}
        for cell in cells:
            column = cell.results.column("sample_id")
            rows = cell.results.filter(pc.is_in(column, value_set=pa.array(ids)))
            for row in rows.select(["sample_id", "answer", "correct"]).to_pylist():
                said = (row["answer"], row["correct"])
                answers.setdefault(row["sample_id"], {})[cell.label] = said
        for (record, picture), sample_id in zip(self._items, ids, strict=True):
            yield Sample(
                picture=picture,
                task=record.task,
                group=record.group,
                question=record.turns[-2].text,
                gold=record.answers[0],
                language=record.language,
                answers=answers.get(sample_id, {}),
            )

    def _sample_items(self) -> list[tuple[Record, bytes]]:
        inputs = self.plan.steps[self.plan.cells[0].results].inputs
        pictures = inputs.get(f"pictures-{_SAMPLE_SPLIT}")
        reader = None
        if pictures is not None:
            reader = ImageReader(self.store.open(pictures).path / IMAGES)
        chosen: list[tuple[int, Record, bytes]] = []
        for language in (self.plan.recipe.target, self.plan.recipe.pivot):
            address = inputs.get(f"items-{_SAMPLE_SPLIT}@{language}")
            if address is None:
                continue
            seen: Counter[str] = Counter()
            for record in read_records(self.store.open(address).path / RECORDS):
                place = seen[record.task]
                seen[record.task] += 1
                # The number of things rises with the place: those with two and with three.
                if 1 <= place <= SAMPLES_PER_TASK:
                    sha256 = record.images[0].sha256 if record.images else None
                    picture = reader.read(sha256) if reader is not None and sha256 else b""
                    chosen.append((VISUAL_TASKS.index(record.task), record, picture))
        chosen.sort(key=lambda item: (item[0], item[1].group))
        return [(record, picture) for _, record, picture in chosen]


def versions() -> dict[str, str]:
    """Return what a result may depend on besides the recipe: library -> version."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"platform": f"{sys.platform} {platform.machine()}"}


def _users(plan: Plan) -> Counter[str]:
    """Return for each step how many cells need it."""
    users: Counter[str] = Counter()
    for cell in plan.cells:
        users.update(plan.needs(cell))
    return users


def _world_in_words(recipe: Recipe) -> str:
    world = recipe.world
    probe = (
        f", {world.probe} of them pictured only with {language_name(recipe.pivot)}"
        if world.probe
        else ""
    )
    return (
        f"The world: {world.paired + world.probe} concepts{probe}; 1 to 4 of them on a scene of "
        f"3x3 cells in 8 colours; {world.eval_per_task} evaluation items per task, language and "
        "kind, with combinations of concept and colour that no training picture shows (the vision "
        "tower alone has seen them, without words)."
    )


def _protocol(recipe: Recipe) -> str:
    study = recipe.study
    seeds = study.seeds if study.axes else (recipe.seed,)
    fresh = not set(seeds) & set(study.chosen_on.seeds)
    fresh_items = recipe.world.eval_seed not in study.chosen_on.eval_seeds
    chosen = f"training seed {_listed(study.chosen_on.seeds)} and evaluation items of seed "
    chosen += _listed(study.chosen_on.eval_seeds)
    used = f"training seed {_listed(seeds)} and evaluation items of seed {recipe.world.eval_seed}"
    if fresh and fresh_items:
        return (
            f"The recipe's sizes and schedules were chosen on {chosen}; this study reports {used}, "
            "which had no part in the choice. The vision tower and the training pictures are the "
            "same in both."
        )
    return (
        f"Careful: the recipe's sizes and schedules were chosen on {chosen}, and this study "
        f"reports {used}. What both have in common can look better here than it is."
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _target_token_share(stage: Artifact | None, target: str) -> float | None:
    counts = stage.stats.get("by_language", {}) if stage is not None else {}
    tokens = {language: of["supervised_tokens"] for language, of in counts.items()}
    return tokens.get(target, 0) / sum(tokens.values()) if tokens else None


def _what_counts(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain data, without what says how sets are made if it names none."""
    unused = () if recipe.sets_named else ("sets", "benchmarks", "images", "filter", "translate")
    return {key: value for key, value in to_plain(recipe).items() if key not in unused}
