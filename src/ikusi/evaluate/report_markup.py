"""Tables that only a study's report has, on top of `pages.markup`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ikusi.evaluate.report_data import Row
from ikusi.evaluate.results import show_share
from ikusi.pages.markup import ABSENT, NOTHING, Markup, escape, join, table, tag


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
