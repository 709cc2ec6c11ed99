"""The document of the study: tables of its rows, with seconds and joules on the device."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Iterable, Mapping

from bnnedge.compiler import estimate
from bnnedge.configuration import configuration
from bnnedge.network import mlp
from bnnedge.settings import Settings
from bnnedge.sim.study.finetuning import grid
from bnnedge.sim.study.finetuning.conditions import CONDITIONS
from bnnedge.sim.study.finetuning.grid import Row, Run

WATTS = 1.8
"""Assumed of the whole board. MLPerf Tiny 0.7 has measurements of a PYNQ-Z2 that infers with networks of FINN and hls4ml, without
Linux: 1.6 to 1.8 W (github.com/mlcommons/tiny_results_v0.7, open/hls4ml-finn/results/pynq-z2).
"""
ALL = (*CONDITIONS, grid.CLASSES)
_OTHERS = {"averages": "fresh averages alone", "kept": "averages kept", "mixed": "with as many old images"}


def seconds(run: Run) -> float:
    """Of training on the device, by the compiler's cycles."""
    images = run.images * (2 if run.form == "mixed" else 1)
    steps = run.epochs * (images // run.batch)
    return steps * run.batch * _cycles(run.batch) / configuration(grid.CONFIGURATION).clock_hz


@functools.cache
def _cycles(batch: int) -> float:
    """Of an image."""
    return estimate(mlp(), Settings(batch=batch), configuration(grid.CONFIGURATION)).cycles_per_image


def markdown(rows: Mapping[Run, Row], csv: str) -> str:
    """The document's text, of a complete table of that name."""
    lines = [
        "# Fine-tuning on few images",
        "",
        f"The paper's MLP, trained in float32 on 50,000 images of MNIST, imported, and trained on by the integer form as on "
        f"`{grid.CONFIGURATION}`, batch {grid.BATCH}, rate {grid.RATE:g}, {grid.EPOCHS} epochs; float32 goes on with Adam from "
        f"the same weights, rate {grid.FLOAT_RATE:g}. Accuracy on the 10,000 test images in %, mean and standard deviation over "
        f'{len(grid.SEEDS)} draws of the images; "old" is on test images as they were, or of the classes known before. Seconds '
        f"by the compiler's cycles at {configuration(grid.CONFIGURATION).clock_hz / 1e6:g} MHz, joules at {WATTS:g} W. "
        f"What it teaches: [how-to](../how-to/fine-tuning.md). Rows: "
        f"[{csv}]({csv}).",
        "",
        "`bnnedge study fine-tuning`",
        "",
        "| condition | images | as imported, new / old | fine-tuned, new | old | float32, new | old | seconds | joules |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for condition, images in itertools.product(ALL, grid.IMAGES):
        (before,), tuned, single = (of(rows, condition, form, images) for form in ("before", "tuned", "float32"))
        took = seconds(tuned[0].run)
        start = f"{100 * before.new:.1f} / {100 * before.old:.1f}"
        cells = [condition, str(images), start, *_both(tuned), *_both(single), f"{took:.2f}", f"{WATTS * took:.2f}"]
        lines.append(_line(cells))
    lines += [
        "",
        'Other ways, new / old: no weight moves, but the averages do ("fresh averages alone"); the averages are those of the '
        "imported network at first; as many old images, drawn from the first training's, stand among the new ones; a fresh "
        f"network, rate {grid.FRESH_RATE:g}, {grid.FRESH_EPOCHS} epochs.",
        "",
        _line(["condition", "images", "fine-tuned", *_OTHERS.values(), "a fresh network"]),
        "|---|---|---|---|---|---|---|",
    ]
    for condition, images in itertools.product(ALL, grid.FEW):
        found = (of(rows, condition, form, images) for form in ("tuned", *_OTHERS, "nothing"))
        pairs = (f"{_mean(r.new for r in each):.1f} / {_mean(r.old for r in each):.1f}" for each in found)
        lines.append(_line([condition, str(images), *pairs]))
    lines += [
        "",
        "The settings were chosen on 5,000 images held out of the training set: their accuracy, new condition, mean of the four "
        "conditions, one draw.",
        "",
        _line(["what", "batch", "epochs", "rate", *(f"{images} images" for images in grid.SOME)]),
        "|---|---|---|---|---|---|---|",
    ]
    for (form, batch, epochs, rate), found_by in tried(rows).items():
        cells = [f"{found_by[images]:.1f}" if images in found_by else "" for images in grid.SOME]
        name = {"tuned": "fine-tuned", "float32": "float32", "nothing": "a fresh network"}[form]
        lines.append(_line([name, str(batch), str(epochs), f"{rate:g}", *cells]))
    return "\n".join([*lines, ""])


def of(rows: Mapping[Run, Row], condition: str, form: str, images: int) -> list[Row]:
    """The rows of the test set, a seed each; of what needs no images, the one there is."""
    wanted = (condition, form, 0 if form == "before" else images, False)
    return [row for run, row in rows.items() if (run.condition, run.form, run.images, run.held_out) == wanted]


def tried(rows: Mapping[Run, Row]) -> dict[tuple[str, int, int, float], dict[int, float]]:
    """By form, batch, epochs and rate, and by images: accuracy in % on images held out, mean of the conditions."""
    found: dict[tuple[str, int, int, float], dict[int, list[float]]] = {}
    for run, row in rows.items():
        if run.held_out:
            found.setdefault((run.form, run.batch, run.epochs, run.rate), {}).setdefault(run.images, []).append(row.new)
    return {key: {images: _mean(values) for images, values in each.items()} for key, each in found.items()}


def _both(found: list[Row]) -> list[str]:
    new = [100 * row.new for row in found]
    return [f"{statistics.mean(new):.1f} +- {statistics.stdev(new):.1f}", f"{_mean(row.old for row in found):.1f}"]


def _mean(values: Iterable[float]) -> float:
    return 100 * statistics.fmean(values)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
