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
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from ikusi.core.artifact import Spec, hash_data, hash_file, hash_folder
from ikusi.core.config import set_dotted, to_plain
from ikusi.core.errors import ConfigError
from ikusi.data.mix import check_supply
from ikusi.evaluate.results import Control
from ikusi.languages.pack import find_pack, load_pack
from ikusi.study.parts import vocabulary_of
from ikusi.study.recipe import OWN_COLUMN, Recipe, StageSettings, language_name, resolve
from ikusi.study.steps import STEPS
from ikusi.world.grammar import TEXT_TASKS, VISUAL_TASKS

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
            if address not in found:
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


def check_world(recipe: Recipe, where: str) -> None:
    """Check that the two languages can make a world.

    Raises:
        ConfigError: an unknown language, or no question that both can word.
        DataError: too few names in both.
    """
    if not set(world_tasks(recipe)) & set(VISUAL_TASKS):
        raise ConfigError(
            f"{where}: no question about a picture has words in both {recipe.pivot!r} and "
            f"{recipe.target!r}. `ikusi languages check` says what is missing."
        )
    vocabulary_of(world_config(recipe))


def _add_cell(
    plan: Plan, recipe: Recipe, control: Control | None, where: str, others: Mapping[str, Any]
) -> None:
    world = world_config(recipe)
    seed = recipe.seed
    languages = (recipe.pivot, recipe.target)
    backbone = recipe.model.llm.removeprefix("world/").rstrip("/")
    own_llm = recipe.model.llm.startswith("world/")
    inputs: dict[str, str] = {}
    if own_llm:
        inputs["llm"] = _add_backbone(plan, recipe, backbone, world, where)
    if recipe.model.vision.startswith("world/"):
        inputs["vision"] = plan.add(
            "encoder", "world", {**to_plain(recipe.encoder), "world": world, "seed": 0}, {}
        )
    vision = {"vision": inputs["vision"]} if "vision" in inputs else {}
    align = _add_stage(
        plan, recipe, "align", {"multimodal": "align"}, recipe.align, world, inputs, None, where
    )
    sets = {"multimodal": "instruct", "text": "text", "pivot_only": "probe"}
    model = _add_stage(
        plan,
        recipe,
        "instruct",
        sets,
        recipe.instruct,
        world,
        {"model": align, **vision},
        control,
        where,
    )
    items: dict[str, str] = {}
    tasks = world_tasks(recipe)
    settings = recipe.evaluate
    for split in settings.splits:
        per_task = recipe.world.eval_per_task
        about = {
            "world": world,
            "set": f"eval-{split}",
            "count": per_task * len(tasks),
            "per_task": per_task,
            "tasks": tasks,
            "seed": recipe.world.eval_seed,
        }
        pictures = {}
        if split != "text":
            pictures = {"pictures": plan.add("pictures", f"eval-{split}", about, {})}
            items[f"pictures-{split}"] = pictures["pictures"]
        for language in languages:
            config = {**about, "language": language, "packs": _packs(recipe)}
            name = f"eval-{split}-{language}"
            items[f"items-{split}@{language}"] = plan.add("import", name, config, pictures)
    config = {**to_plain(settings), "world": world, "packs": _packs(recipe)}
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


def _add_backbone(
    plan: Plan, recipe: Recipe, name: str, world: Mapping[str, Any], where: str
) -> str:
    settings = recipe.backbones[name]
    supply = {"text": _supply(recipe, settings.reads)}
    key = f"backbones.{name}.mixture"
    check_supply(settings.mixture, supply, where, key, {"text": [settings.reads]})
    texts = _add_texts(plan, recipe, settings.reads, world)
    mixture = plan.add(
        "mix",
        f"backbone-{name}",
        {
            "mixture": to_plain(settings.mixture),
            "pivot": recipe.pivot,
            "target": recipe.target,
            "seed": recipe.seed,
        },
        texts,
    )
    inputs = {"mixture": mixture}
    if settings.init is None:
        tokenizer = {**to_plain(recipe.tokenizer), "texts": 5000, "world": world}
        words = _add_texts(plan, recipe, "backbone", world)
        inputs["tokenizer"] = plan.add("tokenizer", "world", tokenizer, words)
    else:
        inputs["init"] = _add_backbone(plan, recipe, settings.init, world, where)
    config = {**to_plain(settings), "name": name, "seed": recipe.seed}
    return plan.add("text", f"{name}-s{recipe.seed}", config, inputs)


def _supply(recipe: Recipe, set_name: str) -> tuple[int, str]:
    """Return how many texts a backbone's set has, and the setting that says so."""
    if set_name == "drills":
        return recipe.world.drill_scenes, "world.drill_scenes"
    return recipe.world.backbone_scenes, "world.backbone_scenes"


def _add_texts(
    plan: Plan, recipe: Recipe, set_name: str, world: Mapping[str, Any]
) -> dict[str, str]:
    texts = {}
    for language in (recipe.pivot, recipe.target):
        config = {
            "world": world,
            "set": set_name,
            "language": language,
            "packs": _packs(recipe),
            "tasks": world_tasks(recipe),
            "count": _supply(recipe, set_name)[0],
            "seed": recipe.world.seed,
        }
        texts[f"text@{language}"] = plan.add("import", f"{set_name}-{language}", config, {})
    return texts


def _add_stage(
    plan: Plan,
    recipe: Recipe,
    stage: str,
    sets: Mapping[str, str],
    settings: StageSettings,
    world: Mapping[str, Any],
    inputs: Mapping[str, str],
    control: str | None,
    where: str,
) -> str:
    mixture = settings.mixture
    train = settings.train
    if control is not None:
        mixture = mixture.model_copy(update={"only": "target"})
        if control == "target_alone_equal_steps":
            batches = -(-mixture.budget.samples // train.per_device_train_batch_size)
            steps = round(batches * train.num_train_epochs / train.gradient_accumulation_steps)
            train = train.model_copy(update={"max_steps": steps})
    counts = {name: getattr(recipe.world, f"{name}_scenes") for name in sets.values()}
    supply = {
        part: (counts[name], f"world.{name}_scenes")
        for part, name in sets.items()
        if name != "probe" or recipe.world.probe
    }
    check_supply(mixture, supply, where, f"{stage}.mixture", {p: [s] for p, s in sets.items()})
    records: dict[str, str] = {}
    pictures: dict[str, str] = {}
    for part, name in sets.items():
        if part == "pivot_only" and not mixture.pivot_only.share:
            continue
        if part == "text" and not mixture.text.share:
            continue
        about = {
            "world": world,
            "set": name,
            "tasks": world_tasks(recipe),
            "count": counts[name],
            "seed": recipe.world.seed,
        }
        drawn = {}
        if name != "text":
            pictures[f"pictures-{name}"] = plan.add("pictures", name, about, {})
            drawn = {"pictures": pictures[f"pictures-{name}"]}
        languages = (recipe.pivot,) if part == "pivot_only" else (recipe.pivot, recipe.target)
        for language in languages:
            config = {**about, "language": language, "packs": _packs(recipe)}
            role = f"{part}@{language}"
            records[role] = plan.add("import", f"{name}-{language}", config, drawn)
    mixed = plan.add(
        "mix",
        stage,
        {
            "mixture": to_plain(mixture),
            "pivot": recipe.pivot,
            "target": recipe.target,
            "seed": recipe.seed,
        },
        records,
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
    return plan.add(stage, name, config, {**inputs, "mixture": mixed, **pictures}, folders)


def _short_name(recipe: Recipe) -> str:
    """Return the last part of the language model's name, fit for an address."""
    last = recipe.model.llm.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-")[:40] or "llm"


@lru_cache
def _hash_of(folder: Path) -> str:
    """Hash a model's folder once for all cells: it may be large."""
    return hash_folder(folder)


def world_config(recipe: Recipe) -> dict[str, Any]:
    """Return what decides the world's concepts, as a part of every step's configuration."""
    return {
        "pivot": recipe.pivot,
        "target": recipe.target,
        "paired": recipe.world.paired,
        "probe": recipe.world.probe,
        "kinds": list(recipe.world.kinds),
        "cldr": {code: load_pack(code).ids.cldr for code in (recipe.pivot, recipe.target)},
        "assets": _assets_hash(),
    }


def world_tasks(recipe: Recipe) -> list[str]:
    """Return the tasks that both packs can word."""
    ready = [set(load_pack(code).tasks_ready()) for code in (recipe.pivot, recipe.target)]
    return [t for t in VISUAL_TASKS + TEXT_TASKS if all(t in tasks for tasks in ready)]


def left_out_notes(recipe: Recipe) -> list[str]:
    """Return, in words, which tasks a language lacks wordings for, and what would bring them."""
    ready = world_tasks(recipe)
    left_out = [task for task in (*VISUAL_TASKS, *TEXT_TASKS) if task not in ready]
    if not left_out:
        return []
    notes = [f"Tasks left out, because a language lacks words for them: {', '.join(left_out)}."]
    for code in (recipe.target, recipe.pivot):
        missing = load_pack(code).missing()
        notes.extend(f"{language_name(code)} ({code}): {line}." for line in missing)
    return notes


def _packs(recipe: Recipe) -> dict[str, str]:
    """Return the content hash of each pack: a changed wording is a changed step."""
    found = {}
    for code in (recipe.pivot, recipe.target):
        load_pack(code)
        path = find_pack(code)
        assert path is not None
        found[code] = hash_file(path)
    return found


@lru_cache
def _assets_hash() -> str:
    folder = Path(str(resources.files("ikusi.world") / "assets"))
    return hash_data([hash_file(path) for path in sorted(folder.glob("*.p*"))])[:16]
