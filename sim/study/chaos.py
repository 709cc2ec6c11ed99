"""How the spread of weights grows in training: the law of "Edge of chaos as a guiding principle for modern neural network
training" (Zhang, Feng, Chen, Lai, arXiv 2107.09437), on a network of real numbers.

A layer of N tanh units between the inputs and the classes, trained by gradient descent with momentum. With W its N inputs'
weights, J = std(W) sqrt(N) says on which side of the edge of chaos, J = 1, it stands. In the ordered phase

    J^2(t) = J0^2 + A t,   A proportional to x = rate / ((1 - momentum) batch),   t in epochs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bnnedge.sim.reference.functions import softmax_cross_entropy

INITIAL = 0.5  # J at the start: well in the ordered phase


@dataclasses.dataclass(frozen=True)
class Setting:
    """Hyperparameters of a training by gradient descent: W += V, V = momentum V - rate * mean gradient of a batch."""

    rate: float
    momentum: float
    batch: int

    @property
    def x(self) -> float:
        """The one number on which A depends."""
        return self.rate / ((1 - self.momentum) * self.batch)


@dataclasses.dataclass(frozen=True)
class Course:
    """What a training showed: J before it and after each epoch; accuracy 0..1 on the test set after each epoch; accuracy and
    mean loss (nats) of the training images as they were seen in the last one.
    """

    setting: Setting
    spread: tuple[float, ...]
    accuracy: tuple[float, ...]
    train_accuracy: float = 0.0
    loss: float = 0.0

    @property
    def slope(self) -> float:
        """A: of the straight line that is closest to J^2 in the second half of the epochs.

        In the first ones, in which the error falls fast, J^2 grows faster than the law says.
        """
        squares = np.square(self.spread)[(len(self.spread) - 1) // 2 :]
        return float(np.polyfit(np.arange(len(squares)), squares, 1)[0])


class Training:
    """A training on its way: a network of as many tanh units as inputs.

    images: (n, ...) uint8, taken as 0..1; labels: (n,) integers from 0; test: the same, to be classified. ValueError if they
    are less than a batch.

    Members
    -------
    spread, accuracy: as of a `Course`, so far. losses, right: of the running epoch's steps, and of their images.
    """

    def __init__(
        self,
        setting: Setting,
        images: np.ndarray,
        labels: np.ndarray,
        test: tuple[np.ndarray, np.ndarray],
        epochs: int,
        seed: int,
    ) -> None:
        self.setting, self.epochs, self._random = setting, epochs, np.random.default_rng(seed)
        self._inputs, self._targets, self._test = _flat(images), np.asarray(labels), (_flat(test[0]), test[1])
        size, classes = self._inputs.shape[1], int(self._targets.max()) + 1
        self.weights = [
            self._random.normal(0, INITIAL / np.sqrt(size), shape).astype(np.float32) for shape in ((size, size), (size, classes))
        ]
        self.moves = [np.zeros_like(w) for w in self.weights]
        self.spread, self.accuracy = [_spread(self.weights[0])], list[float]()
        self.losses, self.right = list[float](), 0
        self.batches = len(self._inputs) // setting.batch
        if not self.batches:
            raise ValueError(f"batch must be at most {len(self._inputs)}, the number of training images, not {setting.batch}")

    @property
    def share(self) -> float:
        """How much of the training is done, 0..1."""
        running = len(self.losses) / self.batches if len(self.accuracy) < self.epochs else 0
        return (len(self.accuracy) + running) / self.epochs

    def state(self) -> dict[str, np.ndarray]:
        """Arrays by name, of numbers alone, from which `restore` goes on."""
        lists = {name: np.array(getattr(self, name), np.float64) for name in _LISTS}
        arrays = {f"{name}.{i}": getattr(self, name)[i].copy() for name in _ARRAYS for i in range(2)}
        return {**lists, **arrays, "right": np.array(self.right)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go to where `state` was taken, from the beginning; ValueError, or KeyError, if it is of another training."""
        lists = {name: [float(value) for value in state[name]] for name in _LISTS}
        arrays = {name: [state[f"{name}.{i}"].copy() for i in range(2)] for name in _ARRAYS}
        wanted = [(w.shape, w.dtype) for w in self.weights]
        if any([(a.shape, a.dtype) for a in found] != wanted for found in arrays.values()):
            raise ValueError("its weights are of another network")
        if len(lists["spread"]) != len(lists["accuracy"]) + 1 or len(lists["accuracy"]) > self.epochs:
            raise ValueError("its epochs are not those of such a training")
        vars(self).update(lists, **arrays, right=int(state["right"]))

    def run(self, watch: Callable[[Training], None] | None = None) -> Course:
        """Train on to the end. watch: called after each step, and once more after each epoch."""
        for _ in self.accuracy:  # the same draws as before
            self._random.permutation(len(self._inputs))
        while len(self.accuracy) < self.epochs:
            order = self._random.permutation(len(self._inputs))
            while len(self.losses) < self.batches:
                chosen = order[len(self.losses) * self.setting.batch :][: self.setting.batch]
                self._step(self._inputs[chosen], self._targets[chosen])
                if watch is not None:
                    watch(self)
            seen, labels = self._test
            guess = (np.tanh(seen @ self.weights[0]) @ self.weights[1]).argmax(1)
            self.spread.append(_spread(self.weights[0]))
            self.accuracy.append(float(np.mean(guess == labels)))
            if len(self.accuracy) < self.epochs:  # what the last one came to is told in the end
                self.losses, self.right = [], 0
            if watch is not None:
                watch(self)
        accuracy, loss = self.right / (len(self.losses) * self.setting.batch), float(np.mean(self.losses))
        return Course(self.setting, tuple(self.spread), tuple(self.accuracy), accuracy, loss)

    def _step(self, x: np.ndarray, labels: np.ndarray) -> None:
        loss, hits, *gradients = _gradients(self.weights, x, labels)
        self.losses.append(loss)
        self.right += hits
        for weight, move, gradient in zip(self.weights, self.moves, gradients, strict=True):
            move *= np.float32(self.setting.momentum)
            move -= np.float32(self.setting.rate) * gradient
            weight += move


_LISTS = ("spread", "accuracy", "losses")
_ARRAYS = ("weights", "moves")


def train(
    setting: Setting,
    images: np.ndarray,
    labels: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    epochs: int,
    seed: int,
) -> Course:
    """Train from the beginning to the end; see `Training`."""
    return Training(setting, images, labels, test, epochs, seed).run()


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _spread(weight: np.ndarray) -> float:
    return float(weight.std() * np.sqrt(len(weight)))


def _gradients(weights: Sequence[np.ndarray], x: np.ndarray, labels: np.ndarray) -> tuple[float, int, np.ndarray, np.ndarray]:
    """Mean cross-entropy of a batch, images classified rightly, and the loss's gradients at both weights."""
    hidden = np.tanh(x @ weights[0])
    loss, hits, p = softmax_cross_entropy(hidden @ weights[1], labels)
    below = (p @ weights[1].T) * (1 - hidden * hidden)
    return loss, hits, x.T @ below, hidden.T @ p


def collapse(courses: Sequence[Course]) -> float:
    """By how much courses of one x differ: the largest distance of a J^2 from their mean, at any epoch, over that mean."""
    squares = np.square([course.spread for course in courses])
    mean = squares.mean(0)
    return float((np.abs(squares - mean) / mean).max())


def spread_of_slopes(courses: Sequence[Course]) -> float:
    """By how much A / x differs: the largest distance from the mean over the mean."""
    ratios = np.array([course.slope / course.setting.x for course in courses])
    return float((np.abs(ratios - ratios.mean()) / ratios.mean()).max())


def findings(courses: Sequence[Course]) -> list[str]:
    """The law's constants and how well it holds, as lines of Markdown; none of no courses."""
    if not courses:
        return []
    groups: dict[float, list[Course]] = {}
    for course in courses:
        groups.setdefault(round(course.setting.x, 12), []).append(course)
    lines = [
        "A: slope of the straight line closest to J^2 over the second half of the epochs.",
        "",
        "| x = rate / ((1 - momentum) batch) | runs | A / x, mean | runs of this x differ in J^2 by up to |",
        "|---|---|---|---|",
    ]
    for x, group in groups.items():
        ratio = np.mean([course.slope for course in group]) / x
        lines.append(f"| {x:.3g} | {len(group)} | {ratio:.2f} | {collapse(group):.1%} |")
    return [*lines, "", f"A / x of all runs lies within {spread_of_slopes(courses):.1%} of its mean.", ""]
