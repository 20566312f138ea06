"""The report: complete, the same as its CSV, and harmless whatever a model answers."""

from __future__ import annotations

import csv
import dataclasses
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from tests.browser import chromium, needs_chromium, open_quietly

from ikusi.evaluate.report import Cost, Sample, StudySummary, analyse, write_report
from ikusi.evaluate.results import result_table
from ikusi.pages.markup import POLICY, Markup, clean, escape, tag

StudyOf = Callable[..., StudySummary]
HOSTILE = (
    "<script>alert(1)</script>",
    "</style><script>alert(2)</script>",
    "</svg><img src=x onerror=alert(3)>",
    '" onload="alert(4)',
    "a\u202egnp.exe\u202c",
    "nul\x00 bell\x07 esc\x1b[31m",
    "]]> --> | `code` \\input{x} $ & %",
    "{{ 1 + 1 }} {0} %s",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, whole_study: StudySummary) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert write_report(out, whole_study) == out / "report.html"
    return out


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def pick(table: list[dict[str, str]], **wanted: object) -> list[dict[str, str]]:
    return [row for row in table if all(row[k] == str(v) for k, v in wanted.items())]


def test_files(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        *("report.html", "report.md", "tables.tex"),
        *("cells.csv", "tasks.csv", "curves.csv", "claims.csv", "costs.csv"),
    }


def test_sections_in_order(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        "The two claims, in this toy world",
        "Score by target share",
        "Samples",
        "Tasks",
        "What is held out",
        "Without the picture",
        "In which language it answers",
        "What it forgot",
        "Controls",
        "All cells",
        "What it cost",
        "How to reproduce",
    ]
    assert "it demonstrates the instrument, it does not replicate the paper" in page
    assert "ikusi study quickstart" in page
    assert "Left out for lack of wordings" in page
    assert "Not complete" not in page


def test_same_study_same_report(tmp_path: Path, study_of: StudyOf) -> None:
    small = {"shares": (0.0, 0.2, 1.0), "seeds": (0,), "per_task": 10}
    pages = [write_report(tmp_path / n, study_of(**small)).read_bytes() for n in ("a", "b")]
    assert pages[0] == pages[1]


# --- the figures can be recomputed from the CSV ---------------------------------------------


def test_task_rows_from_results(folder: Path, whole_study: StudySummary) -> None:
    """tasks.csv against a plain count over the results."""
    tasks = rows(folder, "tasks.csv")
    cell = whole_study.cells[7]
    place = {"backbone": cell.backbone, "share": cell.target_share, "seed": cell.seed}
    results = cell.results.to_pylist()
    for language, split, task in (("eu", "main", "what"), ("en", "probe", "choice")):
        here = [
            r for r in results if (r["language"], r["split"], r["task"]) == (language, split, task)
        ]
        [row] = pick(tasks, **place, control="", language=language, split=split, task=task)
        assert int(row["n"]) == len(here)
        assert float(row["score"]) == pytest.approx(np.mean([r["correct"] for r in here]), abs=1e-6)
        wrong = {"eu": "pivot", "en": "target"}[language]
        share = np.mean([r["said"] == wrong for r in here])
        assert float(row["wrong_language"]) == pytest.approx(share, abs=1e-6)
        assert float(row["lower"]) <= float(row["score"]) <= float(row["upper"])
        golds = [r["gold"] for r in here]
        majority = max(golds.count(gold) for gold in golds) / len(golds)
        assert float(row["majority"]) == pytest.approx(majority, abs=1e-6)


def test_macro_rows_from_task_rows(folder: Path) -> None:
    tasks = rows(folder, "tasks.csv")
    names = ("backbone", "share", "seed", "control", "language", "split")
    by_place: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in tasks:
        by_place.setdefault(tuple(row[n] for n in names), {})[row["task"]] = row
    for place, here in by_place.items():
        macro = here.pop("macro")
        for column in ("score", "majority", "likelihood_score"):
            mean = np.mean([float(row[column]) for row in here.values() if row[column]])
            assert float(macro[column]) == pytest.approx(mean, abs=2e-6), place
    cells = rows(folder, "cells.csv")
    assert len(cells) == 48
    for row in cells:
        for column, split in (("main", "main"), ("probe", "probe"), ("text_after", "text")):
            place = (row["backbone"], row["share"], row["seed"], row["control"], "eu", split)
            found = pick(tasks, **dict(zip(names, place, strict=True)), task="macro")
            assert row[f"target_{column}"] == found[0]["score"]


def test_curves_from_cells(folder: Path) -> None:
    """Every value that is drawn is a mean, a ratio or a difference of cells.csv and tasks.csv."""
    tasks, curves = rows(folder, "tasks.csv"), rows(folder, "curves.csv")
    scores: dict[tuple[str, ...], list[float]] = {}
    said: dict[tuple[str, ...], list[float]] = {}
    for row in tasks:
        place = (row["backbone"], row["share"], row["control"], row["language"], row["split"])
        scores.setdefault((*place, row["task"]), []).append(float(row["score"]))
        for name in ("said_target", "said_pivot", "said_both", "said_neither", "right_elsewhere"):
            if row["task"] == "macro":
                said.setdefault((*place, name), []).append(float(row[name]))

    def mean(row: dict[str, str], **other: str) -> float:
        row = row | other
        names = ("backbone", "share", "control", "language", "split", "task")
        return float(np.mean(scores[tuple(row[n] for n in names)]))

    checked = set()
    for row in curves:
        measure = row["measure"]
        if measure == "score":
            expected = mean(row)
        elif measure in ("gain_over_blank", "gain_over_shuffled"):
            expected = mean(row) - mean(row, split=measure.removeprefix("gain_over_"))
        elif measure == "text_change":
            expected = mean(row) - mean(row, split="text_before")
        elif measure == "ratio_to_full":
            expected = mean(row) / mean(row, share="1.0")
        elif measure == "gap":
            one, other = row["backbone"].split(" − ")
            expected = mean(row, backbone=one) - mean(row, backbone=other)
        elif measure == "mixture_minus_control":
            expected = mean(row, control="") - mean(row)
        else:
            names = ("backbone", "share", "control", "language", "split", "measure")
            expected = float(np.mean(said[tuple(row[n] for n in names)]))
        assert float(row["value"]) == pytest.approx(expected, abs=1e-5), row
        if row["lower"]:
            assert float(row["lower"]) <= float(row["value"]) <= float(row["upper"])
        checked.add(measure)
    assert len(checked) == 12


def test_claims_from_curves(folder: Path) -> None:
    curves, claims = rows(folder, "curves.csv"), rows(folder, "claims.csv")
    assert [row["claim"] for row in claims] == ["enough", "enough", "backbone"]
    for row in claims:
        measure = {"enough": "ratio_to_full", "backbone": "gap"}[row["claim"]]
        [drawn] = pick(curves, measure=measure, share=0.2, backbone=row["subject"])
        assert [row[k] for k in ("value", "lower", "upper")] == [
            drawn[k] for k in ("value", "lower", "upper")
        ]
        if row["claim"] == "enough":
            outcome = "undecided here"
            outcome = "supported" if float(row["lower"]) >= 0.9 else outcome
            outcome = "contradicted" if float(row["upper"]) < 0.9 else outcome
            assert row["outcome"] == outcome


def test_plots_show_the_curves(folder: Path) -> None:
    """Each point of each plot carries its value: all of them are in curves.csv."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    curves = rows(folder, "curves.csv")
    known = {(round(float(r["share"]), 4), round(float(r["value"]), 4)) for r in curves}
    points = re.findall(r'aria-label="target share: ([\d.]+)%; value: ([−\d.]+);', page)
    assert len(points) > 100
    for share, value in points:
        number = float(value.replace("−", "-"))
        assert (round(float(share) / 100, 4), round(number, 4)) in known
    drawn = {(round(float(s) / 100, 4), round(float(v.replace("−", "-")), 4)) for s, v in points}
    for row in curves:
        if row["measure"] in ("ratio_to_full", "gap", "text_change") and not row["control"]:
            assert (round(float(row["share"]), 4), round(float(row["value"]), 4)) in drawn


def test_tables_show_the_curves(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = (folder / "report.md").read_text(encoding="utf-8")
    tex = (folder / "tables.tex").read_text(encoding="utf-8")
    for row in pick(rows(folder, "curves.csv"), measure="score", split="main", control=""):
        value, lower, upper = (float(row[k]) for k in ("value", "lower", "upper"))
        assert f"{value:.2f} <small>{lower:.2f} to {upper:.2f}</small>" in page
        assert f"{value:.3f} ({lower:.3f} to {upper:.3f})" in text
        if row["task"] == "macro":
            assert f"{value:.3f} ({lower:.3f} to {upper:.3f})" in tex


# --- incomplete and odd studies ---------------------------------------------------------------


def test_incomplete(tmp_path: Path, study_of: StudyOf) -> None:
    study = study_of(
        shares=(0.2,), seeds=(0,), backbones=("a",), controls=False, more=5, per_task=5
    )
    page = write_report(tmp_path, study).read_text(encoding="utf-8")
    assert "1 of 6 cells" in page
    assert "1 of 6 cells" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "no seed has both 20% and 100%" in page.lower()
    assert "Controls" not in page


def test_no_cells_yet(tmp_path: Path, study_of: StudyOf) -> None:
    study = dataclasses.replace(study_of(seeds=(), samples=0), expected_cells=6)
    page = write_report(tmp_path, study).read_text(encoding="utf-8")
    assert "0 of 6 cells" in page
    assert "There is nothing to compare yet" in page
    assert rows(tmp_path, "cells.csv") == []


def test_one_seed_is_undecided(tmp_path: Path, study_of: StudyOf) -> None:
    study = study_of(shares=(0.0, 0.2, 1.0), seeds=(0,), controls=False, per_task=20)
    page = write_report(tmp_path, study).read_text(encoding="utf-8")
    assert page.count("? undecided here") == 3
    assert all(r["outcome"] == "undecided here" for r in rows(tmp_path, "claims.csv"))


def test_bare_results(tmp_path: Path, study_of: StudyOf) -> None:
    """Only the main split in one language, no text before, no likelihoods, no samples."""
    study = study_of(
        shares=(0.2, 1.0),
        controls=False,
        per_task=5,
        splits=("main",),
        languages=("eu",),
        samples=0,
    )
    cells = []
    for cell in study.cells:
        unscored = [row | {"likely_correct": None} for row in cell.results.to_pylist()]
        table = result_table(unscored)
        cells.append(dataclasses.replace(cell, text_before=None, results=table))
    bare = dataclasses.replace(
        study, cells=cells, recipe="", reproduce=(), costs=(), peak_memory_bytes=None, notes=()
    )
    page = write_report(tmp_path, bare).read_text(encoding="utf-8")
    assert "Without the picture" not in page
    assert "What it cost" not in page
    assert "nan" not in (tmp_path / "tasks.csv").read_text(encoding="utf-8")
    assert rows(tmp_path, "tasks.csv")[0]["likelihood_score"] == ""


# --- hostile strings --------------------------------------------------------------------------


def hostile_study(study_of: StudyOf) -> StudySummary:
    nasty = " ".join(HOSTILE)
    study = study_of(
        backbones=(HOSTILE[0], HOSTILE[2]),
        shares=(0.2, 1.0),
        seeds=(0, 1),
        per_task=4,
        answer=nasty,
    )
    answers = {text: (text, False) for text in HOSTILE}
    picture = study.samples[0].picture
    samples = [
        Sample(
            picture=data,
            task=nasty,
            group=nasty,
            question=nasty,
            gold=nasty,
            language='"><b>',
            answers=answers,
        )
        for data in (picture, b"", b"GIF89a<script>", picture[:10])
    ]
    return dataclasses.replace(
        study,
        title=nasty,
        language_names={"eu": HOSTILE[1], "en": HOSTILE[4]},
        recipe="```\n" + nasty,
        notes=[nasty],
        reproduce=[nasty],
        vocabulary=nasty,
        costs=[Cost(nasty)],
        samples=samples,
    )


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


def check_harmless(page: str) -> None:
    parser = Page()
    parser.feed(page)
    assert not parser.tags & {"script", "iframe", "object", "link", "form", "b", "foreignobject"}
    assert not any(name.startswith("on") for name, _ in parser.attributes)
    for name, value in parser.attributes:
        if name in ("src", "href", "xlink:href", "action"):
            assert value.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "#"))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page)
    assert page.count("<style>") == page.count("</style>") == 1
    assert f'content="{POLICY.replace(chr(39), "&#x27;")}"' in page
    for svg in re.findall("<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(svg)


def test_hostile_strings(tmp_path: Path, study_of: StudyOf) -> None:
    page = write_report(tmp_path, hostile_study(study_of)).read_text(encoding="utf-8")
    check_harmless(page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "⟨U+202E⟩" in page
    assert "⟨U+0000⟩" in page
    for name in ("report.md", "tables.tex", "cells.csv", "curves.csv", "claims.csv"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "\x00" not in text
        assert "\u202e" not in text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    outside = re.sub(r"^(`{3,}).*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<(script|img|/style|/svg)", outside)
    tex = (tmp_path / "tables.tex").read_text(encoding="utf-8")
    assert "\\input{" not in tex
    assert all(row["backbone"] in HOSTILE for row in rows(tmp_path, "cells.csv"))


def test_whole_report_is_harmless(folder: Path) -> None:
    check_harmless((folder / "report.html").read_text(encoding="utf-8"))


def test_markup() -> None:
    assert tag("p", "<", Markup("<b>"), class_="a\"'") == '<p class="a&quot;&#x27;">&lt;<b></p>'
    assert escape("\ud800") == "⟨U+D800⟩"
    assert clean("bi\u200dde \u200ekatu\n") == "bi\u200dde \u200ekatu\n"


def test_lone_surrogates_do_not_stop_a_report(tmp_path: Path, study_of: StudyOf) -> None:
    study = dataclasses.replace(
        study_of(shares=(0.2,), seeds=(0,), controls=False, per_task=2), title="\udcff"
    )
    assert "⟨U+DCFF⟩" in write_report(tmp_path, study).read_text(encoding="utf-8")


# --- speed and the browser --------------------------------------------------------------------


def test_speed(whole_study: StudySummary) -> None:
    start = time.process_time()
    analyse(whole_study)
    assert time.process_time() - start < 10  # measured: 1.2 s for 48 cells, 400 resamples


@pytest.mark.slow
@needs_chromium
def test_opens_in_chromium(tmp_path: Path, folder: Path, study_of: StudyOf) -> None:
    hostile = write_report(tmp_path, hostile_study(study_of))
    with chromium() as browser:
        for path in (folder / "report.html", hostile):
            for width, scheme in ((1100, "light"), (390, "dark")):
                page = open_quietly(browser, path, width, scheme)
                assert page.locator("figure svg").count() >= 10
                page.close()
