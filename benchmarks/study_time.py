"""How long a study takes and how much memory, from the command line and an empty store.

    python benchmarks/study_time.py quickstart --add 0.5

Measures `ikusi --help`, a dry run, the first cell's result, all of the study, the same again with
nothing changed, and the study with one more mixture. The memory is that of all processes of the
study together, looked at twice a second (Linux).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import COMMAND, Row, conditions, parser, tell

from ikusi.study.recipe import read_recipe
from ikusi.study.run import default_workers

SHARE = "instruct.mixture.multimodal.target_share"
LIMITS: dict[str, dict[str, float]] = {
    "quickstart": {"first": 6, "all": 15},
    "miniature": {"all": 120},
}
"""Recipe -> minutes that it may take."""


@dataclass
class Timed:
    """A command that ran: when it said what, and what it took."""

    seconds: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)
    proportional: int = 0
    """Peak of the memory, each page that several processes share counted once; bytes."""
    resident: int = 0
    """The same with shared pages counted for each of them."""


def main() -> None:
    """Choose a folder, and measure there."""
    arguments = parser(__doc__)
    arguments.add_argument("--workers", type=int, default=default_workers())
    arguments.add_argument("--add", type=float, metavar="SHARE", help="one more target share")
    arguments.add_argument("--keep", type=Path, metavar="FOLDER", help="for its store; a new one")
    chosen = arguments.parse_args()
    where = conditions() | {"workers": chosen.workers}
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True)
        measure(chosen, where, chosen.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="ikusi-study-time-") as folder:
            measure(chosen, where, Path(folder))


def measure(chosen: Any, where: dict[str, Any], folder: Path) -> None:
    """Measure in a folder without a store, and tell."""
    name = str(Path(chosen.recipe).resolve()) if Path(chosen.recipe).is_file() else chosen.recipe
    recipe, _ = read_recipe(name, chosen.overrides)
    study = ("study", name, *chosen.overrides, "--workers", str(chosen.workers))
    limits = LIMITS.get(recipe.name, {})
    help_seconds = statistics.median(run(folder, "--help").seconds for _ in range(5))
    dry = run(folder, *study, "--dry-run")
    first = run(folder, *study)
    cells = [(at, line) for at, line in first.lines if line.startswith("[")]
    again = run(folder, *study)
    rows = [
        Row("ikusi --help, median of 5", help_seconds, "s", 0.5),
        Row("dry run", dry.seconds, "s"),
        Row("first cell", cells[0][0] / 60, "min", limits.get("first")),
        Row("all of it", first.seconds / 60, "min", limits.get("all")),
        Row("again, nothing changed", again.seconds, "s", 5),
    ]
    if first.proportional:
        rows.append(Row("peak memory, shared pages once", first.proportional / 2**30, "GiB", 3))
        rows.append(Row("peak memory, sum of processes", first.resident / 2**30, "GiB"))
    details: dict[str, Any] = {"cells": [line for _, line in cells]}
    if chosen.add is not None:
        shares = recipe.study.axes.get(SHARE, ())
        assert shares and chosen.add not in shares, f"{recipe.name} has the shares {shares}"
        before = manifests(folder)
        value = json.dumps([*shares, chosen.add])
        more = run(folder, *study, f"study.axes.{SHARE}={value}")
        made = Counter(address.partition("/")[0] for address in manifests(folder) - before)
        new = len(recipe.study.seeds) * len(recipe.study.axes.get("model.llm", (0,)))
        rows.append(Row("one more mixture", more.seconds / 60, "min"))
        rows.append(Row("of it, models trained", made["instruct"], "cells", new))
        details["one more mixture made"] = dict(made)
    tell(chosen, where, rows, details)


def run(folder: Path, *arguments: str) -> Timed:
    """Run ikusi in `folder` and return what it took."""
    timed = Timed()
    begun = time.monotonic()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    over = threading.Event()
    watch = threading.Thread(target=watch_memory, args=(process.pid, timed, over))
    watch.start()
    assert process.stdout is not None
    for line in process.stdout:
        timed.lines.append((time.monotonic() - begun, line.rstrip()))
    code = process.wait()
    timed.seconds = time.monotonic() - begun
    over.set()
    watch.join()
    assert code == 0, f"ikusi {' '.join(arguments)} exited with {code}"
    return timed


def watch_memory(session: int, timed: Timed, over: threading.Event) -> None:
    """Note the peaks of what the processes of a session take together."""
    while not over.wait(0.5):
        proportional = resident = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(path.read_text().rpartition(")")[2].split()[3]) != session:
                    continue
                lines = (path.parent / "smaps_rollup").read_text().splitlines()
            except OSError:  # it has ended
                continue
            sizes = {line.split()[0]: line.split()[1] for line in lines[1:]}
            proportional += 1024 * int(sizes["Pss:"])
            resident += 1024 * int(sizes["Rss:"])
        timed.proportional = max(timed.proportional, proportional)
        timed.resident = max(timed.resident, resident)


def manifests(folder: Path) -> set[str]:
    """Return the addresses of what the store has finished."""
    root = folder / "store"
    found = root.glob("[a-z]*/*/manifest.json")
    return {path.parent.relative_to(root).as_posix() for path in found}


if __name__ == "__main__":
    main()
