r"""The report as text: Markdown to read, LaTeX to cite, CSV to compute with.

Place: report_data -> [report_text] -> report.md, tables.tex, *.csv. Contract: names are escaped for
each format, so a `|` ends no column and a `\` starts no command.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from ikusi.core.files import show_bytes
from ikusi.evaluate.report_data import MACRO, ReportData, Row, StudySummary
from ikusi.evaluate.report_html import COST_WORDS, HOW_MEASURED, WHAT_THIS_IS, cost_sentence
from ikusi.evaluate.results import CONTROLS, SPLITS, show_share
from ikusi.evaluate.verdicts import CLAIMS, Verdict
from ikusi.pages.markdown import fence, md, md_table
from ikusi.pages.markup import clean


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows as CSV with a head; an absent number is an empty field."""
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: clean(v) if isinstance(v, str) else v for k, v in row.items()})
    return stream.getvalue()


def claim_rows(verdicts: Iterable[Verdict]) -> list[Row]:
    """Return the verdicts as rows for CSV."""
    return [
        {
            "claim": verdict.claim,
            "subject": verdict.subject,
            "quantity": verdict.quantity,
            "value": _rounded(verdict.value),
            "lower": _rounded(verdict.lower),
            "upper": _rounded(verdict.upper),
            "bounds": verdict.bounds,
            "seeds": verdict.seeds,
            "outcome": verdict.outcome,
            "reason": verdict.reason,
        }
        for verdict in verdicts
    ]


def markdown(study: StudySummary, data: ReportData) -> str:
    """Return the report as Markdown, without the plots and the pictures."""
    target, pivot = (md(study.language_name(code)) for code in (study.target, study.pivot))
    confidence = f"{study.rules.confidence:.0%}"
    parts = [
        f"# {md(study.title)}",
        WHAT_THIS_IS.format(target=target, pivot=pivot),
        md(study.vocabulary),
        md(study.protocol),
        HOW_MEASURED.format(confidence=confidence),
    ]
    if len(study.cells) < study.expected_cells:
        parts.append(f"**Not complete:** {len(study.cells)} of {study.expected_cells} cells.")
    parts += [f"**Note:** {md(note)}" for note in study.notes]
    parts.append("## The two claims")
    for number, (claim, words) in enumerate(CLAIMS.items(), 1):
        parts.append(f"### {number}. “{words.format(share=show_share(study.rules.enough_share))}”")
        parts.append(f"The rule, fixed before any cell ran: {study.rules.words(claim)}")
        judged = [verdict for verdict in data.verdicts if verdict.claim == claim]
        rows = [
            [
                v.subject,
                f"**{v.outcome}**",
                v.quantity,
                _bounds(v),
                v.bounds,
                str(v.seeds),
                v.reason,
            ]
            for v in judged
        ]
        head = ["subject", "verdict", "quantity", "value", "bounds", "seeds", "because"]
        parts.append(md_table(head, rows) if rows else "There is nothing to compare yet.")
    parts += ["## Scores by target share", *_score_tables(study, data)]
    parts += _measure_table(
        data, "## Without the picture", ("gain_over_blank", "gain_over_shuffled")
    )
    parts += _measure_table(data, "## What it forgot (text only)", ("text_change",))
    parts += _measure_table(data, "## Controls", ("mixture_minus_control",))
    parts += _measure_table(
        data,
        "## In which language it answers",
        ("said_target", "said_pivot", "said_both", "said_neither", "right_elsewhere"),
    )
    if study.costs:
        rows = [
            [c.kind, str(c.done), str(c.users), f"{c.seconds:.0f}", f"{c.unshared_seconds:.0f}"]
            for c in study.costs
        ]
        head = ["kind", "steps", "steps unshared", "seconds", "seconds unshared"]
        parts += ["## What it cost", COST_WORDS, md_table(head, rows), cost_sentence(study)]
        if study.peak_memory_bytes is not None:
            parts.append(f"Peak memory of a step: {show_bytes(study.peak_memory_bytes)}.")
    if study.reproduce:
        parts += ["## How to reproduce", fence("\n".join(study.reproduce), "sh")]
    if study.recipe:
        parts += ["## The recipe", fence(study.recipe, "yaml")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _score_tables(study: StudySummary, data: ReportData) -> list[str]:
    parts = []
    for language in data.languages:
        for split in SPLITS:
            rows = data.pick(measure="score", language=language, split=split)
            if not rows:
                continue
            there = {row["task"] for row in rows}
            tasks = [name for name in data.task_names if name in there] + [MACRO]
            points = dict.fromkeys((r["backbone"], r["share"], r["control"]) for r in rows)
            found = {(r["backbone"], r["share"], r["control"], r["task"]): r for r in rows}
            majority = {row["task"]: row["majority"] for row in rows}
            base = ["always the most frequent", "", "", *(_short(majority[t]) for t in tasks)]
            body = [
                [
                    b,
                    show_share(s),
                    _control(c),
                    *(_interval(found.get((b, s, c, t))) for t in tasks),
                ]
                for b, s, c in points
            ]
            names = [task if task != MACRO else "mean" for task in tasks]
            parts.append(f"### {md(study.language_name(language))}: {SPLITS[split]}")
            head = ["backbone", "target share", "control", *names]
            parts.append(md_table(head, [base, *body] if split != "text" else body))
    return parts


def _measure_table(data: ReportData, title: str, measures: Sequence[str]) -> list[str]:
    rows = [row for measure in measures for row in data.pick(measure=measure)]
    if not rows:
        return []
    names = ("language", "backbone", "share", "control")
    points = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
    found = {(*(row[name] for name in names), row["measure"]): row for row in rows}
    body = [
        [
            p[0],
            p[1],
            show_share(p[2]),
            _control(p[3]),
            *(_interval(found.get((*p, m))) for m in measures),
        ]
        for p in points
    ]
    head = [
        "language",
        "backbone",
        "target share",
        "control",
        *(m.replace("_", " ") for m in measures),
    ]
    return [title, md_table(head, body)]


def tex_tables(study: StudySummary, data: ReportData) -> str:
    """Return two LaTeX tables (booktabs): the scores on new compositions, and the verdicts."""
    points = dict.fromkeys(
        (row["backbone"], row["share"], row["control"])
        for row in data.pick(measure="score", split="main", task=MACRO)
    )
    found = {
        (row["backbone"], row["share"], row["control"], row["language"]): row
        for row in data.pick(measure="score", split="main", task=MACRO)
    }
    lines = [
        "% Needs \\usepackage{booktabs}. In a toy world: it demonstrates the instrument, it does",
        "% not replicate the paper.",
        f"\\begin{{tabular}}{{llr{'l' * len(data.languages)}}}",
        "\\toprule",
        _tex_row(
            ["Backbone", "Control", "Target share", *map(study.language_name, data.languages)]
        ),
        "\\midrule",
    ]
    for point in points:
        scores = [_interval(found.get((*point, language))) for language in data.languages]
        lines.append(_tex_row([point[0], _control(point[2]), show_share(point[1]), *scores]))
    lines += ["\\bottomrule", "\\end{tabular}", ""]
    lines += ["\\begin{tabular}{lllrl}", "\\toprule"]
    lines += [_tex_row(["Claim", "Subject", "Quantity", "Value", "Verdict"]), "\\midrule"]
    for v in data.verdicts:
        words = CLAIMS[v.claim].format(share=show_share(study.rules.enough_share))
        lines.append(_tex_row([words, v.subject, v.quantity, _bounds(v), v.outcome]))
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in " ".join(clean(text).split()))


def _tex_row(cells: Iterable[str]) -> str:
    return " & ".join(map(_tex, cells)) + r" \\"


def _control(control: str) -> str:
    return CONTROLS.get(control, control)


def _interval(row: Row | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    if row["lower"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})"


def _bounds(verdict: Verdict) -> str:
    if math.isnan(verdict.value):
        return "–"
    return f"{verdict.value:.3f} ({verdict.lower:.3f} to {verdict.upper:.3f})"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
