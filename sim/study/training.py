"""Carries out one run of a study."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, NamedTuple, cast

import numpy as np

from bnnedge import data
from bnnedge.commands import options
from bnnedge.data.augment import Augment
from bnnedge.devices.golden import GoldenDevice
from bnnedge.network import Network
from bnnedge.report.spread import Spread, largest, spread
from bnnedge.sim import reference
from bnnedge.sim.arrays import Library, library
from bnnedge.sim.golden.random import Nearest, Random
from bnnedge.sim.study import chaos
from bnnedge.sim.study.grid import Run
from bnnedge.sim.study.table import Row
from bnnedge.trainer import Trainer


class Samples(NamedTuple):
    """What a run trains and is tested on."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int


def carry_out(run: Run, arrays: str = "numpy") -> Row:
    """Train, and return the row of the run; ValueError for settings or data that cannot be used.

    arrays: library that computes, see `bnnedge.sim.arrays.library`.
    """
    found = data.load(run.data)
    if run.samples > len(found.x_train) or run.holdout >= (run.samples or len(found.x_train)):
        raise ValueError(f"samples {run.samples}, holdout {run.holdout}: {found.name} has {len(found.x_train)} training images")
    x, y = found.x_train[: run.samples or None], found.y_train[: run.samples or None]
    samples = Samples(x, y, found.x_test, found.y_test, found.classes)
    if run.holdout:
        kept = len(x) - run.holdout
        samples = Samples(x[:kept], y[:kept], x[kept:], y[kept:], found.classes)
    train = {"integer": _integer, "tanh": _tanh}.get(run.model, _float)
    started = time.monotonic()
    return dataclasses.replace(train(run, samples, library(arrays)), seconds=time.monotonic() - started)


def _network(run: Run, samples: Samples) -> Network:
    return options.network(run.network, samples.x.shape[1:], samples.classes)


def _integer(run: Run, samples: Samples, arrays: Library) -> Row:
    network = _network(run, samples)
    accelerator = run.configuration()
    device = GoldenDevice(accelerator, arrays, Nearest if run.rounding == "nearest" else Random)
    with Trainer(network, device, settings=run.settings(), rate=run.rate, schedule=run.schedule) as trainer:
        before, spreads = spread(trainer.state, accelerator.latent), Spread(trainer)
        test = samples.x_test, samples.y_test
        history = trainer.fit(
            samples.x,
            samples.y,
            epochs=run.epochs,
            validation_data=test,
            callbacks=[spreads],
            progress=False,
            augment=Augment.parse(run.augment) if run.augment else None,
        ).history
    curve = tuple(history["val_accuracy"])
    course = tuple(epoch[largest(network)] for epoch in [before, *spreads.history])
    return Row(run, curve[-1], history["accuracy"][-1], history["loss"][-1], 0.0, curve, course)


def _tanh(run: Run, samples: Samples, arrays: Library) -> Row:
    setting = chaos.Setting(run.rate, run.momentum, run.batch)
    course = chaos.train(setting, samples.x, samples.y, (samples.x_test, samples.y_test), run.epochs, run.seed)
    return Row(run, course.accuracy[-1], course.train_accuracy, course.loss, 0.0, course.accuracy, course.spread)


def _float(run: Run, samples: Samples, arrays: Library) -> Row:
    history = reference.train(
        cast(Any, run.model),
        _network(run, samples).geometry,
        samples.x,
        samples.y,
        samples.x_test,
        samples.y_test,
        batch=run.batch,
        epochs=run.epochs,
        rate=run.rate,
        seed=run.seed,
        optimiser=cast(Any, run.optimiser or "adam"),
        steps=run.steps.split(),
        library=arrays,
    )
    curve = tuple(history.test_accuracy)
    return Row(run, curve[-1], history.train_accuracy[-1], history.loss[-1], 0.0, curve)
