"""A kill while finished shards are moved into the payload loses none of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ikusi.core.records import read_records
from ikusi.core.store import Spec, Store, work_folder
from ikusi.core.types import Record, assistant, user
from ikusi.data.steps import Drop, Flow, Outcome, read_drops, run_step


class Killed(BaseException):
    """What no code can catch as an ordinary error."""


def records(count: int) -> list[Record]:
    turns = (user("?"), assistant("!"))
    return [Record(str(n), str(n), turns, "eu", "chat", "test") for n in range(count)]


def drop_odd(batch: Sequence[Record]) -> list[Outcome]:
    return [Drop("odd", r) if int(r.id) % 2 else r for r in batch]


@pytest.mark.parametrize("moves", range(7))
def test_a_kill_between_moves(moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, spec, flows = Store(tmp_path), Spec("filter", "x", 1), list[Flow]()

    def write(out: Path) -> None:
        work = work_folder(out)
        flows.append(run_step("filter", records(12), drop_odd, out, work, shard_records=4))

    done = []
    replace = os.replace

    def dying(source: Path, target: Path) -> None:
        if Path(target).parent.parent.parent.name == ".partial":  # into the payload
            if len(done) == moves:
                raise Killed
            done.append(1)
        replace(source, target)

    # A kill leaves the folder as it is; an exception would tidy it.
    monkeypatch.setattr("ikusi.core.store.leave", lambda partial: None)
    monkeypatch.setattr(os, "replace", dying)
    if moves < 6:
        with pytest.raises(Killed):
            store.build(spec, write)
    monkeypatch.setattr(os, "replace", replace)
    artifact = store.build(spec, write)
    assert [r.id for r in read_records(artifact.path / "records")] == [
        "0",
        "2",
        "4",
        "6",
        "8",
        "10",
    ]
    assert [row["id"] for row in read_drops(artifact.path)] == ["1", "3", "5", "7", "9", "11"]
    assert (flows[-1].read, flows[-1].kept, flows[-1].dropped["odd"]) == (12, 6, 6)
