"""Whatever happens to a study, nothing is lost, nothing is left over, and the results are the same.

`IKUSI_SEED=7 pytest tests/faults/test_study_faults.py` chooses other moments.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest
from tests.faults.studies import ENDS, Study, check_one_line, disturb, flip, payloads

SEED = int(os.environ.get("IKUSI_SEED", "0"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("tiny study"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc"),
]


def finish(folder: Path, wanted: dict[str, str]) -> str:
    """Run the study to its end, compare what it made, and return what it said on stderr."""
    study = Study(folder)
    code, out, err = study.end()
    assert code == 0, err
    assert "report.html" in out
    assert payloads(study.store) == wanted
    return err


def test_stopped_and_killed_it_still_gives_the_same(tiny_study: Path, tmp_path: Path) -> None:
    wanted = payloads(tiny_study / "store")
    chance = random.Random(SEED)
    ways = [*ENDS, "kill -9"]
    chance.shuffle(ways)
    finished: dict[Path, int] = {}
    for how in ways:
        study = Study(tmp_path)
        study.wait_for_artifacts(len(finished) + chance.randint(1, len(wanted) // len(ways) - 1))
        disturb(study, how)
        now = {path: path.stat().st_ino for path in study.store.glob("[a-z]*/*/manifest.json")}
        assert finished.items() <= now.items(), f"{how}: lost, or made again"
        finished = now
    finish(tmp_path, wanted)


@pytest.mark.parametrize("pause_seconds", [0.0, 0.02])
def test_interrupted_twice_in_a_row(tmp_path: Path, pause_seconds: float) -> None:
    study = Study(tmp_path)
    study.wait_for_artifacts(2)
    study.press()
    time.sleep(pause_seconds)
    if study.processes():
        study.press()
    code, _, err = study.end()
    assert code == 130
    check_one_line(err, "ikusi: stopped.")


@pytest.mark.parametrize("after_seconds", [0.0, 0.3, 1.0, 2.0])
def test_interrupted_while_it_starts(tmp_path: Path, after_seconds: float) -> None:
    study = Study(tmp_path)
    study.wait_until_it_listens()
    time.sleep(after_seconds)
    study.press()
    code, _, err = study.end()
    assert code == 130
    check_one_line(err, "ikusi: stopped.")


def test_file_too_large_for_the_disk(tmp_path: Path) -> None:
    study = Study(tmp_path, file_bytes=100_000)  # less than a checkpoint
    code, _, err = study.end()
    assert code == 1
    check_one_line(err, "larger than the disk")
    assert list(study.store.glob("encoder/*")) == []


def test_damaged_artifacts_are_never_used(tiny_study: Path, tmp_path: Path) -> None:
    wanted = payloads(tiny_study / "store")
    chance = random.Random(SEED)
    shutil.copytree(tiny_study / "store", tmp_path / "store")
    results = sorted((tmp_path / "store" / "evaluate").glob("pivot-[0-9]*-s0-*/results.parquet"))
    results[0].write_bytes(results[0].read_bytes()[:-100])  # read by the report alone
    shutil.rmtree(results[1].parent)  # has to be done again, from what is damaged
    for weights in (tmp_path / "store").glob("instruct/*/model/model.safetensors"):
        flip(weights, chance)
    for pictures in (tmp_path / "store").glob("pictures/instruct-*/images/*.arrow"):
        flip(pictures, chance)
    err = finish(tmp_path, wanted)
    assert "is damaged" in err
    assert "built again" in err
