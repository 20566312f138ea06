"""Markup that cannot forget to escape, and the few shapes that a page is made of.

Place: under every report. Contract: a `str` handed to `tag` is text and is escaped; only `Markup`
is taken as it is. What could change how the text around it reads (control characters, bidirectional
overrides) is shown as a code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from ikusi.pages.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy of a page: its own style and its own pictures, nothing else."""

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


def document(title: str, body: str) -> str:
    """Return a whole page around `body`: one file, no script, no network."""
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(CSS)),
    )
    main = tag("body", body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n{main}</html>\n'


def chapters(parts: Iterable[tuple[str, str, Markup]]) -> tuple[Markup, Markup]:
    """Return links to the sections, and the sections; those without a body are left out.

    Args:
        parts: of each, the name for links, the title, and the body.
    """
    there = [(name, title, body) for name, title, body in parts if body]
    links = (join(tag("a", title, href=f"#{name}"), " ") for name, title, _ in there)
    sections = (tag("section", tag("h2", title), body, id=name) for name, title, body in there)
    return tag("nav", *links), join(*sections)


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
