"""What `Trainer.fit` tells as it goes on, and what it returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


class Callback:
    """What `Trainer.fit` calls as it goes on. Subclasses override what they need."""

    def on_check_begin(self, steps: int, seconds: float) -> None:
        """Before a run's first steps, if so many of them are compared with the golden model.

        seconds: about how long the golden model takes for them on this machine.
        """

    def on_batch_end(self, step: int, logs: Mapping[str, float]) -> None:
        """After each call of the device, `step` steps of the run being taken.

        logs: "loss" and "accuracy" over the epoch so far, "steps" and "epochs" planned, "epoch" running (from 0).
        """

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """After epoch `epoch` (from 0); logs: its entry in the history."""

    def on_train_end(self) -> None:
        """Once for each run, as `fit` ends: the run is finished, was interrupted, or failed."""


@dataclasses.dataclass(frozen=True)
class History:
    """Course of a run: `epoch` counts from 0, `history` has a list with a value for each epoch under each name.

    loss, val_loss: mean cross-entropy in nats. accuracy, val_accuracy: 0..1. rate: learning rate. Loss and accuracy are
    those of the training images as they were seen; the lists of `val_` are empty without validation data.
    """

    epoch: list[int]
    history: dict[str, list[float]]
