"""What a study prints and leaves, told by a store in which all of it was made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.study.fabricated import FEW, TINY, fill, plan_of

from ikusi.core.errors import ConfigError, DataError
from ikusi.core.links import read_link
from ikusi.core.store import Store
from ikusi.study.commands import run_study, write_study_report
from ikusi.study.plan import Plan


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Plan, Path]:
    """A plan, and the folder of a store that has all of it."""
    plan = plan_of()
    fill(Store(tmp_path / "store"), plan, plan.cells)
    return plan, tmp_path


def study(folder: Path, *overrides: str, dry_run: bool = False) -> None:
    arguments = ("study", TINY, [*FEW, *overrides], folder / "store", folder / "runs", 1)
    run_study(*arguments, dry_run=dry_run)


def test_lines_links_and_report(
    filled: tuple[Plan, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, folder = filled
    study(folder)
    *cells, last = capsys.readouterr().out.splitlines()
    assert len(cells) == len(plan.cells)
    page = folder / "runs" / "tiny" / "report" / "report.html"
    assert last == f"Report: {page}"
    links = {p.name: read_link(p) for p in page.parent.parent.iterdir() if p.name != "report"}
    assert links.keys() == {
        "best",
        *(f"{b}-{s}-s0" for b in ("pivot", "adapted") for s in (0, 20, 100)),
    }
    assert links["best"] in [target for name, target in links.items() if name != "best"]
    # Nothing new: the page stays as it is, until it is gone or somebody asks.
    written = page.stat().st_mtime_ns
    study(folder)
    assert page.stat().st_mtime_ns == written
    write_study_report(TINY, list(FEW), folder / "store", folder / "runs")
    assert page.stat().st_mtime_ns != written
    page.unlink()
    study(folder)
    assert page.is_file()


def test_a_report_says_what_it_was_made_from(filled: tuple[Plan, Path]) -> None:
    plan, folder = filled
    shutil.rmtree(folder / "store" / plan.cells[0].results)
    write_study_report(TINY, list(FEW), folder / "store", folder / "runs")
    report = folder / "runs" / "tiny" / "report"
    made_from = json.loads((report / "made-from.json").read_text(encoding="utf-8"))
    assert made_from["cells"].keys() == {cell.results for cell in plan.cells[1:]}
    assert "5 of 6 cells are evaluated" in (report / "report.html").read_text(encoding="utf-8")


def test_a_dry_run_writes_nothing(
    filled: tuple[Plan, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = filled
    study(folder, dry_run=True)
    assert "Nothing to do" in capsys.readouterr().out
    study(folder, "study.seeds=[0, 5]", dry_run=True)
    out = capsys.readouterr().out
    assert out.count(" done\n") == out.count(" to do\n") == 6
    assert not (folder / "runs").exists()


def test_no_results_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no result of this study\. Run `ikusi study"):
        write_study_report(TINY, [], tmp_path / "store", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_study_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"several models .* Use `ikusi study quickstart`"):
        run_study("run", "quickstart", [], tmp_path, tmp_path, None, dry_run=True)
