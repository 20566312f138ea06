"""Records on disk: the round trip is exact, and what cannot be kept is refused by id."""

from __future__ import annotations

import dataclasses
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikusi.core import records
from ikusi.core.errors import DataError
from ikusi.core.records import RECORD_SCHEMA, count_records, read_records, write_records
from ikusi.core.types import Image, ImageRef, Record, Text, Turn, assistant, user

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
maybe = st.none() | texts
parts = st.builds(Text, texts) | st.builds(Image, st.integers(0, 2**31 - 1))
turns = st.builds(
    Turn, st.sampled_from(["system", "user", "assistant"]), st.lists(parts, max_size=3).map(tuple)
)
metas = st.dictionaries(
    texts,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | texts
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)
some_records = st.builds(
    Record,
    id=texts,
    group=texts,
    turns=st.lists(turns, max_size=3).map(tuple),
    language=texts,
    task=texts,
    source=texts,
    images=st.lists(st.builds(ImageRef, maybe, maybe), max_size=2).map(tuple),
    choices=st.lists(texts, max_size=3).map(tuple),
    answers=st.lists(texts, max_size=3).map(tuple),
    licence=texts,
    provenance=texts,
    parent=maybe,
    ratings=st.dictionaries(
        texts, st.lists(st.none() | st.integers(-5, 5), max_size=3).map(tuple), max_size=3
    ),
    meta=metas,
)


def record(number: int = 0, **changes: Any) -> Record:
    made = Record(
        id=f"r{number}",
        group=f"scene-{number // 2}",
        turns=(user(Image(0), "Zer da <image> hau?"), assistant("Txakur bat.")),
        language="eu",
        task="what",
        source="world",
        images=(ImageRef("ab" * 32),),
        answers=("txakurra",),
        meta={"n": number},
    )
    return dataclasses.replace(made, **changes)


@settings(max_examples=60, deadline=None)
@given(st.lists(some_records, max_size=5))
def test_round_trip_is_exact(wanted: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.parquet"
        assert write_records(path, wanted) == len(wanted) == count_records(path)
        assert list(read_records(path)) == wanted


def test_several_row_groups_limits_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_RECORDS", 7)
    wanted = [record(n) for n in range(30)]
    write_records(tmp_path / "a.parquet", wanted[:16])
    write_records(tmp_path / "b.parquet", wanted[16:])
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3
    assert list(read_records(tmp_path)) == wanted
    assert list(read_records(tmp_path, limit=18)) == wanted[:18]
    assert list(read_records(tmp_path, limit=0)) == []
    assert count_records(tmp_path) == 30


def test_columns(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    write_records(path, [record(1)])
    (found,) = read_records(path, columns=["language", "id"])
    assert found == Record("r1", "", (), "eu", "", "")
    with pytest.raises(DataError, match="Did you mean 'language'"):
        list(read_records(path, columns=["langage"]))


def test_file_is_plain_parquet(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    write_records(path, [record(1)])
    table = pq.read_table(path)
    assert table.schema.equals(RECORD_SCHEMA)
    assert table.to_pylist()[0]["turns"][0]["parts"] == [
        {"type": "image", "text": None, "index": 0},
        {"type": "text", "text": "Zer da <image> hau?", "index": None},
    ]
    assert table.column("meta").to_pylist() == ['{"n": 1}']


def test_files_of_other_writers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    write_records(path, [record(1), record(2)])
    table = pq.read_table(path)
    index = table.schema.get_field_index("id")
    table = table.set_column(index, "id", table.column("id").cast(pa.large_string()))
    table = table.append_column("extra", pa.array([1, 2]))
    pq.write_table(table.select(list(reversed(table.column_names))), path)
    assert list(read_records(path)) == [record(1), record(2)]


def test_files_from_before_ratings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    write_records(path, [record(1, ratings={"relevance": (5, None)})])
    pq.write_table(pq.read_table(path).drop_columns(["ratings"]), path)
    assert list(read_records(path)) == [record(1)]
    assert next(read_records(path, columns=["id", "ratings"])).id == "r1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"turns": (user("a\ud800"),)}, "lone surrogate"),
        ({"turns": (user("a\0b"),)}, "NUL"),
        ({"answers": ("\0",)}, "NUL"),
        ({"group": None}, "missing"),
        ({"turns": (Turn("user", (Text(None),)),)}, "no text"),  # type: ignore[arg-type]
        ({"turns": (Turn("tool", (Text("x"),)),)}, "role"),  # type: ignore[arg-type]
        ({"turns": (user(Image(2**40)),)}, "int32|large|bounds"),
        ({"language": 7}, "r3"),
        ({"ratings": {"relevance": (2**40,)}}, "r3"),
        ({"ratings": {"relevance": ("five",)}}, "r3"),
        ({"ratings": {"rele\0vance": (5,)}}, "NUL"),
        ({"meta": {"a": float("nan")}}, "r3"),
        ({"meta": {1: 2}}, "meta"),
        ({"meta": {"a": (1, 2)}}, "meta"),
        ({"meta": {"a": object()}}, "r3"),
        ({"meta": {"a": "\udc00"}}, "lone surrogate"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_id(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    wanted = [record(n) for n in range(6)]
    wanted[3] = dataclasses.replace(wanted[3], **changes)
    with pytest.raises(DataError, match=r"^record 'r3': ") as caught:
        write_records(tmp_path / "r.parquet", wanted)
    assert "\n" not in str(caught.value)
    caught.match(message)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_no_file(tmp_path: Path) -> None:
    def source() -> Iterator[Record]:
        yield record(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(tmp_path / "r.parquet", source())
    assert list(tmp_path.iterdir()) == []


def test_bad_files_in_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    write_records(good, [record(n) for n in range(100)])
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-50])
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "columns.parquet")
    wrong = pq.read_table(good).drop_columns(["turns"])
    pq.write_table(wrong.append_column("turns", pa.array([1] * 100)), tmp_path / "types.parquet")
    (tmp_path / "empty").mkdir()
    for name in (
        "absent.parquet",
        "text.parquet",
        "cut.parquet",
        "columns.parquet",
        "types.parquet",
        "empty",
    ):
        with pytest.raises(DataError, match=name) as caught:
            list(read_records(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.parquet"
        tracemalloc.start()
        write_records(path, (record(n) for n in range(count)))
        assert sum(1 for _ in read_records(path)) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # imports
    assert peak(16000) < 1.2 * peak(4500)
