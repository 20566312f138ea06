"""`ikusi filter`: keep what is good enough to learn from, and say why the rest is not.

Place: command line -> [this] -> `filters/step.py`.

    ikusi filter runs/data/cc3m-eu --images runs/data/cc3m-images --against runs/data/vqav2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from ikusi.core.artifact import Artifact
from ikusi.core.config import read_yaml, to_plain
from ikusi.core.errors import ConfigError, DataError, first_line
from ikusi.core.store import Spec, Store, work_folder
from ikusi.core.types import ImageRef
from ikusi.data.dataset import (
    Dataset,
    find_artifact,
    joined_name,
    open_dataset,
    records_of,
    split_arguments,
)
from ikusi.data.filters.against import Benchmarks
from ikusi.data.filters.checks import Checks, Identifier
from ikusi.data.filters.look import Looker
from ikusi.data.filters.pictures import Pictures, read_manifests
from ikusi.data.filters.settings import FilterSettings
from ikusi.data.filters.step import filter_records
from ikusi.data.image_manifest import MANIFEST_FILE
from ikusi.data.images import ImageReader, decode
from ikusi.data.inspect import perceptual_hash
from ikusi.languages import identify
from ikusi.languages.pack import Pack, available, find_pack, load_pack

VERSION = 1
IMAGES = "images"


@dataclass(frozen=True)
class Sources:
    """What a filter reads."""

    records: Sequence[Dataset]
    """What is filtered."""
    images: Sequence[Artifact] = ()
    """With manifests of pictures."""
    against: Sequence[Dataset] = ()
    """Benchmarks."""
    originals: Sequence[Dataset] = ()
    """What the records were translated from."""

    def roles(self) -> Iterator[tuple[str, Dataset]]:
        """Yield each with its role in a `Spec`."""
        for role, datasets in (
            ("records", self.records),
            ("against", self.against),
            ("original", self.originals),
        ):
            for number, dataset in enumerate(datasets):
                yield f"{role}{number}", dataset


@dataclass
class Plan:
    """What will be done, and what cannot be."""

    spec: Spec
    settings: FilterSettings
    sources: Sources
    identifiers: Mapping[str, Identifier]
    certain: Sequence[str]
    """Labels of languages that are known from single sentences."""
    words: Mapping[str, Sequence[str]]
    notes: list[str] = field(default_factory=list)
    """What cannot be looked at, and why: lines for people."""


def run_filter(
    names: Sequence[str],
    *,
    images: Sequence[str],
    against: Sequence[str],
    originals: Sequence[str],
    config: Path | None,
    name: str | None,
    store: Path,
    runs: Path,
    dry_run: bool,
) -> None:
    """Make the artifact of what stays of some records, link to it, and print what became of all.

    Args:
        names: records as a person names them, and settings as `key=value`.
        images: what `ikusi images` made.
        against: benchmarks that must not be in what stays.
        originals: what the records were translated from; where none are named, what the store
            knows of.
        config: a YAML file with settings.
        name: for people; by default that of the records.
        store: where artifacts are.
        runs: where the link `data/<name>` (by default `<records>-filtered`) is made, and names are
            looked up.
        dry_run: only say what would be done.

    Raises:
        IkusiError: something can be mended.
    """
    opened = Store(store)
    written = (read_yaml(config) if config else None) or {}
    if not isinstance(written, Mapping):
        raise ConfigError(f"{config}: holds no settings. Write them as `key: value`.")
    sets, data = split_arguments(names, written, "filter")
    settings = FilterSettings.parse(data, str(config or "filter"))

    def open_all(given: Sequence[str]) -> list[Dataset]:
        return [open_dataset(one, opened, runs) for one in given]

    records = open_all(sets)
    sources = Sources(
        records,
        [find_artifact(one, opened, runs) for one in images],
        open_all(against),
        open_all(originals),
    )
    plan = plan_filter(opened, settings, sources, name)
    for note in plan.notes:
        typer.echo(f"note: {note}")
    if dry_run:
        there = "is there already" if opened.find(plan.spec.address) else "would be made"
        typer.echo(f"{plan.spec.address} {there}, of:")
        for role, address in plan.spec.inputs.items():
            typer.echo(f"  {role}: {address}")
        return
    artifact = make_filtered(opened, plan)
    link = runs / "data" / (name or f"{artifact.manifest.name}-filtered")
    opened.link(link, artifact)
    for line in describe(artifact):
        typer.echo(line)
    typer.echo(f"{link} -> {artifact.address}")


def plan_filter(
    store: Store, settings: FilterSettings, sources: Sources, name: str | None = None
) -> Plan:
    """Return what will be done.

    Raises:
        IkusiError: something can be mended.
    """
    notes: list[str] = []
    survey = _survey(sources.records)
    if sources.against and not sources.originals and survey.has_parents:
        found = _find_originals(store, sources, notes)
        sources = Sources(sources.records, sources.images, sources.against, found)
    for artifact in sources.images:
        if not (artifact.path / MANIFEST_FILE).is_file():
            raise DataError(f"{artifact.address}: holds no images. Give what `ikusi images` made.")
    if survey.has_images and not sources.images:
        notes.append(
            "without --images it is not known which pictures are dead or small; "
            "only the very same pictures are taken for the same"
        )
    identifiers, certain = _identifiers(survey.languages, settings, notes)
    words = {code: _words(code, settings) for code in survey.languages}
    config: dict[str, Any] = {"settings": to_plain(settings)}
    config["identify"] = {code: [of.label, of.min_words] for code, of in identifiers.items()}
    config["certain"] = certain
    config["words"] = {code: list(of) for code, of in words.items() if of}
    for key, used in (("images", sources.images), ("contamination", sources.against)):
        if not used:
            del config["settings"][key]
    del config["settings"]["words"]  # resolved above
    if not settings.language.on:
        del config["settings"]["language"]
    inputs = {f"images{n}": artifact.address for n, artifact in enumerate(sources.images)}
    for role, dataset in sources.roles():
        inputs |= dataset.inputs(role)
        config |= dataset.config(role)
    made_of = name or joined_name(sources.records, "records")
    spec = Spec("filter", made_of, VERSION, config, inputs)
    return Plan(spec, settings, sources, identifiers, certain, words, notes)


def make_filtered(store: Store, plan: Plan) -> Artifact:
    """Return the artifact that a plan names, made unless it is there.

    Raises:
        IkusiError: something can be mended; what was done so far is kept.
    """

    def write(out: Path) -> Mapping[str, Any]:
        settings, sources = plan.settings, plan.sources
        folders = [artifact.path for artifact in sources.images]
        pictures = read_manifests(folders) if folders else None
        benchmarks = Benchmarks(settings.contamination)
        for dataset in sources.against:
            benchmarks.add(dataset.name, dataset.read(), _look(dataset, pictures))
        benchmarks.finish()
        told_apart = plan.identifiers, plan.certain
        checks = Checks(settings, *told_apart, plan.words, identify.identify)
        looker = Looker(settings, checks, benchmarks, pictures)
        told = filter_records(sources.records, sources.originals, looker, out, work_folder(out))
        return told | {"notes": plan.notes}

    return store.build(plan.spec, write)


def describe(artifact: Artifact) -> list[str]:
    """Return lines that say what became of the records."""
    stats = artifact.stats
    read, kept = stats["read"], stats["kept"]
    lines = [f"{read:,} records read, {kept:,} kept ({kept / max(read, 1):.1%})"]
    width = max(map(len, stats["dropped"]), default=0)
    lines += [f"  {reason:<{width}}  {count:,}" for reason, count in stats["dropped"].items()]
    for name, of in stats.get("against", {}).items():
        lines.append(
            f"against {name}: {of['records']:,} records; {of['texts']:,} texts looked for, "
            f"{of['texts_too_short']:,} too short or common; {of['pictures']:,} pictures, "
            f"{of['pictures_unseen']:,} of them never seen"
        )
    return lines


# -- what is named


@dataclass
class _Survey:
    languages: list[str]
    has_parents: bool = False
    has_images: bool = False


def _survey(datasets: Sequence[Dataset]) -> _Survey:
    """Return what the columns of some records tell without reading a text.

    Raises:
        DataError: a file is damaged, or holds no records.
    """
    languages: set[str] = set()
    found = _Survey([])
    for dataset in datasets:
        paths = sorted(dataset.path.glob("*.parquet")) if dataset.path.is_dir() else [dataset.path]
        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(columns=["language", "parent", "images"]):
                        languages |= {
                            str(of) for of in batch.column("language").unique().to_pylist()
                        }
                        parents = batch.column("parent")
                        found.has_parents |= parents.null_count < len(parents)
                        most = pc.max(pc.list_value_length(batch.column("images"))).as_py()
                        found.has_images |= bool(most)
            except (pa.ArrowException, OSError, KeyError) as error:
                raise DataError(
                    f"{path}: cannot be read as records ({first_line(error)})."
                ) from None
    found.languages = sorted(languages)
    return found


def _find_originals(store: Store, sources: Sources, notes: list[str]) -> list[Dataset]:
    """Return what the records were translated from, as far as the store has it."""
    given = {dataset.artifact.hash for dataset in sources.records if dataset.artifact}
    found: dict[str, Dataset] = {}

    def follow(artifact: Artifact) -> None:
        for address in artifact.manifest.inputs.values():
            parent = store.find(address)
            if parent is None:
                notes.append(
                    f"{address}, from which {artifact.manifest.name} was made, is not in the store "
                    "any more: only translated texts are compared with the benchmarks"
                )
            elif artifact.kind == "translate":
                if parent.hash not in given and (parent.path / "records").exists():
                    whole = store.open(parent.address)
                    path = records_of(whole.path)
                    found[parent.hash] = Dataset(parent.manifest.name, path, whole)
            elif artifact.kind == "filter":
                follow(parent)

    for dataset in sources.records:
        if dataset.artifact is not None:
            follow(dataset.artifact)
        else:
            notes.append(
                f"{dataset.name} is no artifact: name what it was translated from by --originals, "
                "or only its own texts are compared with the benchmarks"
            )
    return list(found.values())


# -- languages


def _pack(code: str) -> Pack | None:
    for name in (code, code.split("-")[0]):
        if find_pack(name):
            return load_pack(name)
    return None


def _identifiers(
    languages: Sequence[str], settings: FilterSettings, notes: list[str]
) -> tuple[dict[str, Identifier], list[str]]:
    """Return how each language is told from others, and which are known from single sentences."""
    if not settings.language.on:
        return {}, []
    packs = [load_pack(code) for code in available()]
    sentences = [identify.measure(pack, packs) for pack in packs]
    certain = sorted({measured.label for measured in sentences if measured.reliable})
    found = {}
    for code in languages:
        pack = _pack(code)
        label = pack.ids.langid if pack else code.split("-")[0]
        words = None
        if label in certain:
            words = 1
        elif pack is not None:
            measured = identify.measure(pack, packs, identify.PASSAGE_WORDS)
            words = identify.PASSAGE_WORDS if measured.reliable else None
        found[code] = Identifier(label, words)
        if words is None:
            shown = ", ".join(certain) or "no language"
            why = measured.explain() if pack else "there is no pack"
            notes.append(f"language {code}: only texts in {shown} are told from it ({why})")
    return found, certain


def _words(code: str, settings: FilterSettings) -> Sequence[str]:
    pack = _pack(code) if settings.words.pack else None
    more = settings.words.more.get(code, ())
    return tuple(dict.fromkeys((*(pack.unwanted if pack else ()), *more)))


# -- pictures of benchmarks


def _look(
    dataset: Dataset, pictures: Pictures | None
) -> Callable[[ImageRef], tuple[str, int | None]]:
    """Return what tells sha256 and perceptual hash of a benchmark's pictures."""
    folder = dataset.artifact.path / IMAGES if dataset.artifact else None
    reader = ImageReader(folder) if folder is not None and folder.is_dir() else None

    def look(ref: ImageRef) -> tuple[str, int | None]:
        row = int(pictures.find([ref])[0]) if pictures is not None else -1
        if pictures is not None and row >= 0 and pictures.has_phash[row]:
            return pictures.sha256[row].tobytes().hex(), int(pictures.phash[row])
        if reader is not None and ref.sha256 and ref.sha256 in reader:
            try:
                return ref.sha256, perceptual_hash(decode(reader.read(ref.sha256)))
            except DataError:  # nothing can look like a picture that cannot be seen
                return ref.sha256, None
        return ref.sha256 or "", None

    return look
