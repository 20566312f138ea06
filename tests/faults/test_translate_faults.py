"""Translating under faults: what arrives late, broken or not at all loses nothing, nor does a kill.

Repeat other moments with IKUSI_SEED=7 pytest ...
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.backends.scripted import Payload, Scripted
from tests.backends.scripted import last_text as last_of
from tests.data.translate.fakes import record, shift
from tests.data.translate.test_step import TALKS, make, outcomes, settings_for

from ikusi.core.config import dump_yaml
from ikusi.core.records import read_records, write_records
from ikusi.core.store import Spec, Store
from ikusi.core.types import Record
from ikusi.data.steps import read_drops
from ikusi.data.translate.step import build

SEED = int(os.environ.get("IKUSI_SEED", "0"))
TRANSPORT = ("drop", "status-429", "status-500", "html", "truncated-json", "empty-choices",
             "empty-content", "no-content")  # fmt: skip


def answer(payload: Payload) -> str:
    return shift(last_of(payload))


def test_transport_faults_change_nothing(tmp_path: Path) -> None:
    faults = {fault: 0.3 / len(TRANSPORT) for fault in TRANSPORT}
    with Scripted(answer) as calm:
        without = make(tmp_path / "a", settings_for(calm), TALKS)
    with Scripted(answer, faults=faults, seed=SEED) as server:
        made = make(tmp_path / "b", settings_for(server), TALKS)
        assert sum(server.counts[fault] for fault in TRANSPORT) > 5
    assert made.manifest.payload == without.manifest.payload
    assert made.stats["faults"] == {}
    assert len(outcomes(made)[0]) == len(TALKS)


def spoiled(payload: Payload) -> str:
    """Answer, and spoil two thirds of the answers in a way that depends on the payload alone."""
    good = answer(payload)
    draw = random.Random(f"{SEED}/{payload}")
    wrongs = [
        good.replace("⟦1⟧", ""),
        good.replace("⟦1⟧", "⟦1⟧⟦1⟧"),
        good.replace("<user1>", "<user1>Itzulpena: "),
        good.replace("</user1>", " bai" * 9 + "</user1>"),
        last_of(payload),
        good.replace("<user1>", ""),
        "Barkatu, ezin dut.",
        f"<user1>{shift('no')}</user1>",
    ]
    return draw.choice(wrongs) if draw.random() < 0.66 else good


class Stopped(Exception):
    """The end of a run, at a moment of its own choosing."""


def test_a_finished_shard_lost_before_others_is_made_again_and_they_are_not(tmp_path: Path) -> None:
    """A kill while the payload is put together takes files away where there are no links."""
    done = 0

    def stop(count: int, told: object) -> None:
        nonlocal done
        done += count
        if done == len(TALKS):
            raise Stopped

    with Scripted(answer) as server:
        settings = settings_for(server)
        whole = make(tmp_path / "a", settings, TALKS, shard_records=7)
        with pytest.raises(Stopped):
            make(tmp_path / "b", settings, TALKS, shard_records=7, on_records=stop)
        (work,) = (tmp_path / "b/store/.partial").glob("translate-*/.work")
        notes = sorted(path.name for path in work.glob("part-*.json"))
        assert len(notes) > 2
        (work / "records/part-00000.parquet").unlink()
        made = make(tmp_path / "b", settings, TALKS, shard_records=7)
    assert made.manifest.payload == whole.manifest.payload
    assert made.stats["read"] == len(TALKS)


def test_with_content_faults_every_lost_row_is_in_the_ledger(tmp_path: Path) -> None:
    talks = [
        record(
            f"What is in the picture number {n} that I see there?",
            f"It is a big dog at https://a.org/{n}.",
            id=f"r{n}",
        )
        for n in range(120)
    ]
    with Scripted(spoiled, faults={"cut": 0.1, "drop": 0.1}, seed=SEED) as server:
        made = make(tmp_path, settings_for(server), talks)
    records, drops = outcomes(made)
    assert len(records) > 30
    assert len(drops) > 10
    assert {one.parent for one in records} | {row["id"] for row in drops} == {t.id for t in talks}
    assert len(records) + len(drops) == len(talks)
    reasons = Counter(row["reason"] for row in drops)
    assert dict(reasons) == made.stats["dropped"]
    assert all("Last answer: " in row["detail"] for row in drops)
    for one in records:  # nothing of what was spoiled came through
        source = next(talk for talk in talks if talk.id == one.parent)
        url = f"https://a.org/{source.id[1:]}."
        assert one.turns[0].text == shift(source.turns[0].text)
        assert one.turns[1].text == shift("It is a big dog at ") + url


STRANGE = [
    record("a NUL \0 here", id="nul"),
    record("a lone \ud800 surrogate", id="surrogate"),
    record("right \u200fto\u202e left", id="marks"),
    record("a special <|eot_id|> token and <image> here", id="token"),
    record("long " * 200_000, id="megabyte"),
    record("", id="empty"),
    record("   ", "\n", id="space"),
    record("😀🎉", id="emoji"),
    Record("none", "none", (), "en", "chat", "tests"),
]


def test_strange_texts_end_as_records_or_drops(tmp_path: Path) -> None:
    with Scripted(answer) as server:
        settings = settings_for(server)

        class Strange:
            """Records that no file could hold."""

            def read(self, limit: int | None = None) -> object:
                return iter(STRANGE)

        made = build(
            Store(tmp_path / "store"), Spec("translate", "strange", 1), settings, Strange()  # type: ignore[arg-type]
        )  # fmt: skip
    records, drops = outcomes(made)
    assert {row["id"]: row["reason"] for row in drops} == {
        "nul": "not-storable",
        "surrogate": "not-storable",
        "megabyte": "too-long",
    }
    texts = {one.parent: one.turns[0].text if one.turns else "" for one in records}
    assert set(texts) == {"marks", "token", "empty", "space", "emoji", "none"}
    assert "<|eot_id|>" in texts["token"]
    assert "<image>" in texts["token"]
    assert texts["space"] == "   "


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    talks = [record(f"What is number {n}?", f"A dog, {n}.", id=f"r{n:03d}") for n in range(150)]
    write_records(tmp_path / "talks.parquet", talks)
    rng = random.Random(SEED)
    with Scripted(answer, latency=0.02) as server:
        backend = {"kind": "endpoint", "url": server.url, "model": server.model, "concurrency": 4}
        (tmp_path / "t.yaml").write_text(dump_yaml({"to": "eu", "backend": backend}))
        command = [sys.executable, "-m", "ikusi", "translate", "talks.parquet"]
        command += ["--settings", "t.yaml"]

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(
                command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

        killed = 0
        for moment in sorted(rng.sample(range(10, 140), 3)):
            process = start()
            while len(server.requests) < moment and process.poll() is None:
                time.sleep(0.002)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.communicate()
        process = start()
        _, err = process.communicate()
        assert process.returncode == 0, err
        asked = len(server.requests)
    assert killed == 3
    # Each kill lost what was in flight at most, and what had come but was not yet read.
    assert asked <= len(talks) + 3 * 2 * 4
    payload = tmp_path / "runs/data/talks-eu"
    records = list(read_records(payload / "records"))
    assert [one.parent for one in records] == [talk.id for talk in talks]
    assert [one.turns[1].text for one in records] == [shift(t.turns[1].text) for t in talks]
    assert list(read_drops(payload)) == []
