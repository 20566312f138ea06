"""The rows of a published data set: Parquet files that `datasets` reads, as an artifact.

Place: look -> [publish_rows] -> the folder. Contract: rows out = rows in, in their order; a file is
finished or not there, so a killed build goes on after the last one; what is in which file depends
on the rows alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ikusi.core import files, log
from ikusi.core.artifact import Artifact, Spec, hash_file
from ikusi.core.errors import ConfigError, DataError
from ikusi.core.store import Store, work_folder
from ikusi.core.types import Record, Text
from ikusi.data.dataset import Dataset
from ikusi.data.history import History, Pictures
from ikusi.data.licences import UNKNOWN, Verdict
from ikusi.data.survey import Survey, is_reviewed, split_name

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Of the step."""
DATA, CHECKSUMS = "data", "checksums.txt"
_SHARD_BYTES = 400 << 20
_SHARD_ROWS = 500_000
_BATCH_BYTES = 32 << 20  # of a row group: what is in memory at a time
_BATCH_ROWS = 2000

ImageMode = Literal["embed", "reference"]
_SUFFIXES = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"RIFF", ".webp"),
    (b"BM", ".bmp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)


@dataclass(frozen=True)
class Publication:
    """What is to be published, looked at and judged; nothing is written yet."""

    datasets: tuple[Dataset, ...]
    history: History
    pictures: Pictures
    survey: Survey
    verdict: Verdict
    images: ImageMode
    benchmark: bool

    @property
    def name(self) -> str:
        """Of the data sets, joined."""
        return "+".join(dict.fromkeys(dataset.name for dataset in self.datasets))


def build(publication: Publication, store: Store) -> Artifact:
    """Return the artifact with the Parquet files and their checksums."""
    inputs: dict[str, str] = {}
    config: dict[str, Any] = {
        "images": publication.images,
        "benchmark": publication.benchmark,
        "reviewed": [is_reviewed(dataset) for dataset in publication.datasets],
    }
    for number, dataset in enumerate(publication.datasets):
        inputs |= dataset.inputs(f"records-{number:02d}")
        config |= dataset.config(f"records-{number:02d}")
    if publication.images == "embed":
        for number, artifact in enumerate(publication.pictures.artifacts):
            inputs[f"images-{number:02d}"] = artifact.address
    name = "".join(
        c if c.isascii() and (c.isalnum() or c in "+-_.") else "-" for c in publication.name
    )
    spec = Spec("publish", name.strip("-_.")[:80].rstrip(".") or "data", VERSION, config, inputs)
    return store.build(spec, lambda out: _write(publication, out))


def _write(publication: Publication, out: Path) -> Mapping[str, Any]:
    work = work_folder(out)
    (out / DATA).mkdir()
    counts: dict[str, int] = {}
    shards: list[Path] = []
    with log.track("write the data set", publication.survey.rows) as advance:
        for split in publication.survey.splits(publication.benchmark):
            for path, rows in _write_split(publication, split, work):
                counts[split] = counts.get(split, 0) + rows
                shards.append(path)
                advance(rows)
    lines = []
    for path in shards:
        lines.append(f"{hash_file(path)}  {DATA}/{path.name}\n")
        os.replace(path, out / DATA / path.name)
    (out / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
    written = sum(counts.values())
    assert written == publication.survey.rows, f"{written} rows of {publication.survey.rows}"
    return {"read": publication.survey.rows, "kept": written, "splits": counts}


def _write_split(publication: Publication, split: str, work: Path) -> Iterator[tuple[Path, int]]:
    """Yield each shard of a split with its rows; those that a killed run finished are kept."""
    records = _records(publication, split)
    schema = _schema(publication.images)
    number = 0
    while True:
        path = work / f"{split}-{number:05d}.parquet"
        noted = path.with_suffix(".json")
        if (
            noted.is_file() and path.is_file()
        ):  # a kill while files were moved leaves the note alone
            rows = int(json.loads(noted.read_text(encoding="utf-8"))["rows"])
            for _ in range(rows):
                next(records)
        else:
            rows = _write_shard(publication, records, path, schema)
            if rows:
                files.write_durably(noted, json.dumps({"rows": rows}).encode())
        if not rows:
            path.unlink(missing_ok=True)
            return
        yield path, rows
        number += 1


def _records(publication: Publication, split: str) -> Iterator[Record]:
    for dataset in publication.datasets:
        reviewed = is_reviewed(dataset)
        for record in dataset.read():
            if split_name(record.language, reviewed, publication.benchmark) == split:
                yield record


def _write_shard(
    publication: Publication, records: Iterator[Record], path: Path, schema: pa.Schema
) -> int:
    """Write one file from the front of `records` and return how many rows it took."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = written_bytes = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while written < _SHARD_ROWS and written_bytes < _SHARD_BYTES:
            rows: list[dict[str, Any]] = []
            size = 0
            for record in records:
                row, row_bytes = _row(record, publication)
                rows.append(row)
                size += row_bytes
                if len(rows) == _BATCH_ROWS or size >= _BATCH_BYTES:
                    break
            if not rows:
                break
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))
            written += len(rows)
            written_bytes += size
    return written


def _row(record: Record, publication: Publication) -> tuple[dict[str, Any], int]:
    """Return a row, and about how many bytes it is."""
    size = 200
    pictures: list[dict[str, Any]] = []
    for image in record.images:
        if publication.images == "reference":
            pictures.append({"url": image.url, "sha256": image.sha256})
            continue
        data = publication.pictures.read(image.sha256)
        if data is None:
            raise DataError(f"record {record.id!r}: its picture is not there any more.")
        pictures.append({"bytes": data, "path": f"{image.sha256}{_suffix(data)}"})
        size += len(data)
    messages = [
        {
            "role": turn.role,
            "content": [
                {"type": "text", "text": part.text, "index": None}
                if isinstance(part, Text)
                else {"type": "image", "text": None, "index": part.index}
                for part in turn.parts
            ],
        }
        for turn in record.turns
    ]
    size += sum(len(turn.text) for turn in record.turns)
    row = {
        "id": record.id,
        "group": record.group,
        "language": record.language,
        "task": record.task,
        "images": pictures,
        "messages": messages,
        "choices": list(record.choices),
        "answers": list(record.answers),
        "source": record.source,
        "licence": record.licence or UNKNOWN,
        "provenance": record.provenance,
        "parent": record.parent,
        "meta": json.dumps(dict(record.meta), ensure_ascii=False),
    }
    return row, size


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in _SUFFIXES if data.startswith(magic)), "")


def _schema(images: ImageMode) -> pa.Schema:
    """Return the columns, with what `datasets` needs to see pictures in them."""
    try:
        from datasets import Features, Image, List, Value
    except ImportError:
        raise ConfigError(
            "Publishing needs the package `datasets`. Install it: pip install 'ikusi[data]'"
        ) from None
    text = Value("string")
    part = {"type": text, "text": text, "index": Value("int32")}
    picture = Image() if images == "embed" else {"url": text, "sha256": text}
    features = {
        **dict.fromkeys(("id", "group", "language", "task"), text),
        "images": List(picture),
        "messages": List({"role": text, "content": List(part)}),
        **dict.fromkeys(("choices", "answers"), List(text)),
        **dict.fromkeys(("source", "licence", "provenance", "parent", "meta"), text),
    }
    schema: pa.Schema = Features(features).arrow_schema
    return schema
