"""How the figures of the documents come about: by the compiler, the tables of cycles and memory, and the rows of studies."""

from __future__ import annotations

import functools
import itertools
import math
import re
import statistics
from collections.abc import Callable, Sequence

from scripts import ROOT, load_script

from bnnedge import Settings, configuration, mlp
from bnnedge.compiler import estimate, memory_of
from bnnedge.compiler.cycles import Estimate
from bnnedge.compiler.layout import layout
from bnnedge.network import BUILT_IN
from bnnedge.sim.study.finetuning import document, grid
from bnnedge.sim.study.finetuning import table as finetuning
from bnnedge.sim.study.table import Row, Table

cycles = load_script("cycles")
CYCLES = cycles.read()
Figures = Callable[[], Sequence[float | str]]


def rtl(network: str, config: str, batch: int, planes: int) -> float:
    return float(CYCLES[cycles.Case(network, config, batch, planes)][1])


def expected(network: str, config: str, batch: int, planes: int) -> float:
    return float(CYCLES[cycles.Case(network, config, batch, planes)][0])


def speed(network: str, batch: int, planes: int) -> float:
    """Images/s that `bnnedge estimate` prints for pynq-z2."""
    return estimated(network, batch, planes).images_per_second


def rate(cycles_per_image: float, config: str = "pynq-z2") -> float:
    return configuration(config).clock_hz / cycles_per_image


def both(cycles_per_image: float) -> list[float]:
    """Cycles an image, and images/s at 100 MHz."""
    return [cycles_per_image, rate(cycles_per_image)]


def gain(network: str, batch: int) -> float:
    """By how many % one gradient plane is faster than eight."""
    return 100 * (speed(network, batch, 1) / speed(network, batch, 8) - 1)


@functools.cache
def estimated(network: str, batch: int, planes: int) -> Estimate:
    make, shape = BUILT_IN[network]
    return estimate(make(shape, 10), Settings(batch=batch, gradient_planes=planes), configuration("pynq-z2"))


def by_planes(network: str) -> list[float | str]:
    """A line of the table of images/s and bottlenecks."""
    found = [estimated(network, 64, planes) for planes in (8, 4, 2, 1)]
    (first, busy), (last, still) = (found[n].bottleneck or ("", 0) for n in (0, -1))
    return [*(each.images_per_second for each in found), first, 100 * busy, last, 100 * still]


def part(*names: str) -> float:
    """Estimated cycles of parts of the MLP's step."""
    found = estimated("mlp", 128, 4).layers
    return sum(operation["cycles"] for operation in found if operation["pass"].startswith(names))


def ratios(variant: int, *networks: str) -> list[float]:
    """Times less memory at batch 128, as results/memory.md has it; variant -1 is the paper's method."""
    text = (ROOT / "docs" / "results" / "memory.md").read_text()
    rows = {row[0]: row[3:] for row in (line.strip("| ").split(" | ") for line in text.splitlines()) if row[1:2] == ["128"]}
    return [float(rows[name][variant + 1].split("(")[1][:-1]) for name in networks]


def ddr(network: str, batch: int) -> list[float]:
    """MB in external memory, with 8 and with 4 gradient planes."""
    make, shape = BUILT_IN[network]
    found = [memory_of(make(shape, 10), Settings(batch=batch, gradient_planes=g), configuration("pynq-z2")) for g in (8, 4)]
    return [sum(each.ddr.values()) / 1e6 for each in found]


def samples(network: str, batch: int, count: int) -> float:
    """MB that so many images take there."""
    make, shape = BUILT_IN[network]
    plan = layout(make(shape, 10), Settings(batch=batch, gradient_planes=4), configuration("pynq-z2")).plan
    return count * plan.sample_bytes / 1e6


def mib(size: int) -> float:
    return size / 2**20


def right_words() -> float:
    found = layout(mlp(), Settings(batch=128), configuration("pynq-z2")).resident
    assert found is not None
    return next(words for buffer, words in found.used.items() if "right" in str(buffer).lower())


@functools.cache
def rows(study: str) -> list[Row]:
    """Those of a study, as docs/results has them."""
    return list(Table(ROOT / "docs" / "results" / f"{study}.csv").rows.values())


def accuracies(study: str, label: str) -> list[float]:
    """Test accuracy in % of a study's runs of that label."""
    found = [100 * row.accuracy for row in rows(study) if row.run.label == label]
    assert found, f"{study} has no {label!r}"
    return found


def means(study: str, *labels: str) -> list[float]:
    return [statistics.fmean(accuracies(study, label)) for label in labels]


def spreads(study: str, *labels: str) -> list[float]:
    """Mean and standard deviation, for each label."""
    found = (accuracies(study, label) for label in labels)
    return [number for each in found for number in (statistics.fmean(each), statistics.stdev(each))]


def ends_at(study: str, *labels: str) -> list[float]:
    """J after the last epoch of the run of each label."""
    return [row.spread[-1] for label in labels for row in rows(study) if row.run.label == label]


def steps_of(study: str, label: str) -> list[float]:
    """Mean and worst test accuracy in %."""
    found = accuracies(study, label)
    return [statistics.fmean(found), min(found)]


def of_chaos(expression: str) -> list[float]:
    """Figures of results/edge-of-chaos.md."""
    text = (ROOT / "docs" / "results" / "edge-of-chaos.md").read_text()
    return [float(each) for each in re.findall(expression, text, re.MULTILINE)]


def trained(study: str, label: str) -> list[float]:
    """Mean accuracy in % on the test and on the training images, and the number of seeds."""
    found = [row for row in rows(study) if row.run.label == label]
    test, training = (statistics.fmean(part) for part in zip(*((r.accuracy, r.train_accuracy) for r in found), strict=True))
    return [100 * test, 100 * training, len(found)]


def unsteadiness(study: str, label: str) -> list[float]:
    """Root mean square, in %, of the changes of accuracy from epoch to epoch, over the last tenth."""
    curves = [row.curve for row in rows(study) if row.run.label == label]
    steps = [b - a for curve in curves for a, b in itertools.pairwise(curve[-1 - len(curve) // 10 :])]
    return [100 * math.hypot(*steps) / math.sqrt(len(steps))]


def gap(study: str, label: str, other: str) -> float:
    """By how many points of test accuracy one line of a study is behind another."""
    return trained(study, other)[0] - trained(study, label)[0]


STANDARD, METHOD = "float32 standard", "float32, the paper's method"
G8, G4 = "bnnedge, 8 gradient planes", "bnnedge, 4 gradient planes"
RECIPE = "bnnedge, 8 planes"
SHIFTED = f"{G8}, shifted images"


def of_15(label: str) -> str:
    return f"{label}, 15 epochs"


@functools.cache
def _few() -> dict[grid.Run, grid.Row]:
    """The rows of the study of fine-tuning."""
    return finetuning.read(ROOT / "docs" / "results" / "fine-tuning.csv")


def few(form: str, images: int, *conditions: str, old: bool = False) -> list[float]:
    """Mean test accuracy in % of what that form of fine-tuning makes of so many images, on new or old ones, by condition."""
    found = (document.of(_few(), condition, form, images) for condition in conditions)
    return [100 * statistics.fmean(row.old if old else row.new for row in each) for each in found]


def by_images(condition: str) -> list[float]:
    """A line of the table of fine-tuning: as imported, then by number of images, and the same in float32."""
    pairs = [few(form, images, condition) for images in grid.IMAGES for form in ("tuned", "float32")]
    return [*few("before", 0, condition), *(number for each in pairs for number in each)]


def costs() -> list[float]:
    """Seconds and joules of fine-tuning, by number of images."""
    runs = [document.of(_few(), "turned", "tuned", images)[0].run for images in grid.IMAGES]
    return [number for run in runs for number in (document.seconds(run), document.WATTS * document.seconds(run))]


def chosen(images: int, batch: int = grid.BATCH, epochs: int = grid.EPOCHS, rate: float = grid.RATE) -> float:
    """Accuracy in % on held-out images, mean of the conditions, with these settings."""
    return document.tried(_few())["tuned", batch, epochs, rate][images]
