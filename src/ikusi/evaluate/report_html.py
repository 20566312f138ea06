"""The report as one HTML file: no script, no network, every name and every answer escaped.

Place: report_data, report_plots -> [report_html] -> report.html. Contract: the page carries a
content security policy that allows nothing but its own style and its own pictures.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

from ikusi.core.files import show_bytes
from ikusi.core.log import show_duration
from ikusi.evaluate import report_plots as plots
from ikusi.evaluate import report_sections as sections
from ikusi.evaluate.report_data import MACRO, ReportData, StudySummary
from ikusi.evaluate.report_markup import score, with_bounds
from ikusi.evaluate.report_samples import samples
from ikusi.evaluate.results import show_share
from ikusi.evaluate.verdicts import CLAIMS, Verdict
from ikusi.pages.markup import (
    ABSENT,
    NOTHING,
    Markup,
    chapters,
    document,
    figure,
    folded,
    join,
    note,
    plots_beside,
    table,
    tag,
)

WHAT_THIS_IS = (
    "Text-only language models were taught to see, with different shares of their multimodal "
    "training data in {target} and the rest in {pivot}, and were then asked about pictures in both "
    "languages: what a paper asked of large models (arXiv:2511.09396). Here all of it happens in a "
    "toy world of emoji on coloured scenes, with tiny models: it demonstrates the instrument, it "
    "does not replicate the paper."
)
HOW_MEASURED = (
    "A score is the exact-match accuracy of generated answers, averaged over tasks. The target "
    "share is that among the last stage's pictured records that exist in both languages. Bands and "
    "ranges are {confidence} intervals from a bootstrap over evaluation items, by scene, and over "
    "training seeds; with one seed they are about items only."
)
COST_WORDS = (
    "Times are those of the finished steps, added up; several run side by side. A step that "
    "several cells need is done once: “unshared” is how many there would be, and what they would "
    "take, if each cell did all of its steps by itself."
)


def page(study: StudySummary, data: ReportData) -> str:
    """Return the whole page."""
    parts = [
        ("claims", "The two claims, in this toy world", _claims(study, data)),
        ("curves", "Score by target share", _curves(study, data)),
        ("samples", "Samples", samples(study)),
        ("tasks", "Tasks", _tasks(study, data)),
        ("held-out", "What is held out", sections.held_out(study, data)),
        ("blind", "Without the picture", sections.blind(study, data)),
        ("language", "In which language it answers", sections.fidelity(study, data)),
        ("text", "What it forgot", sections.forgetting(study, data)),
        ("controls", "Controls", sections.controls(study, data)),
        ("cells", "All cells", _cells(study, data)),
        ("cost", "What it cost", _cost(study)),
        ("reproduce", "How to reproduce", _reproduce(study)),
    ]
    contents, every_section = chapters(parts)
    opening = (tag("h1", study.title), _opening(study), contents, _glance(study, data))
    return document(study.title, join(*opening, every_section))


def _opening(study: StudySummary) -> Markup:
    names = {"target": study.language_name(study.target), "pivot": study.language_name(study.pivot)}
    parts = [tag("p", WHAT_THIS_IS.format(**names), class_="lead")]
    if study.vocabulary:
        parts.append(tag("p", study.vocabulary))
    if study.protocol:
        parts.append(tag("p", study.protocol))
    parts.append(note(HOW_MEASURED.format(confidence=f"{study.rules.confidence:.0%}")))
    missing = study.expected_cells - len(study.cells)
    if missing > 0:
        parts.append(
            tag(
                "p",
                f"Not complete: {len(study.cells)} of {study.expected_cells} cells are evaluated. "
                "What follows is about those.",
                class_="warn",
            )
        )
    parts.extend(tag("p", words, class_="warn") for words in study.notes)
    return join(*parts)


def _glance(study: StudySummary, data: ReportData) -> Markup:
    """Return the outcome in a line of boxes."""
    if not data.cells:
        return NOTHING
    boxes: list[tuple[str, str, str]] = []
    for number, claim in enumerate(CLAIMS, 1):
        outcomes = Counter(v.outcome for v in data.verdicts if v.claim == claim)
        words = ", ".join(
            f"{outcome} {f'({count})' if len(outcomes) > 1 else ''}".strip()
            for outcome, count in outcomes.items()
        )
        kind = next(iter(outcomes)).split()[0] if len(outcomes) == 1 else ""
        boxes.append((f"Claim {number}", words or "nothing to compare yet", kind))
    grid = [r for r in data.cells if not r["control"] and r["target_main"] is not None]
    if grid:
        best = max(grid, key=lambda row: row["target_main"])
        words = f"{best['target_main']:.2f} ({best['backbone']}, {show_share(best['share'])})"
        boxes.append((f"Best score in {study.language_name(study.target)}", words, ""))
    boxes.append(("Cells", f"{len(study.cells)} of {study.expected_cells}", ""))
    cards = (
        tag("div", note(title), tag("strong", words), class_=f"verdict {kind}".strip())
        for title, words, kind in boxes
    )
    return tag("div", *cards, class_="glance")


def _claims(study: StudySummary, data: ReportData) -> Markup:
    rules, target = study.rules, study.language_name(study.target)
    place = {"language": study.target, "split": rules.split, "task": MACRO}
    ratios, gaps = data.pick(measure="ratio_to_full", **place), data.pick(measure="gap", **place)
    drawn: dict[str, Markup] = {}
    if ratios:
        drawn["enough"] = figure(
            plots.ratio_curve(ratios, data.backbones(), rules.enough_ratio, rules.enough_share),
            f"Score in {target} as a part of the same backbone's score at 100%, with one-sided "
            f"{rules.confidence:.0%} bounds. Dashed: {rules.enough_ratio:g}.",
        )
    if gaps:
        pairs = [f"{one} − {other}" for one, other in combinations(data.backbones(), 2)]
        drawn["backbone"] = figure(
            plots.gap_curve(gaps, pairs, rules.equivalence_margin, rules.enough_share),
            f"Gap between the backbones' scores in {target}, with {rules.confidence:.0%} "
            f"intervals. Shaded: ±{rules.equivalence_margin:g}.",
        )
    scores = data.pick(measure="score", control="", **place)
    if scores:
        drawn["measured"] = figure(
            plots.score_curves(scores, data.backbones()),
            f"The scores in {target} that this is about. Dashed: always giving the most frequent "
            "answer.",
        )
    parts: list[str] = []
    for number, (claim, words) in enumerate(CLAIMS.items(), 1):
        judged = [verdict for verdict in data.verdicts if verdict.claim == claim]
        parts += [
            tag("h3", f"{number}. “{words.format(share=show_share(rules.enough_share))}”"),
            tag("p", f"The rule, fixed before any cell ran: {rules.words(claim)}", class_="rule"),
            tag("div", *map(_verdict, judged), class_="verdicts"),
        ]
        if not judged:
            parts.append(note("There is nothing to compare yet."))
        beside = (claim, "measured") if claim == "enough" else (claim,)
        parts.append(plots_beside([drawn[name] for name in beside if name in drawn]))
    return join(*parts)


def _verdict(verdict: Verdict) -> Markup:
    mark = {"supported": "✓ ", "contradicted": "✗ "}.get(verdict.outcome, "? ")
    numbers = f"{verdict.quantity} = {verdict.value:.3f}"
    if math.isfinite(verdict.lower) and math.isfinite(verdict.upper):
        numbers += f" ({verdict.lower:.3f} to {verdict.upper:.3f})"
    seeds = f"{verdict.seeds} seed{'s' * (verdict.seeds != 1)}"
    return tag(
        "div",
        tag("strong", f"{mark}{verdict.outcome}"),
        tag("p", verdict.subject),
        tag(
            "p",
            numbers,
            tag("span", f" {verdict.bounds}, {seeds}", class_="note"),
            class_="figure",
        )
        if math.isfinite(verdict.value)
        else NOTHING,
        note(f"{verdict.reason[:1].upper()}{verdict.reason[1:]}."),
        class_=f"verdict {verdict.outcome.split()[0]}",
    )


def _curves(study: StudySummary, data: ReportData) -> Markup:
    figures = []
    backbones = data.backbones()
    for language in data.languages:
        rows = data.pick(measure="score", language=language, split="main", task=MACRO, control="")
        if rows:
            svg = plots.score_curves(rows, backbones)
            figures.append(figure(svg, "", study.language_name(language)))
    if not figures:
        return NOTHING
    words = "On new compositions. Dashed: always giving the most frequent answer."
    return join(note(words), plots_beside(figures))


def _tasks(study: StudySummary, data: ReportData) -> Markup:
    parts = []
    for language in data.languages:
        rows = data.pick(measure="score", language=language, split="main", control="")
        if not rows:
            continue
        there = {row["task"]: row for row in rows}
        columns = [*(name for name in data.task_names if name in there), MACRO]
        majority = (score(there[name]["majority"]) for name in columns)
        items = (f"{there[name]['n'] // there[name]['seeds']}" for name in columns)
        body: list[list[str]] = [
            ["items", "", *items],
            ["always the most frequent answer", "", *majority],
        ]
        found = {(row["backbone"], row["share"], row["task"]): row for row in rows}
        for backbone, share in dict.fromkeys((row["backbone"], row["share"]) for row in rows):
            cells = (with_bounds(found.get((backbone, share, name))) for name in columns)
            body.append([backbone, show_share(share), *cells])
        head = ["backbone", "target share", *columns[:-1], "mean over tasks"]
        name = study.language_name(language)
        numbers = table(head, body, style="narrow")
        if language == study.target:
            parts += [tag("h3", name), numbers]
        else:
            parts.append(folded(name, numbers))
    return join(*parts)


def _cells(study: StudySummary, data: ReportData) -> Markup:
    wanted = {
        "target_main": f"{study.target}",
        "target_wording": "held-out wordings",
        "target_design": "second design",
        "target_probe": "pictured in pivot only",
        "target_blank": "blank picture",
        "target_text_before": "text before",
        "target_text_after": "text after",
        "pivot_main": f"{study.pivot}",
    }
    columns = {
        name: title
        for name, title in wanted.items()
        if any(row[name] is not None for row in data.cells)
    }
    controlled = any(row["control"] for row in data.cells)
    head = ["backbone", *["control"] * controlled, "target share", "seed", *columns.values()]
    body = [
        [
            row["backbone"],
            *[row["control"].removeprefix("target_").replace("_", " ")] * controlled,
            show_share(row["share"]),
            str(row["seed"]),
            *(score(row[name]) for name in columns),
            f"{row['supervised_tokens']:,}",
            ABSENT if (part := row["target_token_share"]) is None else f"{part:.0%}",
            f"{row['seconds']:.0f}",
        ]
        for row in data.cells
    ]
    head += ["supervised tokens", f"stage 2, tokens in {study.target}", "seconds"]
    words = (
        f"Means over tasks: {study.target} and {study.pivot} are the languages on new "
        f"compositions; the columns between them are in {study.target}, too. Seconds: both "
        "stages and the evaluation. The files beside this page have every number: cells.csv (this "
        "table, both languages), tasks.csv, curves.csv (the plots, seeds together), claims.csv and "
        "costs.csv."
    )
    return join(note(words), table(head, body, 1 + controlled, style="dense"))


def _cost(study: StudySummary) -> Markup:
    if not study.costs:
        return NOTHING
    body = [
        [
            cost.kind,
            "encoder and backbones" if cost.before_cells else "cells",
            f"{cost.done} of {cost.steps}" if cost.done < cost.steps else f"{cost.steps}",
            f"{cost.users}",
            show_duration(cost.seconds),
            show_duration(cost.unshared_seconds),
        ]
        for cost in study.costs
    ]
    head = ["step", "for", "steps", "unshared", "time", "unshared"]
    parts = [note(COST_WORDS), table(head, body, 2), tag("p", cost_sentence(study))]
    if study.peak_memory_bytes is not None:
        parts.append(tag("p", f"Peak memory of a step: {show_bytes(study.peak_memory_bytes)}."))
    return join(*parts)


def cost_sentence(study: StudySummary) -> str:
    """Return what the study took, and what sharing saved, in words."""
    first = sum(cost.seconds for cost in study.costs if cost.before_cells)
    cells = [cost for cost in study.costs if not cost.before_cells]
    shared, alone = (sum(getattr(c, n) for c in cells) for n in ("seconds", "unshared_seconds"))
    words = (
        f"In all {show_duration(first + shared)} of one process: {show_duration(first)} for the "
        f"encoder and the backbones, {show_duration(shared)} for the cells after them."
    )
    if alone > 0:
        words += (
            f" Had each cell done all of its steps by itself, those would have taken "
            f"{show_duration(alone)}: sharing left {shared / alone:.0%} of it."
        )
    return words


def _reproduce(study: StudySummary) -> Markup:
    parts = [tag("pre", "\n".join(study.reproduce))] if study.reproduce else []
    if study.versions:
        listed = (f"{name} {version}" for name, version in study.versions.items())
        parts.append(note(f"Made with {', '.join(listed)}."))
    if study.recipe:
        parts.append(tag("details", tag("summary", "The recipe"), tag("pre", study.recipe)))
    return join(*parts)
