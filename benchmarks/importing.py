"""Import: records a second and memory, beside reading and writing the same texts with no checks.

    python benchmarks/importing.py llava
    python benchmarks/importing.py cc3m-tsv --rows 200000

The plain way in the same run: JSON or a split of each line, and pyarrow's writer. Times are of the
processor, so that other work on the machine does not count; memory is that of a process which
imports a quarter of the rows, and of one which imports all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from measuring import COMMAND, Row, conditions, parser, tell

from ikusi.core.store import Store
from ikusi.data.import_plan import Request, resolve

FORMATS = ("llava", "cc3m-tsv")
_PEAK = (
    "import resource, sys; from ikusi.__main__ import run; code, line = run(sys.argv[1:]); "
    "print(line or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr); "
    "sys.exit(code)"
)


def write(path: Path, kind: str, rows: int) -> None:
    """Write a source with short texts."""
    with open(path, "w", encoding="utf-8") as stream:
        for n in range(rows):
            if kind == "cc3m-tsv":
                stream.write(f"a brown dog number {n} on a mat\thttps://example.org/{n}.jpg\n")
                continue
            said = [
                {"from": "human", "value": f"<image>\nWhat is number {n}?"},
                {"from": "gpt", "value": f"It is the brown dog number {n}, on a mat."},
            ]
            row = {"id": str(n), "image": f"https://example.org/{n}.jpg", "conversations": said}
            stream.write(json.dumps(row) + "\n")


def read_plainly(path: Path, kind: str, out: Path) -> float:
    """Return the processor's seconds that reading and writing take without ikusi."""
    begun = time.process_time()
    with open(path, encoding="utf-8") as stream, pq.ParquetWriter(out, _schema(kind)) as writer:
        while lines := stream.readlines(1 << 20):
            rows: list[Any]
            if kind == "cc3m-tsv":
                rows = [dict(zip(("caption", "url"), x.split("\t"), strict=True)) for x in lines]
            else:
                rows = [json.loads(line) for line in lines]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, _schema(kind)))
    return time.process_time() - begun


def _schema(kind: str) -> pa.Schema:
    if kind == "cc3m-tsv":
        return pa.schema([("caption", pa.string()), ("url", pa.string())])
    turns = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
    return pa.schema([("id", pa.string()), ("image", pa.string()), ("conversations", turns)])


def peak_mib(folder: Path, path: Path, kind: str) -> int:
    """Return what a process of its own needs at most to import the file."""
    command = [COMMAND[0], "-c", _PEAK, "import", kind, "--from", str(path), "--language", "en"]
    command += ["--store", str(folder / f"store-{path.stem}"), "--runs", str(folder / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stderr.split()[-1])


def main() -> None:
    """Measure and tell."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=100_000)
    arguments = made.parse_args()
    kind, rows = arguments.recipe, arguments.rows
    if kind not in FORMATS:
        made.error(f"one of {', '.join(FORMATS)}")
    where = conditions()
    ending = "tsv" if kind == "cc3m-tsv" else "jsonl"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, quarter = folder / f"whole.{ending}", folder / f"quarter.{ending}"
        write(whole, kind, rows)
        write(quarter, kind, rows // 4)
        plain = read_plainly(whole, kind, folder / "plain.parquet")
        begun = time.process_time()
        wanted = resolve(Request(what=kind, files=whole, language="en"))
        artifact = Store(folder / "store").build(*wanted.plan())
        seconds = time.process_time() - begun
        kept = artifact.stats["kept"]
        small, large = peak_mib(folder, quarter, kind), peak_mib(folder, whole, kind)
    if kept != rows:
        sys.exit(f"{kept} of {rows} rows became records")
    tell(
        arguments,
        where,
        [
            Row("time for 2,000 records", 2000 * seconds / rows, "s", 1.0),
            Row("records a second", rows / seconds, "1/s"),
            Row("time beside plain reading and writing", seconds / plain, "times"),
            Row("memory, all rows", large, "MiB", 1024),
            Row("memory beside a quarter of the rows", large / small, "times", 1.5),
        ],
        {"rows": rows, "seconds": seconds, "plain_seconds": plain},
    )


if __name__ == "__main__":
    main()
