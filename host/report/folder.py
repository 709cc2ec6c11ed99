"""The folder of a run while it goes on: checkpoint.npz, report.json and curve.png, as far as it went."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnedge.callbacks import PeriodicCheckpoint
from bnnedge.callbacks.periodic import MINUTES
from bnnedge.files import remove
from bnnedge.report.curve import save_curve
from bnnedge.report.summary import Reference, summary, write_json
from bnnedge.runner import Measurement
from bnnedge.schedule import Plan

_SHARE = 20  # how many times as long as the report or the curve took nothing is spent on the next one
_FIRST = 20.0  # seconds before the first curve, which loads Matplotlib


class RunFolder(PeriodicCheckpoint):
    """Keeps the folder of a run, so that it can be looked at, and gone on with, at any time.

    The checkpoint is that of `PeriodicCheckpoint`. Beside it report and curve tell the run so far; they are left out as long as
    they would take more than a twentieth of the time each, and the report is written as the run ends, however it does.

    Parameters
    ----------
    folder: where; what it holds stays until a step of this run is to be kept.
    data: name of the data set.
    told: what the report says beside `summary`.
    minutes: see `PeriodicCheckpoint`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], data: str, told: Mapping[str, Any] | None = None, minutes: float = MINUTES
    ) -> None:
        self.folder, self.data, self.told = Path(folder), data, dict(told or {})
        super().__init__(self.folder / "checkpoint.npz", minutes)
        self.seconds = 0.0
        self._began, self._step = time.monotonic(), 0
        self._first: Plan | None = None  # the place in the run that it went on from
        self._reported: Plan | None = None
        self._report_due, self._curve_due = 0.0, 0.0

    @property
    def trained(self) -> bool:
        """Whether the run went on at all."""
        return self._plan() is not self._first

    def on_train_begin(self, logs: Mapping[str, float]) -> bool | None:
        """Look whether the files can stand there, and let the time begin."""
        self._began = self._report_due = time.monotonic()
        self._curve_due, self._step = self._began + _FIRST, int(logs["step"])
        self._first, self._reported = self._plan(), None
        return super().on_train_begin(logs)

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Keep what the run came to, and report it."""
        self.seconds = time.monotonic() - self._began
        super().on_train_end(logs)
        if self._kept is not None and self.trained:
            self._write(ended=True)

    def save(self) -> None:
        """Write the checkpoint, and the report and the curve so far, if they take little of the time."""
        report = None
        if self._reported is None and self.trained:
            report = self._write()  # first, so that no checkpoint of this run is without a report
            if not self._step:
                with contextlib.suppress(OSError):
                    remove(self.folder / "curve.png")  # another run's
        super().save()
        if report is None and self.trained and time.monotonic() >= self._report_due:
            report = self._write()
        now = time.monotonic()
        if report and report["train_loss"] and now >= self._curve_due:
            with contextlib.suppress(ImportError, ValueError, OSError):  # told as the run ends
                save_curve(self.folder / "curve.png", report)
            self._curve_due = time.monotonic() + _SHARE * (time.monotonic() - now)

    def report(self, measurement: Measurement | None, reference: Reference | None = None) -> dict[str, Any]:
        """The content of report.json, of the run as far as it went."""
        return {**summary(self.trainer, self.data, measurement, reference, self.seconds, self._step), **self.told}

    def _write(self, ended: bool = False) -> dict[str, Any]:
        now = time.monotonic()
        self.seconds, self._reported = now - self._began, self._plan()
        report = self.report(self.trainer.measured)
        report["finished"] &= ended  # not before the last checkpoint
        write_json(self.folder / "report.json", report)
        self._report_due = time.monotonic() + _SHARE * (time.monotonic() - now)
        return report
