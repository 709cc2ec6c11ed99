"""The learning curve as a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from bnnedge.files import atomic

if TYPE_CHECKING:
    from bnnedge.report.summary import Reference

_TRAINING, _TEST, _REFERENCE, _INK = "#9a9a9a", "#0b6e99", "#d9822b", "#333333"


def save_curve(path: str | os.PathLike[str], report: dict[str, Any], reference: Reference | None = None) -> None:
    """Draw loss and accuracy over the epochs into a PNG file.

    report: as `summary` returns it. Raises ModuleNotFoundError without matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.8), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    epochs = range(1, len(report["train_loss"]) + 1)
    _line(loss, epochs, report["train_loss"], _TRAINING, "training")
    _line(loss, epochs, report["test_loss_history"], _TEST, "test")
    _line(accuracy, epochs, _percent(report["train_accuracy"]), _TRAINING, "training")
    _line(accuracy, epochs, _percent(report["test_accuracy_history"]), _TEST, "test")
    if reference is not None:
        passed = range(1, len(reference.loss) + 1)
        _line(accuracy, passed, _percent(reference.test_accuracy), _REFERENCE, "test, float32 standard", dashes=(3, 2))
    loss.set_ylim(bottom=0)
    loss.set_title("cross-entropy (nats)", loc="left", fontsize=10, color=_INK)
    accuracy.set_title("accuracy (%)", loc="left", fontsize=10, color=_INK)
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch", fontsize=9, color=_INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=9, colors=_INK, length=3)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    figure.suptitle(_title(report), fontsize=11, x=0.01, ha="left", color=_INK)
    with atomic(path) as file:
        figure.savefig(file, format="png")


def _line(axes: Any, epochs: range, values: list[float], colour: str, label: str, dashes: tuple[int, ...] = ()) -> None:
    if values:
        style = {"dashes": dashes} if dashes else {}
        # A run of few epochs shows its points.
        marker = "o" if len(values) <= 10 else None
        places = epochs[-len(values) :]
        axes.plot(places, values, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=label, **style)


def _percent(values: list[float]) -> list[float]:
    return [100 * value for value in values]


def _title(report: dict[str, Any]) -> str:
    settings = report["settings"]
    parts = [
        f"{report['network']} on {report['data']}",
        f"device {report['device']} ({report['config']})",
        f"batch {settings['batch']}",
        f"{settings['gradient_planes']}-bit gradients",
    ]
    if report["test_accuracy"] is not None:
        parts.append(f"test accuracy {100 * report['test_accuracy']:.2f} %")
    return "   ·   ".join(parts)
