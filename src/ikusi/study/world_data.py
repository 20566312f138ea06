"""The embedded world's part of a plan: its texts, pictures, backbones and evaluation items.

Place: recipe -> [world_data] -> plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ikusi.core.artifact import hash_data, hash_file
from ikusi.core.config import to_plain
from ikusi.core.errors import ConfigError
from ikusi.data.mix import MixtureSettings, check_supply
from ikusi.languages.pack import load_pack
from ikusi.study.parts import vocabulary_of
from ikusi.study.recipe import Recipe, language_name
from ikusi.world.grammar import TEXT_TASKS, VISUAL_TASKS

if TYPE_CHECKING:
    from ikusi.study.plan import Plan

_SETS = {
    "align": {"multimodal": "align"},
    "instruct": {"multimodal": "instruct", "text": "text", "pivot_only": "probe"},
}
"""Stage -> part of its mixture -> the world's set."""


_NOT_OF_THE_WORLD = ("checked_by", "variants", "translation", "unwanted")
"""Fields of a pack that change nothing in the world."""


@dataclass
class StageData:
    """What a stage is trained on."""

    records: dict[str, str] = field(default_factory=dict)
    """`part@language`, as a mixture's step wants them -> address."""
    pictures: dict[str, str] = field(default_factory=dict)
    """`pictures-set` -> address."""


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


def add_stage_data(
    plan: Plan, recipe: Recipe, stage: str, mixture: MixtureSettings, where: str
) -> StageData:
    """Add the sets that a stage's mixture is made from.

    Raises:
        ConfigError: they cannot give what the mixture asks for.
    """
    sets = _SETS[stage]
    world = world_config(recipe)
    counts = {name: getattr(recipe.world, f"{name}_scenes") for name in sets.values()}
    supply = {
        part: (counts[name], f"world.{name}_scenes")
        for part, name in sets.items()
        if name != "probe" or recipe.world.probe
    }
    check_supply(mixture, supply, where, f"{stage}.mixture", {p: [s] for p, s in sets.items()})
    data = StageData()
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
            data.pictures[f"pictures-{name}"] = plan.add("pictures", name, about, {})
            drawn = {"pictures": data.pictures[f"pictures-{name}"]}
        languages = (recipe.pivot,) if part == "pivot_only" else (recipe.pivot, recipe.target)
        for language in languages:
            config = {**about, "language": language, "packs": packs_of(recipe)}
            role = f"{part}@{language}"
            data.records[role] = plan.add("import", f"{name}-{language}", config, drawn)
    return data


def add_items(plan: Plan, recipe: Recipe) -> dict[str, str]:
    """Add the evaluation items and their pictures, and return role -> address."""
    items: dict[str, str] = {}
    tasks = world_tasks(recipe)
    per_task = recipe.world.eval_per_task
    for split in recipe.evaluate.splits:
        about = {
            "world": world_config(recipe),
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
        for language in (recipe.pivot, recipe.target):
            config = {**about, "language": language, "packs": packs_of(recipe)}
            name = f"eval-{split}-{language}"
            items[f"items-{split}@{language}"] = plan.add("import", name, config, pictures)
    return items


def add_backbone(plan: Plan, recipe: Recipe, name: str, where: str) -> str:
    """Add a backbone and all that it comes from, and return its address."""
    world = world_config(recipe)
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
        inputs["init"] = add_backbone(plan, recipe, settings.init, where)
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
            "packs": packs_of(recipe),
            "tasks": world_tasks(recipe),
            "count": _supply(recipe, set_name)[0],
            "seed": recipe.world.seed,
        }
        texts[f"text@{language}"] = plan.add("import", f"{set_name}-{language}", config, {})
    return texts


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


def packs_of(recipe: Recipe) -> dict[str, str]:
    """Return the hash of each pack: a changed wording is a changed step.

    What only translating and filtering read, and what people alone read, is left out of it.
    """
    found = {}
    for code in (recipe.pivot, recipe.target):
        pack = load_pack(code).model_dump(mode="json", exclude=set(_NOT_OF_THE_WORLD))
        found[code] = hash_data(pack)
    return found


@lru_cache
def _assets_hash() -> str:
    folder = Path(str(resources.files("ikusi.world") / "assets"))
    return hash_data([hash_file(path) for path in sorted(folder.glob("*.p*"))])[:16]
