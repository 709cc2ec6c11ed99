"""The float32 standard that `bnnedge train --reference` trains for comparison. It, too, goes on where it was killed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge import checkpoint
from bnnedge.commands import options
from bnnedge.data import Dataset
from bnnedge.files import remove
from bnnedge.report import Reference
from bnnedge.terminal import counted
from bnnedge.trainer import Trainer
from bnnedge.underway import underway

FORMAT = "bnnedge reference"
VERSION = 2  # raise it with every change of what it computes, too
_RATE = {"digits": 1e-2}, 1e-3
_COST = 20.0  # keeping the state of short epochs takes a twentieth of the time at most


def train_standard(trainer: Trainer, data: Dataset, sha256: str, folder: Path, minutes: float) -> Reference:
    """Train it as long as `trainer` was. Its state is kept in `folder` meanwhile; `forget` removes it.

    sha256: of the data set. minutes: after which the state is kept within an epoch, too.
    """
    from bnnedge.sim.reference import train

    plan = trainer.plan
    assert plan is not None
    told = {"batch": plan.batch, "epochs": plan.epochs, "rate": options.default(_RATE, data.name), "samples": plan.samples}
    own = {**told, "seed": trainer.settings.seed & 0xFFFFFFFF, "data": sha256, "network": trainer.network.to_dict()}
    keeper = _Keeper(_place(folder), own, minutes)
    with underway("training the float32 standard for comparison", f"{counted(plan.epochs, 'epoch')}", stdout=True):

        def trained(resume: Mapping[str, np.ndarray] | None) -> Any:
            return train(
                "standard",
                trainer.network.geometry,
                data.x_train,
                data.y_train,
                data.x_test,
                data.y_test,
                batch=plan.batch,
                epochs=plan.epochs,
                rate=told["rate"],
                seed=own["seed"],
                watch=keeper.watch,
                resume=resume,
            )

        kept = keeper.load()
        try:
            history = trained(kept)
        except (ValueError, KeyError, TypeError):  # what was kept cannot be used; what is wrong otherwise comes again
            if kept is None:
                raise
            history = trained(None)
    return Reference(told["rate"], history.loss, history.train_accuracy, history.test_accuracy)


def forget(folder: Path) -> None:
    """Remove what was kept of a training whose end is in the report."""
    remove(_place(folder))


def _place(folder: Path) -> Path:
    return folder / "reference.npz"


@dataclasses.dataclass
class _Keeper:
    """Keeps the state of the training that `own` describes."""

    path: Path
    own: Mapping[str, Any]
    minutes: float

    def __post_init__(self) -> None:
        self._saved, self._cost, self._epoch = time.monotonic(), 0.0, 0

    def load(self) -> dict[str, np.ndarray] | None:
        """What was kept of the same training; None if nothing was."""
        try:
            with checkpoint.named(str(self.path)), checkpoint.opened(self.path) as file:
                header = checkpoint.header_of(file)
                arrays = {name: file.read(name) for name in file.names if name != "header"}
        except checkpoint.CheckpointError:  # none, or damaged
            return None
        return arrays if header == self._header() else None

    def watch(self, course: Any) -> None:
        """After each step and each epoch: keep the state, if it is time."""
        began = time.monotonic()
        closed, self._epoch = course.epoch > self._epoch, course.epoch
        if began - self._saved < min(60 * self.minutes, _COST * self._cost if closed else float("inf")):
            return
        checkpoint.write(self.path, self._header(), course.state())
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def _header(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, **self.own}
