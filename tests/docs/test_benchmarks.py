"""The benchmarks run, on the smallest study; what they measure is looked at by people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.faults.studies import TINY, TWO_CELLS

SCRIPTS = Path(__file__).parent.parent.parent / "benchmarks"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
shared = pytest.mark.xdist_group("tiny study")


def measure(folder: Path, script: str, *options: object) -> dict[str, Any]:
    """Run a benchmark of the tiny study and return what it wrote."""
    out = folder / "out.json"
    command = [sys.executable, SCRIPTS / script, TINY, *TWO_CELLS]
    done = subprocess.run(
        [*map(str, [*command, "--out", out, *options])],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    for row in found["rows"]:
        assert row["what"] in done.stdout
    assert found["conditions"]["versions"]["ikusi"]
    return found


@shared
def test_cost(tiny_study: Path, tmp_path: Path) -> None:
    found = measure(tmp_path, "study_cost.py", "--store", tiny_study / "store", "--cells", 1)
    rows = {row["what"]: row["value"] for row in found["rows"]}
    assert rows["cells of the study"] == 2
    assert 0 < rows["study / independent, recorded"] < 1
    (alone,) = found["details"]["alone"]
    assert alone["not the study's result"] == []
    assert 0 < alone["seconds"] <= alone["wall_seconds"]


@shared
def test_features(tiny_study: Path, tmp_path: Path) -> None:
    options = ("--store", tiny_study / "store", "--steps", 2, "--turns", 1)
    found = measure(tmp_path, "features.py", *options)
    rows = {row["what"]: row["value"] for row in found["rows"]}
    assert rows["largest relative difference of a loss"] < 1e-4
    assert rows["a step, live"] > 0


def test_images(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ("--pictures", "4", "--turns", "1", "--out", str(out))
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "images.py"), *options],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["what"]: row["value"] for row in json.loads(out.read_text())["rows"]}
    assert rows["whole path / Pillow alone"] > 0
    assert rows["Pillow alone, a picture"] > 0


def test_time(tmp_path: Path) -> None:
    found = measure(tmp_path, "study_time.py", "--add", 0.5)
    rows = {row["what"]: row["value"] for row in found["rows"]}
    assert rows["of it, models trained"] == 1
    assert set(found["details"]["one more mixture made"]) == {"mix", "instruct", "evaluate"}
    assert 0 < rows["first cell"] <= rows["all of it"]
    if sys.platform == "linux":
        assert rows["peak memory, shared pages once"] <= rows["peak memory, sum of processes"]


@pytest.mark.parametrize(
    ("script", "size", "row"),
    [
        ("dedup.py", ("--texts", "3000"), "planted questions found"),
        ("columns.py", ("--rows", "20000"), "mix, written: 20,000 rows"),
        (
            "translating.py",
            ("--records", "200", "--latency", "0.05", "--concurrency", "16"),
            "requests a second, by the step",
        ),
        ("records.py", ("--records", "300"), "a record, by the conversation"),
    ],
)
def test_data(tmp_path: Path, script: str, size: tuple[str, ...], row: str) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPTS / script), *size, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["what"]: row["value"] for row in json.loads(out.read_text())["rows"]}
    assert rows[row] > 0
    assert rows.get("planted near-duplicates found", 1) > 0.8
    assert rows.get("planted questions found", 1) == 1
