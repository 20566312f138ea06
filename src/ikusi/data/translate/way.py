"""One record's way from its language into another one, through everything that is open for it.

Place: step, parts -> [way] -> hops. Contract: what becomes of a record depends on it, the settings
and the backends' answers alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ikusi.backends.run import Usage
from ikusi.core.errors import ConfigError, first_line
from ikusi.core.types import Record
from ikusi.data.dataset import Dataset
from ikusi.data.licences import join_licences
from ikusi.data.steps import Drop, Outcome
from ikusi.data.translate.faults import MAX_DETAIL
from ikusi.data.translate.hop import Hop
from ikusi.data.translate.ladder import Fallen
from ikusi.data.translate.pictures import Pictures
from ikusi.data.translate.protect import NO_GLOSSARY, Glossary
from ikusi.data.translate.quality import chrf, text_of
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.voices import Voice, choose_units, open_voice
from ikusi.languages.pack import find_pack

ANSWERS = ".answers"
"""Folder of the store where answers are frozen; what is in it was paid for."""


@dataclass(frozen=True)
class Way:
    """Everything that is open while records are translated."""

    settings: TranslateSettings
    hops: tuple[Hop, ...]
    back: Callable[[str], Hop] | None
    """Source language -> who translates back into it, if that is wanted."""
    pictures: Pictures | None

    @property
    def width(self) -> int:
        """How many records are worked on: twice as many as requests may be in flight.

        So each answer finds the next request prepared. Not more: a whole shard would be prepared
        before the first answer is looked at.
        """
        return 2 * self.settings.backend.concurrency

    @property
    def usage(self) -> Usage:
        """What the backend of the last hop was used for so far."""
        return self.hops[-1].voices[0].asker.usage


async def translate_record(way: Way, record: Record, tally: Counter[str]) -> Outcome:
    """Return a record in the target language, or its drop."""
    settings = way.settings
    drop = _unfit(record, settings)
    if drop is not None:
        return drop
    images: tuple[bytes, ...] = ()
    if way.pictures is not None:
        found = way.pictures.of(record)
        if isinstance(found, Drop):
            return found
        images = found
    current = record
    voices: list[Voice] = []
    for hop in way.hops:
        if hop.target.code == current.language:  # it is in the language on the way already
            continue
        made = await hop.translate(current, tally, images)
        if isinstance(made, Fallen):
            where = f"{current.language} -> {hop.target.code}: " if len(way.hops) > 1 else ""
            return _dropped(made, record, where)
        voices += made.voices
        current = replace(made.record, language=hop.target.code)
    provenance = "; ".join(dict.fromkeys(voice.provenance for voice in voices))
    done = replace(
        current,
        id=f"{record.id.removesuffix('@' + record.language)}@{settings.to}",
        parent=record.id,
        provenance=provenance,
        licence=licence_of(record.licence, settings.licence),
    )
    if way.back is None:
        return done
    back = await way.back(record.language).translate(done, tally)
    if isinstance(back, Fallen):
        return _dropped(back, record, "translating back: ")
    return _compared(record, done, text_of(back.record), settings)


def _compared(record: Record, done: Record, back: str, settings: TranslateSettings) -> Outcome:
    """Return the translated record if what it was translated back to is like the source."""
    assert settings.quality.back_translation is not None
    threshold = settings.quality.back_translation.threshold
    score = chrf(back, text_of(record))
    if score >= threshold:
        return done
    detail = f"chrF++ {score:.1f} of {threshold:g}: {back!r}; translation: {text_of(done)!r}"
    return Drop("back-translation", record, detail[:MAX_DETAIL])


@lru_cache(maxsize=256)
def licence_of(source: str, translator: str) -> str:
    """Return the licence of a translation: one that is not known stays so, whoever translates."""
    return join_licences(source, translator) if translator else source


@lru_cache(maxsize=256)
def _has_pack(code: str) -> bool:
    return find_pack(code) is not None


def _unfit(record: Record, settings: TranslateSettings) -> Drop | None:
    """Return the drop of a record that is not translated at all."""
    if record.language == settings.to:
        return Drop("same-language", record, f"it is in {settings.to} already")
    if settings.source is not None and record.language != settings.source:
        return Drop("other-language", record, f"{record.language}, not {settings.source}")
    if not _has_pack(record.language):
        return Drop("no-language-pack", record, f"`ikusi languages new {record.language}`")
    joined = "\n".join([*(t.text for t in record.turns), *record.choices, *record.answers])
    if "\0" in joined:
        return Drop("not-storable", record, "a text holds a NUL character")
    try:
        joined.encode("utf-8")
    except UnicodeEncodeError as error:
        found = joined[error.start]
        return Drop("not-storable", record, f"a text is not valid Unicode ({found!r})")
    return None


def _dropped(fallen: Fallen, record: Record, where: str) -> Drop:
    return Drop(fallen.reason, record, f"{where}{fallen.detail}"[:MAX_DETAIL])


def read_glossary(path: Path) -> Glossary:
    """Return the names and terms of a TSV file without a header.

    Raises:
        ConfigError: it cannot be read, or a line is wrong; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({first_line(error)}).") from None
    terms: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells):
            continue
        if len(cells) > 2 or not cells[0]:
            raise ConfigError(
                f"{path}, line {number}: is not a term, or a term, a tab and its translation."
            )
        target = cells[1] if len(cells) == 2 else ""
        if terms.setdefault(cells[0], target) != target:
            raise ConfigError(f"{path}, line {number}: {cells[0]!r} has two translations.")
    return Glossary(terms)


async def open_way(
    stack: AsyncExitStack, settings: TranslateSettings, store: Path, images: Sequence[Dataset] = ()
) -> Way:
    """Return everything open.

    Args:
        stack: closes it.
        settings: how records are translated.
        store: its folder, where the answers are kept.
        images: whose pictures are described.

    Raises:
        BackendError: a backend cannot be used.
    """
    pictures = None
    if settings.mode == "describe":
        pictures = Pictures([one.artifact.path for one in images if one.artifact is not None])
    opened: dict[str, Voice] = {}

    async def voice(backend: Any, units: str = "auto") -> Voice:
        key = backend.model_dump_json() + units
        if key not in opened:  # one server is not launched twice
            opened[key] = await stack.enter_async_context(
                open_voice(backend, choose_units(backend, units), store / ANSWERS)
            )
        return opened[key]

    main = [await voice(settings.backend, settings.units)]
    if settings.fallback is not None:
        main.append(await voice(settings.fallback))
    glossary = read_glossary(settings.glossary) if settings.glossary else NO_GLOSSARY
    hops: list[Hop] = []
    if settings.via is not None:
        first = [await voice(settings.via_backend)] if settings.via_backend else main
        # The glossary is in the target language: on the way there its terms stay as they are.
        kept = Glossary(dict.fromkeys(glossary.terms, ""))
        hops.append(Hop(settings.via, first, settings, glossary=kept))
    hops.append(Hop(settings.to, main, settings, glossary=glossary))
    back: Callable[[str], Hop] | None = None
    if settings.quality.back_translation is not None:
        other = await voice(settings.quality.back_translation.backend)
        back = cache(lambda code: Hop(code, [other], settings, verify=False))
    return Way(settings, tuple(hops), back, pictures)
