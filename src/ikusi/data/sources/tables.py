"""Tables of any kind as rows: what the readers share, and how columns are compared.

Place: files, hub -> [tables] -> convert. Contract: constant memory; rows come in the same order
each time; a broken row is a row with a fault; a file that is damaged as a whole is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ikusi.core.errors import DataError
from ikusi.data.sources.source import Column, Kind, Row, Source

Found = Mapping[str, str]
"""Column -> kind of its cells, as a file has them."""


class Table(Protocol):
    """Something that has rows."""

    path: Path
    typed: bool
    """Whether the kinds of columns can be told; in CSV and TSV everything is text."""

    def columns(self) -> Found:
        """Return the columns, from the schema or the first rows.

        Raises:
            DataError: it cannot be read at all.
        """
        ...

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows.

        Args:
            wanted: columns to read; None for all.

        Raises:
            DataError: it is damaged; the rows before were yielded.
        """
        ...


def check_columns(source: Source, found: Found, where: str, *, typed: bool = True) -> None:
    """Compare the columns that a table has with those that the source should have.

    Raises:
        DataError: one is missing or of another kind; shows what was expected and what was found.
    """
    wrong = differences(source.columns, found, typed)
    if wrong:
        expected = ", ".join(map(str, source.columns))
        shown = ", ".join(f"{name} ({kind})" for name, kind in list(found.items())[:40])
        sure = ", whose published columns are assumed," if source.schema == "assumed" else ""
        raise DataError(
            f"{where}: is not in the schema of {source.name}{sure}: {'; '.join(wrong)}. "
            f"Expected: {expected}. Found: {shown or 'nothing'}. "
            "Say which column is what in a --mapping."
        )


def differences(columns: Sequence[Column], found: Found, typed: bool) -> list[str]:
    """Return in words what keeps a table from having these columns."""
    wrong = []
    for column in columns:
        if column.name not in found:
            if not column.optional:
                wrong.append(f"{column.name} is missing")
        elif typed and not column.accepts(found[column.name]):
            wrong.append(f"{column.name} is {found[column.name]}, not {column.kind}")
    return wrong


MAX_DEPTH = 100
"""Of lists and objects in each other; Python's own limit is 1,000, whoever walks through them."""


def is_deep(value: Any) -> bool:
    """Return whether lists and objects lie in each other more than `MAX_DEPTH` times."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def kind_of(value: Any) -> str:
    """Return the kind of a cell."""
    if value is None:
        return "null"
    for types, kind in _KINDS:
        if isinstance(value, types):
            return kind
    if isinstance(value, Mapping):
        return "image" if {"bytes", "path"} <= value.keys() else "struct"
    return type(value).__name__


def describe(value: Any) -> str:
    """Return what a cell is, for a sentence: `a list`."""
    kind = kind_of(value)
    return _WORDS.get(kind, f"a {kind}")


_WORDS = {
    "null": "nothing",
    "struct": "an object",
    "image": "bytes",
    "int": "a number",
    "bool": "true or false",
}
_KINDS: tuple[tuple[Any, Kind | str], ...] = (
    (str, "text"),
    (bool, "bool"),
    (int, "int"),
    (float, "number"),
    (bytes, "image"),
    (list | tuple, "list"),
)


def arrow_kind(kind: Any) -> str:
    """Return the kind of the cells of an Arrow column."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return arrow_kind(kind.value_type)
    if types.is_struct(kind):
        names = {kind.field(place).name for place in range(kind.num_fields)}
        return "image" if {"bytes", "path"} <= names else "struct"
    for test, name in (
        (types.is_null, "null"),
        (types.is_string, "text"),
        (types.is_large_string, "text"),
        (types.is_string_view, "text"),
        (types.is_boolean, "bool"),
        (types.is_integer, "int"),
        (types.is_floating, "number"),
        (types.is_binary, "image"),
        (types.is_large_binary, "image"),
        (types.is_list, "list"),
        (types.is_large_list, "list"),
        (types.is_fixed_size_list, "list"),
    ):
        if test(kind):
            return name
    return str(kind)
