"""The records of one translation divided among processes, on any number of machines.

Place: launch, or anybody's scheduler -> [parts] -> the store's answers -> step. Contract: a part
has backends answer for its records and makes no artifact: the step then finds every answer in the
store, and makes what it would have made alone. Records with the same texts are in the same part,
whatever else is in the set, so that what is asked for both is asked once.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ikusi.core import files
from ikusi.core.errors import ConfigError
from ikusi.core.lease import Lease
from ikusi.core.store import Spec, Store
from ikusi.core.types import Record
from ikusi.data.dataset import Dataset
from ikusi.data.steps import Drop, Flow
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.way import Way, open_way, translate_record

_WRITTEN = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


@dataclass(frozen=True)
class Part:
    """One of several parts of a set of records."""

    number: int
    """From 1."""
    of: int

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that is written like `2/8`.

        Raises:
            ConfigError: it is not.
        """
        found = _WRITTEN.fullmatch(text)
        if not found or int(found[1]) > int(found[2]):
            raise ConfigError(f"--part {text!r}: is written like 2/8, the second of eight parts.")
        return cls(int(found[1]), int(found[2]))

    def has(self, record: Record, *, seen: bool) -> bool:
        """Return whether a record is in it.

        Args:
            record: any.
            seen: what is asked depends on the record's pictures, too.
        """
        texts = [*(turn.text for turn in record.turns), *record.choices, *record.answers]
        if seen:
            texts += (f"{ref.sha256} {ref.url}" for ref in record.images)
        # Not Python's own hash, which is another one in each process.
        digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8)
        return int.from_bytes(digest.digest()) % self.of == self.number - 1


def answer_part(
    store: Store,
    spec: Spec,
    settings: TranslateSettings,
    dataset: Dataset,
    part: Part,
    *,
    images: Sequence[Dataset] = (),
    limit: int | None = None,
    on_records: Callable[[int, Callable[[], str]], None] = lambda count, told: None,
) -> Flow:
    """Return what will become of a part of the records, once the answers for it are in the store.

    What a command would drop for its quality is not known yet: the step asks it.

    Args:
        store: where they are kept.
        spec: of `translate_spec`, for the whole.
        settings: how.
        dataset: the records, all of them.
        part: which of them are answered.
        images: whose pictures are described.
        limit: only the first so many records of all.
        on_records: as of `step.build`.

    Raises:
        BackendError: a backend cannot be used.
        DataError: what is read is damaged.
    """
    seen = settings.mode == "describe"
    records = (one for one in dataset.read(limit) if part.has(one, seen=seen))
    # A second process that is given the same part waits, and then finds the answers.
    name = f"translate-{part.number}-of-{part.of}-{spec.hash}"
    lease = Lease(store.root / ".leases" / name, spec.inputs.values())

    async def run() -> Flow:
        async with AsyncExitStack() as stack:
            way = await open_way(stack, settings, store.root, images)
            return await _answer(way, records, on_records)

    with files.disk_errors(store.root), lease:
        return asyncio.run(run())


async def _answer(
    way: Way, records: Iterator[Record], on_records: Callable[[int, Callable[[], str]], None]
) -> Flow:
    flow, tally = Flow(), Counter[str]()

    async def work() -> None:
        for record in records:  # one iterator for all who work
            outcome = await translate_record(way, record, tally)
            flow.read += 1
            if isinstance(outcome, Drop):
                flow.dropped[outcome.reason] += 1
            else:
                flow.kept += 1
            on_records(1, way.usage.describe)

    workers = [asyncio.create_task(work()) for _ in range(way.width)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return flow
