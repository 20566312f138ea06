"""File what every step's output comes to now: `python -m tests.golden.update` in the repository."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from tests.golden.cases import FILE, Chain, outcome, versions, write_packs

from ikusi.study.steps import STEPS


def main() -> None:
    """Rewrite golden.json, and say which outputs changed without their version."""
    filed = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        write_packs(Path(folder) / "languages")
        os.chdir(folder)
        chain = Chain(Path(folder) / "store")
        # through JSON, so that they compare like what was filed
        made = json.loads(json.dumps({kind: outcome(kind, chain) for kind in STEPS}))
        os.chdir(FILE.parent)
    if filed.get("versions") == versions():
        for kind in STEPS:
            if made[kind] != filed["outcomes"][kind]:
                print(f"{kind}: changed, with the same version, and so may what is made from it")
                break
    text = json.dumps({"versions": versions(), "outcomes": made}, indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
