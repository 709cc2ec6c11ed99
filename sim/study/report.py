"""The document of a study: a Markdown table with means and spreads, and a picture."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from bnnedge.files import atomic
from bnnedge.sim.study import chaos
from bnnedge.sim.study.grid import PROGRAM, Study
from bnnedge.sim.study.picture import draw, have_spreads
from bnnedge.sim.study.table import Row, Table
from bnnedge.terminal import printable

LONG = 40  # epochs of a run from which on its last tenth says how steady it is


def write(study: Study, table: Table, folder: Path, unfinished: Sequence[Row] = ()) -> list[Path]:
    """Write `<name>.md` and `<name>.svg` of the rows there are, into `folder`; ValueError if there are none.

    unfinished: rows so far of runs that go on, or were stopped; see `bnnedge.sim.study.kept.unfinished`.
    """
    groups = {
        label: [table.rows[r.key] for r in study.runs if r.label == label and r.key in table.rows] for label in study.labels
    }
    if not any(groups.values()) and not unfinished:
        raise ValueError(f"{table.path}: none of the runs of study {study.name!r} has ended: there is nothing to report")
    document, picture = folder / f"{study.name}.md", folder / f"{study.name}.svg"
    with atomic(document) as file:
        file.write(markdown(study, groups, table.path.name, picture.name, unfinished).encode())
    draw(study.title, groups, picture, unfinished)
    return [document, picture]


def markdown(study: Study, groups: dict[str, list[Row]], csv: str, picture: str, unfinished: Sequence[Row] = ()) -> str:
    """The document's text. Accuracies in %, mean and standard deviation over seeds; in long runs also how steady they are."""
    evaluated = "images held out from the training set" if any(run.holdout for run in study.runs) else "test set"
    lines = [
        f"# {printable(study.title)}",
        "",
        *([printable(study.text.strip(), "\n"), ""] if study.text else []),
        f"Accuracy on the {evaluated} after the last epoch, in %, mean and standard deviation over seeds; accuracy and loss of "
        f"training are those of the last epoch. Rows: [{csv}]({csv}).",
        "",
        f"`bnnedge study {study.name}`" + f", `python {PROGRAM} {study.name}`" * any(run.independent for run in study.runs),
        "",
    ]
    spreads, long = have_spreads(groups), any(run.epochs >= LONG for run in study.runs)
    header = ["", "seeds", "accuracy", "best", "worst", "training", "loss"]
    header += ["by epoch"] * long + ["J"] * spreads + ["paper"] * bool(study.paper)
    if long:
        lines += [
            "By epoch: change of the accuracy from one epoch to the next, root mean square over the last tenth of the epochs.",
            "",
        ]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for label, rows in groups.items():
        wanted = sum(run.label == label for run in study.runs)
        cells = [_cell(label), str(len(rows)) if len(rows) == wanted else f"{len(rows)} of {wanted}"]
        cells += _cells(rows) if rows else [""] * 5
        if long:
            cells.append(_steadiness(rows))
        if spreads:
            ends = [statistics.mean(row.spread[end] for row in rows) for end in (0, -1)] if rows else []
            cells.append(" -> ".join(f"{j:.3f}" for j in ends))
        if study.paper:
            cells.append(f"{study.paper[label]:.2f}" if label in study.paper else "")
        lines.append("| " + " | ".join(cells) + " |")
    courses = [_course(row) for rows in groups.values() for row in rows if row.run.model == "tanh"]
    lines += ["", *chaos.findings(courses), *_going(unfinished), f"![picture]({picture})", "", _settings(study), ""]
    return "\n".join(lines)


def _going(unfinished: Sequence[Row]) -> list[str]:
    """How far runs are that have not ended, as lines of Markdown; none of no runs."""
    if not unfinished:
        return []
    lines = [
        "**Unfinished**: these runs go on, or were stopped and will. Nothing above counts them; their curves so far are dashed.",
        "",
        "| | seed | epochs | accuracy so far | best |",
        "|---|---|---|---|---|",
    ]
    for row in unfinished:
        epochs, best = f"{len(row.curve)} of {row.run.epochs}", max(row.curve)
        lines.append(f"| {_cell(row.run.label)} | {row.run.seed} | {epochs} | {100 * row.accuracy:.2f} | {100 * best:.2f} |")
    return [*lines, ""]


def _cell(label: str) -> str:
    return printable(label).replace("|", "\\|")


def _course(row: Row) -> chaos.Course:
    return chaos.Course(chaos.Setting(row.run.rate, row.run.momentum, row.run.batch), row.spread, row.curve)


def _cells(rows: Sequence[Row]) -> list[str]:
    accuracies = [100 * row.accuracy for row in rows]
    spread = f" +- {statistics.stdev(accuracies):.2f}" if len(rows) > 1 else ""
    worst = min(rows, key=lambda row: row.accuracy)
    training, loss = (
        statistics.mean(values) for values in zip(*((100 * row.train_accuracy, row.loss) for row in rows), strict=True)
    )
    return [
        f"{statistics.mean(accuracies):.2f}{spread}",
        f"{max(accuracies):.2f}",
        f"{100 * worst.accuracy:.2f} (seed {worst.run.seed})",
        f"{training:.2f}",
        f"{loss:.3f}",
    ]


def _steadiness(rows: Sequence[Row]) -> str:
    """Root mean square, in %, of the changes of accuracy from epoch to epoch in the last tenth of long runs."""
    tails = [row.curve[-1 - row.run.epochs // 10 :] for row in rows if row.run.epochs >= LONG]
    changes = [100 * (after - before) for tail in tails for before, after in itertools.pairwise(tail)]
    return f"{math.sqrt(statistics.mean(change**2 for change in changes)):.2f}" if changes else ""


def _settings(study: Study) -> str:
    """What all runs have in common, in words."""
    run = study.runs[0]
    names = ("data", "network", "epochs", "batch", "augment", "samples", "holdout", "schedule")
    same = [name for name in names if len({getattr(other, name) for other in study.runs}) == 1 and getattr(run, name)]
    return f"All runs: {', '.join(f'{name} {getattr(run, name)}' for name in same)}."
