"""A picture of how rows went through the steps: boxes as wide as their rows, ribbons between them.

Place: history -> [flow_picture] -> data report. Contract: inline SVG in the page's own colours,
every name escaped; widths are to scale among all steps, and nothing is too thin to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ikusi.data.history import History, Step
from ikusi.pages.markup import Markup, tag

_SLOT = 230  # units of the picture; a box and the words under it stay inside
_BAR = 190
_BOX, _LINE = 18, 15
_TOP = 22  # for the name above a box
_REASONS = 3
_GAP = 44
_INDENT = 34  # a layer; so a ribbon that goes past a box is seen beside it
_LEAST = 4.0


@dataclass
class _Box:
    step: Step
    x: float
    y: float
    read: float
    kept: float
    filled: float = 0.0
    """How much of the top is taken by ribbons already."""
    words: list[str] = field(default_factory=list)

    @property
    def width(self) -> float:
        return max(self.read, self.kept, _LEAST)


def flow_picture(history: History) -> Markup:
    """Return the picture as SVG; nothing where there is no step."""
    if not history.steps:
        return Markup("")
    layers = _layers(history)
    most = max(_rows(step) for step in history.steps) or 1
    boxes: dict[str, _Box] = {}
    y = 0.0
    for depth, layer in enumerate(layers):
        words = {step.artifact.address: _words(step) for step in layer}
        for place, step in enumerate(layer):
            address = step.artifact.address
            kept = step.kept if step.kept is not None else _rows(step)
            scale = _BAR / most
            boxes[address] = _Box(
                step,
                place * _SLOT + depth * _INDENT + 2.0,
                y + _TOP,
                max(_rows(step) * scale, _LEAST),
                max(kept * scale, _LEAST) if kept else 0.0,
                words=words[address],
            )
        y += _TOP + _BOX + _LINE * max(len(lines) for lines in words.values()) + _GAP
    height = y - _GAP + 8
    width = max(len(layer) * _SLOT + depth * _INDENT for depth, layer in enumerate(layers))
    parts = [*_ribbons(boxes), *(part for box in boxes.values() for part in _draw(box))]
    svg = tag(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height:.0f}",
        width=str(width),
        height=f"{height:.0f}",
        role="img",
        aria_label="How rows went through the steps",
    )
    return tag("div", svg, class_="scroll flow")


def _layers(history: History) -> list[list[Step]]:
    """Return the steps in rows, each below all that it was made from."""
    depth: dict[str, int] = {}
    for step in history.steps:  # inputs first
        above = [depth[address] for address in step.inputs if address in depth]
        depth[step.artifact.address] = 1 + max(above, default=-1)
    layers: list[list[Step]] = [[] for _ in range(1 + max(depth.values()))]
    for step in history.steps:
        layers[depth[step.artifact.address]].append(step)
    return layers


def _rows(step: Step) -> int:
    kept = step.kept or 0
    read = step.read if step.read is not None else kept + sum(step.dropped.values())
    return max(read, kept)


def _words(step: Step) -> list[str]:
    lines = []
    if step.kept is not None:
        read = f"{step.read:,} read, " if step.read is not None else ""
        lines.append(f"{read}{step.kept:,} kept")
    reasons = sorted(step.dropped.items(), key=lambda pair: (-pair[1], pair[0]))
    lines += [f"− {count:,} {reason}" for reason, count in reasons[:_REASONS]]
    if rest := reasons[_REASONS:]:
        lines.append(f"− {sum(count for _, count in rest):,} for {len(rest)} other reasons")
    return lines


def _ribbons(boxes: Mapping[str, _Box]) -> list[Markup]:
    made = []
    for box in boxes.values():
        for address in box.step.inputs:
            source = boxes.get(address)
            if source is None or not source.kept:
                continue
            # Not wider than what is left of the top: a step may read a part of its input.
            thick = max(min(source.kept, box.width - box.filled), 1.5)
            left, top = source.x, source.y + _BOX
            right, bottom = box.x + box.filled, box.y
            box.filled = min(box.filled + thick, box.width - 1.5)
            middle = (top + bottom) / 2
            path = (
                f"M{left:.1f},{top:.1f} C{left:.1f},{middle:.1f} {right:.1f},{middle:.1f} "
                f"{right:.1f},{bottom:.1f} h{thick:.1f} C{right + thick:.1f},{middle:.1f} "
                f"{left + source.kept:.1f},{middle:.1f} {left + source.kept:.1f},{top:.1f} Z"
            )
            made.append(tag("path", d=path, fill="var(--c1)", opacity="0.16"))
    return made


def _draw(box: _Box) -> list[Markup]:
    name = box.step.name if len(box.step.name) <= 32 else f"{box.step.name[:31]}…"
    return [
        tag("text", name, x=f"{box.x:.1f}", y=f"{box.y - 7:.1f}", class_="name"),
        _bar(box.x, box.y, box.width, "var(--c2)"),
        _bar(box.x, box.y, box.kept, "var(--c1)"),
        *(
            tag("text", line, x=f"{box.x:.1f}", y=f"{box.y + _BOX + _LINE * (n + 0.9):.1f}")
            for n, line in enumerate(box.words)
        ),
    ]


def _bar(x: float, y: float, width: float, colour: str) -> Markup:
    return tag(
        "rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{width:.1f}", height=str(_BOX), fill=colour
    )
