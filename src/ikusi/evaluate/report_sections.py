"""Sections of the report beyond the two claims: what the models rest on, and what it cost them.

Place: report_data, report_plots -> [report_sections] -> report_html. Contract: each function
returns nothing where the study has nothing to say about it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ikusi.evaluate import report_plots as plots
from ikusi.evaluate.cells import TEXT_BEFORE
from ikusi.evaluate.report_data import MACRO, ReportData, Row, StudySummary
from ikusi.evaluate.report_markup import table_by_share, with_bounds
from ikusi.evaluate.results import CONTROLS, SPLITS, show_share
from ikusi.pages.markup import (
    NOTHING,
    Markup,
    clean,
    figure,
    folded,
    join,
    note,
    plots_beside,
    table,
)

HELD_OUT = ("main", "wording", "design", "probe")
_TAKEN_FOR = ("target", "pivot", "neither")
NUMBERS = "The numbers, in both languages"
BLIND = ("main", "blank", "shuffled")


def held_out(study: StudySummary, data: ReportData) -> Markup:
    """Compare the kinds of items: what does the score rest on?"""
    words = ", ".join(SPLITS[split] for split in HELD_OUT)
    intro = note(
        f"Plots: in {study.language_name(study.target)}. Kinds of items: {words}. The wordings and "
        "the second design are about the same scenes as the new compositions."
    )
    lines: dict[tuple[str, ...], Sequence[Row]] = {
        (study.language_name(language), plots.short_split(split), backbone): _scores(
            data, language, split, backbone
        )
        for language in data.languages
        for split in HELD_OUT[1:]
        for backbone in data.backbones()
    }
    numbers = table_by_share(["language", "items", "backbone"], lines)
    figures = _by_split(study, data, HELD_OUT)
    return join(intro, plots_beside(figures), folded(NUMBERS, numbers)) if figures else NOTHING


def blind(study: StudySummary, data: ReportData) -> Markup:
    """Show what is answered right without the picture, and what the picture adds."""
    if not any(data.pick(split=split) for split in BLIND[1:]):
        return NOTHING
    intro = note(
        f"The same questions in {study.language_name(study.target)} about a blank picture, and "
        "about another item's picture: what is answered right then was guessed from the question."
    )
    lines: dict[tuple[str, ...], Sequence[Row]] = {
        (study.language_name(language), f"gain over {what}", backbone): data.pick(
            measure=measure, language=language, backbone=backbone, control=""
        )
        for language in data.languages
        for measure, what in (
            ("gain_over_blank", "a blank picture"),
            ("gain_over_shuffled", "another picture"),
        )
        for backbone in data.backbones()
    }
    numbers = table_by_share(["language", "what", "backbone"], lines, signed=True)
    return join(intro, plots_beside(_by_split(study, data, BLIND)), folded(NUMBERS, numbers))


def fidelity(study: StudySummary, data: ReportData) -> Markup:
    """Show in which language the answers were."""
    names = {
        "said_target": clean(study.language_name(study.target)),
        "said_pivot": clean(study.language_name(study.pivot)),
        "said_both": "both",
        "said_neither": "neither",
    }
    figures = []
    lines: dict[tuple[str, ...], Sequence[Row]] = {}
    for language in data.languages:
        for backbone in data.backbones():
            here = data.pick(language=language, split="main", backbone=backbone, control="")
            said = [row for row in here if row["measure"] in names]
            if said:
                title = f"Asked in {study.language_name(language)}: {backbone}"
                figures.append(figure(plots.said_bars(said, names), title=title))
            lines[study.language_name(language), backbone] = [
                row for row in here if row["measure"] == "right_elsewhere"
            ]
    if not figures:
        return NOTHING
    return join(
        note("In which language the answers to new compositions are, as shares of all answers."),
        plots_beside(figures),
        note("Right content in the wrong language, share of all answers, by target share:"),
        table_by_share(["asked in", "backbone"], lines),
        _judged_by(study),
    )


def _judged_by(study: StudySummary) -> Markup:
    """Tell how the language of an answer was found, with the measured confusion."""
    if not study.long_answers_by:
        return NOTHING
    words = f"Short answers are judged by the two lexicons, long ones by {study.long_answers_by}"
    words += ": what identification takes the accepted long answers for, in numbers of texts."
    names = {"target": study.language_name(study.target), "pivot": study.language_name(study.pivot)}
    head = ["accepted answers in", *(names.get(said, said) for said in _TAKEN_FOR)]
    body = [
        [names.get(side, side), *(str(counts.get(said, 0)) for said in _TAKEN_FOR)]
        for side, counts in study.confusion.items()
    ]
    return join(note(words), table(head, body) if body else NOTHING)


def forgetting(study: StudySummary, data: ReportData) -> Markup:
    """Compare the text-only scores before and after."""
    figures = []
    lines: dict[tuple[str, ...], Sequence[Row]] = {}
    for language in data.languages:
        name = study.language_name(language)
        changes = data.pick(measure="text_change", language=language, control="")
        if changes:
            svg = plots.change_curves(changes, data.backbones())
            figures.append(figure(svg, title=name))
        for backbone in data.backbones():
            lines[name, backbone, "before"] = _scores(data, language, TEXT_BEFORE, backbone)
            lines[name, backbone, "after"] = _scores(data, language, "text", backbone)
    if not any(lines.values()):
        return NOTHING
    intro = "Text-only questions, asked of the backbone before, and of the finished model after."
    return join(
        note(intro),
        plots_beside(figures),
        folded(NUMBERS, table_by_share(["language", "backbone", "when"], lines)),
    )


def controls(study: StudySummary, data: ReportData) -> Markup:
    """Compare the mixture with its target-language part alone."""
    found = data.pick(measure="score", language=study.target, split="main", task=MACRO)
    shares = {row["share"] for row in found if row["control"]}
    if not shares:
        return NOTHING
    rows = [row for row in found if row["share"] in shares]
    added = [
        [
            row["backbone"],
            show_share(row["share"]),
            CONTROLS.get(row["control"], row["control"]),
            with_bounds(row, signed=True),
        ]
        for row in data.pick(measure="mixture_minus_control")
    ]
    head = ["backbone", "target share", "control", "mixture − control"]
    return join(
        note(
            f"Scores in {study.language_name(study.target)} of the mixture, and of its "
            "target-language part alone: what did the rest of the mixture add?"
        ),
        plots_beside([figure(plots.control_points(rows, data.backbones()))]),
        table(head, added, 3) if added else NOTHING,
    )


def _scores(data: ReportData, language: str, split: str, backbone: str) -> list[Row]:
    return data.pick(
        measure="score",
        language=language,
        split=split,
        backbone=backbone,
        control="",
        task=MACRO,
    )


def _by_split(study: StudySummary, data: ReportData, splits: Sequence[str]) -> list[Markup]:
    figures = []
    for backbone in data.backbones():
        rows = [r for split in splits for r in _scores(data, study.target, split, backbone)]
        if rows:
            figures.append(figure(plots.split_curves(rows, splits), title=backbone))
    return figures
