"""A tiny study from the command line to its report, and again, and with a share more."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.browser import chromium, needs_chromium, open_quietly

from ikusi.core.artifact import Artifact
from ikusi.core.store import Store

TINY = Path(__file__).parent.parent / "tiny.yaml"
CONTROLS = "study.controls=true"
SHARE = "study.axes.instruct.mixture.multimodal.target_share=[0.2, 1.0, 0.0, 0.5]"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny grid")]


def ikusi(folder: Path, *arguments: str, python: tuple[str, ...] = ()) -> tuple[str, str]:
    """Run a command in `folder` and return its stdout and stderr."""
    done = subprocess.run(
        [sys.executable, *python, "-m", "ikusi", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a study that ran, and what it printed."""
    folder = tmp_path_factory.mktemp("study")
    return folder, ikusi(folder, "study", str(TINY), CONTROLS)[0]


def artifacts(folder: Path, kind: str | None = None) -> dict[str, Artifact]:
    return {artifact.address: artifact for artifact in Store(folder / "store").ls(kind)}


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "runs" / "tiny" / "report" / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_each_cell_is_a_line_and_the_last_one_names_the_report(study: tuple[Path, str]) -> None:
    folder, out = study
    *cells, last = out.splitlines()
    assert len(cells) == 10
    assert all(re.search(r"% target, seed 0.* eu \d\.\d{3}  en \d\.\d{3}$", c) for c in cells)
    assert last == "Report: " + str(Path("runs", "tiny", "report", "report.html"))
    assert (folder / last.removeprefix("Report: ")).is_file()


def test_the_reports_scores_are_those_of_the_answers(study: tuple[Path, str]) -> None:
    folder, _ = study
    by_model = {a.manifest.inputs["model"]: a for a in artifacts(folder, "evaluate").values()}
    cells, tasks = rows(folder, "cells.csv"), rows(folder, "tasks.csv")
    assert len(cells) == 10
    for cell in cells:
        counted: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
        answers = pq.read_table(by_model[cell["address"]].path / "results.parquet").to_pylist()
        for row in answers:
            counted[row["language"], row["split"], row["task"]].append(row["correct"])
        place = {name: cell[name] for name in ("backbone", "share", "seed", "control")}
        told = {
            (row["language"], row["split"], row["task"]): float(row["score"])
            for row in tasks
            if place.items() <= row.items() and row["task"] != "macro"
        }
        told = {key: value for key, value in told.items() if key[1] != "text_before"}
        assert told == pytest.approx({k: np.mean(v) for k, v in counted.items()}, abs=1e-6)
        for who, language in (("target", "eu"), ("pivot", "en")):
            means = [np.mean(v) for k, v in counted.items() if k[:2] == (language, "main")]
            assert float(cell[f"{who}_main"]) == pytest.approx(np.mean(means), abs=1e-6)


def test_stages_tell_the_tokens_of_each_language(study: tuple[Path, str]) -> None:
    folder, _ = study
    made, cells = artifacts(folder), rows(folder, "cells.csv")
    for cell in cells:
        model = made[cell["address"]]
        counts = model.stats["by_language"]
        mixture = made[model.manifest.inputs["mixture"]].stats
        for language, of in counts.items():
            there = sum(part.get(language, 0) for part in mixture["counts"].values())
            assert of["samples"] == there > 0
            assert 0 < of["supervised_tokens"] < of["tokens"]
        whole = sum(of["supervised_tokens"] for of in counts.values())
        share = counts["eu"]["supervised_tokens"] / whole
        assert float(cell["target_token_share"]) == pytest.approx(share, abs=1e-6)
    plain = [float(cell["target_token_share"]) for cell in cells if not cell["control"]]
    assert min(plain) < 0.3 and max(plain) > 0.8


def test_results_name_the_picture_that_was_shown(study: tuple[Path, str]) -> None:
    folder, _ = study
    for artifact in artifacts(folder, "evaluate").values():
        answers = pq.read_table(artifact.path / "results.parquet").to_pylist()
        shown = {
            split: {
                (r["group"], r["task"]): r["image_sha256"] for r in answers if r["split"] == split
            }
            for split in ("main", "wording", "design", "blank", "shuffled", "text")
        }
        assert set(shown["text"].values()) == {None}
        if shown["main"]:
            assert shown["main"] == shown["wording"]
            assert len(set(shown["blank"].values())) == 1
            assert shown["main"].keys() >= shown["shuffled"].keys()
            assert all(shown["main"][key] != image for key, image in shown["shuffled"].items())


def test_steps_tell_their_time_and_memory(study: tuple[Path, str]) -> None:
    for artifact in artifacts(study[0]).values():
        assert 0 <= artifact.stats["seconds"] <= artifact.manifest.seconds + 1
        assert 10 < artifact.stats["peak_memory_mb"] < 8000
    costs = rows(study[0], "costs.csv")
    assert sum(int(row["steps"]) for row in costs) == len(artifacts(study[0]))


def test_every_cell_and_the_best_one_are_linked(study: tuple[Path, str]) -> None:
    folder, _ = study
    links = {p.name for p in (folder / "runs" / "tiny").iterdir()} - {"report"}
    assert len(links) == 11
    assert {"best", "pivot-20-s0", "adapted-20-s0-target_alone_equal_steps"} <= links
    grid = [row for row in rows(folder, "cells.csv") if not row["control"]]
    best = Store(folder / "store").locate(folder / "runs" / "tiny" / "best")
    top = max(float(row["target_main"]) for row in grid)
    assert best.address in {r["address"] for r in grid if float(r["target_main"]) == top}


def test_a_second_run_does_nothing_and_loads_nothing_to_compute_with(
    study: tuple[Path, str],
) -> None:
    folder, out = study

    def state() -> dict[Path, tuple[int, int]]:
        found = {}
        for path in [*(folder / "store").rglob("*"), *(folder / "runs").rglob("report/*")]:
            if path.name != "manifest.json":  # its time tells when it was last used
                status = path.lstat()
                found[path] = (status.st_mtime_ns, status.st_size)
        return found

    before = state()
    again, err = ikusi(folder, "study", str(TINY), CONTROLS, python=("-X", "importtime"))
    assert state() == before
    told = [re.sub(r"^\[.*?\] ", "", line) for line in out.splitlines()]
    # Cells are told in the order of the plan now, and were in the order in which they ended.
    assert sorted(re.sub(r"^\[.*?\] ", "", line) for line in again.splitlines()) == sorted(told)
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines() if "|" in line}
    assert "ikusi.study.summary" in loaded
    assert not loaded & {"torch", "transformers", "vl_convert", "scipy", "multiprocessing.pool"}


def test_a_dry_run_tells_what_is_left(study: tuple[Path, str]) -> None:
    folder, _ = study
    assert "Nothing to do" in ikusi(folder, "study", str(TINY), CONTROLS, "--dry-run")[0]
    before = artifacts(folder).keys()
    out, _ = ikusi(folder, "study", str(TINY), CONTROLS, SHARE, "--dry-run")
    assert artifacts(folder).keys() == before
    assert out.count("to do\n") == 2
    assert f"{len(before) + 5} steps, {len(before)} of them in the store" in out
    assert re.search(r"Time: about .* by what such steps took here\.", out)


def test_the_report_is_written_again_without_training(study: tuple[Path, str]) -> None:
    folder, _ = study
    page = folder / "runs" / "tiny" / "report" / "report.html"
    before = page.read_bytes()
    shutil.rmtree(page.parent)
    out, _ = ikusi(folder, "report", str(TINY), CONTROLS)
    assert out == f"Report: {page.relative_to(folder)}\n"
    assert page.read_bytes() == before


def test_a_report_without_results_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ikusi", "report", str(TINY)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "has no result of this study. Run `ikusi study " in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_added_share_runs_only_its_own_steps(study: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(study[0] / "store", tmp_path / "store", symlinks=True)
    before = artifacts(tmp_path)
    out, _ = ikusi(tmp_path, "study", str(TINY), CONTROLS, SHARE)
    added = artifacts(tmp_path).keys() - before.keys()
    kinds = sorted(address.partition("/")[0] for address in added)
    assert kinds == ["evaluate", "evaluate", "instruct", "instruct", "mix"]
    assert len(out.splitlines()) == 13


@needs_chromium
def test_the_report_opens_in_chromium(study: tuple[Path, str]) -> None:
    with chromium() as browser:
        page = open_quietly(browser, study[0] / "runs/tiny/report/report.html", 1100)
        assert page.locator("figure svg").count() >= 10
        assert page.locator("img").evaluate_all("all => all.every(i => i.naturalWidth === 96)")
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    colours = shot.getcolors(shot.width * shot.height)
    assert colours is not None
    assert len(colours) > 500
    assert max(count for count, _ in colours) < 0.95 * shot.width * shot.height
