"""What the study consists of: its runs, their rows, and the settings that they were given."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

from bnnedge.sim.study.finetuning.conditions import CONDITIONS

CLASSES = "two new classes"
NEW = 8, 9
"""The classes that the network of that condition was not trained on at first."""
FORMS = "before", "averages", "tuned", "mixed", "kept", "float32", "nothing"
"""What becomes of the network: nothing; fresh averages alone; training with fresh averages; the same with as many old images
among the new; training with the averages that it had; in float32; and of a fresh network.
"""
CONFIGURATION = "pynq-z2"
IMAGES = 50, 100, 200, 500, 1000
SOME = 50, 200, 1000  # of these, for choosing settings
FEW = 50, 200  # for what is no main result
SEEDS = 1, 2, 3
BATCH, EPOCHS, RATE, FLOAT_RATE = 32, 20, 0.0005, 0.0003  # chosen on held-out images
FRESH_EPOCHS, FRESH_RATE = 60, 0.004
STILL = 2e-5  # a rate at which hardly any weight turns


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a network on `images` images of a condition, and whether it is tested on images held out or the test set.

    condition, form: see CONDITIONS, CLASSES and FORMS. seed: of the choice of the images, of their order and of the device.
    """

    condition: str
    form: str
    images: int
    batch: int
    epochs: int
    rate: float
    seed: int
    held_out: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of a run: accuracy 0..1 on images of the new condition, and on those of the old one."""

    run: Run
    new: float
    old: float


def runs() -> list[Run]:
    """All of the study: those that choose settings, then those of its table."""
    found = []
    for condition, images in itertools.product((*CONDITIONS, CLASSES), SOME):
        found += [Run(condition, *tried, 1, True) for tried in _tried(images) if tried[2] <= images]
    for condition in (*CONDITIONS, CLASSES):
        found.append(Run(condition, "before", 0, BATCH, 0, 0.0, 0))
        for form in FORMS[1:]:
            rate = {"averages": STILL, "float32": FLOAT_RATE, "nothing": FRESH_RATE}.get(form, RATE)
            epochs = FRESH_EPOCHS if form == "nothing" else EPOCHS
            for images, seed in itertools.product(IMAGES if form in ("tuned", "float32") else FEW, SEEDS):
                found.append(Run(condition, form, images, BATCH, epochs, rate, seed))
    return found


def _tried(images: int) -> Iterable[tuple[str, int, int, int, float]]:
    """What is tried on held-out images: form, images, batch, epochs, rate."""
    for rate in (0.0001, 0.00025, 0.0005, 0.001, 0.002):
        yield "tuned", images, BATCH, EPOCHS, rate
    for epochs in (10, 40):
        yield "tuned", images, BATCH, epochs, RATE
    yield "tuned", images, 2 * BATCH, EPOCHS, RATE
    for rate in (0.0001, 0.0003, 0.001):
        yield "float32", images, BATCH, EPOCHS, rate
    for rate in (0.004, 0.012):
        yield "nothing", images, BATCH, FRESH_EPOCHS, rate
