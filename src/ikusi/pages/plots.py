"""Plots for pages: Vega-Lite as plain data in, inline SVG out; drawn without a browser.

Place: under every report's own plots. Contract: no script and no link in the SVG; colours are CSS
variables of the page, so a plot follows light and dark; every name is text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

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
SERIES = list(_COLOURS)[:6]
"""Colours of the page, to tell things apart."""
INK, MUTED, LINE = list(_COLOURS)[6:]
WIDTH, HEIGHT = 330, 210
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "padding": {"left": 8, "right": 12, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "domainColor": LINE,
        "tickColor": LINE,
        "gridColor": LINE,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    },
    "legend": {
        "orient": "top",
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 300,
        "symbolType": "circle",
    },
}
Spec = dict[str, Any]
"""Vega-Lite, as plain data."""


def colour(
    by: str, names: Sequence[str], order: Sequence[str] | None = None, rows: int = 1
) -> Spec:
    """Return a channel that colours by `by`; a name of `order` has one colour everywhere."""
    order = list(order or names)
    colours = [SERIES[order.index(name) % len(SERIES)] for name in names]
    columns = -(-len(names) // rows) if rows > 1 else 2
    legend = {"title": None, "columns": columns, "columnPadding": 22, "symbolOpacity": 1}
    scale = {"domain": list(names), "range": colours}
    return nominal(by, scale=scale, legend=legend if len(names) > 1 else None)


def rule(height: float) -> Spec:
    """Return a layer with a dashed line across, at `height`."""
    mark = {"type": "rule", "strokeDash": [5, 4], "color": MUTED, "strokeWidth": 1.5}
    return {"data": {"values": [{"y": height}]}, "mark": mark, "encoding": {"y": number("y")}}


def number(field: str, **more: Any) -> Spec:
    """Return a channel of numbers."""
    return {"field": field, "type": "quantitative", **more}


def nominal(field: str, **more: Any) -> Spec:
    """Return a channel of names."""
    return {"field": field, "type": "nominal", **more}


def svg(layers: Sequence[Spec], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return the layers as SVG text fit to stand in a page with others."""
    import vl_convert

    spec = {"width": width, "height": height, "config": _CONFIG, "layer": list(layers)}
    text: str = vl_convert.vegalite_to_svg(spec)
    for stand_in, variable in _COLOURS.items():
        text = text.replace(stand_in, variable)
    prefix = f"p{hashlib.sha256(text.encode()).hexdigest()[:8]}-"  # ids are shared by a whole page
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    return re.sub(r"^.*?(?=<svg)", "", text, flags=re.DOTALL)
