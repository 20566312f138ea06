"""What the benchmarks share: the conditions of a measurement, its file and its table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ikusi.study.summary import versions

RESULTS = Path(__file__).parent / "results"
COMMAND = (sys.executable, "-m", "ikusi")


@dataclass(frozen=True)
class Row:
    """One number, and the largest that it may be."""

    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """Return whether the limit is kept, in a word."""
        if self.limit is None:
            return ""
        return "within" if self.value <= self.limit else "OVER"


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("recipe", help="name of a recipe, or a YAML file")
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    made.add_argument("--out", type=Path, help="default: benchmarks/results/<this>-<recipe>.json")
    return made


def conditions() -> dict[str, Any]:
    """Return where and when something is measured; the load is that before it begins."""
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(int((_line("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1),
        "versions": versions(),
    }
    if hasattr(os, "getloadavg"):
        found["load_before"] = round(os.getloadavg()[0], 2)
    return found


def _line(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((x.partition(":")[2].strip() for x in lines if x.startswith(key)), None)


def tell(
    arguments: argparse.Namespace,
    where: dict[str, Any],
    rows: Sequence[Row],
    details: dict[str, Any],
) -> None:
    """Print the rows as a table, and write all of it to a file."""
    script, recipe = Path(sys.argv[0]).stem, Path(arguments.recipe).stem
    versions_told = ", ".join(f"{name} {v}" for name, v in where["versions"].items())
    load = f", load before {where['load_before']}" if "load_before" in where else ""
    print(f"\n{script} {' '.join([recipe, *arguments.overrides])}: {where['processor']}, ", end="")
    print(f"{where['cores']} cores, {where['memory_gib']} GiB{load}; {versions_told}")
    width = max(len(row.what) for row in rows)
    for row in rows:
        limit = "" if row.limit is None else f"limit {row.limit:g} {row.unit}, {row.verdict}"
        print(f"  {row.what:<{width}}  {row.value:>10.4g} {row.unit:<8} {limit}".rstrip())
    file = arguments.out or RESULTS / f"{script}-{recipe}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": script,
        "recipe": recipe,
        "overrides": arguments.overrides,
        "conditions": where,
        "rows": [asdict(row) | {"verdict": row.verdict} for row in rows],
        "details": details,
    }
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Wrote {file}")
