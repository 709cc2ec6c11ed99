"""The learning curve as a picture."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from bnnedge.files import atomic
from bnnedge.report.style import INK, REFERENCE, TEST, TRAINING, curve, line, percent, plain, title
from bnnedge.settings import gradients

if TYPE_CHECKING:
    from bnnedge.report.summary import Reference


def save_curve(path: str | os.PathLike[str], report: dict[str, Any], reference: Reference | None = None) -> None:
    """Draw loss and accuracy over the epochs into a PNG file.

    report: as `summary` returns it. Raises ModuleNotFoundError without matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(9, 3.8), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    epochs = range(1, len(report["train_loss"]) + 1)
    line(loss, epochs, report["train_loss"], TRAINING, "training")
    line(loss, epochs, report["test_loss_history"], TEST, "test")
    line(accuracy, epochs, percent(report["train_accuracy"]), TRAINING, "training")
    line(accuracy, epochs, percent(report["test_accuracy_history"]), TEST, "test")
    if reference is not None:
        passed = range(1, len(reference.loss) + 1)
        line(accuracy, passed, percent(reference.test_accuracy), REFERENCE, "test, float32 standard", dashes=(3, 2))
    loss.set_ylim(bottom=0)
    title(loss, "cross-entropy (nats)")
    title(accuracy, "accuracy (%)")
    for axes in (loss, accuracy):
        curve(axes)
    figure.suptitle(plain(_title(report)), fontsize=11, x=0.01, ha="left", color=INK)
    with atomic(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in a script that the font lacks: boxes stand for it
        figure.savefig(file, format="png")


def _title(report: dict[str, Any]) -> str:
    settings = report["settings"]
    parts = [
        f"{report['network']} on {report['data']}",
        f"device {report['device']} ({report['config']})",
        f"batch {settings['batch']}",
        gradients(settings["gradient_planes"]),
    ]
    if report["test_accuracy"] is not None:
        parts.append(f"test accuracy {100 * report['test_accuracy']:.2f} %")
    return "   ·   ".join(parts)
