"""The page of a run: report.json, the checkpoint and the estimate, for people; one HTML file that needs no other."""

from __future__ import annotations

import os
from typing import Any

from bnnedge.compiler import Estimate, estimate
from bnnedge.files import atomic
from bnnedge.report.document import document, section, table
from bnnedge.report.evaluation import Confusion
from bnnedge.report.markup import Markup, element
from bnnedge.report.pictures import learning_curves, memory_bars, roofline, size
from bnnedge.report.run import Run

_PASSES = (
    "The step’s operations in their order. Cycles count from the end of the operation before, so that work that runs beside "
)
_PASSES += "another’s costs nothing here; an operation is bound by the resource that it keeps busy longest."
_ROOF = (
    "Each point is an operation of the estimated step, with its layer’s number. A bit-operation is one XNOR with its addition; "
)
_ROOF += (
    "padding of words and tiles counts. Below the roof, neither engine nor memory is at its limit: drain, heads or latency are."
)


def save_page(path: str | os.PathLike[str], run: Run, confusion: Confusion | str) -> None:
    """Write the page of a run, complete or not at all; `confusion` may be the reason why there is none."""
    with atomic(path) as file:
        file.write(page(run, confusion).encode())


def page(run: Run, confusion: Confusion | str) -> str:
    """The page of a run as HTML; see `save_page`."""
    found = estimate(run.network, run.settings, run.configuration)
    report = run.report
    trained = f"{report['epochs']:g} epochs ({report['steps']:,} steps) on {report['samples']:,} images of {report['data']}"
    body = [
        element("h1", f"{report['network']} on {report['data']}"),
        element("p", f"{run.layers}. Device {report['device']}, configuration {report['config']}: {trained}.", class_="sub"),
        element("p", f"The run is {run.unfinished}.", class_="warning") if run.unfinished else [],
        _tiles(run, found),
        section("Learning curves", element("div", learning_curves(report), class_="pair")),
        section("Confusion matrix", *_confusion(report, confusion)),
        section("Cycles of a step", *_cycles(found)),
        section("Roofline", *_roofline(found, run)),
        section("Memory", *_memory(run)),
        section("Settings and versions", _settings(run)),
    ]
    return document(f"{report['network']} on {report['data']}: bnnedge", body)


def _tiles(run: Run, found: Estimate) -> Markup:
    report, memory = run.report, run.report["memory_bytes"]
    accuracy, reference, cycles = report["test_accuracy"], report["reference_accuracy"], report["cycles_per_image"]
    exact = {
        True: ("yes", f"{_count(report['checked_steps'])} steps compared with the golden model"),
        False: ("no", "a step differed from the golden model's"),
    }
    rate, origin = report["images_per_second"], "measured"
    if cycles is None and found.fits:
        cycles, rate, origin = found.cycles_per_image, found.images_per_second, "estimated"
    clock = f"{run.configuration.clock_hz / 1e6:g}\N{NO-BREAK SPACE}MHz"
    used = report["engine_utilisation"]
    tiles = [
        ("Test accuracy", _percent(accuracy), "of the last epoch"),
        (
            "Float32 standard",
            _percent(reference),
            "its test accuracy" if reference is not None else "not trained",
        ),
        ("Images per second", _count(rate), f"{origin}, at\N{NO-BREAK SPACE}{clock}" if rate else "no estimate"),
        (
            "Cycles per image",
            _count(cycles),
            origin + (f", engine busy {100 * used:.0f} %" if used is not None else "") if cycles else "",
        ),
        ("Bit-exact", *exact.get(report["bit_exact"], ("–", "not checked"))),
        ("Memory", "–" if memory["ratio"] is None else f"{memory['ratio']:.1f}×", "less than the float32 standard"),
    ]
    parts = [element("div", element("span", a), element("b", b), element("span", c), class_="tile") for a, b, c in tiles]
    return element("div", parts, class_="tiles")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _confusion(report: dict[str, Any], confusion: Confusion | str) -> list[Markup]:
    if isinstance(confusion, str):
        return [element("p", f"There is none: {confusion}")]
    counts = confusion.counts
    text = f"{counts.sum():,} test images, {_percent(confusion.accuracy)} of them right. Rows: true class; columns: taken for."
    if report["test_accuracy"] is not None and abs(report["test_accuracy"] - confusion.accuracy) > 1e-9:
        text += f" The report says {_percent(report['test_accuracy'])}: it is of another test set, or of an epoch before the end."
    classes = range(len(counts))
    mistakes = [(true, taken, f"{count:,}") for true, taken, count in confusion.most_confused()]
    listed = (
        table(["class", "taken for", "images"], mistakes, class_="narrow")
        if mistakes
        else element("p", "No image was taken for another class.")
    )
    if len(counts) > 40:  # would not fit a page
        return [element("p", text), listed]
    rows = [element("tr", element("th", ""), [element("th", n) for n in classes], element("th", "recall"))]
    for n in classes:
        total = int(counts[n].sum())
        recall = f"{100 * counts[n, n] / total:.1f} %" if total else "–"
        rows.append(
            element("tr", element("th", n), [_cell(int(counts[n, m]), total, n == m) for m in classes], element("th", recall))
        )
    grid = element("div", element("table", rows, class_="confusion"), class_="scroll")
    return [element("p", text), element("div", grid, element("div", listed), class_="columns")]


def _cell(count: int, total: int, right: bool) -> Markup:
    part = count / total if total else 0.0
    # Mistakes are rare: their shade grows with the root, so that single ones are seen.
    red, green, blue, strength = (11, 110, 153, 0.9 * part) if right else (217, 130, 43, min(0.9, part**0.5))
    shade = f"background:rgba({red},{green},{blue},{strength:.2f});color:{'#fff' if right and part > 0.5 else '#1f2933'}"
    return element("td", f"{count:,}" if count else Markup("&middot;"), style=shade if count else "color:#c4c9d0")


def _unfit(found: Estimate) -> Markup:
    return element("p", f"There is no estimate: {'; '.join(found.reasons)}")


def _cycles(found: Estimate) -> list[Markup]:
    if not found.fits or found.bottleneck is None:
        return [_unfit(found)]
    name, busiest = found.bottleneck
    step = sum(row["cycles"] for row in found.layers)
    longest = max(row["cycles"] for row in found.layers)
    rows = []
    for row in found.layers:
        part = row["cycles"] / step
        bar = element("span", class_="bar", style=f"width:{max(1, round(110 * row['cycles'] / longest))}px")
        share = [element("span", f"{100 * part:.1f} %", class_="share"), bar]
        cells = [row["pass"], f"{row['passes']:,}", f"{row['cycles']:,}", share, f"{row['engine']:,}"]
        rows.append([*cells, f"{row['bytes']:,}", row["bound by"]])
    busy = sorted(found.shares.items(), key=lambda item: -item[1])
    lead = f"Estimated: {found.cycles_per_image:,.0f} cycles per image. "
    lead += f"Bottleneck: {name}, busy for {100 * busiest:.0f} % of a step."
    names = ["operation", "passes", "cycles", "part of the step", "engine busy", "bytes moved", "bound by"]
    shares = ", ".join(f"{other} {100 * part:.0f} %" for other, part in busy)
    return [
        element("p", lead),
        table(names, rows, class_="passes"),
        element("p", f"Busy: {shares}.", class_="note"),
        element("p", _PASSES, class_="note"),
    ]


def _roofline(found: Estimate, run: Run) -> list[Markup]:
    return [roofline(found.layers, run.configuration), element("p", _ROOF, class_="note")] if found.fits else [_unfit(found)]


def _memory(run: Run) -> list[Markup]:
    memory = run.report["memory_bytes"]
    rows = {"on chip": memory["on_chip"], "DDR": memory["ddr"], "float32 standard": _standard(run)}
    rows = {name: kinds for name, kinds in rows.items() if sum(kinds.values()) > 0}
    if not rows:
        return [element("p", "The report holds no memory: the network does not fit the configuration.")]
    tables = []
    for name, kinds in rows.items():
        lines = [*((kind, f"{count:,}") for kind, count in kinds.items() if count), ("all", f"{sum(kinds.values()):,}")]
        tables.append(table([name, "bytes"], lines, total=True))
    note = f"Bytes of training at batch {run.settings.batch}, the data set left out."
    if "float32 standard" in rows:
        ours = sum(memory["on_chip"].values()) + sum(memory["ddr"].values())
        total = sum(rows["float32 standard"].values())
        note += f" Here {size(ours)}; the float32 standard with Adam takes {size(total)} by the model of Wang et al."
    if any(kinds.get("shared") for kinds in rows.values()):
        note += " Tensors take places by turns: “shared” is what that saves; in the bars they count in proportion."
    return [memory_bars(rows), element("div", tables, class_="columns"), element("p", note, class_="note")]


def _standard(run: Run) -> dict[str, int]:
    try:
        from bnnedge.sim.reference import footprint
    except ModuleNotFoundError:  # a board has no bnnedge.sim
        return {}
    return footprint(run.network.geometry, run.settings.batch, "adam", "standard")


def _settings(run: Run) -> Markup:
    report = run.report
    first = [("weights", f"{run.network.weights:,}")]
    first += [(name.replace("_", " "), value) for name, value in report["settings"].items()]
    if report["reference"] is not None:
        first.append(("rate of the float32 standard", report["reference"]["rate"]))
    if run.wall_time is not None:
        first.append(("wall time", run.wall_time))
    second = [
        (name.replace("_", " "), f"{value:,}" if isinstance(value, int) else value)
        for name, value in report["configuration"].items()
    ]
    third = list(report["versions"].items())
    groups = [("Training", first), ("Configuration", second), ("Versions", third)]
    parts = [element("div", element("p", element("strong", name)), table([], rows, class_="settings")) for name, rows in groups]
    return element("div", parts, class_="columns")
