"""Write a study's report: one HTML page, Markdown, CSV and LaTeX.

Place: evaluate -> [report]. Contract: `report.html` is one file that needs no network and runs no
script; its numbers are those of the CSV files beside it; a report of an incomplete study says so.

    ikusi study quickstart        # writes runs/quickstart/report/report.html, cell by cell
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from ikusi.evaluate.report_data import Cost, ReportData, Sample, StudySummary, analyse
from ikusi.evaluate.report_html import page
from ikusi.evaluate.report_text import claim_rows, csv_text, markdown, tex_tables

__all__ = ["Cost", "ReportData", "Sample", "StudySummary", "analyse", "write_report"]


def write_report(folder: Path, study: StudySummary) -> Path:
    """Write the report on `study` into `folder` and return the path of its page.

    Each file is replaced whole, so a page that is open while a study goes on is never half a one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = analyse(study)
    files = {
        "cells.csv": csv_text(data.cells),
        "tasks.csv": csv_text(data.tasks),
        "curves.csv": csv_text(data.curves),
        "claims.csv": csv_text(claim_rows(data.verdicts)),
        "costs.csv": csv_text([asdict(cost) for cost in study.costs]),
        "tables.tex": tex_tables(study, data),
        "report.md": markdown(study, data),
        "report.html": page(study, data),
    }
    for name, text in files.items():
        # Not onto the disk at once: it can be made again, and a study should not wait for the disk.
        temporary = folder / f".{name}.tmp"
        temporary.write_bytes(text.encode("utf-8", errors="replace"))
        os.replace(temporary, folder / name)
    return folder / "report.html"
