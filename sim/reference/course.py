"""The course of a reference network's training: how far it is, and all that it needs to go on bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnnedge.sim.reference.network import Network


@dataclasses.dataclass
class History:
    """Course of a training, one entry an epoch.

    loss: mean cross-entropy over the training images as they were seen, in nats
    train_accuracy: the part, 0..1, of them that was classified rightly
    test_accuracy: the part, 0..1, of the test images that is classified rightly after the epoch
    """

    loss: list[float] = dataclasses.field(default_factory=list)
    train_accuracy: list[float] = dataclasses.field(default_factory=list)
    test_accuracy: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Course:
    """A training of `epochs` epochs of `batches` steps.

    history: of the epochs that have ended. steps: taken in the running one. loss, hits: sums over these of the batches'
    mean losses and of the images classified rightly.
    """

    network: Network[Any]
    epochs: int
    batches: int
    history: History = dataclasses.field(default_factory=History)
    steps: int = 0
    loss: float = 0.0
    hits: int = 0

    @property
    def epoch(self) -> int:
        """Number, from 0, of the running epoch."""
        return len(self.history.loss)

    @property
    def share(self) -> float:
        """How much of the training is done, 0..1."""
        return (self.epoch + self.steps / self.batches) / self.epochs

    def took(self, loss: float, hits: int) -> None:
        """Count a step: its batch's mean loss, and how many of its images were classified rightly."""
        self.loss, self.hits, self.steps = self.loss + loss, self.hits + hits, self.steps + 1

    def closed(self, batch: int, test_accuracy: float) -> None:
        """End the running epoch, of batches of that size."""
        self.history.test_accuracy.append(test_accuracy)
        self.history.train_accuracy.append(self.hits / (self.batches * batch))
        self.history.loss.append(self.loss / self.batches)
        self.loss, self.hits, self.steps = 0.0, 0, 0

    def state(self) -> dict[str, np.ndarray]:
        """Arrays by name, of numbers alone, from which `restore` goes on."""
        history = {f"history.{name}": np.array(values, np.float64) for name, values in vars(self.history).items()}
        running = {"steps": np.array(self.steps), "loss": np.array(self.loss), "hits": np.array(self.hits)}
        return {**history, **running, **self.network.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go to where `state` was taken; ValueError, or KeyError, if it is none of such a training."""
        history = {name: [float(value) for value in state[f"history.{name}"]] for name in vars(self.history)}
        steps, epochs = int(state["steps"]), {len(values) for values in history.values()}
        if len(epochs) > 1 or max(epochs) > self.epochs or not 0 <= steps <= self.batches:
            raise ValueError(f"it is not of a training of {self.epochs} epochs of {self.batches} steps")
        self.network.restore(state)
        self.history, self.steps = History(**history), steps
        self.loss, self.hits = float(state["loss"]), int(state["hits"])


Watch = Callable[[Course], None]
"""What is called after each step of a training, and once more after each epoch, when the test images have been classified."""
