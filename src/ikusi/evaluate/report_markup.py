"""Markup that cannot forget to escape, and the few shapes that a report is made of.

Contract: a `str` handed to `tag` is text and is escaped; only `Markup` is taken as it is. What
could change how the text around it reads (control characters, bidirectional overrides) is shown as
a code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ikusi.evaluate.report_data import Row
from ikusi.evaluate.results import show_share

# Direction overrides and isolates can make a page read as something it does not say. Marks that
# ordinary Arabic, Hebrew or Persian text needs (LRM, RLM, ZWNJ, ZWJ) are left.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ufeff\ufffe\uffff"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


class Markup(str):
    """Text that is HTML already."""


def clean(text: str) -> str:
    """Return `text` with characters that hide or reorder others shown as `⟨U+202E⟩`."""
    return _HARMFUL.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def escape(text: str) -> Markup:
    """Return `text` as HTML; `Markup` is returned as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(clean(text)))


def join(*parts: str) -> Markup:
    """Return the parts one after another, plain text escaped."""
    return Markup("".join(escape(part) for part in parts))


def tag(element: str, *parts: str, **attributes: str | None) -> Markup:
    """Return an element; `class_` gives the attribute `class`, None leaves an attribute out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    closing = "" if element in ("img", "meta", "br") else f"</{element}>"
    return Markup(f"<{element}{given}>{join(*parts)}{closing}")


NOTHING = Markup("")
ABSENT = Markup("–")


def figure(svg: str, caption: str = "", title: str = "") -> Markup:
    """Return a plot with its title above and its caption below; the SVG is ours."""
    parts = [tag("h3", title)] if title else []
    parts.append(Markup(svg))
    parts += [tag("figcaption", caption)] if caption else []
    return tag("figure", *parts)


def plots_beside(figures: Sequence[Markup]) -> Markup:
    """Return figures side by side where there is room."""
    return tag("div", *figures, class_="plots") if figures else NOTHING


def folded(title: str, body: Markup) -> Markup:
    """Return what is shown on a click."""
    return tag("details", tag("summary", title), body) if body else NOTHING


def note(text: str) -> Markup:
    """Return a paragraph of small print."""
    return tag("p", text, class_="note")


def table(
    head: Sequence[str],
    body: Iterable[Sequence[str]],
    text_columns: int = 1,
    *,
    style: Literal["", "narrow", "dense"] = "",
) -> Markup:
    """Return a table that scrolls by itself; the first `text_columns` are words, not numbers.

    `narrow` puts the bounds of a number under it, `dense` makes room for many columns.
    Words that repeat those above are not shown again.
    """

    def row(element: str, cells: Sequence[str], above: Sequence[str] = ()) -> Markup:
        made = []
        again = bool(above)
        for place, cell in enumerate(cells):
            again = again and place < text_columns - 1 and cell == above[place]
            side = "t" if place < text_columns else None
            made.append(tag(element, cell, class_="t again" if again else side))
        return tag("tr", *made)

    listed = list(body)
    rows = [row("td", cells, above) for above, cells in zip([(), *listed], listed, strict=False)]
    inner = tag("table", tag("thead", row("th", head)), tag("tbody", *rows))
    return tag("div", inner, class_=f"scroll {style}".strip())


def table_by_share(
    head: Sequence[str], lines: Mapping[tuple[str, ...], Sequence[Row]], *, signed: bool = False
) -> Markup:
    """Return a table with a column a target share.

    Args:
        head: titles of the words that name a line.
        lines: those words -> rows of curves, one a share.
        signed: differences, shown with their sign.
    """
    shares = sorted({row["share"] for rows in lines.values() for row in rows})
    body = []
    for words, rows in lines.items():
        if rows:  # a line without numbers says nothing
            here = {row["share"]: row for row in rows}
            body.append([*words, *(with_bounds(here.get(s), signed=signed) for s in shares)])
    if not body:
        return NOTHING
    return table([*head, *map(show_share, shares)], body, len(head), style="narrow")


def with_bounds(row: Row | None, *, signed: bool = False) -> Markup:
    """Return the value of a row of curves, with its bounds small behind it."""
    if row is None or row["value"] is None:
        return ABSENT
    sign = "+" if signed else ""
    value = escape(f"{row['value']:{sign}.2f}")
    if row["lower"] is None or row["upper"] is None:
        return value
    return join(value, " ", tag("small", f"{row['lower']:{sign}.2f} to {row['upper']:{sign}.2f}"))


def score(value: float | None) -> str:
    """Return a score in two digits."""
    return ABSENT if value is None else f"{value:.2f}"
