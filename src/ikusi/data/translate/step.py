"""The step: records in one language in; records in another, or drops with a reason, out.

Place: import -> [translate] -> filter. Contract: records in = records out + drops. What backends
said is in the store's `.answers` before it counts, so a killed step loses the requests in flight at
most, and asking again gives what was said the first time. Neither concurrency nor order changes
what comes out.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from ikusi.core.artifact import hash_file
from ikusi.core.config import to_plain
from ikusi.core.errors import ConfigError, first_line
from ikusi.core.store import Spec, Store, work_folder
from ikusi.core.types import Record
from ikusi.data.dataset import Dataset
from ikusi.data.steps import SHARD_RECORDS, Drop, Outcome, write_outcomes
from ikusi.data.translate.faults import MAX_DETAIL
from ikusi.data.translate.hop import Hop
from ikusi.data.translate.ladder import Fallen
from ikusi.data.translate.pictures import Pictures
from ikusi.data.translate.prompts import prompts_hash
from ikusi.data.translate.protect import NO_GLOSSARY, Glossary
from ikusi.data.translate.quality import Estimate, chrf, text_of
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.voices import Voice, choose_units, identity, open_voice
from ikusi.languages.pack import find_pack, load_pack

VERSION = 2
"""Of the step: raised when the same answers give other records."""
ANSWERS = ".answers"
"""Folder of the store where answers are frozen; what is in it was paid for."""


@dataclass(frozen=True)
class _Way:
    """Everything that is open while records are translated."""

    settings: TranslateSettings
    hops: tuple[Hop, ...]
    back: Callable[[str], Hop] | None
    """Source language -> who translates back into it, if that is wanted."""
    pictures: Pictures | None


async def translate_record(way: _Way, record: Record, tally: Counter[str]) -> Outcome:
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
        licence=join_licences(record.licence, settings.licence),
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


def join_licences(one: str, other: str) -> str:
    """Return the SPDX expression of both licences; one that is empty or the same adds nothing."""
    parts = list(dict.fromkeys(part.strip() for part in (one, other) if part.strip()))
    if len(parts) == 1:
        return parts[0]
    return " AND ".join(f"({part})" if " OR " in part else part for part in parts)


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


# -- the artifact


def translate_spec(
    settings: TranslateSettings,
    dataset: Dataset,
    name: str,
    images: Sequence[Dataset] = (),
    limit: int | None = None,
) -> Spec:
    """Return what `ikusi translate` makes.

    Args:
        settings: how.
        dataset: the records.
        name: of the artifact.
        images: whose pictures are described.
        limit: only the first so many records.

    Raises:
        ConfigError: a language has no pack, a file is missing, or two settings do not fit.
    """
    config = to_plain(settings)
    for key in ("backend", "fallback", "via_backend"):
        backend = getattr(settings, key)
        if backend is not None:
            config[key] = identity(backend)
            choose_units(backend, settings.units if key == "backend" else "auto")
    if settings.quality.back_translation is not None:
        config["quality"]["back_translation"]["backend"] = identity(
            settings.quality.back_translation.backend
        )
    if settings.mode == "describe":
        for backend in (settings.backend, settings.fallback):
            if backend is not None and not getattr(backend, "images", False):
                raise ConfigError(
                    "mode: describe needs a backend that sees pictures. Set `images: true` on an "
                    "endpoint whose model does."
                )
    # Records in several languages are rare; what the first one is in stands for all.
    source = settings.source or next((record.language for record in dataset.read(1)), None)
    codes = [settings.to, *(c for c in (source, settings.via) if c and find_pack(c))]
    config["packs"] = {}
    for code in (settings.to, settings.source, settings.via):
        if code is not None:
            load_pack(code)
    for code in codes:
        path = find_pack(code)
        assert path is not None
        config["packs"][code] = hash_file(path)
    if settings.glossary is not None:
        read_glossary(settings.glossary)
        config["glossary"] = hash_file(settings.glossary)
    config["prompts"] = prompts_hash()
    config |= dataset.config()
    inputs = dict(dataset.inputs())
    for number, one in enumerate(images):
        inputs |= one.inputs(f"images{number}")
    if limit is not None:
        config["limit"] = limit
    return Spec("translate", name, VERSION, config, inputs)


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


def build(
    store: Store,
    spec: Spec,
    settings: TranslateSettings,
    dataset: Dataset,
    *,
    images: Sequence[Dataset] = (),
    limit: int | None = None,
    on_records: Callable[[int, Callable[[], str]], None] = lambda count, told: None,
    shard_records: int = SHARD_RECORDS,
) -> Any:
    """Return the artifact of translated records, made unless it is there.

    Args:
        store: where it and the answers are kept.
        spec: of `translate_spec`.
        settings: how.
        dataset: the records.
        images: whose pictures are described.
        limit: only the first so many records.
        on_records: called with the number of records that are done more, and what tells in
            words how fast it goes and what it costs.
        shard_records: records in a shard.

    Raises:
        BackendError: a backend cannot be used.
        DataError: what is read is damaged.
    """

    def write(out: Path) -> Mapping[str, Any]:
        payloads = [one.artifact.path for one in images if one.artifact is not None]
        pictures = Pictures(payloads) if settings.mode == "describe" else None
        with asyncio.Runner() as runner, Estimate(settings.quality.comet) as estimate:
            stack = AsyncExitStack()
            try:
                way = runner.run(_open(stack, settings, store.root / ANSWERS, pictures))
                line = _Line(runner, way, estimate, dataset.read(limit), work_folder(out))
                line.on_records, line.size = on_records, shard_records
                flow = write_outcomes("translate", line.shards(), out, line.work)
                return {**flow.to_stats(), **_told(way, line.tally())}
            finally:
                runner.run(stack.aclose())

    return store.build(spec, write)


class _Line:
    """Shards of outcomes; while one is waited for, the next one is already being asked for."""

    def __init__(
        self,
        runner: asyncio.Runner,
        way: _Way,
        estimate: Estimate,
        records: Iterator[Record],
        work: Path,
    ) -> None:
        self.work, self.size = work, SHARD_RECORDS
        self.on_records: Callable[[int, Callable[[], str]], None] = lambda count, told: None
        self._runner, self._way, self._estimate, self._records = runner, way, estimate, records
        # Twice as many as are in flight: all of a shard at once would be prepared before the first
        # answer is looked at.
        self._gate = asyncio.Semaphore(2 * way.settings.backend.concurrency)
        self._ahead: list[tuple[list[Record], Counter[str], list[asyncio.Task[Outcome]]]] = []

    def shards(self) -> Iterator[tuple[int, Callable[[], list[Outcome]]]]:
        """Yield what `write_outcomes` takes."""
        number = 0
        while True:
            batch = self._ahead[0][0] if self._ahead else list(islice(self._records, self.size))
            if not batch:
                return
            done = self.work / f"part-{number:05d}.json"
            if done.is_file():  # a killed run finished it
                self.on_records(len(batch), self._told)
            yield len(batch), partial(self._compute, batch, number)
            number += 1

    def _compute(self, batch: list[Record], number: int) -> list[Outcome]:
        return self._runner.run(self._finish(batch, number))

    async def _finish(self, batch: list[Record], number: int) -> list[Outcome]:
        if not self._ahead:
            self._start(batch)
        _, tally, tasks = self._ahead.pop(0)
        following = list(islice(self._records, self.size))
        if following:
            self._start(following)
        try:
            outcomes = list(await asyncio.gather(*tasks))
        except BaseException:
            waiting = [*tasks, *(task for part in self._ahead for task in part[2])]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            raise
        outcomes = self._estimate.judge(batch, outcomes)
        noted = self.work / f"tally-{number:05d}.json"
        temporary = noted.with_suffix(".tmp")
        temporary.write_text(json.dumps(dict(sorted(tally.items()))), encoding="utf-8")
        os.replace(temporary, noted)
        return outcomes

    def _start(self, batch: list[Record]) -> None:
        tally: Counter[str] = Counter()

        async def one(record: Record) -> Outcome:
            async with self._gate:
                outcome = await translate_record(self._way, record, tally)
            self.on_records(1, self._told)
            return outcome

        tasks = [asyncio.get_running_loop().create_task(one(record)) for record in batch]
        self._ahead.append((batch, tally, tasks))

    def _told(self) -> str:
        return self._way.hops[-1].voices[0].asker.usage.describe()

    def tally(self) -> dict[str, int]:
        """Return the faults of all shards, those of a killed run too."""
        total: Counter[str] = Counter()
        for path in sorted(self.work.glob("tally-*.json")):
            total.update(json.loads(path.read_text(encoding="utf-8")))
        return dict(sorted(total.items()))


async def _open(
    stack: AsyncExitStack, settings: TranslateSettings, answers: Path, pictures: Pictures | None
) -> _Way:
    opened: dict[str, Voice] = {}

    async def voice(backend: Any, units: str = "auto") -> Voice:
        key = backend.model_dump_json() + units
        if key not in opened:  # one server is not launched twice
            opened[key] = await stack.enter_async_context(
                open_voice(backend, choose_units(backend, units), answers)
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
    return _Way(settings, tuple(hops), back, pictures)


def _told(way: _Way, tally: Mapping[str, int]) -> dict[str, Any]:
    """Return what else goes into the stats."""
    usages = {
        voice.provenance: {
            "prompt_tokens": voice.asker.usage.prompt_tokens,
            "completion_tokens": voice.asker.usage.completion_tokens,
            "cost": voice.asker.usage.cost,
        }
        for hop in way.hops
        for voice in hop.voices
    }
    checkers = {
        f"{source} -> {hop.target.code}": checker.about_language
        for hop in way.hops
        for source, checker in hop.checkers.items()
    }
    return {"faults": dict(tally), "language_check": checkers, "usage": usages}
