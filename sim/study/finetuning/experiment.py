"""Carries out the runs: the first training in float32, what is made of its images and of its network, and the tests."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bnnedge import importer
from bnnedge.checkpoint import Checkpoint
from bnnedge.data import Dataset
from bnnedge.network import mlp
from bnnedge.settings import Settings
from bnnedge.sim.reference import Standard, fit, scale_pixels
from bnnedge.sim.study.finetuning.conditions import CONDITIONS
from bnnedge.sim.study.finetuning.grid import CLASSES, CONFIGURATION, NEW, Row, Run
from bnnedge.sim.study.finetuning.handed import model
from bnnedge.trainer import Trainer

TRAINED, HELD_OUT = 50_000, 5_000
"""Of the training images: so many for the first training, and so many at the end to choose settings on."""
_EPOCHS, _BATCH, _RATE = 8, 100, 1e-3  # of the first training
_SETTLED = 1 << 10  # steps after which averages are as slow as they become


class Samples(NamedTuple):
    """Images (N, height, width) uint8 and labels (N,)."""

    x: np.ndarray
    y: np.ndarray

    def of(self, chosen: np.ndarray | slice) -> Samples:
        """Some of them."""
        return Samples(self.x[chosen], self.y[chosen])

    def drawn(self, count: int, seed: int) -> Samples:
        """So many of them, at random."""
        return self.of(np.random.RandomState(seed).permutation(len(self.x))[:count])


class Experiment:
    """The images of the study, and its networks, which are trained when they are first asked for.

    Parameters
    ----------
    dataset: of images (height, width).
    trained: the first training takes the first so many of the training images.
    held_out: so many at the end are for choosing settings; fine-tuning draws from those between.
    """

    def __init__(self, dataset: Dataset, trained: int = TRAINED, held_out: int = HELD_OUT) -> None:
        self.network = mlp(dataset.x_train.shape[1:], dataset.classes)
        whole, last = Samples(dataset.x_train, dataset.y_train), len(dataset.x_train) - held_out
        self._old, self._new = whole.of(slice(trained)), whole.of(slice(trained, last))
        self._test = {False: Samples(dataset.x_test, dataset.y_test), True: whole.of(slice(last, None))}
        # Each is made once, and kept as long as this object.
        self.float32 = functools.cache(self._float32)
        self.imported = functools.cache(self._imported)
        self._tests = functools.cache(self._tested)

    def carry_out(self, run: Run) -> Row:
        """Train, and test on images of the new condition and of the old one."""
        without = run.condition == CLASSES
        few = _seen(self._new.drawn(run.images, run.seed), run.condition, 1000 + run.seed)
        if run.form == "mixed":
            old = _known(self._old, without).drawn(run.images, 1000 + run.seed)
            few = Samples(*(np.concatenate(both) for both in zip(few, old, strict=True)))
        accuracy = self._in_float32(run, few) if run.form == "float32" else self._on_device(run, few)
        return Row(run, *map(accuracy, self._tests(run.condition, run.held_out)))

    def _float32(self, without: bool) -> Standard:
        """The network as it was first trained, without the new classes or with all."""
        network, old = Standard(self.network.geometry, seed=1), _known(self._old, without)
        fit(network, *old, *old.of(slice(1)), batch=_BATCH, epochs=_EPOCHS, rate=_RATE, seed=1)
        return network

    def _imported(self, without: bool) -> Checkpoint:
        """The same, as the device has it."""
        made = model(self.float32(without), self.network.name, (*self.network.input_shape, 1))
        return importer.understand(made, (-1, 1), configuration=CONFIGURATION).checkpoint

    def _tested(self, condition: str, held_out: bool) -> tuple[Samples, Samples]:
        test = self._test[held_out]
        return _seen(test, condition, 0), _known(test, condition == CLASSES)

    def _on_device(self, run: Run, few: Samples) -> Callable[[Samples], float]:
        """Train the integer form; what is returned measures its accuracy."""
        settings = Settings(batch=run.batch, seed=max(1, run.seed))
        if run.form == "nothing":
            trainer = Trainer(self.network, configuration=CONFIGURATION, settings=settings, rate=run.rate)
        else:
            start = self.imported(run.condition == CLASSES)
            start = dataclasses.replace(start, state=dataclasses.replace(start.state, step=_SETTLED))
            trainer = Trainer.load(start, settings=settings, rate=run.rate or None, fresh_averages=run.form != "kept")
        if run.epochs:
            trainer.fit(*few, epochs=run.epochs, progress=False)
        return lambda test: trainer.evaluate(*test)["accuracy"]

    def _in_float32(self, run: Run, few: Samples) -> Callable[[Samples], float]:
        """Train the float32 standard from the same weights; what is returned measures its accuracy."""
        network, start = Standard(self.network.geometry), self.float32(run.condition == CLASSES)
        for layer, begun in zip(network.layers, start.layers, strict=True):
            for name in ("weight", "beta", "mean", "spread"):
                setattr(layer, name, getattr(begun, name).copy())
        fit(network, *few, *few.of(slice(1)), batch=run.batch, epochs=run.epochs, rate=run.rate, seed=run.seed)
        return lambda test: float(np.mean(network.classify(scale_pixels(test.x)) == test.y))


def _seen(samples: Samples, condition: str, seed: int) -> Samples:
    """The same under a condition."""
    return samples if condition == CLASSES else Samples(CONDITIONS[condition](samples.x, seed), samples.y)


def _known(samples: Samples, without: bool) -> Samples:
    """Those of the classes that the network knew at first."""
    return samples.of(~np.isin(samples.y, NEW)) if without else samples
