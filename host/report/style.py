"""How the plots of a training run look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bnnedge.terminal import printable

TRAINING, TEST, REFERENCE, INK = "#9a9a9a", "#0b6e99", "#d9822b", "#333333"


def line(
    axes: Any, epochs: Sequence[float], values: Sequence[float], colour: str, label: str, dashes: tuple[int, ...] = ()
) -> None:
    """Plot `values` over the last of `epochs`; nothing if there are none."""
    if values:
        style = {"dashes": dashes} if dashes else {}
        # A run of few epochs shows its points.
        marker = "o" if len(values) <= 10 else None
        places = epochs[-len(values) :]
        axes.plot(places, values, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=label, **style)


def percent(values: Sequence[float]) -> list[float]:
    """Parts of one in percent."""
    return [100 * value for value in values]


def plain(text: str) -> str:
    """A name as matplotlib shows it: not as a formula, though it has dollar signs."""
    return printable(text).replace("$", r"\$")


def title(axes: Any, text: str) -> None:
    """Put a title above the left end of the axes."""
    axes.set_title(text, loc="left", fontsize=10, color=INK)


def curve(axes: Any) -> None:
    """Finish axes over epochs: whole numbers below, a light grid, a legend without a frame."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=9, colors=INK, length=3)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
