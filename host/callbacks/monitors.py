"""Callbacks that follow a number of the history: one ends the run when it stays, one keeps the best state in a file."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from bnnedge.callbacks.callback import Callback
from bnnedge.checkpoint import Checkpoint
from bnnedge.files import make_folder
from bnnedge.keywords import explained_class
from bnnedge.settings import whole

MONITORED = ("loss", "accuracy", "val_loss", "val_accuracy")
MODES = ("auto", "min", "max")


class Monitor(Callback):
    """Follows one number from epoch to epoch. A run that is resumed is followed from its beginning.

    Parameters
    ----------
    monitor: "val_loss", "val_accuracy", "loss" or "accuracy".
    mode: whether "min" or "max" is better; "auto": "max" of an accuracy.
    min_delta: by how much a better one differs at least.
    baseline: the first one must be better than this.
    start_from_epoch: epochs, from the run's beginning, that don't count.

    Raises
    ------
    ValueError: an argument is out of range; as the run begins: there are no validation data to monitor
    """

    def __init__(self, monitor: str, mode: str, min_delta: float, baseline: float | None, start_from_epoch: int) -> None:
        called = type(self).__name__
        if monitor not in MONITORED:
            known = {"acc": "accuracy", "val_acc": "val_accuracy"}.get(monitor) if isinstance(monitor, str) else None
            text = f"{called}: monitor must be one of {', '.join(MONITORED)}, not {monitor!r:.80}"
            raise ValueError(f"{text}: did you mean {known!r}?" if known else text)
        if mode not in MODES:
            raise ValueError(f"{called}: mode must be one of {', '.join(MODES)}, not {mode!r:.80}")
        if not (_number(min_delta) and min_delta >= 0):
            raise ValueError(f"{called}: min_delta must be a number, 0 or more, not {min_delta!r:.80}")
        if baseline is not None and not _number(baseline):
            raise ValueError(f"{called}: baseline must be a number or None, not {baseline!r:.80}")
        first = whole(start_from_epoch)
        if first is None or first < 0:
            raise ValueError(f"{called}: start_from_epoch must be a whole number, 0 or more, not {start_from_epoch!r:.80}")
        self.monitor, self.min_delta, self.baseline, self.start_from_epoch = monitor, float(min_delta), baseline, first
        self._sign = -1 if mode == "max" or (mode == "auto" and "accuracy" in monitor) else 1
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.wait = 0

    def on_train_begin(self, logs: Mapping[str, float]) -> bool | None:
        """Follow what the run has been already."""
        if self.monitor.startswith("val_") and not logs["validation"]:
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, but fit has no validation data: give validation_data or "
                f"validation_split, or monitor {self.monitor.removeprefix('val_')!r}"
            )
        self.best, self.best_epoch, self.wait = self.baseline, None, 0
        for epoch, value in enumerate(self.trainer.history.history.get(self.monitor, [])):
            self._follow(epoch, value)
        return None

    def _follow(self, epoch: int, value: float) -> bool:
        """Note a number; return whether it is the best so far."""
        if epoch < self.start_from_epoch or math.isnan(value):
            return False
        if self.best is None or self._sign * (self.best - value) > self.min_delta:
            self.best, self.best_epoch, self.wait = value, epoch, 0
            return True
        self.wait += 1
        return False


@explained_class
class EarlyStopping(Monitor):
    """Ends the run when a number has not become better for some epochs. Arguments are Keras's.

    Parameters
    ----------
    monitor: "val_loss", "val_accuracy", "loss" or "accuracy".
    min_delta: by how much a better one differs at least.
    patience: epochs to wait for a better one; with 0 the first that is no better ends the run.
    verbose: 1: print what is done.
    mode: whether "min" or "max" is better; "auto": "max" of an accuracy.
    baseline: the first one must be better than this.
    restore_best_weights: as a run ends that has not failed, take trainer, weights and plan, back to the end of the best
        epoch. `fit` and `Trainer.history` tell all epochs all the same.
    start_from_epoch: epochs, from the run's beginning, that don't count.

    Members
    -------
    best, best_epoch: the best number, and in which epoch, from 0; None before there is any.
    stopped_epoch: the epoch that ended the run, from 0; None if none did.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, baseline, start_from_epoch)
        waits = whole(patience)
        if waits is None or waits < 0:
            raise ValueError(f"EarlyStopping: patience must be a whole number of epochs, 0 or more, not {patience!r:.80}")
        self.patience, self.verbose, self.restore_best_weights = waits, verbose, bool(restore_best_weights)
        self.stopped_epoch: int | None = None
        self._kept: Checkpoint | None = None

    def on_train_begin(self, logs: Mapping[str, float]) -> bool | None:
        super().on_train_begin(logs)
        self.stopped_epoch, self._kept = None, None
        waited = 0 < self.wait >= self.patience
        if waited:
            waited_for = f"{self.monitor} has not become better for {self.wait} epochs"
            warnings.warn(f"EarlyStopping: in the run to resume {waited_for}: it ends at once", RuntimeWarning, stacklevel=2)
        return waited

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> bool | None:
        if self._follow(epoch, logs[self.monitor]):
            if self.restore_best_weights:
                self._kept = self.trainer.snapshot()
        elif epoch >= self.start_from_epoch and self.wait >= self.patience:
            self.stopped_epoch = epoch
            self._say(f"epoch {epoch + 1}: {self.monitor} has not become better for {self.wait} epochs, the run ends")
            return True
        return None

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Go back to the best epoch, if that is wanted."""
        if logs["failed"] or not self.restore_best_weights or self.best_epoch is None:
            return
        if self._kept is None:
            warnings.warn(
                f"EarlyStopping: epoch {self.best_epoch + 1} was the best, but before this run was resumed: its weights are not "
                "restored (BestCheckpoint keeps them in a file)",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        self.trainer.restore(self._kept)
        self._kept = None
        self._say(f"the weights are those of epoch {self.best_epoch + 1}, {self.monitor} {self.best:.4g}")

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text, flush=True)


@explained_class
class BestCheckpoint(Monitor):
    """Writes a checkpoint after each epoch that was the best so far; an earlier one is replaced in the end, or stays.

    Parameters
    ----------
    filepath: of the checkpoint, which `Trainer.load` takes. As in Keras it may have places for the epoch, from 1, and for
        numbers of the history: "best-{epoch:02d}-{val_loss:.3f}.npz".
    monitor: "val_loss", "val_accuracy", "loss" or "accuracy".
    verbose: 1: print what is written.
    mode: whether "min" or "max" is better; "auto": "max" of an accuracy.
    min_delta: by how much a better one differs at least.

    Raises
    ------
    ValueError: an argument is out of range
    OSError: as the run begins: the checkpoint cannot stand there; later: it cannot be written
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, None, 0)
        self.filepath, self.verbose = os.fspath(filepath), verbose

    def on_train_begin(self, logs: Mapping[str, float]) -> bool | None:
        super().on_train_begin(logs)
        names = [name for name in MONITORED if logs["validation"] or not name.startswith("val_")]
        path = self._path(0, dict.fromkeys([*names, "rate"], 0.0))
        make_folder(path.parent)
        if path.is_dir():
            raise IsADirectoryError(f"BestCheckpoint: {path} is a folder; give the name of a file")
        plan = self.trainer.plan
        assert plan is not None
        if self.best_epoch is not None and plan.step == (self.best_epoch + 1) * plan.epoch_steps:
            # The run was interrupted as this epoch ended, perhaps by another callback, before it was saved here.
            self._save(self.best_epoch, {name: values[-1] for name, values in plan.history.items() if values})
        return None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> bool | None:
        if self._follow(epoch, logs[self.monitor]):
            self._save(epoch, logs)
        return None

    def _save(self, epoch: int, logs: Mapping[str, float]) -> None:
        path = self._path(epoch, logs)
        self.trainer.save(path)
        if self.verbose:
            print(f"epoch {epoch + 1}: {self.monitor} {self.best:.4g}, saved to {path}", flush=True)

    def _path(self, epoch: int, logs: Mapping[str, float]) -> Path:
        try:
            return Path(self.filepath.format(epoch=epoch + 1, **logs))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            known = ", ".join(f"{{{name}}}" for name in ("epoch", *logs))
            raise ValueError(f"BestCheckpoint: {self.filepath!r:.80} can't be filled in ({error}); there are {known}") from None


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
