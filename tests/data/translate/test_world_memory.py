"""The embedded world, translated by names and wordings, is the one that the target's pack words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.world.worlds import PAIRS, vocabulary_of, voices_of

from ikusi.core.records import write_records
from ikusi.core.store import Store
from ikusi.core.types import Record
from ikusi.data.dataset import open_dataset, records_of
from ikusi.data.steps import read_drops
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.step import build, translate_spec
from ikusi.languages.pack import TASKS, load_pack
from ikusi.world.memory import HEADER, memory_rows
from ikusi.world.source import training_records, training_scene

SHA = "0" * 64
ASKED = [task for task in TASKS if task != "translate"]
Rows = list[tuple[str, ...]]


def world(set_name: str, pair: tuple[str, str], count: int) -> list[list[Record]]:
    """Return a training set of the world in its pivot and in its target."""
    concepts = vocabulary_of(*pair)
    scenes = [training_scene(set_name, index, 0, ASKED, concepts) for index in range(count)]
    return [
        list(training_records(set_name, scenes, [SHA] * count, voice, ASKED, concepts))
        for voice in voices_of(*pair)
    ]


def translated(
    records: list[Record],
    pair: tuple[str, str],
    folder: Path,
    change: Callable[[Rows], Rows] = list,
) -> tuple[list[Record], list[dict[str, str]]]:
    """Return the records in the target, by a memory of the world, and what was dropped."""
    source, target = map(load_pack, pair)
    rows = change(list(memory_rows(source, target, vocabulary_of(*pair))))
    memory = folder / "memory.tsv"
    memory.write_text("\n".join("\t".join(row) for row in (HEADER, *rows)), encoding="utf-8")
    write_records(folder / "world.parquet", records)
    store = Store(folder / "store")
    dataset = open_dataset(str(folder / "world.parquet"), store)
    settings = TranslateSettings.parse(
        {"to": pair[1], "backend": {"kind": "memory", "path": str(memory)}}, "test"
    )
    artifact = build(store, translate_spec(settings, dataset, "world", ()), settings, dataset)
    made = open_dataset(artifact.address, store)
    assert made.path == records_of(artifact.path)
    return list(made.read()), list(read_drops(artifact.path))


def said(record: Record) -> Record:
    """Return what two ways to the same text share: not who wrote it, or from what."""
    return replace(record, provenance="", parent=None)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("set_name", ["align", "instruct"])
def test_the_translated_world_is_the_native_one(
    set_name: str, pair: tuple[str, str], tmp_path: Path
) -> None:
    pivots, targets = world(set_name, pair, 150)
    made, dropped = translated(pivots, pair, tmp_path)
    assert [(row["reason"], row["detail"]) for row in dropped] == []
    assert list(map(said, made)) == list(map(said, targets))
    assert [record.parent for record in made] == [record.id for record in pivots]


def test_no_entry_is_a_whole_sentence_that_names_something() -> None:
    pair = ("en", "eu")
    source, target = map(load_pack, pair)
    entries = {row[0] for row in memory_rows(source, target, vocabulary_of(*pair))}
    wordings = {
        wording
        for task in ASKED
        for pool in ("text", "train", "held_out")
        for wording in source.wordings(task, pool)
    }
    for record in world("instruct", pair, 200)[0]:
        for turn in record.turns[::2]:
            assert turn.text not in entries or turn.text in wordings


def test_a_wrong_entry_shows_as_differences(tmp_path: Path) -> None:
    pair = ("en", "eu")
    pivots, targets = world("align", pair, 150)
    name = voices_of(*pair)[0].names[vocabulary_of(*pair).paired[0]]

    def change(rows: Rows) -> Rows:
        return [
            (s, "gauza okerra", c) if (s, c) == (name, "name") else (s, t, c) for s, t, c in rows
        ]

    made, dropped = translated(pivots, pair, tmp_path, change)
    assert [(row["reason"], row["detail"]) for row in dropped] == []
    wrong = [
        pivot
        for one, other, pivot in zip(made, targets, pivots, strict=True)
        if said(one) != said(other)
    ]
    names_of = [f", {r.turns[-1].text.partition('.')[0]}," for r in pivots]
    assert wrong == [r for r, names in zip(pivots, names_of, strict=True) if f", {name}," in names]
    assert 0 < len(wrong) < len(pivots)


def test_a_missing_entry_drops_what_needs_it(tmp_path: Path) -> None:
    pair = ("en", "eu")
    pivots, _ = world("align", pair, 150)
    name = voices_of(*pair)[0].names[vocabulary_of(*pair).paired[0]]
    made, dropped = translated(
        pivots, pair, tmp_path, lambda rows: [row for row in rows if row[0] != name]
    )
    assert len(made) + len(dropped) == len(pivots)
    assert dropped
    assert {row["reason"] for row in dropped} == {"memory-missing"}
