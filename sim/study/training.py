"""Carries out one run of a study."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, cast

import numpy as np

from bnnedge import data
from bnnedge.commands import options
from bnnedge.configuration import configuration
from bnnedge.network import Network
from bnnedge.settings import Settings
from bnnedge.sim import reference
from bnnedge.sim.study.grid import Run
from bnnedge.sim.study.table import Row
from bnnedge.trainer import Trainer

Samples = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def carry_out(run: Run) -> Row:
    """Train, and return the row of the run; ValueError for settings or data that cannot be used."""
    found = data.load(run.data)
    x, y = found.x_train[: run.samples or None], found.y_train[: run.samples or None]
    samples = x, y, found.x_test, found.y_test
    if run.holdout:
        kept = len(x) - run.holdout
        samples = x[:kept], y[:kept], x[kept:], y[kept:]
    network = options.network(run.network, x.shape[1:], found.classes)
    started = time.monotonic()
    train = _integer if run.model == "integer" else _float
    return dataclasses.replace(train(run, network, samples), seconds=time.monotonic() - started)


def _integer(run: Run, network: Network, samples: Samples) -> Row:
    x, y, x_test, y_test = samples
    settings = Settings(run.batch, run.gradient_planes, run.input_planes, run.slope_planes, run.optimiser, run.seed)
    accelerator = dataclasses.replace(configuration(run.config), latent=run.latent)
    with Trainer(network, configuration=accelerator, settings=settings, rate=run.rate, schedule=run.schedule) as trainer:
        history = trainer.fit(x, y, epochs=run.epochs, validation_data=(x_test, y_test)).history
    curve = tuple(history["val_accuracy"])
    return Row(run, curve[-1], history["accuracy"][-1], history["loss"][-1], 0.0, curve)


def _float(run: Run, network: Network, samples: Samples) -> Row:
    history = reference.train(
        cast(Any, run.model),
        network.geometry,
        *samples,
        batch=run.batch,
        epochs=run.epochs,
        rate=run.rate,
        seed=run.seed,
        steps=run.steps.split(),
    )
    curve = tuple(history.test_accuracy)
    return Row(run, curve[-1], history.train_accuracy[-1], history.loss[-1], 0.0, curve)
