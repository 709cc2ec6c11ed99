"""The pictures of studies, SVG files that are the same whenever they are of the same rows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnnedge.files import atomic
from bnnedge.report.style import plain
from bnnedge.sim.study.table import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Groups = Mapping[str, Sequence[Row]]  # rows by label; those of a label are of different seeds

CURVES = 12  # more lines than these cannot be told apart


def draw(title: str, groups: Groups, path: Path, unfinished: Sequence[Row] = ()) -> None:
    """Draw the learning curves of a few labels, or the accuracies of many; labels without rows are left out.

    unfinished: rows so far of runs that have not ended; their curves are dashed, and their accuracies left out.
    """
    begun = {row.run.label for row in unfinished}
    few = sum(bool(rows) or label in begun for label, rows in groups.items()) <= CURVES
    groups = {plain(label): rows for label, rows in groups.items() if rows}
    figure = _curves(groups, unfinished) if few or not groups else _accuracies(groups)
    figure.suptitle(plain(title), fontsize=11)
    save(figure, path)


def have_spreads(groups: Groups) -> bool:
    """Whether all rows there are tell how far the weights are spread."""
    return all(row.spread for rows in groups.values() for row in rows)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, whole or not at all, without date and random names."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": path.stem}), atomic(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


def _curves(groups: Groups, unfinished: Sequence[Row] = ()) -> Figure:
    """Accuracy over epochs, the mean of the seeds, a line for each label; beside it J^2, if all runs have it.

    Accuracies of training are dotted, where the rows have them. A run that has not ended has a dashed line of its own, in the
    colour of its label.
    """
    from matplotlib.figure import Figure

    both = have_spreads({**groups, "\n": unfinished})  # no label has that
    figure = Figure(figsize=(11 if both else 7.2, 4.0), layout="constrained")
    left, *right = figure.subplots(1, 1 + both, squeeze=False)[0]
    dotted = False
    for label, rows in groups.items():
        means = [100 * statistics.mean(values) for values in zip(*(row.curve for row in rows), strict=False)]
        (line,) = left.plot(range(1, len(means) + 1), means, label=label, linewidth=1.4)
        training = [100 * statistics.mean(values) for values in zip(*(row.train_curve for row in rows), strict=False)]
        if training:
            dotted = True
            left.plot(range(1, len(training) + 1), training, color=line.get_color(), linewidth=0.8, linestyle=":")
        for axes in right:
            squares = [statistics.mean(j * j for j in values) for values in zip(*(row.spread for row in rows), strict=False)]
            axes.plot(squares, label=label, linewidth=1.4)
    places = {label: place for place, label in enumerate(dict.fromkeys([*groups, *(plain(row.run.label) for row in unfinished)]))}
    named = set()
    for row in unfinished:
        label = plain(row.run.label)
        style = {"color": f"C{places[label] % 10}", "linewidth": 1.0, "linestyle": "--"}
        name = None if label in named else f"{label}, unfinished"
        named.add(label)
        left.plot(range(1, len(row.curve) + 1), [100 * value for value in row.curve], label=name, **style)
        for axes in right:
            axes.plot([j * j for j in row.spread], **style)
    left.set(xlabel="epoch", ylabel=f"accuracy, %{' (dotted: of training)' * dotted}")
    for axes in right:
        axes.set(xlabel="epoch", ylabel="J²")
    for axes in (left, *right):
        axes.grid(alpha=0.3)
    left.legend(fontsize=7 if both else 8)
    return figure


def _accuracies(groups: Groups) -> Figure:
    """The accuracy after the last epoch, a point for each run and a line for the mean, labels below each other."""
    from matplotlib.figure import Figure

    means = {label: statistics.mean(100 * row.accuracy for row in rows) for label, rows in groups.items()}
    figure = Figure(figsize=(7.2, 1.0 + 0.2 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for place, (label, rows) in enumerate(groups.items()):
        axes.plot([100 * row.accuracy for row in rows], [place] * len(rows), "o", color="C0", markersize=3.5, alpha=0.6)
        axes.plot(means[label], place, "|", color="C3", markersize=9)
    # One that failed altogether would press all others together: it stands at the edge.
    everything = [100 * row.accuracy for rows in groups.values() for row in rows]
    lowest = max(statistics.median(everything) - 4, min(everything) - 0.3)
    axes.set_xlim(lowest, max(everything) + 0.3)
    for place, mean in enumerate(means.values()):
        if mean < lowest:
            axes.annotate(f" \N{LEFTWARDS ARROW} {mean:.1f}", (lowest, place), fontsize=7, va="center")
    axes.set_yticks(range(len(groups)), list(groups), fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="accuracy, %")
    axes.grid(alpha=0.3)
    return figure
