"""The report as one HTML file: no script, no network, every name and every answer escaped.

Place: report_data, report_plots -> [report_html] -> report.html. Contract: the page carries a
content security policy that allows nothing but its own style and its own pictures.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Sequence
from itertools import combinations

from ikusi.core.files import show_bytes
from ikusi.evaluate import report_plots as plots
from ikusi.evaluate.report_data import MACRO, TEXT_BEFORE, ReportData, Row, Sample, StudySummary
from ikusi.evaluate.report_style import CSS, Markup, clean, escape, join, tag
from ikusi.evaluate.results import CONTROLS, SPLITS, show_share
from ikusi.evaluate.verdicts import CLAIMS, Verdict

WHAT_THIS_IS = (
    "Text-only language models were taught to see, with different shares of their multimodal "
    "training data in {target} and the rest in {pivot}, and were then asked about pictures in both "
    "languages. All of this happens in a toy world of emoji on coloured scenes, with tiny models: "
    "it demonstrates the instrument, it does not replicate the paper."
)
HOW_MEASURED = (
    "A score is the exact-match accuracy of generated answers, averaged over tasks. Bands and "
    "ranges are {confidence} intervals from a bootstrap over evaluation items, by scene, and over "
    "training seeds; with one seed they are about items only."
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SHOWN_ANSWERS = 8


def page(study: StudySummary, data: ReportData) -> str:
    """Return the whole page."""
    sections = [
        ("claims", "The two claims", _claims(study, data)),
        ("curves", "Score by target share", _curves(study, data)),
        ("tasks", "Tasks", _tasks(study, data)),
        ("held-out", "What is held out", _held_out(study, data)),
        ("blind", "Without the picture", _blind(study, data)),
        ("language", "In which language it answers", _fidelity(study, data)),
        ("text", "What it forgot", _forgetting(study, data)),
        ("controls", "Controls", _controls(study, data)),
        ("cells", "All cells", _cells(study, data)),
        ("samples", "Samples", _samples(study)),
        ("cost", "What it cost", _cost(study)),
        ("reproduce", "How to reproduce", _reproduce(study)),
    ]
    there = [(name, title, body) for name, title, body in sections if body]
    contents = tag(
        "nav", *(join(tag("a", title, href=f"#{name}"), " ") for name, title, _ in there)
    )
    body = join(
        tag("h1", study.title),
        _opening(study),
        contents,
        *(tag("section", tag("h2", title), body, id=name) for name, title, body in there),
    )
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", study.title),
        tag("style", Markup(CSS)),
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _opening(study: StudySummary) -> Markup:
    names = {"target": _name(study, study.target), "pivot": _name(study, study.pivot)}
    parts = [tag("p", WHAT_THIS_IS.format(**names), class_="lead")]
    if study.vocabulary:
        parts.append(tag("p", study.vocabulary))
    parts.append(
        tag("p", HOW_MEASURED.format(confidence=f"{study.rules.confidence:.0%}"), class_="note")
    )
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
    parts.extend(tag("p", note, class_="warn") for note in study.notes)
    return join(*parts)


def _claims(study: StudySummary, data: ReportData) -> Markup:
    rules, share = study.rules, study.rules.enough_share
    place = {"language": study.target, "split": rules.split, "task": MACRO}
    backbones = data.backbones()
    pairs = [f"{one} − {other}" for one, other in combinations(backbones, 2)]
    ratio, gap = data.pick(measure="ratio_to_full", **place), data.pick(measure="gap", **place)
    drawn = {
        "enough": plots.ratio_curve(ratio, backbones, rules.enough_ratio, share) if ratio else "",
        "backbone": plots.gap_curve(gap, pairs, rules.equivalence_margin, share) if gap else "",
    }
    captions = {
        "enough": f"Score in {_name(study, study.target)} as a part of the same backbone's score "
        f"at 100%, with one-sided {rules.confidence:.0%} bounds. Dashed: {rules.enough_ratio:g}.",
        "backbone": f"Gap between the backbones' scores in {_name(study, study.target)}. "
        f"Shaded: ±{rules.equivalence_margin:g}.",
    }
    parts: list[str] = []
    for number, (claim, words) in enumerate(CLAIMS.items(), 1):
        judged = [verdict for verdict in data.verdicts if verdict.claim == claim]
        parts.append(tag("h3", f"{number}. “{words.format(share=show_share(share))}”"))
        parts.append(
            tag("p", f"The rule, fixed before any cell ran: {rules.words(claim)}", class_="rule")
        )
        parts.append(tag("div", *map(_verdict, judged), class_="verdicts"))
        if not judged:
            parts.append(tag("p", "There is nothing to compare yet.", class_="note"))
        if drawn[claim]:
            parts.append(tag("div", _figure(drawn[claim], captions[claim]), class_="plots"))
    return join(*parts)


def _verdict(verdict: Verdict) -> Markup:
    mark = {"supported": "✓ ", "contradicted": "✗ "}.get(verdict.outcome, "? ")
    numbers = f"{verdict.quantity} = {_plain(verdict.value, verdict.lower, verdict.upper)}"
    seeds = f"{verdict.seeds} seed{'s' * (verdict.seeds != 1)}"
    return tag(
        "div",
        tag("strong", f"{mark}{verdict.outcome}"),
        tag("p", verdict.subject),
        tag(
            "p",
            numbers,
            tag("span", f" ({verdict.bounds}, {seeds})", class_="note"),
            class_="figure",
        )
        if verdict.seeds
        else Markup(""),
        tag("p", f"{verdict.reason[:1].upper()}{verdict.reason[1:]}.", class_="note"),
        class_=f"verdict {verdict.outcome.split()[0]}",
    )


def _curves(study: StudySummary, data: ReportData) -> Markup:
    figures = []
    backbones = data.backbones()
    for language in data.languages:
        rows = data.pick(measure="score", language=language, split="main", task=MACRO, control="")
        if rows:
            svg = plots.score_curves(rows, backbones)
            figures.append(_figure(svg, "", _name(study, language)))
    if not figures:
        return Markup("")
    note = tag(
        "p", "On new compositions. Dashed: always giving the most frequent answer.", class_="note"
    )
    return join(note, tag("div", *figures, class_="plots"))


def _tasks(study: StudySummary, data: ReportData) -> Markup:
    parts = []
    for language in data.languages:
        rows = data.pick(measure="score", language=language, split="main", control="")
        tasks = [name for name in data.task_names if any(row["task"] == name for row in rows)]
        if not rows:
            continue
        majority = {row["task"]: row["majority"] for row in rows}
        body = [
            ["always the most frequent", "", *(_score(majority.get(t)) for t in [*tasks, MACRO])]
        ]
        for backbone, share in _points(rows):
            here = {
                row["task"]: row
                for row in rows
                if row["backbone"] == backbone and row["share"] == share
            }
            body.append(
                [backbone, show_share(share), *(_cell_of(here.get(t)) for t in [*tasks, MACRO])]
            )
        head = ["backbone", "target share", *tasks, "mean"]
        parts += [tag("h3", _name(study, language)), _table(head, body, text_columns=1)]
    return join(*parts)


def _held_out(study: StudySummary, data: ReportData) -> Markup:
    splits = [s for s in ("main", "wording", "design", "probe")]
    words = ", ".join(f"{SPLITS[split]}" for split in splits)
    intro = tag("p", f"In {_name(study, study.target)}: {words}.", class_="note")
    return _by_split(study, data, splits, intro)


def _blind(study: StudySummary, data: ReportData) -> Markup:
    splits = ["main", "blank", "shuffled"]
    if not any(data.pick(split=split) for split in splits[1:]):
        return Markup("")
    intro = tag(
        "p",
        f"The same questions in {_name(study, study.target)} about a blank picture, and about "
        "another item's picture: what is answered right then was guessed from the question.",
        class_="note",
    )
    rows = []
    for language in data.languages:
        gains = {
            measure: {
                (row["backbone"], row["share"]): row
                for row in data.pick(measure=measure, language=language, control="")
            }
            for measure in ("gain_over_blank", "gain_over_shuffled")
        }
        for point in _points([row for found in gains.values() for row in found.values()]):
            cells = [_cell_of(found.get(point), signed=True) for found in gains.values()]
            rows.append([_name(study, language), point[0], show_share(point[1]), *cells])
    head = ["language", "backbone", "target share", "gain over blank", "gain over another picture"]
    return join(_by_split(study, data, splits, intro), _table(head, rows, text_columns=2))


def _by_split(
    study: StudySummary, data: ReportData, splits: Sequence[str], intro: Markup
) -> Markup:
    figures = []
    for backbone in data.backbones():
        found = data.pick(
            measure="score", language=study.target, task=MACRO, control="", backbone=backbone
        )
        rows = [row for row in found if row["split"] in splits]
        if rows:
            figures.append(_figure(plots.split_curves(rows, splits), "", backbone))
    return join(intro, tag("div", *figures, class_="plots")) if figures else Markup("")


def _fidelity(study: StudySummary, data: ReportData) -> Markup:
    names = {
        "said_target": f"{_name(study, study.target)}",
        "said_pivot": f"{_name(study, study.pivot)}",
        "said_both": "in both lexicons",
        "said_neither": "in neither",
    }
    figures = []
    rows = []
    for language in data.languages:
        for backbone in data.backbones():
            here = [
                row
                for row in data.pick(language=language, split="main", backbone=backbone, control="")
                if row["measure"] in names
            ]
            if here:
                title = f"Asked in {_name(study, language)}: {backbone}"
                cleaned = {key: clean(name) for key, name in names.items()}
                figures.append(_figure(plots.said_bars(here, cleaned), "", title))
            for row in data.pick(
                measure="right_elsewhere", language=language, backbone=backbone, control=""
            ):
                rows.append(
                    [
                        _name(study, language),
                        backbone,
                        show_share(row["share"]),
                        _percent(row["value"]),
                    ]
                )
    if not figures:
        return Markup("")
    head = ["asked in", "backbone", "target share", "right content, wrong language"]
    return join(
        tag("p", "Whose lexicon the answers to new compositions are in.", class_="note"),
        tag("div", *figures, class_="plots"),
        _table(head, rows, text_columns=2),
    )


def _forgetting(study: StudySummary, data: ReportData) -> Markup:
    figures, rows = [], []
    for language in data.languages:
        changes = data.pick(measure="text_change", language=language, control="")
        if changes:
            svg = plots.change_curves(changes, data.backbones())
            figures.append(_figure(svg, "", _name(study, language)))
        for change in changes:
            before, after = (
                data.pick(
                    measure="score",
                    task=MACRO,
                    split=split,
                    **{k: change[k] for k in ("backbone", "share", "control", "language")},
                )
                for split in (TEXT_BEFORE, "text")
            )
            rows.append(
                [
                    _name(study, language),
                    change["backbone"],
                    show_share(change["share"]),
                    _cell_of(before[0] if before else None),
                    _cell_of(after[0] if after else None),
                    _cell_of(change, signed=True),
                ]
            )
    if not figures:
        return Markup("")
    intro = "Text-only questions, asked of the backbone before, and of the finished model after."
    head = ["language", "backbone", "target share", "before", "after", "change"]
    return join(
        tag("p", intro, class_="note"),
        tag("div", *figures, class_="plots"),
        _table(head, rows, text_columns=2),
    )


def _controls(study: StudySummary, data: ReportData) -> Markup:
    found = data.pick(measure="score", language=study.target, split="main", task=MACRO)
    shares = {row["share"] for row in found if row["control"]}
    rows = [row for row in found if row["share"] in shares]
    if not shares:
        return Markup("")
    added = [
        [
            row["backbone"],
            show_share(row["share"]),
            CONTROLS.get(row["control"], row["control"]),
            _cell_of(row, signed=True),
        ]
        for row in data.pick(measure="mixture_minus_control")
    ]
    head = ["backbone", "target share", "control", "mixture − control"]
    return join(
        tag(
            "p",
            f"Scores in {_name(study, study.target)} of the mixture, and of its target-language "
            "part alone: what did the rest of the mixture add?",
            class_="note",
        ),
        tag("div", _figure(plots.control_points(rows, data.backbones()), ""), class_="plots"),
        _table(head, added, text_columns=3) if added else Markup(""),
    )


def _cells(study: StudySummary, data: ReportData) -> Markup:
    splits = ("main", "wording", "design", "probe", "text_before", "text_after")
    columns = [
        (f"{who}_{split}", f"{code} {split.replace('_', ' ')}")
        for who, code in (("target", study.target), ("pivot", study.pivot))
        for split in splits
        if any(row[f"{who}_{split}"] is not None for row in data.cells)
    ]
    head = ["backbone", "target share", "seed", "control", *(title for _, title in columns)]
    body = [
        [
            row["backbone"],
            show_share(row["share"]),
            str(row["seed"]),
            row["control"].replace("_", " "),
            *(_score(row[name]) for name, _ in columns),
            f"{row['supervised_tokens']:,}",
            f"{row['seconds']:.0f}",
            tag("small", row["address"]),
        ]
        for row in data.cells
    ]
    head += ["supervised tokens", "seconds", "address"]
    files = (
        "The numbers: cells.csv (this table), tasks.csv (by task), curves.csv (the plots, seeds "
        "together), claims.csv (the verdicts). Scores are means over tasks."
    )
    return join(tag("p", files, class_="note"), _table(head, body, text_columns=1))


def _samples(study: StudySummary) -> Markup:
    cards = [_sample(study, sample) for sample in study.samples]
    return tag("div", *cards, class_="samples") if cards else Markup("")


def _sample(study: StudySummary, sample: Sample) -> Markup:
    answers = [
        tag(
            "tr",
            tag("td", label),
            tag("td", "✓ " if right else "✗ ", _said(answer), class_="yes" if right else "no"),
        )
        for label, (answer, right) in sample.answers.items()
    ]
    shown, hidden = answers[:_SHOWN_ANSWERS], answers[_SHOWN_ANSWERS:]
    more = (
        tag("details", tag("summary", f"{len(hidden)} more cells"), tag("table", *hidden))
        if hidden
        else Markup("")
    )
    return tag(
        "div",
        _picture(sample.picture),
        tag("p", tag("bdi", sample.question, lang=sample.language), class_="q"),
        tag(
            "p",
            f"{_name(study, sample.language)}; right is: ",
            tag("bdi", sample.gold, lang=sample.language),
            class_="note",
        ),
        tag("table", *shown),
        more,
        class_="sample",
    )


def _said(answer: str) -> Markup:
    return tag("bdi", answer) if answer.strip() else tag("i", "nothing")


def _picture(data: bytes) -> Markup:
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        kind, width = "png", struct.unpack(">I", data[16:20])[0]
    elif data[:3] == b"\xff\xd8\xff":
        kind, width = "jpeg", 0
    elif not data:
        return Markup("")
    else:
        return tag("p", "(a picture that cannot be shown)", class_="note")
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return tag("img", src=source, alt="the picture", class_="large" if width > 192 else None)


def _cost(study: StudySummary) -> Markup:
    rows = [[kind, _duration(seconds)] for kind, seconds in study.seconds.items()]
    if rows:
        rows.append(["all", _duration(sum(study.seconds.values()))])
    parts = [_table(["steps", "time"], rows, text_columns=1)] if rows else []
    if study.peak_memory_bytes is not None:
        parts.append(tag("p", f"Peak memory: {show_bytes(study.peak_memory_bytes)}."))
    return join(*parts)


def _reproduce(study: StudySummary) -> Markup:
    parts = [tag("pre", "\n".join(study.reproduce))] if study.reproduce else []
    if study.recipe:
        parts.append(tag("details", tag("summary", "The recipe"), tag("pre", study.recipe)))
    return join(*parts)


def _figure(svg: str, caption: str, title: str = "") -> Markup:
    parts = [tag("h3", title)] if title else []
    parts.append(Markup(svg))
    parts += [tag("figcaption", caption)] if caption else []
    return tag("figure", *parts)


def _table(head: Sequence[str], body: Iterable[Sequence[str]], text_columns: int) -> Markup:
    def row(element: str, cells: Sequence[str]) -> Markup:
        return tag(
            "tr",
            *(
                tag(element, cell, class_="t" if place < text_columns else None)
                for place, cell in enumerate(cells)
            ),
        )

    rows = [row("td", cells) for cells in body]
    table = tag("table", tag("thead", row("th", head)), tag("tbody", *rows))
    return tag("div", table, class_="scroll")


def _points(rows: Iterable[Row]) -> list[tuple[str, float]]:
    return list(dict.fromkeys((row["backbone"], row["share"]) for row in rows))


def _cell_of(row: Row | None, *, signed: bool = False) -> Markup:
    if row is None or row["value"] is None:
        return Markup("–")
    sign = "+" if signed else ""
    value = escape(f"{row['value']:{sign}.2f}")
    if row["lower"] is None:
        return value
    return join(value, " ", tag("small", f"{row['lower']:{sign}.2f} to {row['upper']:{sign}.2f}"))


def _plain(value: float, lower: float, upper: float) -> str:
    return f"{value:.3f}, {lower:.3f} to {upper:.3f}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def _name(study: StudySummary, code: str) -> str:
    return study.language_name(code)
