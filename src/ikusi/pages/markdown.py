"""Markdown out of data, with whatever could be markup escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ikusi.pages.markup import clean


def md(text: str) -> str:
    """Escape what Markdown, and the HTML inside it, would read as markup."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(clean(text).split()))


def md_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table; a cell that is `**words**` stays bold."""
    lines = ["| " + " | ".join(map(md, head)) + " |", "|" + " --- |" * len(head)]
    for row in body:
        cells = (
            f"**{md(c[2:-2])}**" if re.fullmatch(r"\*\*[a-z ]+\*\*", c) else md(c) for c in row
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fence(text: str, kind: str) -> str:
    """Return a block of code whose fence nothing in it can end."""
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    return f"{fence}{kind}\n{clean(text).rstrip()}\n{fence}"
