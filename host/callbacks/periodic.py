"""A callback that keeps the last state of a run in a file, so that a run that was killed goes on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from bnnedge.callbacks.callback import Callback
from bnnedge.files import make_folder
from bnnedge.keywords import explained_class
from bnnedge.schedule import Plan

MINUTES = 5.0
_SHORT = 10.0  # seconds of work that may be lost in a validation


@explained_class
class PeriodicCheckpoint(Callback):
    """Writes the state of a run to a checkpoint, again and again, each in the place of the one before.

    That is after each epoch, within an epoch every so many minutes, before a validation if much would be lost with it, and as
    the run ends, however it does. `Trainer.load` and `fit(resume=True)` go on from there, bit for bit: a run that is killed
    loses an epoch or these minutes, whichever is less. A validation that was cut short begins anew.

    Parameters
    ----------
    filepath: of the checkpoint. An earlier file stays until a step of this run is to be kept.
    minutes: within an epoch, between two checkpoints; 0: after each call of the device.
    verbose: 1: print what is written.

    Raises
    ------
    ValueError: `minutes` is no number, or less than 0
    OSError: as the run begins: the checkpoint cannot stand there; later: it cannot be written
    """

    often = True

    def __init__(self, filepath: str | os.PathLike[str], minutes: float = MINUTES, verbose: int = 0) -> None:
        number = isinstance(minutes, (int, float)) and not isinstance(minutes, bool)
        if not number or math.isnan(minutes) or minutes < 0:
            raise ValueError(f"{type(self).__name__}: minutes must be a number, 0 or more, not {minutes!r:.80}")
        self.filepath, self.minutes, self.verbose = Path(filepath), minutes, verbose
        self._kept: Plan | None = None  # the place in the run that the file has; None if it has another run's
        self._moved = self._failed = self._validated = False
        self._last = 0.0

    def on_train_begin(self, logs: Mapping[str, float]) -> bool | None:
        """Look whether a checkpoint can stand there."""
        self._kept, self._moved, self._failed, self._last = None, False, False, time.monotonic()
        self._validated = bool(logs["validation"])
        make_folder(self.filepath.parent)
        if self.filepath.is_dir():
            raise IsADirectoryError(f"{type(self).__name__}: {self.filepath} is a folder; give the name of a file")
        return None

    def on_batch_end(self, step: int, logs: Mapping[str, float]) -> bool | None:
        self._moved = True
        passed, plan = time.monotonic() - self._last, self._plan()
        if passed >= 60 * self.minutes or (self._validated and plan.entry_due and passed >= _SHORT):
            self._keep()
        return None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> bool | None:
        self._keep()
        return None

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Keep what the run came to; of one that failed or was interrupted, what the file lacks."""
        moved, self._moved = self._moved, False
        if (logs["failed"] and not moved) or self._plan() is self._kept:
            return
        try:
            self._keep()
        except OSError:
            if not (logs["failed"] and self._failed):  # else it is what ended the run, and is told already
                raise

    def save(self) -> None:
        """Write the checkpoint; a subclass may write more."""
        self.trainer.save(self.filepath)

    def _keep(self) -> None:
        self._failed, plan = True, self._plan()
        self.save()
        self._failed, self._kept, self._last = False, plan, time.monotonic()
        if self.verbose:
            print(f"step {plan.step}: saved to {self.filepath}", flush=True)

    def _plan(self) -> Plan:
        plan = self.trainer.plan
        assert plan is not None
        return plan
