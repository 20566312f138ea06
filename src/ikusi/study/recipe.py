"""The recipe: one YAML file that says everything about a run or a study.

Place: above every part; each section is the settings of the part that it names. A recipe may
`extends:` another one, so an ablation is a few changed lines, and `key=value` overrides come last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ikusi.core.config import (
    Settings,
    fill,
    merge,
    parse_override,
    parse_yaml,
    read_yaml,
    set_dotted,
)
from ikusi.core.errors import ConfigError, suggest
from ikusi.data.filters.settings import FilterSettings
from ikusi.data.image_settings import ImageSettings
from ikusi.data.mix import MixtureSettings
from ikusi.data.translate.settings import TranslateSettings
from ikusi.evaluate.verdicts import VerdictRules
from ikusi.languages.pack import find_pack, load_pack
from ikusi.languages.parts import KINDS
from ikusi.study.source_settings import SetSettings, TextKind
from ikusi.train.settings import TrainSettings
from ikusi.world.items import SPLITS
from ikusi.world.scene import GRID

ConnectorKind = Literal["linear", "mlp", "pixel-shuffle"]


class WorldSettings(Settings):
    """The embedded world: how many concepts, scenes and evaluation items."""

    paired: int = Field(default=120, ge=24)
    """Concepts that are pictured with both languages. With fewer than 32 no new composition shows
    four things."""
    probe: int = Field(default=24, ge=0)
    """Concepts that are pictured only with the pivot language."""
    kinds: tuple[str, ...] = ("animal", "food", "vehicle", "building", "clothing", "object")
    """Kinds of concepts that take part, in turns."""
    seed: int = 0
    """Of the training scenes."""
    align_scenes: int = Field(default=4000, gt=0)
    """Pictures with captions for the alignment stage."""
    instruct_scenes: int = Field(default=12000, gt=0)
    """Pictures with conversations for the instruction stage."""
    probe_scenes: int = Field(default=1000, gt=0)
    """Pictures of the probe's concepts, with pivot conversations alone."""
    text_scenes: int = Field(default=3000, gt=0)
    """Text-only conversations for the instruction stage."""
    backbone_scenes: int = Field(default=20800, gt=0)
    """Text-only conversations to pretrain backbones on."""
    drill_scenes: int = Field(default=44800, gt=0)
    """The same for backbones that read drills."""
    eval_per_task: int = Field(default=100, gt=0)
    """Evaluation items per task, language and split."""
    eval_seed: int = 1
    """Of the evaluation items. Recipes are chosen on another one than studies report."""

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"no kind {kind!r}. {suggest(kind, KINDS)}")
        return kinds


class TokenizerSettings(Settings):
    """The world's tokenizer."""

    vocab_size: int = Field(default=4000, ge=300)
    """Largest number of tokens."""


class EncoderSettings(Settings):
    """The world's vision tower, trained from scratch: a small CLIP whose patch is one cell."""

    hidden_size: int = Field(default=192, gt=0)
    """Width. With fewer than concepts, not each of them can have a direction of its own."""
    num_hidden_layers: int = Field(default=2, ge=1)
    """Layers."""
    num_attention_heads: int = Field(default=4, gt=0)
    """Attention heads."""
    num_scenes: int = Field(default=51200, gt=0)
    """Scenes drawn to train it."""
    train: TrainSettings
    """Optimiser and schedule."""


class BackboneSettings(Settings):
    """One of the world's language models."""

    init: str | None = None
    """Name of the backbone that it goes on from; None for new weights."""
    reads: Literal["backbone", "drills"] = "backbone"
    """Texts about written scenes and words with some drills, or drills with some of those."""
    hidden_size: int = Field(default=128, gt=0)
    """Width of new weights."""
    num_hidden_layers: int = Field(default=4, gt=0)
    """Layers of new weights."""
    num_attention_heads: int = Field(default=4, gt=0)
    """Attention heads of new weights."""
    initializer_range: float = Field(default=0.05, gt=0)
    """Deviation of new weights."""
    mixture: MixtureSettings
    """What it reads."""
    until: float | None = Field(default=None, gt=0, le=1)
    """Training ends when this share of conversations that are kept out of it is answered word by
    word; the schedule, which must be `warmup_stable_decay`, then says how long it takes at most."""
    train: TrainSettings
    """Optimiser and schedule."""

    @model_validator(mode="after")
    def _check_until(self) -> Self:
        if self.until and self.train.lr_scheduler_type != "warmup_stable_decay":
            raise ValueError("until needs `train.lr_scheduler_type: warmup_stable_decay`")
        return self


class ModelSettings(Settings):
    """Vision encoder x connector x language model."""

    vision: str
    """`world/encoder`, a hub id, or a folder."""
    connector: ConnectorKind = "linear"
    """The paper's is `linear`."""
    scale: int = Field(default=2, ge=2)
    """Block side of `pixel-shuffle`."""
    feature_layer: int = Field(default=-2, lt=0)
    """Hidden state of the encoder that the connector reads, from the end. LLaVA's convention."""
    llm: str
    """`world/NAME` of a backbone, a hub id, or a folder."""


class StageSettings(Settings):
    """One training stage."""

    data: tuple[str, ...] = ()
    """Sets that it is trained on, such as `cc3m` and `cc3m@eu`: after the `@` stands the language,
    in which a set is imported if it is published so, and else translated from the pivot's. Left
    out: the embedded world's own."""
    mixture: MixtureSettings
    """What it is trained on."""
    train: TrainSettings
    """Optimiser and schedule."""


class EvaluateSettings(Settings):
    """How models are evaluated."""

    splits: tuple[str, ...] = SPLITS
    """Held-out kinds of items; scores are those on `main`, so it is among them."""
    blind: bool = True
    """Also with a blank picture and with another item's picture."""
    blind_per_task: int = Field(default=40, gt=0)
    """Items per task for the blind controls."""
    batch_size: int = Field(default=128, gt=0)
    """Prompts in a batch."""
    max_new_tokens: int = Field(default=24, gt=0)
    """Answers are cut there."""

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        for split in splits:
            if split not in SPLITS:
                raise ValueError(f"no split {split!r}. {suggest(split, SPLITS)}")
        if "main" not in splits:
            raise ValueError("'main' is missing: scores and claims are judged on it. Add it")
        return splits


class ChosenOn(Settings):
    """What a recipe's sizes and schedules were chosen on; a study reports other seeds."""

    seeds: tuple[int, ...] = (100, 101)
    """Training seeds."""
    eval_seeds: tuple[int, ...] = (0,)
    """Seeds of the evaluation items."""


OWN_COLUMN = frozenset({"model.llm", "instruct.mixture.multimodal.target_share"})
"""Axes that every result names."""
_NO_AXES = {
    "target": "a report is about one language. Run a study for each, with `target=...`",
    "pivot": "a report is about one pair of languages. Run a study for each, with `pivot=...`",
    "seed": "each cell runs with every seed of study.seeds",
    "name": "it is the study's",
}


class StudySettings(Settings):
    """A grid of runs."""

    axes: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Dotted key -> its values."""
    seeds: tuple[int, ...] = (0,)
    """Each cell is run with each seed."""
    controls: bool = False
    """Also train on the target records of the 20% mixture alone, at equal exposure and steps."""
    chosen_on: ChosenOn = ChosenOn()
    """The report says whether the study's own seeds are others."""
    rules: VerdictRules = VerdictRules()
    """How the claims are judged; fixed before any cell runs."""

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        lists: dict[str, tuple[Any, ...]] = {"seeds": self.seeds}
        lists |= {f"axes.{key}": values for key, values in self.axes.items()}
        for key, values in lists.items():
            if not values:
                raise ValueError(f"{key} is empty: give it a value, or leave it out")
            if (axis := key.removeprefix("axes.")) in _NO_AXES:
                raise ValueError(f"{axis} is no axis: {_NO_AXES[axis]}")
            twice = [value for i, value in enumerate(values) if value in values[:i]]
            if twice:
                raise ValueError(f"{key} has {twice[0]!r} twice: name each value once")
        others = self.axes.keys() - OWN_COLUMN
        if self.controls and others:
            raise ValueError(
                f"controls stand beside backbones and shares alone, and {min(others)} is an axis. "
                "Set study.controls=false, or leave the axis out"
            )
        return self


class Recipe(Settings):
    """A whole run, from sources to report."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "model_name_or_path": "model.llm",
        "vision_tower": "model.vision",
        "mm_projector_type": "model.connector",
    }

    name: str = "run"
    """For folders and the report."""
    title: str = ""
    """One line for the report."""
    target: str
    """Language that the study is about, BCP-47."""
    pivot: str
    """Language that data are made from, BCP-47."""
    seed: int = 0
    """Of backbones, mixtures, order and new weights; the encoder is shared by all seeds."""
    world: WorldSettings = WorldSettings()
    """The embedded world."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    """Of the world's backbones."""
    encoder: EncoderSettings | None = None
    """The world's vision tower; left out where `model.vision` is no part of the world."""
    backbones: dict[str, BackboneSettings] = Field(default_factory=dict)
    """The world's language models, by name."""
    sets: dict[str, SetSettings] = Field(default_factory=dict)
    """Where sets of `align.data` and `instruct.data` come from, by name, if not from the hub."""
    benchmarks: tuple[str, ...] = ()
    """Sets that no training record may meet: those that do are dropped, and listed."""
    images: ImageSettings = ImageSettings()
    """How pictures are fetched and judged."""
    filter: FilterSettings = FilterSettings()
    """What is good enough to learn from."""
    translate: dict[TextKind, TranslateSettings] = Field(default_factory=dict)
    """Who translates sets that are not published in the target language. `to` and `source` are the
    target and the pivot where they are left out."""
    model: ModelSettings
    """What is put together."""
    align: StageSettings
    """Stage 1: the connector alone."""
    instruct: StageSettings
    """Stage 2: the connector and the language model."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """How models are evaluated."""
    study: StudySettings = StudySettings()
    """A grid of runs; empty for a single one."""

    @property
    def sets_named(self) -> tuple[str, ...]:
        """The sets that the stages name, each once; empty: it is about the embedded world."""
        return tuple(dict.fromkeys((*self.align.data, *self.instruct.data)))


def names() -> tuple[str, ...]:
    """Return the names of the recipes inside the package."""
    folder = resources.files("ikusi") / "recipes"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.is_file()))


def read_recipe(name: str, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """Return a recipe, and the plain data it was made from.

    Args:
        name: of a recipe in the package, or a path to a YAML file.
        overrides: `key=value` each; the value is YAML.

    Raises:
        ConfigError: there is no such recipe, or it is wrong.
    """
    data = _read_raw(name, seen=())
    for text in overrides:
        key, value = parse_override(text)
        axis = key.removeprefix("study.axes.")
        if axis != key:  # the names of axes have dots of their own
            key, value = "study.axes", {axis: value}
        data = set_dotted(data, key, value)
    data.setdefault("name", Path(name).stem)
    return resolve(data, name), data


def resolve(data: Mapping[str, Any], where: str) -> Recipe:
    """Fill `{target}` and `{pivot}` in and validate."""
    marks = {key: str(data[key]) for key in ("target", "pivot") if key in data}
    filled = fill(dict(data), marks)
    if isinstance(data.get("title"), str):  # it is read by people: names instead of codes
        filled["title"] = fill(data["title"], {k: language_name(c) for k, c in marks.items()})
    for block in (filled.get("translate") or {}).values():
        if isinstance(block, dict):
            block.setdefault("to", filled.get("target"))
            block.setdefault("source", filled.get("pivot"))
    recipe = Recipe.parse(filled, where)
    if recipe.target == recipe.pivot:
        raise ConfigError(f"{where}: target and pivot are both {recipe.target!r}. Change one.")
    model, scale = recipe.model, recipe.model.scale
    if model.connector == "pixel-shuffle" and model.vision.startswith("world/") and GRID % scale:
        raise ConfigError(
            f"{where}: model.scale: the world's tower has {GRID}x{GRID} patches, which cannot be "
            f"stacked {scale} by {scale}. Set model.scale={GRID}."
        )
    if recipe.encoder is None and model.vision.startswith("world/"):
        raise ConfigError(f"{where}: encoder is missing: how the world's vision tower is trained.")
    if bool(recipe.align.data) != bool(recipe.instruct.data):
        raise ConfigError(
            f"{where}: align.data and instruct.data: one of them names sets and the other none. "
            "Name the sets of both stages, or of neither."
        )
    if recipe.study.rules.split not in recipe.evaluate.splits:
        split, splits = recipe.study.rules.split, recipe.evaluate.splits
        raise ConfigError(
            f"{where}: study.rules.split: {split!r} is not evaluated. {suggest(split, splits)}"
        )
    for name, settings in recipe.backbones.items():
        _check_backbone(recipe, name, settings, where)
    for key in (recipe.model.llm, *recipe.study.axes.get("model.llm", ())):
        backbone = str(key).removeprefix("world/")
        if str(key).startswith("world/") and backbone not in recipe.backbones:
            hint = suggest(backbone, recipe.backbones)
            raise ConfigError(f"{where}: model.llm: no backbone {backbone!r}. {hint}")
    return recipe


def language_name(code: str) -> str:
    """Return the name of a language for people, its code where there is no pack."""
    if find_pack(code) is None:
        return code
    names = load_pack(code).names
    return names.en or names.own


def _check_backbone(recipe: Recipe, name: str, settings: BackboneSettings, where: str) -> None:
    if settings.init is None:
        return
    if settings.init not in recipe.backbones:
        hint = suggest(settings.init, recipe.backbones)
        raise ConfigError(f"{where}: backbones.{name}.init: no backbone {settings.init!r}. {hint}")
    sizes = {"hidden_size", "num_hidden_layers", "num_attention_heads", "initializer_range"}
    if given := sorted(sizes & settings.model_fields_set):
        raise ConfigError(
            f"{where}: backbones.{name}.{given[0]}: it goes on from {settings.init!r}, whose size "
            f"it has. Set backbones.{settings.init}.{given[0]}."
        )


def _read_raw(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise ConfigError(f"recipe {name!r} extends itself: {' -> '.join((*seen, name))}.")
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise ConfigError(f"{name}: there is no such file.")
        data = read_yaml(path)
    else:
        file = resources.files("ikusi") / "recipes" / f"{name}.yaml"
        if not file.is_file():
            raise ConfigError(f"There is no recipe {name!r}. {suggest(name, names())}")
        data = parse_yaml(file.read_text(encoding="utf-8"), name)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{name}: a recipe is a mapping of keys, such as `target: eu`.")
    base = data.get("extends")
    own = {key: value for key, value in data.items() if key != "extends"}
    if base is None:
        return dict(own)
    beside = path.parent / f"{base}.yaml"
    return merge(_read_raw(str(beside) if beside.is_file() else str(base), (*seen, name)), own)
