"""Other connectors, and models from folders, go through the same study."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.studies import TINY

ONE_SHARE = "study.axes.instruct.mixture.multimodal.target_share=[0.2]"
ONE_LLM = "study.axes.model.llm=[world/adapted]"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("tiny study"),
]


@pytest.fixture
def store(tiny_study: Path, tmp_path: Path) -> Path:
    """A copy of a store that has much of it already; the original is compared with others."""
    return shutil.copytree(tiny_study / "store", tmp_path / "store", symlinks=True)


def study(store: Path, *overrides: str) -> str:
    """Run a tiny study over what `store` has already, and return its line of scores."""
    command = [sys.executable, "-m", "ikusi", "study", str(TINY), ONE_SHARE, *overrides]
    done = subprocess.run(command, cwd=store.parent, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return cell


@pytest.mark.parametrize(
    "connector", [["model.connector=mlp"], ["model.connector=pixel-shuffle", "model.scale=3"]]
)
def test_other_connectors(connector: list[str], store: Path) -> None:
    assert "eu 0." in study(store, ONE_LLM, *connector)


def test_models_from_folders(store: Path) -> None:
    (tower,) = store.glob("encoder/*/model")
    (backbone,) = store.glob("text/pivot-*/model")
    models = [f"study.axes.model.llm=['{backbone}']", f"model.vision={tower}"]
    assert "eu 0." in study(store, *models)
