"""Plots as SVG elements: axes with ticks, lines, marks. Needs nothing but text, so it works on a board too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bnnedge.report.markup import Markup, element, join
from bnnedge.report.style import INK

MUTED, GRID = "#6b7280", "#e5e7eb"


def label(
    x: float, y: float, content: object, *, anchor: str = "start", colour: str = MUTED, size: float = 11, angle: float = 0
) -> Markup:
    """Text with its base line's start, middle or end at a point, turned around it (degrees, clockwise)."""
    turn = f"rotate({angle:.1f} {x:.1f} {y:.1f})" if angle else None
    return element("text", content, x=x, y=y, text_anchor=anchor, fill=colour, font_size=size, transform=turn)


def picture(width: float, height: float, description: str, *children: object) -> Markup:
    """An SVG picture that scales to the width of its place; `description` is for those who don't see it."""
    box = f"0 0 {width:g} {height:g}"
    return element(
        "svg",
        element("title", description),
        *children,
        viewBox=box,
        role="img",
        style=f"width:100%;max-width:{width:g}px;height:auto",
    )


class Axis:
    """A scale from values to pixels.

    Parameters
    ----------
    low, high: values at its ends, low < high; positive if `log`.
    start, end: pixels there.
    log: decades instead of units.
    """

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Up to about `most` round values in range: powers of ten if `log`."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        rough = (self.high - self.low) / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A tick's value: plain, or with k or M behind it."""
    for limit, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{sign}"
    return f"{value:.4g}"


def frame(x: Axis, y: Axis, below: str, ticks: Sequence[float] | None = None) -> Markup:
    """Axes with a grid of the vertical one; `below` names the horizontal one."""
    parts: list[Markup] = []
    for value in y.ticks(5):
        parts.append(element("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), stroke=GRID))
        parts.append(label(x.start - 8, y(value) + 4, number(value), anchor="end"))
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, stroke=MUTED))
    for value in x.ticks() if ticks is None else ticks:
        parts.append(element("line", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4, stroke=MUTED))
        parts.append(label(x(value), y.start + 17, number(value), anchor="middle"))
    parts.append(label((x.start + x.end) / 2, y.start + 36, below, anchor="middle"))
    return join(parts)


def line(
    x: Axis, y: Axis, places: Sequence[float], values: Sequence[float], colour: str, *, dashed: bool, marked: bool
) -> Markup:
    """A line through points, which get a dot each if `marked`."""
    points = [(x(place), y(value)) for place, value in zip(places, values, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    dashes = "5 4" if dashed else None
    drawn = element(
        "polyline", points=path, fill="none", stroke=colour, stroke_width=2.0, stroke_dasharray=dashes, stroke_linejoin="round"
    )
    if not marked:
        return drawn
    return join([drawn, *(element("circle", cx=a, cy=b, r=2.6, fill=colour) for a, b in points)])


def legend(x: float, y: float, entries: Sequence[tuple[str, str, bool]]) -> Markup:
    """Names with their colours side by side, from a point on; of dashed lines too."""
    parts: list[Markup] = []
    for name, colour, dashed in entries:
        dashes = "5 4" if dashed else None
        parts.append(
            element("line", x1=x, x2=x + 20, y1=y - 4, y2=y - 4, stroke=colour, stroke_width=2.5, stroke_dasharray=dashes)
        )
        parts.append(label(x + 26, y, name, colour=INK, size=12))
        x += 26 + 6.6 * len(name) + 18  # as wide as text of this size is on average
    return join(parts)
