"""The plots of a study's report: rows in, inline SVG out.

Place: report_data -> [report_plots] -> report_html, over `pages.plots`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ikusi.evaluate.report_data import Row
from ikusi.evaluate.results import CONTROLS, SPLITS, show_share
from ikusi.pages.plots import MUTED, Spec, colour, nominal, number, rule, svg

_SHARE_SCALE = {"domain": [-0.02, 1.02], "nice": False}


def short_split(split: str) -> str:
    """Return a kind of evaluation items in a few words, for legends and tables."""
    words = SPLITS[split].removeprefix("blind control: ")
    return words.replace("concepts pictured only with the", "only")


def score_curves(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """Draw the score by share, one line with a band a backbone; dashed: the majority baseline."""
    majority = [row["majority"] for row in rows if row["majority"] is not None]
    under = [rule(sum(majority) / len(majority))] if majority else []
    return svg([*under, *_curves(rows, "backbone", backbones, "score", (0, 1))])


def ratio_curve(rows: Sequence[Row], backbones: Sequence[str], ratio: float, share: float) -> str:
    """Draw score / score(100%) by share, with the ratio and the share that the claim names."""
    top = max([1.1, *(row["upper"] for row in rows if row["upper"] is not None)])
    curves = _curves(rows, "backbone", backbones, "score / score(100%)", (0, min(top, 1.6)))
    return svg([rule(ratio), _mark_share(share), *curves])


def gap_curve(rows: Sequence[Row], pairs: Sequence[str], margin: float, share: float) -> str:
    """Draw the gap between backbones by share, with the margin within which it does not matter."""
    reach = max([2 * margin, *(abs(row[k]) for row in rows for k in ("lower", "upper") if row[k])])
    reach = min(1.0, 1.1 * reach)
    inside = {
        "data": {"values": [{"low": -margin, "high": margin}]},
        "mark": {"type": "rect", "color": MUTED, "opacity": 0.18},
        "encoding": {"y": number("low"), "y2": {"field": "high"}},
    }
    curves = _curves(rows, "backbone", pairs, "gap", (-reach, reach))
    return svg([inside, _mark_share(share), *curves])


def split_curves(rows: Sequence[Row], splits: Sequence[str]) -> str:
    """Draw one backbone's score by share, one line a kind of evaluation item."""
    named = [row | {"split": short_split(row["split"])} for row in rows]
    return svg(_curves(named, "split", [short_split(s) for s in splits], "score", (0, 1), 2))


def change_curves(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """Draw by how much the text-only score changed, by share."""
    bounds = [abs(row[key] or 0) for row in rows for key in ("lower", "upper", "value")]
    reach = min(1.0, max([0.1, *(1.1 * bound for bound in bounds)]))
    curves = _curves(rows, "backbone", backbones, "after − before", (-reach, reach))
    return svg([rule(0.0), *curves])


def said_bars(rows: Sequence[Row], names: Mapping[str, str]) -> str:
    """Draw in which language the answers were, stacked, by share."""
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
    bars = {
        "data": {"values": values},
        "mark": "bar",
        "encoding": {
            "x": nominal("share", sort=shares, title="target share", axis={"labelAngle": 0}),
            "y": number("value", title="share of answers", scale={"domain": [0, 1]}),
            "color": colour("said", order, rows=2),
            "order": number("place"),
        },
    }
    return svg([bars])


def control_points(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """Draw the scores of the mixture and of the controls, with their intervals."""
    short = {"": "mixture"} | {
        name: f"alone, {name.removeprefix('target_alone_').replace('_', ' ')}" for name in CONTROLS
    }
    several = len({row["share"] for row in rows}) > 1
    values = [
        row | {"what": f"{show_share(row['share'])} " * several + short[row["control"]]}
        for row in rows
    ]
    shared = {
        "y": nominal("what", title=None, sort=None, axis={"labelLimit": 260, "labelPadding": 8}),
        "yOffset": nominal("backbone", sort=list(backbones)),
        "color": colour("backbone", backbones),
    }
    x = number("value", title="score", scale={"domain": [0, 1]})
    layers = [
        {
            "data": {"values": values},
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {**shared, "x": number("lower"), "x2": {"field": "upper"}},
        },
        {
            "data": {"values": values},
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {**shared, "x": x},
        },
    ]
    return svg(layers, width=250, height=34 * len({value["what"] for value in values}))


def _curves(
    rows: Sequence[Row],
    by: str,
    order: Sequence[str],
    title: str,
    domain: tuple[float, float],
    legend_rows: int = 1,
) -> list[Spec]:
    """Return the layers of a line with its band, whiskers and points for each value of `by`."""
    there = [row for row in rows if row["value"] is not None]
    seen = {row[by] for row in there}
    shared = {
        "x": number("share", title="target share", axis=_share_axis(there), scale=_SHARE_SCALE),
        "color": colour(by, [name for name in order if name in seen], order, rows=legend_rows),
    }
    scale = {"domain": list(domain), "clamp": True, "nice": False}
    bounds = {"y": number("lower", title=title, scale=scale), "y2": {"field": "upper"}}
    value = {"y": number("value")}
    shape = {"shape": nominal(by, sort=list(order), legend=None)}
    marks: list[tuple[Spec, Spec]] = [
        ({"type": "area", "opacity": 0.2}, bounds),
        ({"type": "rule", "opacity": 0.5}, bounds),
        ({"type": "line", "strokeWidth": 2}, value),
        ({"type": "point", "filled": True, "size": 45, "opacity": 1}, value | shape),
    ]
    data = {"values": there}
    return [{"data": data, "mark": m, "encoding": {**shared, **own}} for m, own in marks]


def _share_axis(rows: Iterable[Row]) -> Spec:
    shares = sorted({row["share"] for row in rows})
    ticks = [s for s in shares if s == 0 or s >= 0.1] if len(shares) > 4 else shares
    return {"values": ticks or [0, 1], "format": "~%", "grid": False}


def _mark_share(share: float) -> Spec:
    return {
        "data": {"values": [{"x": share}]},
        "mark": {"type": "rule", "strokeDash": [2, 3], "color": MUTED},
        "encoding": {"x": number("x", scale=_SHARE_SCALE)},
    }
