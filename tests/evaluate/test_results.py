"""Results on disk: read as written, and anything else is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ikusi.core.errors import DataError
from ikusi.evaluate.cells import Cell
from ikusi.evaluate.results import (
    RESULT_SCHEMA,
    read_results,
    result_table,
    show_share,
    write_results,
)

Results = Callable[..., pa.Table]


def test_round_trip(tmp_path: Path, results: Results) -> None:
    table = results(0.5, seed=1, per_task=5)
    path = tmp_path / "results.parquet"
    assert write_results(path, table) == table.num_rows
    assert read_results(path).equals(table)
    assert write_results(path, table.to_pylist()) == table.num_rows
    assert read_results(path).equals(table)
    assert [p.name for p in tmp_path.iterdir()] == ["results.parquet"]


def test_no_rows(tmp_path: Path) -> None:
    write_results(tmp_path / "r.parquet", [])
    assert read_results(tmp_path / "r.parquet").schema == RESULT_SCHEMA


def test_hostile_answers_survive(tmp_path: Path, results: Results) -> None:
    answer = "<script>\x00‮ 🐈 \\ |"
    write_results(tmp_path / "r.parquet", results(0.1, seed=1, per_task=2, answer=answer))
    assert answer in read_results(tmp_path / "r.parquet").column("answer").to_pylist()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answer": None}, "'answer' is missing"),
        ({"split": "test"}, "split 'test'"),
        ({"said": "basque"}, "said 'basque'"),
        ({"correct": "yes"}, "does not fit"),
        ({"answer": "\ud800"}, "does not fit"),
    ],
)
def test_bad_rows(tmp_path: Path, results: Results, change: dict[str, object], told: str) -> None:
    row = results(0.5, seed=1, per_task=1).to_pylist()[0] | change
    with pytest.raises(DataError, match=told):
        write_results(tmp_path / "r.parquet", [row])
    assert not list(tmp_path.iterdir())


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no results"):
        read_results(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="is not a results file"):
        read_results(tmp_path / "text.parquet")
    pq.write_table(pa.table({"answer": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="lacks the columns sample_id, group"):
        read_results(tmp_path / "other.parquet")
    odd = {name: ["a"] for name in RESULT_SCHEMA.names}
    pq.write_table(pa.table(odd), tmp_path / "odd.parquet")
    with pytest.raises(DataError, match="other columns than results have"):
        read_results(tmp_path / "odd.parquet")


def test_labels(cell: Callable[..., Cell]) -> None:
    assert cell("adapted", 0.2, 0, 0.5, per_task=1).label == "adapted 20% seed 0"
    control = cell("adapted", 0.2, 1, 0.5, "target_alone_equal_steps", per_task=1)
    assert control.label == "adapted 20% seed 1 (target alone equal steps)"
    assert [show_share(s) for s in (0, 0.025, 0.2, 1)] == ["0%", "2.5%", "20%", "100%"]


def test_table_is_checked_when_made(results: Results) -> None:
    assert result_table(results(0.5, seed=1, per_task=1).to_pylist()).schema == RESULT_SCHEMA
