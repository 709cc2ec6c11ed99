"""The pictures of a report: learning curves, memory against float32, the roofline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bnnedge.compiler.tiling import MEMORY_BYTES
from bnnedge.configuration import Configuration
from bnnedge.report.markup import Markup, element, join
from bnnedge.report.plot import MUTED, Axis, frame, label, legend, line, picture
from bnnedge.report.style import INK, REFERENCE, TEST, TRAINING

# A curve: name, colour, values of each epoch, dashed.
Curve = tuple[str, str, Sequence[float], bool]

# What kinds of memory are for, and its colour; a kind that is not listed is of the last one.
FAMILIES: dict[str, tuple[str, ...]] = {
    "activations": ("activations", "input", "products"),
    "masks": ("masks", "routes", "pool masks"),
    "gradients": ("gradient codes", "product gradients", "weight gradients"),
    "weights": ("weights", "binary weights", "latent weights"),
    "moments": ("moments",),
    "buffers": ("buffers", "tile buffer"),
    "others": (),
}
COLOURS = dict(zip(FAMILIES, ("#0b6e99", "#7fbcd2", "#d9822b", "#3f7d4e", "#9cc7a2", "#7b68a6", "#a8adb5"), strict=True))
_UNDER = "#f1f5f9"  # below the roof
_LIGHT = {"masks", "moments", "others"}  # families whose colours need dark text
OPERATIONS = {"forward": "#0b6e99", "loss": "#7b68a6", "data gradient": "#3f7d4e", "weight gradient": "#d9822b"}


def learning_curves(report: Mapping[str, Any]) -> Markup:
    """Loss and accuracy of a run over the epochs, beside each other."""
    losses: list[Curve] = [
        ("training", TRAINING, report["train_loss"], False),
        ("test", TEST, report["test_loss_history"], False),
    ]
    accuracies: list[Curve] = [
        ("training", TRAINING, report["train_accuracy"], False),
        ("test", TEST, report["test_accuracy_history"], False),
    ]
    if report["reference"] is not None:
        accuracies.append(("test, float32 standard", REFERENCE, report["reference"]["test_accuracy"], True))
    return join([curves("Cross-entropy (nats)", losses), curves("Accuracy (%)", accuracies, percent=True)])


def curves(title: str, given: Sequence[Curve], *, percent: bool = False, named: bool = True) -> Markup:
    """Curves over the epochs, the first value of each being the first epoch's; with a legend if `named`."""
    drawn = [
        (name, colour, [100 * v if percent else v for v in values], dashed) for name, colour, values, dashed in given if values
    ]
    if not drawn:
        return element("p", f"{title}: the run ended before its first epoch.", class_="note")
    longest = max(len(values) for _, _, values, _ in drawn)
    every = [value for _, _, values, _ in drawn for value in values]
    spread = max(every) - min(every) or 1.0
    low, high = (
        (max(0.0, min(every) - 0.06 * spread), min(100.0, max(every) + 0.06 * spread)) if percent else (0.0, 1.05 * max(every))
    )
    x, y = Axis(1, max(2, longest), 44, 500), Axis(low, high if high > low else low + 1, 250, 62 if named else 36)
    whole = [tick for tick in x.ticks() if tick == int(tick)]
    lines = [
        line(x, y, range(1, len(values) + 1), values, colour, dashed=dashed, marked=longest <= 12)
        for _, colour, values, dashed in drawn
    ]
    names = legend(44, 44, [(name, colour, dashed) for name, colour, _, dashed in drawn if named])
    return picture(520, 292, title, frame(x, y, "epoch", whole), label(0, 16, title, colour=INK, size=13), names, lines)


def families(kinds: Mapping[str, int]) -> dict[str, int]:
    """Bytes by family of kinds of memory, without empty ones.

    Tensors that take a place by turns (`shared`, negative, is what that saves) count in proportion to their sizes.
    """
    own = ("buffers", "tile buffer", "parameters", "latent weights", "binary weights", "program", "reports", "order")
    turns = sum(count for kind, count in kinds.items() if kind not in own and kind != "shared")
    factor = (turns + kinds.get("shared", 0)) / turns if turns else 1.0
    found = dict.fromkeys(FAMILIES, 0.0)
    for kind, count in kinds.items():
        if kind != "shared":
            family = next((name for name, members in FAMILIES.items() if kind in members), "others")
            found[family] += count * (1 if kind in own else factor)
    return {family: round(count) for family, count in found.items() if round(count)}


def memory_bars(rows: Mapping[str, Mapping[str, int]]) -> Markup:
    """A stacked bar for each row of bytes by kind; rows are called what their keys say."""
    sums = {name: sum(kinds.values()) for name, kinds in rows.items()}
    scale = Axis(0, max(sums.values()), 150, 930)
    parts: list[object] = []
    used: dict[str, bool] = {}
    for place, (name, kinds) in enumerate(rows.items()):
        top, at = 14 + 46 * place, 0.0
        parts.append(label(138, top + 19, name, anchor="end", colour=INK, size=13))
        for family, count in families(kinds).items():
            used[family] = True
            width = scale(at + count) - scale(at)
            hint = element("title", f"{name}: {family}, {count:,} bytes")
            parts.append(element("rect", hint, x=scale(at), y=top, width=max(0.5, width - 1), height=28, fill=COLOURS[family]))
            if width > 8 * len(family) + 10:
                parts.append(label(scale(at) + 8, top + 18, family, colour=INK if family in _LIGHT else "#ffffff", size=12))
            at += count
        parts.append(label(scale(at) + 8, top + 19, size(sums[name]), colour=INK, size=13))
    height = 14 + 46 * len(rows)
    parts.append(_swatches(150, height + 16, [(family, COLOURS[family]) for family in FAMILIES if family in used]))
    return picture(1040, height + 30, "Memory by kind", parts)


def size(count: float) -> str:
    """Bytes for people, in powers of ten."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f} bytes"


def roofline(operations: Sequence[Mapping[str, Any]], configuration: Configuration) -> Markup:
    """Bit-operations a cycle of each operation of a step over its bit-operations per byte of memory traffic.

    The roof is the slower of the engine (lanes * lanes * word bit-operations a cycle) and the memory. Operations that move
    nothing stand on the right. An operation takes the longest of its own time, its engine's and its bytes': where it runs
    beside others, the time from one's end to the next one's may be shorter.
    """
    peak = configuration.lanes**2 * configuration.word
    points = []
    for row in operations:
        done = row["engine"] * peak
        time = max(row["cycles"], row["engine"], row["bytes"] / MEMORY_BYTES)
        if done and time:
            points.append((row["pass"], done / row["bytes"] if row["bytes"] else None, done / time))
    ridge = peak / MEMORY_BYTES
    still = [(name, rate) for name, intensity, rate in points if intensity is None]
    moving = [(name, intensity, rate) for name, intensity, rate in points if intensity is not None]
    intensities = [intensity for _, intensity, _ in moving]
    x = Axis(_decade(min([ridge / 40, *intensities])), 2 * max([10 * ridge, *intensities]), 70, 800 if still else 1020, log=True)
    y = Axis(_decade(min([peak / 20, *(rate for _, _, rate in points)])), 2.2 * peak, 350, 40, log=True)
    radius = 8.5 if len(points) <= 20 else 7
    parts = [_roof(x, y, peak)]
    if still:
        left, gap = x.end + 18, (1020 - x.end - 18) / (len(still) + 1)
        parts += [
            element("rect", x=left, y=y.end, width=1020 - left, height=y.start - y.end, fill=_UNDER),
            element("line", x1=left, x2=1020, y1=y(peak), y2=y(peak), stroke=INK, stroke_width=1.8),
            label((left + 1020) / 2, y.start + 17, "no traffic", anchor="middle"),
        ]
        parts += [
            _mark(name, left + gap * (n + 1), y(rate), radius, "no memory traffic", rate) for n, (name, rate) in enumerate(still)
        ]
    for name, intensity, rate in moving:
        parts.append(_mark(name, x(intensity), y(rate), radius, f"{intensity:,.0f} bit-operations a byte", rate))
    kinds = [kind for kind in OPERATIONS if any(name.startswith(kind) for name, _, _ in points)]
    parts.append(_swatches(70, y.start + 62, [(kind, OPERATIONS[kind]) for kind in kinds]))
    return picture(1040, 424, "Roofline", label(0, 16, "Bit-operations a cycle", colour=INK, size=13), parts)


def _roof(x: Axis, y: Axis, peak: float) -> Markup:
    """The axes of a roofline and its roof, with what it is made of."""
    ridge = peak / MEMORY_BYTES
    left = max(x.low, y.low / MEMORY_BYTES)
    outline = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in ((left, left * MEMORY_BYTES), (ridge, peak), (x.high, peak)))
    steep = math.degrees(math.atan2(y(left * MEMORY_BYTES) - y(peak), x(ridge) - x(left)))
    low = left * (ridge / left) ** 0.1  # where the text along the slope begins
    start = (x(low) - 12 * math.sin(math.radians(steep)), y(low * MEMORY_BYTES) - 12 * math.cos(math.radians(steep)))
    return join(
        [
            element("polygon", points=f"{outline} {x.end},{y.start} {x(left):.1f},{y.start}", fill=_UNDER),
            frame(x, y, "bit-operations per byte of memory traffic"),
            element("polyline", points=outline, fill="none", stroke=INK, stroke_width=1.8),
            label(x.end - 6, y(peak) - 10, f"engine: {peak:,} a cycle", anchor="end", colour=INK, size=12),
            label(*start, f"memory: {MEMORY_BYTES:g} bytes a cycle", colour=INK, size=12, angle=-steep),
        ]
    )


def _decade(value: float) -> float:
    """The power of ten at or below a value."""
    return float(f"1e{f'{value:e}'.split('e')[1]}")


def _mark(name: str, x: float, y: float, radius: float, traffic: str, rate: float) -> Markup:
    """An operation's point with its layer's number; its name shows under the pointer."""
    colour = next((colour for kind, colour in OPERATIONS.items() if name.startswith(kind)), MUTED)
    hint = element("title", f"{name}: {rate:,.0f} bit-operations a cycle, {traffic}")
    circle = element("circle", cx=x, cy=y, r=radius, fill=colour, fill_opacity=0.88, stroke="#ffffff")
    return element("g", hint, circle, label(x, y + 3.5, name.rsplit(" ", 1)[-1], anchor="middle", colour="#ffffff", size=10))


def _swatches(x: float, y: float, entries: Sequence[tuple[str, str]]) -> Markup:
    parts = []
    for name, colour in entries:
        parts.append(element("rect", x=x, y=y - 10, width=11, height=11, rx=2, fill=colour))
        parts.append(label(x + 17, y, name, colour=INK, size=12))
        x += 17 + 6.6 * len(name) + 20
    return join(parts)
