"""A mixture that is sorted through a file is the one that is sorted in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ikusi.core.artifact import Artifact, Spec
from ikusi.core.errors import DataError
from ikusi.core.records import read_batches, read_records, write_records
from ikusi.core.store import Store
from ikusi.core.types import ImageRef, Record, assistant, user
from ikusi.data import mix_order
from ikusi.data.mix_columns import Reading
from ikusi.data.mix_order import Chosen, in_order
from ikusi.study.data_steps import mix_records


def records(language: str, count: int, number: int = 3) -> list[Record]:
    """Return records of groups of `number`, which do not stand together."""
    return [
        Record(
            id=f"{n * 7 % count}@{language}",
            group=f"picture {n % (count // number)}",
            turns=(user("Zer da hau? ", "🦆"), assistant(f"{n}" * (n % 9))),
            language=language,
            task="chat",
            source="ducks",
            images=(ImageRef(url=f"http://example.org/{n}"),),
            ratings={"relevance": (n % 5, None)},
            meta={"n": [n, "é"]},
        )
        for n in range(count)
    ]


@pytest.fixture
def pools(tmp_path: Path) -> tuple[list[Chosen], list[Record]]:
    """Return two pools on the disk, of which most is taken, and that in its order."""
    chosen, wanted = [], []
    for part, language in enumerate(("en", "eu")):
        made = records(language, 300)
        path = tmp_path / f"{language}.parquet"
        write_records(path, made)
        numbers = np.array([99 - int(record.group.split()[1]) for record in made], np.int32)
        taken = np.where(numbers % 5 > 0, numbers, -1)
        chosen.append(Chosen(partial(read_batches, path), taken))
        wanted += [
            (int(group), record.id, part, record)
            for group, record in zip(taken, made, strict=True)
            if group >= 0
        ]
    return chosen, [record for *_, record in sorted(wanted, key=lambda found: found[:3])]


@pytest.mark.parametrize("window", [1, 7, 64, 479, 480, 10_000])
@pytest.mark.parametrize("chunk", [1, 10_000, 1 << 20])
def test_the_order_is_that_of_groups_and_ids_however_little_memory_there_is(
    pools: tuple[list[Chosen], list[Record]],
    window: int,
    chunk: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mix_order, "_CHUNK_BYTES", chunk)
    chosen, wanted = pools
    scratch = tmp_path / "scratch"
    found = in_order(chosen, 100, scratch, window)
    assert next(found) == wanted[0]
    assert scratch.exists() == (window < len(wanted))
    assert list(found) == wanted[1:]
    assert not scratch.exists()


def test_a_pool_that_cannot_be_read_leaves_no_scratch_file(
    pools: tuple[list[Chosen], list[Record]], tmp_path: Path
) -> None:
    chosen, _ = pools
    (tmp_path / "eu.parquet").write_bytes(b"PAR1, or rather not")
    with pytest.raises(DataError, match=r"eu\.parquet"):
        list(in_order(chosen, 100, tmp_path / "scratch", 10))
    assert not (tmp_path / "scratch").exists()


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    write_records(path, records("en", 30))
    table = pq.read_table(path)
    place = table.column_names.index("meta")
    pq.write_table(table.set_column(place, "meta", pa.array(["{no JSON"] * 30)), path)
    chosen = Chosen(partial(read_batches, path), np.arange(30, dtype=np.int32))
    with pytest.raises(DataError, match="no record"):
        list(in_order([chosen], 30, tmp_path / "scratch"))


@pytest.mark.parametrize("name", ["group", "language", "source"])
def test_a_record_that_cannot_be_placed_is_refused(name: str) -> None:
    def read(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        whole = dict.fromkeys(columns or (), "a")
        yield pa.RecordBatch.from_pylist([whole, {**whole, name: None}])

    with pytest.raises(DataError, match=f"text in 'eu': a record has no {name}"):
        Reading(0).add(("text", "eu"), read)


def test_records_in_a_folder_are_mixed_like_those_in_a_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def artifact(language: str, number: int) -> Artifact:
        def write(out: Path) -> None:
            made = records(language, 60)
            if number == 1:
                write_records(out / "records.parquet", made)
                return
            (out / "records").mkdir()
            for part in range(number):
                own = made[part * 60 // number : (part + 1) * 60 // number]
                write_records(out / "records" / f"{part:05}.parquet", own)

        about = {"language": language, "files": number}
        return store.build(Spec("import", language, 1, about), write)

    mixture = {"budget": {"samples": 30}, "multimodal": {"target_share": 0.4}}
    config: dict[str, Any] = {"pivot": "en", "target": "eu", "seed": 0, "mixture": mixture}
    told, found = [], []
    for number in (1, 4):
        inputs = {f"multimodal@{code}": artifact(code, number) for code in ("en", "eu")}
        out = tmp_path / f"mixed-{number}"
        out.mkdir()
        told.append(mix_records(config, inputs, out))
        assert [path.name for path in out.iterdir()] == ["records.parquet"]
        found.append((out / "records.parquet").read_bytes())
    assert found[0] == found[1]
    assert told[0] == told[1]
    assert told[0]["counts"] == {"multimodal": {"en": 18, "eu": 12}}
    assert len(list(read_records(tmp_path / "mixed-1" / "records.parquet"))) == 30
