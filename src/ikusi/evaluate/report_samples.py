"""Samples to look at: a picture, what was asked in each language, and what every cell answered.

Place: report_data -> [report_samples] -> report_html. Contract: a picture stands in the page once,
as its own bytes; what is no picture is said to be none.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

from ikusi.evaluate.report_data import Sample, StudySummary
from ikusi.pages.markup import NOTHING, Markup, folded, join, note, tag

_SHOWN_CELLS = 12


def samples(study: StudySummary) -> Markup:
    """Show each item once, with its questions and answers in every language."""
    items: dict[str, list[Sample]] = {}
    for sample in study.samples:
        items.setdefault(sample.group, []).append(sample)
    if not items:
        return NOTHING
    intro = (
        "A few items of each task, new compositions all; the same ones for every cell, and not "
        "chosen by their answers."
    )
    cards = [_card(study, asked) for asked in items.values()]
    return join(note(intro), tag("div", *cards, class_="samples"))


def _card(study: StudySummary, asked: Sequence[Sample]) -> Markup:
    questions = [
        tag(
            "div",
            tag("p", tag("bdi", sample.question, lang=sample.language), class_="q"),
            tag(
                "p",
                f"{study.language_name(sample.language)}; right is: ",
                tag("bdi", sample.gold, lang=sample.language),
                class_="note",
            ),
        )
        for sample in asked
    ]
    labels = list(dict.fromkeys(label for sample in asked for label in sample.answers))
    rows = [
        tag("tr", tag("td", label), *(_answer(sample, label) for sample in asked))
        for label in labels
    ]
    names = (tag("th", study.language_name(sample.language)) for sample in asked)
    head = tag("thead", tag("tr", tag("th", "cell"), *names))
    hidden = rows[_SHOWN_CELLS:]
    more = (
        folded(f"{len(hidden)} more cells", _scrolling(tag("table", head, *hidden)))
        if hidden
        else NOTHING
    )
    asks = tag("div", tag("span", asked[0].task, class_="task"), *questions)
    return tag(
        "div",
        tag("div", _picture(asked[0].picture), asks, class_="asked"),
        _scrolling(tag("table", head, *rows[:_SHOWN_CELLS])),
        more,
        class_="sample",
    )


def _scrolling(table: Markup) -> Markup:
    return tag("div", table, class_="scroll")


def _answer(sample: Sample, label: str) -> Markup:
    if label not in sample.answers:
        return tag("td", "")
    answer, right = sample.answers[label]
    said = tag("bdi", answer) if answer.strip() else tag("i", "nothing")
    return tag("td", "✓ " if right else "✗ ", said, class_="yes" if right else "no")


def _picture(data: bytes) -> Markup:
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        kind, width = "png", struct.unpack(">I", data[16:20])[0]
    elif data[:3] == b"\xff\xd8\xff":
        kind, width = "jpeg", 0
    elif not data:
        return NOTHING
    else:
        return note("(a picture that cannot be shown)")
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return tag("img", src=source, alt="the picture", class_="large" if width > 192 else None)
