"""Runs side by side: the settings in which they differ, and what came out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from bnnedge.files import atomic
from bnnedge.report.document import document, section, table
from bnnedge.report.markup import Markup, element
from bnnedge.report.pictures import Curve, curves, size
from bnnedge.report.run import Run
from bnnedge.terminal import printable

# Of runs in their order; more than these repeat them, dashed.
_COLOURS = "#0b6e99", "#d9822b", "#3f7d4e", "#b5406b", "#7b68a6", "#7a5c3e", "#2aa198", "#555555"
_ABSENT = "–"
Row = tuple[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs, and tables of them.

    names: of the runs, all different. settings: those in which runs differ, results: what is known of at least one run;
    rows of a name and a text for each run. warnings: what makes the results hard to compare.
    """

    runs: list[Run]
    names: list[str]
    settings: list[Row]
    results: list[Row]
    warnings: list[str]


def compare(runs: Sequence[Run]) -> Comparison:
    """Set runs side by side; ValueError for fewer than two."""
    if len(runs) < 2:
        raise ValueError(f"a comparison needs two runs or more, not {len(runs)}")
    flat = [_settings(run) for run in runs]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    settings = [(key, [found.get(key, _ABSENT) for found in flat]) for key in keys]
    results = [_results(run) for run in runs]
    rows = [(key, [found[key] for found in results]) for key in results[0]]
    sets = list(dict.fromkeys(run.report["data"] for run in runs))
    warnings = []
    if len(sets) > 1:
        warnings.append(f"the runs are of different data sets ({', '.join(sets)}): their accuracies do not compare")
    if len({run.report.get("wall_steps", run.report["steps"]) == run.report["steps"] for run in runs}) > 1:
        warnings.append("a wall time is that of the steps since a run was resumed, another that of a whole run")
    warnings += [f"{name} is {run.unfinished}" for name, run in zip(_names(runs), runs, strict=True) if run.unfinished]
    return Comparison(
        list(runs),
        _names(runs),
        [(key, values) for key, values in settings if len(set(values)) > 1],
        [(key, values) for key, values in rows if set(values) != {_ABSENT}],
        warnings,
    )


def text(comparison: Comparison) -> str:
    """Both tables in aligned columns, warnings below."""
    rows: list[Row] = [("", comparison.names)]
    if comparison.settings:
        rows += [("settings that differ", []), *((f"  {name}", values) for name, values in comparison.settings)]
    else:
        rows.append(("no setting differs", []))
    rows += [("results", []), *((f"  {name}", values) for name, values in comparison.results)]
    # No name can begin a line of its own.
    rows = [(printable(name), [printable(value) for value in values]) for name, values in rows]
    first = max(len(name) for name, _ in rows)
    widths = [max(len(values[i]) for _, values in rows if values) for i in range(len(comparison.names))]
    lines = [
        "  ".join([name.ljust(first), *(value.rjust(width) for value, width in zip(values, widths, strict=False))]).rstrip()
        for name, values in rows
    ]
    return "\n".join([*lines, *(["", *map(printable, comparison.warnings)] if comparison.warnings else [])])


def save_comparison(path: str | os.PathLike[str], comparison: Comparison) -> None:
    """Write a page of the runs' curves over each other and of both tables, complete or not at all."""
    with atomic(path) as file:
        file.write(_page(comparison).encode())


def _page(comparison: Comparison) -> str:
    reports = [run.report for run in comparison.runs]
    styles = [(_COLOURS[n % len(_COLOURS)], n >= len(_COLOURS)) for n in range(len(reports))]

    def of(key: str) -> list[Curve]:
        return [
            (name, colour, report[key], dashed)
            for name, report, (colour, dashed) in zip(comparison.names, reports, styles, strict=True)
        ]

    keys = [
        element("span", element("span", class_="dashed" if dashed else "", style=f"border-color:{colour}"), name)
        for name, (colour, dashed) in zip(comparison.names, styles, strict=True)
    ]
    pictures = [
        curves("Test accuracy (%)", of("test_accuracy_history"), percent=True, named=False),
        curves("Test cross-entropy (nats)", of("test_loss_history"), named=False),
        curves("Training accuracy (%)", of("train_accuracy"), percent=True, named=False),
        curves("Training cross-entropy (nats)", of("train_loss"), named=False),
    ]
    names = ["", *comparison.names]
    differing: list[Markup] = [element("p", "No setting differs.")]
    if comparison.settings:
        differing = [table(names, [(name, *values) for name, values in comparison.settings], class_="compared")]
    body = [
        element("h1", "Comparison of runs"),
        element("p", ", ".join(comparison.names), class_="sub"),
        [element("p", f"Note: {warning}.", class_="warning") for warning in comparison.warnings],
        section("Results", table(names, [(name, *values) for name, values in comparison.results], class_="compared")),
        section("Learning curves", element("div", keys, class_="keys"), element("div", pictures, class_="pair")),
        section("Settings that differ", *differing),
    ]
    return document("Comparison of runs: bnnedge", body)


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names; their paths where names are equal, numbered where those are too."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.folder) for run in runs]
    return [f"{name} ({names[: n + 1].count(name)})" if names.count(name) > 1 else name for n, name in enumerate(names)]


def _settings(run: Run) -> dict[str, str]:
    """All that a run was told, and by which versions, as text."""
    report = run.report
    flat: dict[str, Any] = {key: report[key] for key in ("network", "data", "device", "config", "samples", "epochs", "steps")}
    flat["layers"] = run.layers
    flat |= report["settings"]
    flat |= {f"configuration, {key}": value for key, value in report["configuration"].items() if key != "name"}
    flat |= {f"version, {key}": value for key, value in report["versions"].items()}
    return {key.replace("_", " "): str(value) for key, value in flat.items()}


def _results(run: Run) -> dict[str, str]:
    report = run.report
    memory = report["memory_bytes"]
    histories = {name: report[name] for name in ("test_accuracy_history", "test_loss_history", "train_loss")}

    def shown(value: float | None, form: str, factor: float = 1) -> str:
        return _ABSENT if value is None else form.format(factor * value)

    def last(name: str) -> float | None:
        return histories[name][-1] if histories[name] else None

    return {
        "test accuracy": shown(report["test_accuracy"], "{:.2f} %", 100),
        "best test accuracy": shown(max(histories["test_accuracy_history"], default=None), "{:.2f} %", 100),
        "test loss": shown(last("test_loss_history"), "{:.4f}"),
        "training loss": shown(last("train_loss"), "{:.4f}"),
        "float32 standard": shown(report["reference_accuracy"], "{:.2f} %", 100),
        "bit-exact": {True: "yes", False: "no", None: _ABSENT}[report["bit_exact"]],
        "steps checked": f"{report['checked_steps']:,}" if report["checked_steps"] else _ABSENT,
        "cycles per image": shown(report["cycles_per_image"], "{:,.0f}"),
        "images per second": shown(report["images_per_second"], "{:,.0f}"),
        "engine busy": shown(report["engine_utilisation"], "{:.0f} %", 100),
        "memory": _ABSENT if memory["total"] is None else size(memory["total"]),
        "less than float32": shown(memory["ratio"], "{:.1f} times"),
        "wall time": run.wall_time or _ABSENT,
    }
