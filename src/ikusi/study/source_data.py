"""Data of a recipe that names sets: imported, with their pictures, translated, filtered.

Place: recipe -> [source_data] -> the mixtures of both stages. Contract: the steps are those of the
verbs (`ikusi import`, `images`, `translate`, `filter`), in the same artifacts, so what was made by
hand is not made again. Each is begun when those before it are done, since what a set holds
decides on what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ikusi.core.artifact import Artifact
from ikusi.core.errors import ConfigError
from ikusi.core.store import Store
from ikusi.data.dataset import Dataset, records_of
from ikusi.data.filter_commands import Sources, make_filtered, plan_filter
from ikusi.data.image_commands import make_images
from ikusi.data.import_plan import Request, resolve
from ikusi.data.sources.mapping import read_mapping
from ikusi.data.sources.registry import SOURCES, find_source
from ikusi.data.sources.source import Source
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.step import build, translate_spec
from ikusi.study.recipe import Recipe
from ikusi.study.source_settings import SetSettings, TextKind
from ikusi.study.world_data import StageData

_IMAGES = "images"


@dataclass(frozen=True)
class SourceStep:
    """One step that makes data."""

    kind: str
    """`import`, `images`, `translate` or `filter`."""
    name: str
    """Of what it makes, among the steps."""
    about: str
    """From where, or by whom, for people."""
    needs: tuple[str, ...]
    """Names of the steps that it waits for."""
    make: Callable[[Store, dict[str, Artifact]], Artifact] = field(repr=False)


def source_steps(recipe: Recipe, where: str) -> list[SourceStep]:
    """Return what makes the data of a recipe that names sets, in an order in which it can be done.

    Raises:
        ConfigError: there is no such set, or nobody to translate it.
    """
    imports: dict[str, SourceStep] = {}
    translated: dict[str, str] = {}
    """Set in the target language -> the pivot's, from which it is translated."""
    for name in (*recipe.sets_named, *recipe.benchmarks):
        plain, _, language = name.partition("@")
        if language == recipe.target and name not in recipe.sets and not _published(name):
            translated[name] = plain
            imports.setdefault(plain, _import(recipe, plain, where))
        else:
            imports.setdefault(name, _import(recipe, name, where))
    steps = list(imports.values())
    pictured = tuple(name for name in imports if _source(recipe, name, where)[1])
    if pictured:
        steps.append(_images(recipe, pictured))
    filtered = dict.fromkeys(n for n in recipe.sets_named if n not in translated)
    filtered |= dict.fromkeys(translated[n] for n in recipe.sets_named if n in translated)
    steps += [_filter(recipe, name, f"import {name}", pictured) for name in filtered]
    for name, base in translated.items():
        if name in recipe.sets_named:
            steps.append(_translate(recipe, name, base, where))
            steps.append(_filter(recipe, name, f"translate {name}", pictured))
    return steps


def make_data(
    recipe: Recipe, steps: Sequence[SourceStep], store: Store
) -> Iterator[tuple[SourceStep, Artifact]]:
    """Do the steps one after the other, and yield each with what it made."""
    made: dict[str, Artifact] = {}
    for step in steps:
        made[step.name] = step.make(store, made)
        yield step, made[step.name]


def stage_data(recipe: Recipe, stage: str, made: dict[str, Artifact], where: str) -> StageData:
    """Return what a stage is trained on.

    Args:
        recipe: names the sets.
        stage: `align` or `instruct`.
        made: name of each step -> what it made.
        where: name of the recipe, for messages.
    """
    names = recipe.align.data if stage == "align" else recipe.instruct.data
    data = StageData()
    for name in names:
        plain, _, language = name.partition("@")
        source, has_pictures = _source(recipe, plain if name not in recipe.sets else name, where)
        part = "multimodal" if has_pictures else "text"
        language = language or (source.languages or (recipe.pivot,))[0]
        data.records[f"{part}@{language}/{plain}"] = made[f"filter {name}"].address
    if any(role.startswith("multimodal") for role in data.records):
        data.pictures["pictures"] = made[_IMAGES].address
    return data


def _published(name: str) -> bool:
    try:
        find_source(name)
    except ConfigError:
        return False
    return True


def _source(recipe: Recipe, name: str, where: str) -> tuple[Source, bool]:
    """Return the source of a set, and whether it has pictures."""
    settings = recipe.sets.get(name, SetSettings())
    wanted = settings.source or name
    if settings.mapping is not None:
        source = read_mapping(settings.mapping)
    elif settings.files is not None and wanted.partition("@")[0] not in SOURCES:
        source = resolve(_request(wanted, settings)).source  # its columns tell what it is
    else:
        try:
            source, _ = find_source(wanted)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return source, any(view.fields.images for view in source.views)


def _request(what: str, settings: SetSettings) -> Request:
    is_known = what.partition("@")[0] in SOURCES
    return Request(
        what=what if is_known or settings.files is None else str(settings.files),
        files=settings.files if is_known else None,
        mapping=settings.mapping,
        images=settings.images,
        language=settings.language,
        subset=settings.subset,
        split=settings.split,
        revision=settings.revision,
        licence=settings.licence,
        limit=settings.limit,
    )


def _import(recipe: Recipe, name: str, where: str) -> SourceStep:
    settings = recipe.sets.get(name, SetSettings())
    source, _ = _source(recipe, name, where)
    origin = str(settings.files) if settings.files else f"{source.hub} on the hub"

    def make(store: Store, made: dict[str, Artifact]) -> Artifact:
        return store.build(*resolve(_request(settings.source or name, settings)).plan())

    return SourceStep("import", f"import {name}", f"from {origin}", (), make)


def _images(recipe: Recipe, names: tuple[str, ...]) -> SourceStep:
    needs = tuple(f"import {name}" for name in names)

    def make(store: Store, made: dict[str, Artifact]) -> Artifact:
        return make_images(store, [_dataset(made[need]) for need in needs], recipe.images)

    return SourceStep(_IMAGES, _IMAGES, f"of {', '.join(names)}", needs, make)


def _filter(recipe: Recipe, name: str, source: str, pictured: Sequence[str]) -> SourceStep:
    base = name.partition("@")[0]
    images = (_IMAGES,) if base in pictured or name in pictured else ()
    benchmarks = tuple(f"import {name}" for name in recipe.benchmarks)

    def make(store: Store, made: dict[str, Artifact]) -> Artifact:
        sources = Sources(
            [_dataset(made[source])],
            [made[need] for need in images],
            [_dataset(made[need]) for need in benchmarks],
        )
        return make_filtered(store, plan_filter(store, recipe.filter, sources, name))

    against = f", against {', '.join(recipe.benchmarks)}" if benchmarks else ""
    needs = (source, *images, *benchmarks)
    return SourceStep("filter", f"filter {name}", f"of {source}{against}", needs, make)


def _translate(recipe: Recipe, name: str, base: str, where: str) -> SourceStep:
    source, _ = _source(recipe, base, where)
    kind: TextKind = "captions" if source.task == "caption" else "instructions"
    settings = recipe.translate.get(kind)
    if settings is None:
        raise ConfigError(
            f"{where}: {name} is not published, and translate.{kind} does not say who translates "
            f"{base}. Name a backend there, or leave {name} out."
        )
    need = f"filter {base}"

    def make(store: Store, made: dict[str, Artifact]) -> Artifact:
        dataset = _dataset(made[need])
        spec = translate_spec(settings, dataset, name)
        artifact: Artifact = build(store, spec, settings, dataset)
        return artifact

    return SourceStep("translate", f"translate {name}", _by(settings), (need,), make)


def _by(settings: TranslateSettings) -> str:
    """Return the way and who goes it, and the servers that would be launched."""
    languages = [c for c in (settings.source, settings.via, settings.to) if c is not None]
    text = f"{' -> '.join(languages)} by "
    backends = [settings.via_backend, settings.backend, settings.fallback]
    names = []
    for backend in backends:
        if backend is None:
            continue
        what = getattr(backend, "model", None) or getattr(backend, "path", "")
        launch = getattr(backend, "launch", None)
        told = f"; launches: {launch.replace('{model}', str(what))}" if launch else ""
        names.append(f"{backend.kind} {what}{told}")
    return text + ", then ".join(names)


def _dataset(artifact: Artifact) -> Dataset:
    return Dataset(artifact.manifest.name, records_of(artifact.path), artifact)
