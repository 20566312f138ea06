"""Imports go one way, and nothing heavy is loaded before something is computed."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ikusi

ROOT = Path(ikusi.__file__).parent
LAYERS = (
    ("core",),
    ("pages",),
    ("languages",),
    ("model",),
    ("batch",),
    ("backends",),
    ("data", "evaluate", "train", "world"),
    ("study",),
    ("launch", "offline"),
    ("api",),
    ("ask", "show"),
    ("cli_options",),
    ("cli_data",),
    ("cli",),
    ("__main__",),
)
"""A part may import from the rows above its own; parts in one row not from each other."""
LEVEL = {part: level for level, row in enumerate(LAYERS) for part in row}
COMPUTE = (
    *("model.", "batch.", "api", "ask", "world.encoder", "evaluate.runner"),
    *("train.chat_objective", "train.loop", "train.params"),
)
"""The modules that may import torch; everything else is read on machines without it."""


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the part of ikusi of every import in a file, lazy ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            inside = node.module == "ikusi"
            modules = [f"ikusi.{a.name}" for a in node.names] if inside else [node.module or ""]
        for module in modules:
            if module.startswith("ikusi.") and module != "ikusi.__version__":
                yield node.lineno, module.split(".")[1]


def test_imports_go_from_later_parts_to_earlier_ones() -> None:
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        here = path.relative_to(ROOT)
        part = here.parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        assert part in LEVEL, f"{part}: say in LAYERS what it may import"
        for line, other in imports_of(path):
            if other != part and LEVEL[other] >= LEVEL[part]:
                wrong.append(f"{here}:{line}: {part} must not import {other}")
    assert not wrong, "\n".join(wrong)


def run(code: str) -> str:
    """Run code in a process in which torch and transformers cannot be imported."""
    blocked = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_computes_nothing_needs_no_torch() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages([str(ROOT)], "ikusi.")
        if not module.ispkg and not module.name.removeprefix("ikusi.").startswith(COMPUTE)
    ]
    assert "ikusi.study.plan" in names
    run(f"import importlib\nfor name in {names}: importlib.import_module(name)")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["study", "--help"],
        ["languages", "check", "--help"],
        ["store", "--help"],
        ["study", "quickstart", "--dry-run"],
    ],
)
def test_help_and_plans_need_no_torch(arguments: list[str], tmp_path: Path) -> None:
    code = f"import os; os.chdir({str(tmp_path)!r})\nfrom ikusi.cli import app\n"
    assert run(f"{code}app({arguments}, standalone_mode=False)").strip()


def test_the_command_line_starts_without_anything_heavy() -> None:
    heavy = {"torch", "transformers", "pyarrow", "scipy", "vl_convert", "numpy", "PIL", "pydantic"}
    loaded = run("import ikusi.cli\nprint(*(name for name, m in sys.modules.items() if m))")
    assert not heavy & {*loaded.split()}
