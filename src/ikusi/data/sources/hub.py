"""A data set on the hub as a table, streamed: nothing is downloaded before its rows are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ikusi.core.errors import DataError, first_line
from ikusi.data.sources.source import Row, Source
from ikusi.data.sources.tables import Found, arrow_kind, check_columns, kind_of

INSTALL = "pip install 'ikusi[data]'"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve_revision(hub: str, revision: str = "") -> str:
    """Return the commit that a branch, a tag or nothing (the newest) means.

    Raises:
        DataError: the hub cannot be asked, or has no such set or revision.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(hub, revision=revision or None, timeout=30).sha
    except Exception as error:  # many kinds, of several libraries
        raise _unreachable(hub, error) from None
    return commit or revision


class HubTable:
    """The rows of one or several splits."""

    def __init__(
        self, source: Source, hub: str, subset: str, splits: Sequence[str], revision: str
    ) -> None:
        """Read these; nothing is contacted yet.

        Args:
            source: whose columns it should have.
            hub: id of the data set.
            subset: its configuration; empty for the only one.
            splits: read one after the other.
            revision: a commit.
        """
        self._source = source
        self._hub, self._subset, self._splits, self._revision = hub, subset, splits, revision

    def unread_columns(self) -> list[str]:
        """Return the columns that the source does not know.

        Raises:
            DataError: the hub does not answer, or the columns are not the source's.
        """
        found = self._columns(self._load(self._splits[0]))
        known = {column.name for column in self._source.columns}
        return sorted(set(found) - known - {"__key__", "__url__"})

    def splits(self) -> Sequence[str]:
        """Return the splits that are read."""
        return self._splits

    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of a split.

        Raises:
            DataError: the hub does not answer any more, or the columns are not the source's.
        """
        stream = self._load(split)
        self._columns(stream)
        usual = len(self._splits) == 1 and (split,) == self._source.splits
        named = "" if usual and not self._source.split_languages else split
        for number, values in enumerate(self._values(stream)):
            yield Row(number, f"{split}, row {number + 1}", values, split=named)

    def _columns(self, stream: Any) -> Found:
        if stream.features is not None:
            schema = stream.features.arrow_schema
            found = {field.name: arrow_kind(field.type) for field in schema}
        else:
            found = {}
            for values in islice(self._values(stream), 20):
                for name, value in values.items():
                    if found.get(name, "null") == "null":
                        found[name] = kind_of(value)
        check_columns(self._source, found, self._hub)
        return found

    def _load(self, split: str) -> Any:
        try:
            import datasets
        except ImportError:
            raise DataError(f"Reading {self._hub} from the hub needs: {INSTALL}") from None
        try:
            stream: Any = datasets.load_dataset(
                self._hub,
                self._subset or None,
                split=split,
                streaming=True,
                revision=self._revision or None,
            )
            if stream.features is not None:
                stream = stream.decode(False)  # bytes as they were published
        except Exception as error:  # many kinds, of several libraries
            raise _unreachable(f"{self._hub}, split {split}", error) from None
        return stream

    def _values(self, stream: Any) -> Iterator[dict[str, Any]]:
        wanted = set(self._source.uses())
        if stream.features is not None:
            stream = stream.select_columns([name for name in stream.features if name in wanted])
        iterator = iter(stream)
        while True:
            try:
                values = next(iterator)
            except StopIteration:
                return
            except Exception as error:  # many kinds, of several libraries
                raise _unreachable(self._hub, error) from None
            yield dict(values)


def _unreachable(what: str, error: Exception) -> DataError:
    return DataError(
        f"{what}: cannot be read from the hub ({first_line(error)}). Start it again (what is "
        "finished is kept), or download it and give its files with --from."
    )
