"""`ikusi translate`: records into another language, or what a quality threshold is worth.

ikusi translate cc3m --to eu --backend seq2seq backend.model=HiTZ/mt-hitz-en-eu
ikusi translate --calibrate sample.tsv --settings translate.yaml
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import typer

from ikusi.core import log
from ikusi.core.artifact import Artifact
from ikusi.core.config import merge, parse_override, read_yaml, set_dotted
from ikusi.core.errors import ConfigError
from ikusi.core.store import Store
from ikusi.core.types import Record, assistant
from ikusi.data.dataset import Dataset, find_artifact, open_dataset
from ikusi.data.translate.settings import TranslateSettings

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


def translate(
    name: str | None,
    overrides: Sequence[str],
    *,
    to: str | None,
    backend: str | None,
    settings_file: Path | None,
    images: Sequence[str],
    output: str | None,
    limit: int | None,
    dry_run: bool,
    calibrate: Path | None,
    store: Path,
    runs: Path,
) -> None:
    """Translate records, or show what thresholds do; see `ikusi translate --help`."""
    log.setup()
    if name is not None and "=" in name and not Path(name).exists():  # an override: nothing named
        overrides, name = [name, *overrides], None
    settings = read_settings(settings_file, to, backend, overrides)
    opened = Store(store)
    if calibrate is not None:
        _show_calibration(settings, calibrate, opened)
        return
    if name is None:
        raise ConfigError("Say what to translate: a name, an artifact or a Parquet file.")
    from ikusi.data.translate.step import build, translate_spec

    dataset = open_dataset(name, opened, runs)
    pictures = [_with_pictures(find_artifact(one, opened, runs)) for one in images]
    if settings.mode == "describe" and not pictures:
        pictures = [dataset]
    shown = output or f"{dataset.name}-{settings.to}"
    spec = translate_spec(settings, dataset, shown, pictures, limit)
    total = dataset.count() if limit is None else min(limit, dataset.count())
    if dry_run:
        _show_plan(settings, spec.address, total, opened.find(spec.address) is not None)
        return
    with log.track(f"translate into {settings.to}", total) as advance:
        artifact = build(
            opened, spec, settings, dataset, images=pictures, limit=limit, on_records=advance
        )
    link = runs / "data" / shown
    opened.link(link, artifact)
    _tell(artifact.stats, link)


def _with_pictures(artifact: Artifact) -> Dataset:
    """Return an artifact that holds pictures, with or without records beside them."""
    return Dataset(artifact.manifest.name, artifact.path, artifact)


def _show_plan(settings: TranslateSettings, address: str, total: int, is_there: bool) -> None:
    from ikusi.data.translate.voices import choose_units

    way = " -> ".join(x for x in (settings.source or "?", settings.via, settings.to) if x)
    typer.echo(f"{address}: {'in the store already' if is_there else f'{total} records'}, {way}")
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
        typer.echo(f"  answers that were refused on the way: {faults}")
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
    from ikusi.data.translate.step import ANSWERS
    from ikusi.data.translate.voices import choose_units, open_voice

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
