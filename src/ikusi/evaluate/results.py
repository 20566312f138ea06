"""What a model answered: one row per evaluation item, on disk and in memory.

Place: runner -> [results] -> stats, verdicts, report. Contract: everything that a score needs is in
the row (answer, gold, the language it was said in), so a report is made without any model; what is
read equals what was written, and a file with other columns is refused.

    python -c "import pyarrow.parquet as pq; print(pq.read_table('results.parquet').to_pylist()[0])"
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core.errors import DataError

SPLITS: Mapping[str, str] = {
    "main": "new compositions",
    "wording": "held-out wordings",
    "design": "second picture design",
    "probe": "concepts pictured only with the pivot language",
    "blank": "blind control: a blank picture",
    "shuffled": "blind control: another item's picture",
    "text": "text only",
}
"""What kinds of evaluation items there are, with what each one holds out or controls."""

SAID = ("target", "pivot", "both", "neither")
"""Whose lexicon an answer is in."""

Control = Literal["target_alone_equal_exposure", "target_alone_equal_steps"]
"""Controls: the target-language part of a mixture, without the rest of it."""

CONTROLS: Mapping[str, str] = {
    "target_alone_equal_exposure": "target data alone, seen as often as in the mixture",
    "target_alone_equal_steps": "target data alone, as many steps as the mixture",
}

_FIELDS: list[pa.Field[Any]] = [
    pa.field("sample_id", pa.string(), nullable=False),
    pa.field("group", pa.string(), nullable=False),
    pa.field("task", pa.string(), nullable=False),
    pa.field("language", pa.string(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("gold", pa.string(), nullable=False),
    pa.field("correct", pa.bool_(), nullable=False),
    pa.field("said", pa.string(), nullable=False),
    pa.field("right_elsewhere", pa.bool_(), nullable=False),
    pa.field("finished", pa.bool_(), nullable=False),
    pa.field("choices", pa.list_(pa.string()), nullable=False),
    pa.field("likely", pa.string()),
    pa.field("likely_correct", pa.bool_()),
    pa.field("prompt_sha256", pa.string(), nullable=False),
    pa.field("gold_sha256", pa.string(), nullable=False),
    pa.field("image_sha256", pa.string()),
]
RESULT_SCHEMA = pa.schema(_FIELDS)
"""Columns of a results file.

`group` is what belongs together (one scene with all its questions, in both languages): the unit
that a bootstrap draws. `said` is one of `SAID`; `right_elsewhere`: the right content in the wrong
language; `finished`: the answer ended by itself; `likely`: the option with the highest likelihood,
null where there are no options to score; `image_sha256`: the picture that was shown, null for none.
"""


def show_share(share: float) -> str:
    """Return a share for people: `20%`, `2.5%`."""
    return f"{100 * share:.4g}%"


def result_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return `rows` (mappings with the fields of `RESULT_SCHEMA`) as a table.

    Raises:
        DataError: a row does not fit; names its sample.
    """
    listed = list(rows)
    for row in listed:
        where = f"results of sample {row.get('sample_id')!r}"
        for field in RESULT_SCHEMA:
            if row.get(field.name) is None and not field.nullable:
                raise DataError(f"{where}: {field.name!r} is missing. Give every column.")
        if row["split"] not in SPLITS or row["said"] not in SAID:
            raise DataError(
                f"{where}: split {row['split']!r}, said {row['said']!r}. "
                f"Known splits: {', '.join(SPLITS)}; known for said: {', '.join(SAID)}."
            )
    try:
        return pa.Table.from_pylist([dict(row) for row in listed], schema=RESULT_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
        raise DataError(f"results: a row does not fit the columns: {error}.") from None


def write_results(path: Path, results: pa.Table | Iterable[Mapping[str, Any]]) -> int:
    """Write one model's results to a Parquet file (zstd) and return how many rows they are.

    The file appears under its name when it is complete.

    Raises:
        DataError: a row does not fit `RESULT_SCHEMA`.
    """
    table = _conform(results, str(path)) if isinstance(results, pa.Table) else result_table(results)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return int(table.num_rows)


def read_results(path: Path) -> pa.Table:
    """Return the table that `write_results` wrote.

    Raises:
        DataError: the file is absent, is not Parquet, or has other columns.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there are no results. Evaluate the model first.") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: is not a results file ({error}). Evaluate the model again."
        ) from None
    return _conform(table, str(path))


def _conform(table: pa.Table, where: str) -> pa.Table:
    absent = [name for name in RESULT_SCHEMA.names if name not in table.column_names]
    if absent:
        raise DataError(
            f"{where}: lacks the columns {', '.join(absent)}. Evaluate the model again."
        )
    try:
        return table.select(RESULT_SCHEMA.names).cast(RESULT_SCHEMA)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{where}: has other columns than results have: {error}.") from None
