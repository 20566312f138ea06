"""The whole chain in other languages than the recipes', one of them added by the docs alone."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

from ikusi.evaluate.results import read_results
from ikusi.languages.rules import PLACEHOLDERS

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "languages.md"
ONE_CELL = (
    "study.axes={model.llm: [world/adapted], instruct.mixture.multimodal.target_share: [0.2]}"
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SPLITS = {"main", "wording", "design", "probe", "text", "blank", "shuffled"}


def shell(command: str, folder: Path) -> str:
    """Run a command line in `folder`, with this ikusi first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def study(folder: Path, *overrides: str) -> dict[tuple[str, str], set[str]]:
    """Run the smallest study, and return (language, split) -> tasks that there are scores of."""
    arguments = " ".join(f"'{text}'" for text in (*overrides, ONE_CELL))
    shell(f"ikusi study {HERE / 'tiny.yaml'} {arguments}", folder)
    with open(folder / "runs/tiny/report/tasks.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] in PLACEHOLDERS]
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        found.setdefault((row["language"], row["split"]), set()).add(row["task"])
    return found


@pytest.mark.parametrize(("pivot", "target"), [("en", "cy"), ("es", "gl")])
def test_another_pair_of_languages_is_an_override(pivot: str, target: str, tmp_path: Path) -> None:
    found = study(tmp_path, f"target={target}", f"pivot={pivot}")
    assert {language for language, _ in found} == {pivot, target}
    for language in (pivot, target):
        assert {split for code, split in found if code == language} >= SPLITS
        assert found[language, "main"] == found[language, "wording"]
        assert found[language, "main"] | found[language, "text"] == {*PLACEHOLDERS}


def test_the_docs_alone_add_a_language_from_a_sheet_with_one_sentence(tmp_path: Path) -> None:
    section = DOCS.read_text(encoding="utf-8").split("\n## ")[1]
    assert section.startswith("Add a language by a spreadsheet")
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    commands = [text for kind, text in blocks if kind == "bash"]
    shown = next(text for kind, text in blocks if not kind)
    said = shell("\n".join(commands), tmp_path)
    for line in shown.splitlines():
        assert line.strip() in said or line.strip() == "..."

    (last,) = [text.strip() for kind, text in blocks if kind == "console"]
    assert last == "$ ikusi study quickstart target=qu"
    planned = shell(f"ikusi study {HERE / 'tiny.yaml'} target=qu --dry-run", tmp_path)
    assert "Tasks left out" in planned and "to get `caption`" in planned
    found = study(tmp_path, "target=qu")
    for language in ("qu", "en"):
        assert found[language, "main"] == found[language, "text"] == {"what"}
    assert ("qu", "wording") not in found  # nothing is held out of one sentence
    report = (tmp_path / "runs/tiny/report/report.html").read_text(encoding="utf-8")
    for task in PLACEHOLDERS:
        assert task == "what" or re.search(rf"left out[^.]*\b{task}\b", report)
    assert "to get `caption`" in report

    (results,) = (tmp_path / "store" / "evaluate").glob("adapted-20-*/results.parquet")
    prompts = read_results(results).filter(pc.field("language") == "qu")["prompt"].to_pylist()
    assert prompts and all(prompt.endswith("Imataq kay?") for prompt in prompts)


def test_a_partial_pack_with_some_words_runs_with_the_tasks_that_they_are_enough_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "languages").mkdir()
    (tmp_path / "languages" / "quz.yaml").write_text(
        """
code: quz
names: {own: Runasimi}
ids: {cldr: qu}
yes_no: {yes: [arí], no: [manan]}
terms:
  colours: {red: puka, blue: anqas}
scene: "Kaypi: {cells}. Llimphi: {colour}."
tasks:
  what: ["Imataq kay?", "Ima kayta rikunki?", "Imataq kaypi kachkan?"]
  exists: ["Kaypichu kachkan: {name}?"]
""",
        encoding="utf-8",
    )
    found = study(tmp_path, "target=quz", "world.probe=0", "instruct.mixture.pivot_only.share=0")
    assert found["quz", "main"] == found["en", "main"] == {"what", "exists"}
    assert found["quz", "wording"] == {"what"}
    assert ("quz", "probe") not in found
