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
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ikusi.core.artifact import hash_file
from ikusi.core.config import to_plain
from ikusi.core.errors import ConfigError
from ikusi.core.store import Spec, Store, work_folder
from ikusi.core.types import Record
from ikusi.data.dataset import Dataset
from ikusi.data.steps import SHARD_RECORDS, Outcome, write_outcomes
from ikusi.data.translate.prompts import prompts_hash
from ikusi.data.translate.quality import Estimate
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.voices import choose_units, identity
from ikusi.data.translate.way import Way, open_way, read_glossary, translate_record
from ikusi.languages.pack import find_pack, load_pack

VERSION = 3
"""Of the step: raised when the same answers give other records."""


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
        with asyncio.Runner() as runner, Estimate(settings.quality.comet) as estimate:
            stack = AsyncExitStack()
            try:
                way = runner.run(open_way(stack, settings, store.root, images))
                line = _Line(runner, way, estimate, dataset.read(limit), work_folder(out))
                line.on_records, line.size = on_records, shard_records
                flow = write_outcomes("translate", line.shards(), out, line.work)
                return {**flow.to_stats(), **_told(way, line.tally())}
            finally:
                runner.run(stack.aclose())

    return store.build(spec, write)


@dataclass
class _Shard:
    """Records, and what became of those that are done."""

    records: list[Record]
    done: asyncio.Future[None]
    outcomes: list[Any] = field(init=False)
    left: int = field(init=False)
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.left = len(self.records)
        self.outcomes = [None] * self.left


class _Line:
    """Shards of outcomes; while one is written, the next one is already being asked for."""

    def __init__(
        self,
        runner: asyncio.Runner,
        way: Way,
        estimate: Estimate,
        records: Iterator[Record],
        work: Path,
    ) -> None:
        self.work, self.size = work, SHARD_RECORDS
        self.on_records: Callable[[int, Callable[[], str]], None] = lambda count, told: None
        self._runner, self._way, self._estimate, self._records = runner, way, estimate, records
        self._ahead: deque[_Shard] = deque()
        self._waiting: deque[tuple[_Shard, int]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def shards(self) -> Iterator[tuple[int, Callable[[], list[Outcome]]]]:
        """Yield what `write_outcomes` takes."""
        number = 0
        while True:
            batch = self._ahead[0].records if self._ahead else self._read()
            if not batch:
                return
            done = self.work / f"part-{number:05d}.json"
            if done.is_file():  # a killed run finished it
                self.on_records(len(batch), self._told)
            yield len(batch), partial(self._compute, batch, number)
            if self._ahead and self._ahead[0].records is batch:  # nobody wanted it: it was finished
                self._ahead.popleft()
            number += 1

    def _read(self) -> list[Record]:
        return list(islice(self._records, self.size))

    def _compute(self, batch: list[Record], number: int) -> list[Outcome]:
        return self._runner.run(self._finish(batch, number))

    async def _finish(self, batch: list[Record], number: int) -> list[Outcome]:
        if not self._ahead:
            self._start(batch)
        shard = self._ahead[0]
        following = self._read()
        if following:
            self._start(following)
        try:
            if self._failure is None:
                await shard.done
            if self._failure is not None:
                raise self._failure
        except BaseException:
            workers = list(self._workers)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            raise
        self._ahead.popleft()
        outcomes = self._estimate.judge(batch, shard.outcomes)
        noted = self.work / f"tally-{number:05d}.json"
        temporary = noted.with_suffix(".tmp")
        temporary.write_text(json.dumps(dict(sorted(shard.tally.items()))), encoding="utf-8")
        os.replace(temporary, noted)
        return outcomes

    def _start(self, batch: list[Record]) -> None:
        loop = asyncio.get_running_loop()
        shard = _Shard(batch, loop.create_future())
        self._ahead.append(shard)
        self._waiting.extend((shard, index) for index in range(len(batch)))
        for _ in range(self._way.width - len(self._workers)):
            worker = loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while self._waiting:
            shard, index = self._waiting.popleft()
            try:
                made = await translate_record(self._way, shard.records[index], shard.tally)
                self.on_records(1, self._told)
            except Exception as error:
                self._failure = self._failure or error
                for waited in self._ahead:
                    if not waited.done.done():
                        waited.done.set_result(None)
                return
            shard.outcomes[index] = made
            shard.left -= 1
            if not shard.left and not shard.done.done():  # done, too, when another record failed
                shard.done.set_result(None)

    def _told(self) -> str:
        return self._way.usage.describe()

    def tally(self) -> dict[str, int]:
        """Return the faults of all shards, those of a killed run too."""
        total: Counter[str] = Counter()
        for path in sorted(self.work.glob("tally-*.json")):
            total.update(json.loads(path.read_text(encoding="utf-8")))
        return dict(sorted(total.items()))


def _told(way: Way, tally: Mapping[str, int]) -> dict[str, Any]:
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
