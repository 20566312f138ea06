"""From a recipe to the steps that it comes to, each with its address in the store.

Place: recipe -> [plan] -> run. Contract: a plan computes nothing; addresses are known before any
step runs, so equal steps of different cells are one step, and a dry run knows what is there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from ikusi.core.artifact import Spec, hash_folder
from ikusi.core.config import set_dotted, to_plain
from ikusi.core.errors import ConfigError
from ikusi.evaluate.results import Control
from ikusi.study.recipe import OWN_COLUMN, Recipe, resolve
from ikusi.study.steps import STEPS
from ikusi.study.world_data import (
    StageData,
    add_backbone,
    add_items,
    add_stage_data,
    check_world,
    packs_of,
    world_config,
)

_PRIORITY = {"encoder": 0, "text": 0, "import": 1, "mix": 1, "tokenizer": 1, "pictures": 2}
"""Among the steps of a cell, those that most others wait for go first."""


@dataclass(frozen=True)
class CellPlan:
    """A cell of the grid: which steps give its model and its results."""

    backbone: str
    """With the values of all axes that have no column of their own."""
    target_share: float
    seed: int
    control: Control | None
    model: str
    """Address of the checkpoint."""
    results: str
    """Address of the evaluation."""
    before: str
    """Address of the backbone's own text-only evaluation."""


@dataclass
class Plan:
    """Steps by address, in an order in which they can run, and the cells that they lead to."""

    recipe: Recipe
    steps: dict[str, Spec] = field(default_factory=dict)
    cells: list[CellPlan] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    """Addresses of artifacts that no step makes: they are there before the first one begins."""

    def add(
        self,
        kind: str,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        folders: Mapping[str, str] | None = None,
    ) -> str:
        """Add a step, unless an equal one is there, and return its address."""
        spec = Spec(kind, name, STEPS[kind][0], config, inputs, folders or {})
        self.steps.setdefault(spec.address, spec)
        return spec.address

    def closure(self, addresses: Iterable[str]) -> set[str]:
        """Return these steps, and all that they are made from."""
        found: set[str] = set()
        todo = list(addresses)
        while todo:
            address = todo.pop()
            if address not in found and address not in self.given:
                found.add(address)
                todo.extend(self.steps[address].inputs.values())
        return found

    def needs(self, cell: CellPlan) -> set[str]:
        """Return all steps that a cell needs."""
        return self.closure(address for address in (cell.results, cell.before) if address)

    def queue_order(self) -> dict[str, int]:
        """Return each step's place in the queue: the first cell's steps first, long ones ahead."""
        first: dict[str, int] = {}
        for number, cell in enumerate(self.cells):
            for address in self.needs(cell):
                first.setdefault(address, number)
        place = {address: i for i, address in enumerate(self.steps)}

        def rank(address: str) -> tuple[int, int, int]:
            kind = self.steps[address].kind
            return first.get(address, len(self.cells)), _PRIORITY.get(kind, 3), place[address]

        return {address: i for i, address in enumerate(sorted(self.steps, key=rank))}


def plan_study(data: Mapping[str, Any], where: str) -> Plan:
    """Return the plan of a recipe: all its cells, or the one of a recipe without axes.

    Args:
        data: the recipe as plain data.
        where: its name, for messages.
    """
    recipe = resolve(data, where)
    if recipe.sets_named:
        raise ConfigError(
            f"{where}: is about {', '.join(recipe.sets_named[:3])}, and models of sets are not "
            f"evaluated yet. Make one by `ikusi run {where}`, on this machine."
        )
    check_world(recipe, where)
    plan = Plan(recipe)
    axes = recipe.study.axes
    for seed in recipe.study.seeds if axes else (recipe.seed,):
        for values in itertools.product(*axes.values()):
            cell = dict(data)
            for key, value in zip(axes, values, strict=True):
                cell = set_dotted(cell, key, value)
            others = {k: v for k, v in zip(axes, values, strict=True) if k not in OWN_COLUMN}
            _add_cell(plan, resolve({**cell, "seed": seed}, where), None, where, others)
    if recipe.study.controls:
        share = recipe.study.rules.enough_share
        for seed in recipe.study.seeds:
            for llm in axes.get("model.llm", (recipe.model.llm,)):
                cell = set_dotted(dict(data), "model.llm", llm)
                cell = set_dotted(cell, "instruct.mixture.multimodal.target_share", share)
                for control in get_args(Control):
                    _add_cell(plan, resolve({**cell, "seed": seed}, where), control, where, {})
    return plan


def plan_model(
    data: Mapping[str, Any], where: str, sets: Mapping[str, StageData]
) -> tuple[Plan, str]:
    """Return the plan of one model from sets that are there, and the address of its checkpoint.

    Args:
        data: the recipe as plain data; it names sets.
        where: its name, for messages.
        sets: stage -> what it is trained on.
    """
    recipe = resolve(data, where)
    plan = Plan(recipe)
    for of in sets.values():
        plan.given |= {*of.records.values(), *of.pictures.values()}
    inputs = _add_parts(plan, recipe, where)
    align = _add_stage(plan, recipe, "align", inputs, None, where, sets["align"])
    inputs = {"model": align} | {r: a for r, a in inputs.items() if r == "vision"}
    return plan, _add_stage(plan, recipe, "instruct", inputs, None, where, sets["instruct"])


def _add_parts(plan: Plan, recipe: Recipe, where: str) -> dict[str, str]:
    """Add the parts of the model that are trained on the embedded world; role -> address."""
    inputs: dict[str, str] = {}
    if recipe.model.llm.startswith("world/"):
        name = recipe.model.llm.removeprefix("world/").rstrip("/")
        inputs["llm"] = add_backbone(plan, recipe, name, where)
    if recipe.model.vision.startswith("world/") and recipe.encoder is not None:
        config = {**to_plain(recipe.encoder), "world": world_config(recipe), "seed": 0}
        inputs["vision"] = plan.add("encoder", "world", config, {})
    return inputs


def _add_cell(
    plan: Plan, recipe: Recipe, control: Control | None, where: str, others: Mapping[str, Any]
) -> None:
    world = world_config(recipe)
    seed = recipe.seed
    backbone = recipe.model.llm.removeprefix("world/").rstrip("/")
    own_llm = recipe.model.llm.startswith("world/")
    inputs = _add_parts(plan, recipe, where)
    vision = {"vision": inputs["vision"]} if "vision" in inputs else {}
    align = _add_stage(plan, recipe, "align", inputs, None, where)
    model = _add_stage(plan, recipe, "instruct", {"model": align, **vision}, control, where)
    items = add_items(plan, recipe)
    settings = recipe.evaluate
    config = {**to_plain(settings), "world": world, "packs": packs_of(recipe)}
    share = recipe.instruct.mixture.multimodal
    share_value = share.target_share if share else 0.0
    name = f"{_short_name(recipe)}-{round(100 * share_value)}-s{seed}"
    results = plan.add("evaluate", name, config, {"model": model, **vision, **items})
    before = ""
    if own_llm and "text" in settings.splits:
        text_items = {role: a for role, a in items.items() if role.startswith("items-text")}
        before = plan.add(
            "evaluate",
            f"{backbone}-before-s{seed}",
            {**config, "splits": ["text"]},
            {"model": inputs["llm"], **text_items},
        )
    series = " ".join([backbone, *(f"{k.rpartition('.')[2]}={v}" for k, v in others.items())])
    plan.cells.append(CellPlan(series, share_value, seed, control, model, results, before))


def _add_stage(
    plan: Plan,
    recipe: Recipe,
    stage: str,
    inputs: Mapping[str, str],
    control: Control | None,
    where: str,
    data: StageData | None = None,
) -> str:
    settings = recipe.align if stage == "align" else recipe.instruct
    mixture, train = settings.mixture, settings.train
    if control is not None:
        mixture = mixture.model_copy(update={"only": "target"})
        if control == "target_alone_equal_steps":
            batches = -(-mixture.budget.samples // train.per_device_train_batch_size)
            steps = round(batches * train.num_train_epochs / train.gradient_accumulation_steps)
            train = train.model_copy(update={"max_steps": steps})
    data = data or add_stage_data(plan, recipe, stage, mixture, where)
    mixed = plan.add(
        "mix",
        stage,
        {
            "mixture": to_plain(mixture),
            "pivot": recipe.pivot,
            "target": recipe.target,
            "seed": recipe.seed,
        },
        data.records,
    )
    config = {"stage": stage, "train": to_plain(train), "seed": recipe.seed}
    folders: dict[str, str] = {}
    if stage == "align":
        model = to_plain(recipe.model)
        for part in ("vision", "llm"):
            folder = Path(model[part]).expanduser()
            if not model[part].startswith("world/") and folder.is_dir():
                folders[part] = str(folder.resolve())
                model[part] = f"sha256:{_hash_of(folder.resolve())}"
        config["model"] = model
    name = f"{_short_name(recipe)}-s{recipe.seed}"
    return plan.add(stage, name, config, {**inputs, "mixture": mixed, **data.pictures}, folders)


def _short_name(recipe: Recipe) -> str:
    """Return the last part of the language model's name, fit for an address."""
    last = recipe.model.llm.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-")[:40] or "llm"


@lru_cache
def _hash_of(folder: Path) -> str:
    """Hash a model's folder once for all cells: it may be large."""
    return hash_folder(folder)
