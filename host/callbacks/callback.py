"""What `Trainer.fit` tells as it goes on, and what it returns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnedge.trainer import Trainer


class Callback:
    """What `Trainer.fit` calls as it goes on. Subclasses override what they need.

    A method may leave `logs` out, and ends the run after the running call of the device by returning True; so does setting
    `stop_training` of the trainer. Then `fit` returns as usual, and `resume=True` would go on.

    Members
    -------
    trainer: whose `fit` calls; set before the run. `model`, its name in Keras, does, too.
    shows: whether it shows how the run goes on, so that `fit` shows no bar beside it.
    often: whether it wants `on_batch_end` about once a second, and not only as an epoch ends.
    """

    trainer: Trainer
    shows = often = False

    def __getattr__(self, name: str) -> Any:
        """`model` is the trainer, as in Keras, unless a subclass has its own."""
        if name == "model" and "trainer" in self.__dict__:
            return self.trainer
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def set_trainer(self, trainer: Trainer) -> None:
        """Before anything else of a run."""
        self.trainer = trainer

    def on_train_begin(self, logs: Mapping[str, float]) -> bool | None:
        """Before the run; an error here ends `fit` with nothing trained.

        logs: "steps" and "epochs" planned in all, "step" taken already (of a run that is resumed), "validation": 1 if there
        are validation data, else 0.
        """

    def on_check_begin(self, steps: int, seconds: float) -> bool | None:
        """Before a run's first steps, if so many of them are compared with the golden model.

        seconds: about how long the golden model takes for them on this machine.
        """

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> bool | None:
        """Before the first step of epoch `epoch` (from 0); logs: its "rate"."""

    def on_batch_end(self, step: int, logs: Mapping[str, float]) -> bool | None:
        """After each call of the device, `step` steps of the run being taken.

        logs: "loss" and "accuracy" over the epoch so far, "steps" and "epochs" planned, "epoch" running (from 0).
        """

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> bool | None:
        """After epoch `epoch` (from 0); logs: its entry in the history."""

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Once for each run, as `fit` ends: the run is finished, was stopped or interrupted, or failed.

        logs: "failed": 1 if it was interrupted or failed, else 0.
        """


@dataclasses.dataclass(frozen=True, repr=False)
class History:
    """Course of a run: `epoch` counts from 0, `history` has a list with a value for each epoch under each name.

    loss, val_loss: mean cross-entropy in nats. accuracy, val_accuracy: 0..1. rate: learning rate. Loss and accuracy are
    those of the training images as they were seen. Without validation data there are no lists of `val_`; an epoch without
    them, in a run that was resumed with others, has NaN there.
    """

    epoch: list[int]
    history: dict[str, list[float]]

    @classmethod
    def of(cls, history: Mapping[str, Sequence[float]]) -> History:
        """Make one of a plan's history."""
        told = {name: list(values) for name, values in history.items() if values or not name.startswith("val_")}
        return cls(list(range(len(history["loss"]))), told)

    def __repr__(self) -> str:
        """How many epochs, and the numbers of the last one."""
        last = [f"{name} {values[-1]:.4g}" for name, values in self.history.items() if values and not math.isnan(values[-1])]
        return f"History({len(self.epoch)} epochs{': ' if last else ''}{', '.join(last)})"
