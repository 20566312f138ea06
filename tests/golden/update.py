"""File what every step's output comes to now: `python -m tests.golden.update` in the repository."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from tests.golden.cases import Chain, outcome, write_packs

from ikusi.study.steps import STEPS

FILE = Path(__file__).parent / "golden.json"


def main() -> None:
    """Rewrite golden.json, and say which outputs changed without their version."""
    filed = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        write_packs(Path(folder) / "languages")
        os.chdir(folder)
        chain = Chain(Path(folder) / "store")
        for kind, (version, _) in STEPS.items():
            key = f"{kind} {version}"
            # through JSON, so that it compares like what was filed
            made[key] = json.loads(json.dumps(outcome(kind, chain)))
            if key not in filed:
                print(f"{key}: new")
            elif filed[key] != made[key]:
                print(f"{key}: changed, with the same version. Was that one released? Raise it.")
        os.chdir(FILE.parent)
    FILE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
