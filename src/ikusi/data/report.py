"""Write the report on a data set: one HTML page, and the same without pictures as Markdown.

Place: report_data -> [report] -> report.html, report.md. Contract: the page is one file that needs
no network and runs no script; pictures in it are drawn anew, so none of their bytes are the data's.

    ikusi report runs/data/cc3m-eu     # writes runs/data/cc3m-eu-report/report.html
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

from ikusi.core.errors import DataError
from ikusi.core.files import disk_errors, write_durably
from ikusi.core.store import Store
from ikusi.core.types import Record
from ikusi.data.dataset import Dataset
from ikusi.data.flow_picture import flow_picture
from ikusi.data.history import measured_numbers
from ikusi.data.images import decode
from ikusi.data.licences import UNKNOWN
from ikusi.data.report_data import DataReport, Lengths, gather, middle
from ikusi.data.survey import NATIVE, conversation
from ikusi.pages.markdown import fence, md, md_table
from ikusi.pages.markup import (
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
from ikusi.pages.plots import Spec, colour, nominal, number, svg

_SIDE_PX = 360
_ROWS = 60  # of a table
_SHOWN = 700  # characters of a text


def write_data_report(dataset: Dataset, store: Store, folder: Path) -> Path:
    """Write `report.html` and `report.md` into `folder` and return the path of the page."""
    report = gather(dataset, store)
    with disk_errors(folder, "--runs"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("report.md", markdown(report)), ("report.html", page(report))):
            write_durably(folder / name, text.encode("utf-8", "replace"))
    return folder / "report.html"


def page(report: DataReport) -> str:
    """Return the whole page."""
    parts = [
        ("flow", "From the sources to here", _flow(report)),
        ("languages", "Languages and lengths", _languages(report)),
        ("pictures", "Pictures and their texts", _pictures(report)),
        ("dropped", "What was dropped, and why", _dropped(report)),
        ("sources", "Sources, licences, writers", _sources(report)),
        ("measured", "What was measured on the way", _measured(report)),
    ]
    contents, sections = chapters(parts)
    return document(
        report.name, join(tag("h1", report.name), tag("p", _lead(report)), contents, sections)
    )


def _lead(report: DataReport) -> str:
    codes = ", ".join(report.languages)
    dropped = sum(sum(step.dropped.values()) for step in report.history.steps)
    pictured = sum(counts.pictured for counts in report.languages.values())
    return (
        f"{report.records:,} records in {codes or 'no language'}, {pictured:,} of them with "
        f"pictures. On the way here {dropped:,} rows were dropped; all of them are kept with a "
        "reason."
    )


def _flow(report: DataReport) -> Markup:
    if not report.history.steps:
        return note("These records are a file, so what was before them is not known.")
    intro = (
        "A box is as wide as the rows that came in: the first colour went on, the second was "
        "dropped. A ribbon is what one step gave to the next."
    )
    gone = report.history.gone
    lost = tag("p", f"Not in the store any more: {', '.join(gone)}.", class_="warn")
    return join(note(intro), flow_picture(report.history), lost if gone else NOTHING)


def _languages(report: DataReport) -> Markup:
    rows = _language_rows(report)
    lines = [
        ("Texts of users", {c: n.asked for c, n in report.languages.items()}),
        ("Texts of assistants", {c: n.answered for c, n in report.languages.items()}),
    ]
    plots = [figure(_length_plot(found), title=title) for title, found in lines if _any(found)]
    words = note("Lengths are in characters, in bins that are each 19% wider than the one before.")
    return join(table(_LANGUAGE_HEAD, rows), plots_beside(plots), words)


_LANGUAGE_HEAD = (
    *("language", "records", "with pictures", "turns"),
    *("asked, median", "asked, 95%", "answered, median", "answered, 95%"),
)


def _language_rows(report: DataReport) -> list[list[str]]:
    return [
        [
            code,
            *(f"{value:,}" for value in (counts.records, counts.pictured, counts.turns)),
            *(
                f"{lengths.quantile(share):,}"
                for lengths in (counts.asked, counts.answered)
                for share in (0.5, 0.95)
            ),
        ]
        for code, counts in report.languages.items()
    ]


def _any(found: dict[str, Lengths]) -> bool:
    return any(lengths.bins for lengths in found.values())


def _length_plot(found: dict[str, Lengths]) -> str:
    values = [
        {"language": code, "length": max(1, middle(place)), "share": count / sum(bins.values())}
        for code, lengths in found.items()
        if (bins := lengths.bins)
        for place, count in sorted(bins.items())
    ]
    longest = max([100, *(middle(place) for lengths in found.values() for place in lengths.bins)])
    scale = {"type": "log", "nice": False, "domain": [1, 1.2 * longest]}
    lengths = number("length", title="characters", scale=scale)
    shared = {
        "x": lengths | {"axis": {"grid": False, "format": "~s", "tickCount": 6}},
        "y": number("share", title="share of texts", axis={"format": "~%"}),
        "color": colour("language", list(found)),
        "detail": nominal("language"),
    }
    data = {"values": values}
    layers: list[Spec] = [
        {"data": data, "mark": {"type": "line", "strokeWidth": 2}, "encoding": shared},
        {"data": data, "mark": {"type": "point", "filled": True, "size": 25}, "encoding": shared},
    ]
    return svg(layers)


def _pictures(report: DataReport) -> Markup:
    cards = [_card(report, records) for records in report.groups.values()]
    if not cards:
        return NOTHING
    intro = note("Drawn by a hash of their names: nobody chose them.")
    return join(intro, tag("div", *cards, class_="samples"))


def _card(report: DataReport, records: Sequence[Record]) -> Markup:
    shas = dict.fromkeys(image.sha256 for record in records for image in record.images)
    images = [_picture(report, sha) for sha in list(shas)[:4]]
    texts = []
    for record in records:
        writer = record.provenance or NATIVE
        texts.append(tag("p", f"{record.language} · {record.id} · {writer}", class_="note"))
        text = conversation(record, max_characters=_SHOWN)
        texts.append(tag("p", tag("bdi", text, lang=record.language), class_="said"))
    return tag(
        "div",
        tag("span", records[0].task, class_="task"),
        tag("div", *images, class_="shown"),
        *texts,
        class_="sample",
    )


def _picture(report: DataReport, sha256: str | None) -> Markup:
    data = report.pictures.read(sha256)
    if data is None:
        return note("(a picture that is not in the store)")
    try:
        picture = decode(data)
    except DataError as error:
        return note(f"(a picture that cannot be shown: {error})")
    picture.thumbnail((_SIDE_PX, _SIDE_PX))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=82)
    source = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return tag("img", src=source, alt="the picture", class_="large")


def _dropped(report: DataReport) -> Markup:
    if not report.drops:
        return NOTHING
    rows = [[d.step.name, d.reason, f"{d.count:,}"] for d in report.drops]
    parts = [table(("step", "reason", "rows"), rows[:_ROWS], 2)]
    for sample in report.drops:
        shown = [_dropped_row(row) for row in sample.rows]
        title = f"{sample.step.name}: {sample.reason} ({sample.count:,})"
        parts.append(folded(title, join(*shown)))
    return join(*parts)


def _dropped_row(row: dict[str, str]) -> Markup:
    detail = f": {row['detail']}" if row["detail"] else ""
    about = f"{row['language'] or '–'} · {row['id']}{detail}"
    return join(tag("p", about, class_="note"), tag("pre", tag("bdi", content_text(row))))


def content_text(row: dict[str, str]) -> str:
    """Return what a row of the ledger held, for people: the turns, or the source's columns."""
    try:
        content = json.loads(row["content"])
        turns = content["turns"]
        lines = [
            f"{turn['role']}: "
            + "".join(part.get("text") or "[picture] " for part in turn["parts"])
            for turn in turns
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = [row["content"]]
    text = "\n".join(lines)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _source_rows(report: DataReport) -> list[list[str]]:
    return [
        [source, language, licence or UNKNOWN, writer or NATIVE, f"{count:,}"]
        for (source, language, licence, writer), count in report.by_source.most_common(_ROWS)
    ]


_SOURCE_HEAD = ("source", "language", "licence", "written by", "records")


def _sources(report: DataReport) -> Markup:
    rows = _source_rows(report)
    more = len(report.by_source) - len(rows)
    rest = note(f"{more:,} more lines are not shown.") if more else NOTHING
    return join(table(_SOURCE_HEAD, rows, 4), rest) if rows else NOTHING


def _measured_rows(report: DataReport) -> list[list[str]]:
    return [
        [step.name, name, value]
        for step in report.history.steps
        for name, value in list(measured_numbers(step).items())[:_ROWS]
    ]


def _measured(report: DataReport) -> Markup:
    rows = _measured_rows(report)
    return table(("step", "measure", "value"), rows, 2) if rows else NOTHING


# -- Markdown


def markdown(report: DataReport) -> str:
    """Return the report as Markdown, without plots and pictures."""
    steps = [
        [
            step.artifact.address,
            *("–" if count is None else f"{count:,}" for count in (step.read, step.kept)),
            f"{sum(step.dropped.values()):,}",
        ]
        for step in report.history.steps
    ]
    parts = [f"# {md(report.name)}", md(_lead(report))]
    if steps:
        parts += [
            "## From the sources to here",
            md_table(("step", "read", "kept", "dropped"), steps),
        ]
    if report.history.gone:
        parts.append(f"Not in the store any more: {md(', '.join(report.history.gone))}.")
    rows = _language_rows(report)
    parts += ["## Languages and lengths (characters)", md_table(_LANGUAGE_HEAD, rows)]
    if report.drops:
        rows = [[d.step.name, d.reason, f"{d.count:,}"] for d in report.drops]
        parts.append("## What was dropped, and why")
        parts.append(md_table(("step", "reason", "rows"), rows))
        for sample in report.drops:
            for row in sample.rows[:1]:
                parts.append(f"{md(sample.reason)}, such as {md(row['id'])}:")
                parts.append(fence(content_text(row), "text"))
    if report.groups:
        parts.append("## Samples")
    for records in list(report.groups.values())[:6]:
        parts += [fence(conversation(record), "text") for record in records]
    parts += ["## Sources, licences, writers", md_table(_SOURCE_HEAD, _source_rows(report))]
    if measured := _measured_rows(report):
        parts.append("## What was measured on the way")
        parts.append(md_table(("step", "measure", "value"), measured))
    return "\n\n".join(parts) + "\n"
