"""Write a generated text, or with `--check` only say whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def settle(path: Path, text: str) -> None:
    """Make `text` the content of a file; with `--check` exit with 1 where it is another."""
    name, script = path.relative_to(ROOT), Path(sys.argv[0]).name
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    if "--check" in sys.argv[1:]:
        sys.exit(f"{name} is not up to date. Run: .venv/bin/python scripts/{script}")
    path.write_text(text, encoding="utf-8")
    print(f"Wrote {name}.")
