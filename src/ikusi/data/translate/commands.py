"""`ikusi translate`: records into another language, or what a quality threshold is worth.

ikusi translate cc3m --to eu --backend seq2seq backend.model=HiTZ/mt-hitz-en-eu
ikusi translate --calibrate sample.tsv --settings translate.yaml
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ikusi.core import log
from ikusi.core.config import merge, parse_override, read_yaml, set_dotted
from ikusi.core.errors import ConfigError
from ikusi.core.store import Spec, Store
from ikusi.core.types import Record, assistant
from ikusi.data.dataset import Dataset, open_dataset
from ikusi.data.translate.parts import Part, answer_part
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.step import build, translate_spec
from ikusi.data.translate.voices import choose_units

THRESHOLDS = tuple(range(10, 85, 5))
"""chrF++ that `--calibrate` shows."""


def read_settings(
    file: Path | None, to: str | None, backend: str | None, overrides: Sequence[str]
) -> TranslateSettings:
    """Return the settings of a YAML file, with the options and overrides laid over it.

    Args:
        file: YAML with the fields of `TranslateSettings`; None begins with nothing.
        to: the option `--to`.
        backend: the option `--backend`: a kind of backend.
        overrides: `key=value` each, such as `backend.path=names.tsv`.

    Raises:
        ConfigError: something is wrong; says in one line what, where, and what would be right.
    """
    data: Any = read_yaml(file) if file is not None else {}
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: holds no settings. Write them as `key: value`.")
    if to is not None:
        data = merge(data, {"to": to})
    if backend is not None:
        data = merge(data, {"backend": {"kind": backend}})
    for text in overrides:
        key, value = parse_override(text)
        data = set_dotted(data, key, value)
    if "to" not in data:
        raise ConfigError("Say into which language: --to eu.")
    if "backend" not in data:
        raise ConfigError("Say who translates: --backend endpoint, seq2seq or memory.")
    _check_backends(data)
    return TranslateSettings.parse(data, str(file or "translate"))


def _check_backends(data: dict[str, Any]) -> None:
    """Let each backend complain for itself: its messages know its kind."""
    from ikusi.backends.settings import parse_backend

    for key in ("backend", "fallback", "via_backend"):
        if data.get(key) is not None:
            parse_backend(data[key], key)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says."""

    name: str | None
    """Of the records."""
    overrides: Sequence[str]
    to: str | None
    backend: str | None
    settings_file: Path | None
    images: Sequence[str]
    output: str | None
    limit: int | None

    def split(self) -> tuple[str | None, TranslateSettings]:
        """Return the name of the records, if there is one, and the settings.

        Raises:
            ConfigError: a setting is wrong.
        """
        name, overrides = self.name, list(self.overrides)
        if name is not None and "=" in name and not Path(name).exists():  # nothing is named
            overrides.insert(0, name)
            name = None
        return name, read_settings(self.settings_file, self.to, self.backend, overrides)


def translate(
    asked: Asked,
    *,
    dry_run: bool,
    calibrate: Path | None,
    part: str | None,
    store: Path,
    runs: Path,
) -> None:
    """Translate records, or show what thresholds do; see `ikusi translate --help`."""
    log.setup()
    opened = Store(store)
    if calibrate is not None:
        _show_calibration(asked.split()[1], calibrate, opened)
        return
    plan = plan_translation(asked, opened)
    if dry_run:
        _show_plan(plan, is_there=opened.find(plan.spec.address) is not None)
    elif part is not None:
        _answer(plan, Part.parse(part), opened)
    else:
        with log.track(f"translate into {plan.settings.to}", plan.total) as advance:
            artifact = build(
                opened,
                plan.spec,
                plan.settings,
                plan.dataset,
                images=plan.pictures,
                limit=plan.limit,
                on_records=advance,
            )
        link = runs / "data" / plan.spec.name
        opened.link(link, artifact)
        _tell(artifact.stats, link)


def runs_models(asked: Asked, store: Path, *, calibrates: bool) -> bool:
    """Return whether a model is loaded by the process that translates, or a server launched.

    Raises:
        IkusiError: what is asked cannot be done: better known before a job waits for its turn.
    """
    plan = None if calibrates else plan_translation(asked, Store(store))
    settings = plan.settings if plan else asked.split()[1]
    quality = settings.quality.back_translation
    chosen = [settings.backend, settings.fallback, settings.via_backend]
    chosen += [quality.backend] if quality else []
    return any(
        one is not None and bool(one.kind == "seq2seq" or getattr(one, "launch", None))
        for one in chosen
    )


@dataclass(frozen=True)
class Plan:
    """What is to be translated, and how."""

    spec: Spec
    settings: TranslateSettings
    dataset: Dataset
    pictures: Sequence[Dataset]
    limit: int | None

    @property
    def total(self) -> int:
        """How many records are read."""
        count = self.dataset.count()
        return count if self.limit is None else min(self.limit, count)


def plan_translation(asked: Asked, store: Store) -> Plan:
    """Return what is asked for; nothing is translated yet.

    Raises:
        IkusiError: it cannot be done, and why.
    """
    name, settings = asked.split()
    if name is None:
        raise ConfigError("Say what to translate: a name, an artifact or a Parquet file.")
    dataset = open_dataset(name, store)
    pictures = [open_dataset_or_images(one, store) for one in asked.images]
    if settings.mode == "describe" and not pictures:
        pictures = [dataset]
    base = dataset.artifact.manifest.name if dataset.artifact else dataset.name
    shown = asked.output or f"{base}-{settings.to}"
    spec = translate_spec(settings, dataset, shown, pictures, asked.limit)
    return Plan(spec, settings, dataset, pictures, asked.limit)


def _answer(plan: Plan, part: Part, store: Store) -> None:
    """Answer a part of the records, unless the whole is there."""
    if store.find(plan.spec.address) is not None:
        typer.echo(f"{plan.spec.address}: in the store already")
        return
    label = f"translate into {plan.settings.to}, part {part}"
    with log.track(label, round(plan.total / part.of)) as advance:  # about: texts decide
        flow = answer_part(
            store,
            plan.spec,
            plan.settings,
            plan.dataset,
            part,
            images=plan.pictures,
            limit=plan.limit,
            on_records=advance,
        )
    typer.echo(f"part {part} of {plan.spec.address}: {flow.read} records are answered")
    for reason, count in flow.to_stats()["dropped"].items():
        typer.echo(f"  will be dropped {count}: {reason}")


def open_dataset_or_images(name: str, store: Store) -> Dataset:
    """Return an artifact that holds pictures, with or without records beside them.

    Raises:
        StoreError: there is none of this name.
    """
    artifact = store.resolve(name)
    return Dataset(artifact.manifest.name, artifact.path, artifact)


def _show_plan(plan: Plan, *, is_there: bool) -> None:
    settings = plan.settings
    way = " -> ".join(x for x in (settings.source or "?", settings.via, settings.to) if x)
    state = "in the store already" if is_there else f"{plan.total} records"
    typer.echo(f"{plan.spec.address}: {state}, {way}")
    for role in ("via_backend", "backend", "fallback"):
        found = getattr(settings, role)
        if found is None:
            continue
        what = getattr(found, "model", None) or getattr(found, "path", "")
        units = choose_units(found, settings.units if role == "backend" else "auto")
        launch = getattr(found, "launch", None)
        typer.echo(
            f"  {role}: {found.kind} {what}, by the {units}"
            + (f"; would launch: {launch}" if launch else "")
        )


def _tell(stats: dict[str, Any], link: Path) -> None:
    typer.echo(f"{link}: {stats['kept']} of {stats['read']} records translated")
    for reason, count in stats["dropped"].items():
        typer.echo(f"  dropped {count}: {reason}")
    faults = ", ".join(f"{reason} {count}" for reason, count in stats["faults"].items())
    if faults:
        typer.echo(f"  faults on the way, most of them mended: {faults}")
    for way, found in stats["language_check"].items():
        typer.echo(f"  language check, {way}: {found}")


def _show_calibration(settings: TranslateSettings, path: Path, store: Store) -> None:
    from ikusi.data.translate.quality import chrf, judge_thresholds, read_pairs

    if settings.quality.back_translation is None:
        raise ConfigError(
            "--calibrate needs who translates back: quality.back_translation.backend, and any "
            "quality.back_translation.threshold."
        )
    if settings.source is None:
        raise ConfigError("--calibrate needs the language of the first column: source=en.")
    pairs = read_pairs(path)
    scores = asyncio.run(_score(settings, [pair.target for pair in pairs], store))
    scored = [
        (chrf(back, pair.source) if back is not None else 0.0, pair.is_good)
        for back, pair in zip(scores, pairs, strict=True)
    ]
    good = sum(pair.is_good for pair in pairs)
    typer.echo(f"{path}: {good} good pairs, {len(pairs) - good} bad ones")
    typer.echo("threshold   kept   precision   recall")
    for point in judge_thresholds(scored, THRESHOLDS):
        typer.echo(
            f"{point.threshold:9g} {point.kept:6} {point.precision:11.3f} {point.recall:8.3f}"
        )


async def _score(
    settings: TranslateSettings, targets: Sequence[str], store: Store
) -> list[str | None]:
    """Return what each target is translated back to; None where nothing came."""
    from collections import Counter

    from ikusi.data.translate.hop import Hop, Translated
    from ikusi.data.translate.quality import text_of
    from ikusi.data.translate.voices import open_voice
    from ikusi.data.translate.way import ANSWERS

    assert settings.quality.back_translation is not None and settings.source is not None
    backend = settings.quality.back_translation.backend
    async with AsyncExitStack() as stack:
        units = choose_units(backend, "auto")
        voice = await stack.enter_async_context(open_voice(backend, units, store.root / ANSWERS))
        hop = Hop(settings.source, [voice], settings, verify=False)
        made = await asyncio.gather(
            *(
                hop.translate(
                    Record(str(n), str(n), (assistant(text),), settings.to, "chat", "calibration"),
                    Counter(),
                )
                for n, text in enumerate(targets)
            )
        )
    return [text_of(one.record) if isinstance(one, Translated) else None for one in made]
