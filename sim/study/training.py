"""Carries out one run of a study."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from bnnedge import data
from bnnedge.callbacks import Callback
from bnnedge.checkpoint import Checkpoint
from bnnedge.commands import options
from bnnedge.data import Dataset
from bnnedge.data.augment import Augment
from bnnedge.devices.golden import GoldenDevice
from bnnedge.network import Network
from bnnedge.report.spread import largest, spread
from bnnedge.samples import digest
from bnnedge.sim import reference
from bnnedge.sim.arrays import Library, library
from bnnedge.sim.golden.random import Nearest, Random
from bnnedge.sim.study import chaos
from bnnedge.sim.study.grid import PROGRAM, Run
from bnnedge.sim.study.kept import Keeper, Kept
from bnnedge.sim.study.shared import Images, Shared
from bnnedge.sim.study.table import Row
from bnnedge.trainer import Trainer


class Samples(NamedTuple):
    """What a run trains and is tested on."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int


Train = Callable[[Run, Samples, Library, Keeper, "Kept | None"], Row]
"""Trains a run, from what was kept of it if there is that, and has its state kept."""


def carry_out(
    run: Run, arrays: str = "numpy", keeper: Keeper | None = None, shared: Shared | None = None, train: Train | None = None
) -> Row:
    """Train, and return the row of the run; ValueError for settings or data that cannot be used.

    arrays: library that computes, see `bnnedge.sim.arrays.library`. keeper: keeps the state meanwhile; if it has one that is of
    this run, training goes on from there. shared: where the data set is, unless it is to be loaded. train: of an independent run.
    """
    train = train or (_elsewhere if run.independent else {"integer": _integer, "tanh": _tanh}.get(run.model, _float))
    keeper, computing, samples = keeper or Keeper(run), library(arrays), samples_of(run, shared)
    kept = keeper.begin(_content(run, samples), arrays)
    try:
        row = dataclasses.replace(train(run, samples, computing, keeper, kept), seconds=keeper.seconds)
        row.check()
    except (ValueError, KeyError, TypeError, OverflowError) as error:  # what is wrong with the run itself comes again
        if kept is None:
            raise
        keeper.forget(error)
        row = dataclasses.replace(train(run, samples, computing, keeper, None), seconds=keeper.seconds)
    return row


def samples_of(run: Run, shared: Shared | None = None) -> Samples:
    """What a run trains and is tested on: the test set, or the images that it holds out. ValueError if there are not so many."""
    found: Images | Dataset | None = None
    if shared is not None:
        with contextlib.suppress(OSError):  # it is on another machine
            found = shared.images()
    if found is None:
        found = data.load(run.data)
    if run.samples > len(found.x_train) or run.holdout >= (run.samples or len(found.x_train)):
        raise ValueError(f"samples {run.samples}, holdout {run.holdout}: {found.name} has {len(found.x_train)} training images")
    x, y = found.x_train[: run.samples or None], found.y_train[: run.samples or None]
    if not run.holdout:
        return Samples(x, y, found.x_test, found.y_test, found.classes)
    kept = len(x) - run.holdout
    return Samples(x[:kept], y[:kept], x[kept:], y[kept:], found.classes)


def _content(run: Run, samples: Samples) -> int:
    """32 bits that tell what the files hold that a run names, images and network, from what they held before."""
    found = digest(np.ascontiguousarray(samples.x), samples.y)
    found = digest(np.ascontiguousarray(samples.x_test), samples.y_test, found)
    return found if run.model == "tanh" else zlib.crc32(json.dumps(network_of(run, samples).to_dict()).encode(), found)


def network_of(run: Run, samples: Samples) -> Network:
    """The network of a run, for images of these."""
    return options.network(run.network, samples.x.shape[1:], samples.classes)


def augment_of(run: Run) -> Augment | None:
    """How the images of a run vary; None if they don't."""
    return Augment.parse(run.augment) if run.augment else None


class _Course(Callback):
    """Records J of the layer with the most weights, and has the state kept.

    spread: before the first epoch, and after each.
    """

    often = True

    def __init__(self, trainer: Trainer, keeper: Keeper, spreads: Sequence[float]) -> None:
        self.trainer, self.keeper = trainer, keeper
        self.spread = list(spreads) or [self._now()]

    def _now(self) -> float:
        return spread(self.trainer.state, self.trainer.device.configuration.latent)[largest(self.trainer.network)]

    def on_batch_end(self, step: int, logs: Mapping[str, float]) -> None:
        plan = self.trainer.plan
        assert plan is not None
        self.keeper.went_on(plan.step / plan.steps, plan.history["val_accuracy"], self._kept)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.spread.append(self._now())
        self.on_batch_end(0, logs)

    def _kept(self) -> tuple[Sequence[float], Checkpoint]:
        return self.spread, self.trainer.snapshot()


def _integer(run: Run, samples: Samples, arrays: Library, keeper: Keeper, kept: Kept | None) -> Row:
    network = network_of(run, samples)
    device = GoldenDevice(run.configuration(), arrays, Nearest if run.rounding == "nearest" else Random)
    with Trainer(network, device, settings=run.settings(), rate=run.rate, schedule=run.schedule) as trainer:
        if kept is not None:
            trainer.restore(cast(Checkpoint, kept.state))
        course = _Course(trainer, keeper, kept.spread if kept else ())
        history = trainer.fit(
            samples.x,
            samples.y,
            epochs=run.epochs,
            validation_data=(samples.x_test, samples.y_test),
            callbacks=[course],
            progress=False,
            augment=augment_of(run),
            resume=kept is not None,
        ).history
    curve, train_curve = tuple(history["val_accuracy"]), tuple(history["accuracy"])
    return Row(run, curve[-1], train_curve[-1], history["loss"][-1], 0.0, curve, tuple(course.spread), train_curve)


def _tanh(run: Run, samples: Samples, arrays: Library, keeper: Keeper, kept: Kept | None) -> Row:
    setting, test = chaos.Setting(run.rate, run.momentum, run.batch), (samples.x_test, samples.y_test)
    training = chaos.Training(setting, samples.x, samples.y, test, run.epochs, run.seed)
    if kept is not None:
        training.restore(cast(dict[str, np.ndarray], kept.state))
    course = training.run(lambda now: keeper.went_on(now.share, now.accuracy, lambda: (now.spread, now.state())))
    return Row(run, course.accuracy[-1], course.train_accuracy, course.loss, 0.0, course.accuracy, course.spread)


def _float(run: Run, samples: Samples, arrays: Library, keeper: Keeper, kept: Kept | None) -> Row:
    history = reference.train(
        cast(Any, run.model),
        network_of(run, samples).geometry,
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
        augment=augment_of(run),
        watch=lambda now: keeper.went_on(now.share, now.history.test_accuracy, lambda: ((), now.state())),
        resume=cast(dict[str, np.ndarray], kept.state) if kept else None,
    )
    return row_of(run, history)


def row_of(run: Run, history: reference.History) -> Row:
    """The row of a training in float32, but for the seconds."""
    curve, train_curve = tuple(history.test_accuracy), tuple(history.train_accuracy)
    return Row(run, curve[-1], train_curve[-1], history.loss[-1], 0.0, curve, train_curve=train_curve)


def _elsewhere(run: Run, samples: Samples, arrays: Library, keeper: Keeper, kept: Kept | None) -> Row:
    raise ValueError(f"model {run.model!r} is trained by {PROGRAM} of the repository")
