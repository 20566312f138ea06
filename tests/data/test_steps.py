"""Steps lose nothing: every record comes out or is in the ledger, whatever is interrupted."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikusi.core import files
from ikusi.core.errors import DataError, StoreError
from ikusi.core.records import read_records
from ikusi.core.store import Spec, Store, work_folder
from ikusi.core.types import Image, ImageRef, Record, Text, Turn, assistant, user
from ikusi.data import steps
from ikusi.data.steps import Drop, Flow, Outcome, read_drops, run_step, write_outcomes

SEED = int(os.environ.get("IKUSI_SEED", "0"))


def record(number: int, text: str = "bai") -> Record:
    return Record(
        id=f"r{number}",
        group=f"g{number}",
        turns=(user(Image(0), "Zer da hau?"), assistant(text)),
        language="eu",
        task="what",
        source="s",
        images=(ImageRef(url=f"http://x/{number}.jpg"),),
    )


def keep_odd(records: Sequence[Record]) -> Iterator[Outcome]:
    for r in records:
        yield r if int(r.id[1:]) % 2 else Drop("even", r, f"{r.id} is even")


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Place:
    """A payload's folder and a work folder, treated as the store treats them after a kill."""

    def __init__(self, folder: Path) -> None:
        self.out, self.work = folder / "out", folder / "work"
        self.seen: list[int] = []

    def run(self, count: int = 10, transform: Any = keep_odd, shard_records: int = 4) -> Flow:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        self.work.mkdir(exist_ok=True)

        def noting(records: Sequence[Record]) -> Iterable[Outcome]:
            self.seen.append(len(records))
            return transform(records)  # type: ignore[no-any-return]

        records = (record(n) for n in range(count))
        return run_step("test", records, noting, self.out, self.work, shard_records=shard_records)


def test_two_shards_and_their_ledger(tmp_path: Path) -> None:
    place = Place(tmp_path)
    flow = place.run(count=6)
    assert flow == Flow(6, 3, Counter(even=3))
    assert flow.to_stats() == {"read": 6, "kept": 3, "dropped": {"even": 3}}
    assert list(content(place.out)) == [
        "dropped/part-00000.parquet",
        "dropped/part-00001.parquet",
        "records/part-00000.parquet",
        "records/part-00001.parquet",
    ]
    assert list(read_records(place.out / "records")) == [record(n) for n in (1, 3, 5)]
    rows = list(read_drops(place.out))
    assert [row["id"] for row in rows] == ["r0", "r2", "r4"]
    first = rows[0]
    assert (first["step"], first["reason"], first["detail"]) == ("test", "even", "r0 is even")
    assert (first["group"], first["source"], first["language"]) == ("g0", "s", "eu")
    told = json.loads(first["content"])
    assert told["images"] == [{"sha256": None, "url": "http://x/0.jpg"}]
    assert told["turns"][0]["parts"] == [
        {"type": "image", "index": 0},
        {"type": "text", "text": "Zer da hau?"},
    ]
    assert list(read_drops(place.out, "odd")) == []
    assert len(list(read_drops(place.out, "even"))) == 3


@pytest.mark.parametrize("kept", [True, False])
def test_nothing_in_or_nothing_out_can_still_be_read(tmp_path: Path, kept: bool) -> None:
    def all_or_none(records: Sequence[Record]) -> list[Outcome]:
        return [r if kept else Drop("no", r) for r in records]

    for count in (0, 5):
        place = Place(tmp_path / str(count))
        flow = place.run(count, all_or_none)
        assert flow.read == count == flow.kept + flow.dropped.total()
        found = list(read_records(place.out / "records"))
        assert len(found) == (count if kept else 0)
        assert len(list(read_drops(place.out))) == count - len(found)


def test_a_step_that_loses_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 records led to 3 outcomes"):
        Place(tmp_path).run(transform=lambda records: list(records)[1:])


def test_a_shard_may_make_more_of_a_row_or_none_a_record(tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    row = {"url": 1, 2: b"raw", "x": float("nan"), "deep": ({"a": {1}},)}
    shards = [(1, lambda: [record(1), record(2), Drop("bad-row", id="7", source="s", row=row)])]
    flow = write_outcomes("import", shards, out, work)
    assert flow == Flow(1, 2, Counter({"bad-row": 1}))
    (dropped,) = read_drops(out)
    assert (dropped["id"], dropped["source"], dropped["language"]) == ("7", "s", "")
    told = json.loads(dropped["content"], parse_constant=pytest.fail)
    assert told == {"url": 1, "2": "<bytes>", "x": "nan", "deep": [{"a": "<set>"}]}


UNSTORABLE = {
    "surrogate in a turn": {"turns": (user("a\ud800"),)},
    "surrogate in a url": {"images": (ImageRef(url="http://x/\udcff"),)},
    "surrogate in meta": {"meta": {"a": "\udc00"}},
    "surrogate in the id": {"id": "\ud800"},
    "NUL in an answer": {"answers": ("a\0",)},
    "NUL in the licence": {"licence": "\0"},
    "NUL in the id": {"id": "a\0b"},
    "meta is no JSON": {"meta": {"a": {1, 2}}},
    "meta that cannot be copied": {"meta": MappingProxyType({"a": float("nan")})},
    "no text": {"turns": (Turn("user", (Text(None),)),)},  # type: ignore[arg-type]
    "strange part": {"turns": (Turn("user", (object(),)),)},  # type: ignore[arg-type]
    "strange role": {"turns": (Turn("robot", (Text("a"),)),)},  # type: ignore[arg-type]
    "large index": {"turns": (Turn("user", (Image(1 << 40),)),)},
    "no language": {"language": None},
}


@pytest.mark.parametrize("changes", UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_cannot_be_stored_goes_to_the_ledger_alone(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    bad = replace(record(1), **changes)
    place = Place(tmp_path)
    flow = place.run(5, lambda records: [bad if r.id == "r1" else r for r in records])
    assert flow == Flow(5, 4, Counter({"not-storable": 1}))
    assert [r.id for r in read_records(place.out / "records")] == ["r0", "r2", "r3", "r4"]
    (row,) = read_drops(place.out)
    assert row["detail"]
    assert json.loads(row["content"])["group"] == "g1"
    assert "\0" not in "".join(row.values())


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(codec=None), max_size=20), max_size=12), st.integers(1, 5))
def test_any_texts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], shard_records: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    records = [record(n, text) for n, text in enumerate(texts)]
    flow = run_step("any", records, list, folder, folder / "work", shard_records=shard_records)
    kept, dropped = list(read_records(folder / "records")), list(read_drops(folder))
    assert flow.read == len(texts) == len(kept) + len(dropped)
    by_id = {r.id: r for r in records}
    assert all(by_id[r.id] == r for r in kept)
    for row in dropped:
        turns = json.loads(row["content"])["turns"]
        assert turns[1]["parts"][0]["text"] == by_id[row["id"]].turns[1].text


# -- interrupted


class Killed(BaseException):
    """Stands for a kill: nothing that tidies up on an error may be needed."""


def interrupted(
    patch: pytest.MonkeyPatch, number: int, fault: Callable[[], BaseException]
) -> list[str]:
    """Raise a fault instead of the given operation on the disk; return what was done before."""
    done: list[str] = []

    def disturb(module: Any, name: str) -> None:
        original = getattr(module, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if len(done) == number:
                done.append(f"{name}: fault")
                raise fault()
            done.append(name)
            return original(*args, **kwargs)

        patch.setattr(module, name, wrapper)

    for module, name in (
        (os, "replace"),
        (os, "link"),
        (os, "fsync"),
        (steps.pq, "write_table"),
        (steps, "write_records"),
        (files, "write_durably"),
    ):
        disturb(module, name)
    patch.setattr(steps, "write_durably", files.write_durably)
    return done


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(
    "fault", [Killed, lambda: OSError(errno.ENOSPC, "No space left on device")]
)
def test_interrupted_at_every_operation_it_comes_to_the_same(
    tmp_path: Path, fault: Callable[[], BaseException], links: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    undisturbed = Place(tmp_path / "whole")
    whole_flow = undisturbed.run(6)
    whole = content(undisturbed.out)
    number = 0
    while True:
        place = Place(tmp_path / str(number))
        with pytest.MonkeyPatch.context() as patch:
            if not links:
                patch.setattr(os, "link", refuse)
            done = interrupted(patch, number, fault)
            with contextlib.suppress(Killed, OSError):
                place.run(6)
        faulted = any(name.endswith("fault") for name in done)
        place.seen.clear()
        with pytest.MonkeyPatch.context() as patch:
            if not links:
                patch.setattr(os, "link", refuse)
            assert place.run(6) == whole_flow
        assert content(place.out) == whole
        if not faulted:
            break
        number += 1
    assert number > 15


def test_a_shard_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    place = Place(tmp_path)

    def stop_at_third(records: Sequence[Record]) -> Iterable[Outcome]:
        if records[0].id == "r8":
            raise Killed
        return keep_odd(records)

    with pytest.raises(Killed):
        place.run(transform=stop_at_third)
    assert place.seen == [4, 4, 2]
    place.seen.clear()
    place.run()
    assert place.seen == [2]
    place.seen.clear()
    place.run()  # killed after the payload was put together: it is all there, where links are
    assert place.seen == []
    assert len(list(read_records(place.out / "records"))) == 5


@pytest.mark.parametrize(
    "file", ["part-00001.json", "records/part-00001.parquet", "dropped/part-00001.parquet"]
)
@pytest.mark.parametrize("damage", ["torn", "empty", "gone", "stale"])
def test_a_torn_file_of_a_finished_shard_is_made_again(
    tmp_path: Path, file: str, damage: str
) -> None:
    place = Place(tmp_path)
    place.run()
    whole = content(place.out)
    path = place.work / file
    data = path.read_bytes()
    path.unlink()  # and not written to: the payload has a link to it
    if damage == "stale":
        path.write_bytes((path.parent / path.name.replace("1", "2")).read_bytes())
    elif damage != "gone":
        path.write_bytes(data[: len(data) // 2] if damage == "torn" else b"")
    place.seen.clear()
    assert place.run() == Flow(10, 5, Counter(even=5))
    assert place.seen == [4]
    assert content(place.out) == whole


def test_other_shards_than_before_are_made_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run(shard_records=4)
    flow = place.run(shard_records=5)
    assert flow == Flow(10, 5, Counter(even=5))
    assert [r.id for r in read_records(place.out / "records")] == ["r1", "r3", "r5", "r7", "r9"]
    assert [row["id"] for row in read_drops(place.out)] == ["r0", "r2", "r4", "r6", "r8"]


def test_a_full_disk_is_one_line_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, spec = Store(tmp_path), Spec("filter", "x", 1)
    seen: list[str] = []

    def build(folder: Path) -> dict[str, Any]:
        def transform(records: Sequence[Record]) -> Iterator[Outcome]:
            seen.append(records[0].id)
            return keep_odd(records)

        records = [record(n) for n in range(8)]
        work = work_folder(folder)
        return run_step("x", records, transform, folder, work, shard_records=4).to_stats()

    with monkeypatch.context() as patch:

        def full(path: Path, records: Iterable[Record]) -> int:
            if path.name == "part-00001.parquet":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return original(path, records)

        original = steps.write_records
        patch.setattr(steps, "write_records", full)
        with pytest.raises(StoreError, match=r"the disk is full.*Free space there"):
            store.build(spec, build)
    seen.clear()
    artifact = store.build(spec, build)
    assert seen == ["r4"]
    assert artifact.stats == {"read": 8, "kept": 4, "dropped": {"even": 4}}
    assert not (artifact.path / ".work").exists()


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run()
    path = place.out / "dropped" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"part-00001.parquet: cannot be read as Parquet"):
        list(read_drops(place.out))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [sys.executable, __file__, str(store)]
    chance = random.Random(SEED)
    kills = 0
    for _ in range(3):
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 12)):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    artifact = Store(store).resolve("filter/x")
    alone = Store(tmp_path / "alone")
    assert build_slowly(alone, 0).manifest.payload == artifact.manifest.payload
    assert pq.read_table(artifact.path / "records").num_rows == 60


def build_slowly(store: Store, seconds: float) -> Any:
    """Build 30 shards, and say when each is done."""
    import time

    def build(folder: Path) -> dict[str, Any]:
        def said(_: int) -> None:
            print("shard", flush=True)
            time.sleep(seconds)

        records = (record(n) for n in range(120))
        work = work_folder(folder)
        return run_step(
            "x", records, keep_odd, folder, work, shard_records=4, on_shard=said
        ).to_stats()

    return store.build(Spec("filter", "x", 1), build)


if __name__ == "__main__":
    build_slowly(Store(sys.argv[1]), 0.02)
