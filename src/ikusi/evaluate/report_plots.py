"""The plots of a report: rows in, inline SVG out, drawn by altair and vl-convert without a browser.

Place: report_data -> [report_plots] -> report_html. Contract: no script and no link in the SVG;
colours are CSS variables of the page, so a plot follows light and dark; every name is text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ikusi.evaluate.report_data import Row
from ikusi.evaluate.results import CONTROLS, SPLITS, show_share

# Vega wants colours, the page has variables: these stand for them until the SVG is there.
_COLOURS = {
    "#010203": "var(--c1)",
    "#010204": "var(--c2)",
    "#010205": "var(--c3)",
    "#010206": "var(--c4)",
    "#010207": "var(--c5)",
    "#010208": "var(--c6)",
    "#010209": "var(--ink)",
    "#01020a": "var(--muted)",
    "#01020b": "var(--line)",
}
_SERIES = list(_COLOURS)[:6]
_INK, _MUTED, _LINE = list(_COLOURS)[6:]
_WIDTH, _HEIGHT = 330, 210


def short_split(split: str) -> str:
    """Return a kind of evaluation items in a few words, for legends and tables."""
    words = SPLITS[split].removeprefix("blind control: ")
    return words.replace("concepts pictured only with the", "only")


def score_curves(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """Draw the score by share, one line with a band a backbone; dashed: the majority baseline."""
    import altair as alt

    chart = _curves(rows, "backbone", backbones, "score", (0, 1))
    majority = [row["majority"] for row in rows if row["majority"] is not None]
    if not majority:
        return _svg(chart)
    return _svg(alt.layer(_rule(sum(majority) / len(majority)), chart))


def ratio_curve(rows: Sequence[Row], backbones: Sequence[str], ratio: float, share: float) -> str:
    """Draw score / score(100%) by share, with the ratio and the share that the claim names."""
    import altair as alt

    top = max([1.1, *(row["upper"] for row in rows if row["upper"] is not None)])
    chart = _curves(rows, "backbone", backbones, "score / score(100%)", (0, min(top, 1.6)))
    return _svg(alt.layer(_rule(ratio), _mark_share(share), chart))


def gap_curve(rows: Sequence[Row], pairs: Sequence[str], margin: float, share: float) -> str:
    """Draw the gap between backbones by share, with the margin within which it does not matter."""
    import altair as alt

    reach = max([2 * margin, *(abs(row[k]) for row in rows for k in ("lower", "upper") if row[k])])
    reach = min(1.0, 1.1 * reach)
    chart = _curves(rows, "backbone", pairs, "gap", (-reach, reach))
    inside = alt.Chart(_data([{"low": -margin, "high": margin}])).mark_rect(
        color=_MUTED, opacity=0.18
    )
    band = inside.encode(y=alt.Y("low:Q"), y2="high:Q")
    return _svg(alt.layer(band, _mark_share(share), chart))


def split_curves(rows: Sequence[Row], splits: Sequence[str]) -> str:
    """Draw one backbone's score by share, one line a kind of evaluation item."""
    named = [row | {"split": short_split(row["split"])} for row in rows]
    return _svg(_curves(named, "split", [short_split(s) for s in splits], "score", (0, 1), 2))


def change_curves(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """Draw by how much the text-only score changed, by share."""
    import altair as alt

    bounds = [abs(row[key] or 0) for row in rows for key in ("lower", "upper", "value")]
    reach = min(1.0, max([0.1, *(1.1 * bound for bound in bounds)]))
    chart = _curves(rows, "backbone", backbones, "after − before", (-reach, reach))
    return _svg(alt.layer(_rule(0.0), chart))


def said_bars(rows: Sequence[Row], names: Mapping[str, str]) -> str:
    """Draw in which language the answers were, stacked, by share."""
    import altair as alt

    order = list(names.values())
    values = [
        {
            "share": show_share(row["share"]),
            "said": names[row["measure"]],
            "value": row["value"],
            "place": order.index(names[row["measure"]]),
        }
        for row in rows
        if row["value"] is not None
    ]
    shares = list(dict.fromkeys(value["share"] for value in values))
    chart = (
        alt.Chart(_data(values), width=_WIDTH, height=_HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X("share:N", sort=shares, title="target share", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("value:Q", title="share of answers", scale=alt.Scale(domain=[0, 1])),
            color=_colour("said", order, rows=2),
            order="place:Q",
        )
    )
    return _svg(chart)


def control_points(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """Draw the scores of the mixture and of the controls, with their intervals."""
    import altair as alt

    short = {"": "mixture"} | {
        name: f"alone, {name.removeprefix('target_alone_').replace('_', ' ')}" for name in CONTROLS
    }
    several = len({row["share"] for row in rows}) > 1
    values = [
        row | {"what": f"{show_share(row['share'])} " * several + short[row["control"]]}
        for row in rows
    ]
    base = alt.Chart(_data(values), width=250, height=34 * len({v["what"] for v in values}))
    y = alt.Y("what:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelPadding=8))
    offset = alt.YOffset("backbone:N", sort=list(backbones))
    colour = _colour("backbone", backbones)
    bars = base.mark_rule(strokeWidth=2).encode(
        y=y, yOffset=offset, x="lower:Q", x2="upper:Q", color=colour
    )
    x = alt.X("value:Q", title="score", scale=alt.Scale(domain=[0, 1]))
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=y, yOffset=offset, x=x, color=colour
    )
    return _svg(alt.layer(bars, points))


def _curves(
    rows: Sequence[Row],
    by: str,
    order: Sequence[str],
    title: str,
    domain: tuple[float, float],
    legend_rows: int = 1,
) -> Any:
    import altair as alt

    there = [row for row in rows if row["value"] is not None]
    seen = {row[by] for row in there}
    base = alt.Chart(_data(there), width=_WIDTH, height=_HEIGHT)
    x = alt.X("share:Q", title="target share", axis=_share_axis(there), scale=_share_scale())
    scale = alt.Scale(domain=list(domain), clamp=True, nice=False)
    colour = _colour(by, [name for name in order if name in seen], order, rows=legend_rows)
    band = base.mark_area(opacity=0.2).encode(
        x=x, y=alt.Y("lower:Q", title=title, scale=scale), y2="upper:Q", color=colour
    )
    whisker = base.mark_rule(opacity=0.5).encode(x=x, y="lower:Q", y2="upper:Q", color=colour)
    line = base.mark_line(strokeWidth=2).encode(x=x, y="value:Q", color=colour)
    point = base.mark_point(filled=True, size=45, opacity=1).encode(
        x=x, y="value:Q", color=colour, shape=alt.Shape(f"{by}:N", sort=list(order), legend=None)
    )
    return alt.layer(band, whisker, line, point)


def _share_axis(rows: Iterable[Row]) -> Any:
    import altair as alt

    shares = sorted({row["share"] for row in rows})
    ticks = [s for s in shares if s == 0 or s >= 0.1] if len(shares) > 4 else shares
    return alt.Axis(values=ticks or [0, 1], format="~%", grid=False)


def _share_scale() -> Any:
    import altair as alt

    return alt.Scale(domain=[-0.02, 1.02], nice=False)


def _colour(
    by: str, names: Sequence[str], order: Sequence[str] | None = None, rows: int = 1
) -> Any:
    import altair as alt

    order = list(order or names)
    place = {name: _SERIES[order.index(name) % len(_SERIES)] for name in names}
    scale = alt.Scale(domain=list(names), range=[place[name] for name in names])
    columns = -(-len(names) // rows) if rows > 1 else 2
    legend = (
        alt.Legend(title=None, columns=columns, columnPadding=22, symbolOpacity=1)
        if len(names) > 1
        else None
    )
    return alt.Color(f"{by}:N", scale=scale, legend=legend)


def _rule(height: float) -> Any:
    import altair as alt

    return (
        alt.Chart(_data([{"y": height}]))
        .mark_rule(strokeDash=[5, 4], color=_MUTED, strokeWidth=1.5)
        .encode(y="y:Q")
    )


def _mark_share(share: float) -> Any:
    import altair as alt

    return (
        alt.Chart(_data([{"x": share}]))
        .mark_rule(strokeDash=[2, 3], color=_MUTED)
        .encode(x=alt.X("x:Q", scale=_share_scale()))
    )


def _data(rows: Sequence[Mapping[str, Any]]) -> Any:
    import altair as alt

    return cast(Any, alt).Data(values=[dict(row) for row in rows])


def _svg(chart: Any) -> str:
    """Return the chart as SVG text fit to stand in a page with others."""
    import vl_convert

    styled = (
        chart.configure(
            background="transparent",
            font="system-ui, sans-serif",
            padding={"left": 8, "right": 12, "top": 4, "bottom": 4},
        )
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=_MUTED,
            titleColor=_MUTED,
            domainColor=_LINE,
            tickColor=_LINE,
            gridColor=_LINE,
            labelFontSize=11,
            titleFontSize=11,
            titleFontWeight="normal",
        )
        .configure_legend(
            orient="top", labelColor=_INK, labelFontSize=12, labelLimit=300, symbolType="circle"
        )
    )
    svg: str = vl_convert.vegalite_to_svg(styled.to_dict())
    for stand_in, variable in _COLOURS.items():
        svg = svg.replace(stand_in, variable)
    prefix = f"p{hashlib.sha256(svg.encode()).hexdigest()[:8]}-"  # ids are shared by a whole page
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    return re.sub(r"^.*?(?=<svg)", "", svg, flags=re.DOTALL)
