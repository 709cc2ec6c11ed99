"""A callback that leaves the course of a run as a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from bnnedge.callbacks.callback import Callback
from bnnedge.files import atomic
from bnnedge.keywords import explained_class
from bnnedge.schedule import HISTORY


@explained_class
class CSVLogger(Callback):
    """Writes the history to a CSV file: a line of names, then a line for each epoch. Arguments are Keras's.

    The file is replaced after each epoch, and complete at any time. Of a run that is resumed it has all epochs.

    Parameters
    ----------
    filename: where.
    separator: one character between columns.
    append: keep the lines of a file that is there, and write those of this call of `fit` below.

    Raises
    ------
    ValueError: the separator is no single character; as the run begins: the file to append to has other columns
    OSError: as the run begins, or later: the file cannot be written
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
            raise ValueError(f"CSVLogger: separator must be one character, such as ',', not {separator!r:.80}")
        self.filename, self.separator, self.append = Path(filename), separator, bool(append)
        self._before, self._first = "", 0
        self._names: list[str] = []

    def on_train_begin(self, logs: Mapping[str, float]) -> bool | None:
        """Write the first line, so that a file that can't be written is known before the run."""
        self._names = [name for name in HISTORY if logs["validation"] or not name.startswith("val_")]
        head, self._before, self._first = self._lines([["epoch", *self._names]]), "", 0
        if self.append:
            self._first = len(self.trainer.history.epoch)
            self._before = self.filename.read_text(encoding="utf-8") if self.filename.exists() else ""
            there = self._before.partition("\n")[0]
            if self._before and there != head.rstrip("\n"):
                raise ValueError(f"CSVLogger: {self.filename} has the columns {there!r:.80}, not {head.rstrip()!r}")
            if self._before and not self._before.endswith("\n"):
                self._before += "\n"
        self._before = self._before or head
        self._write()
        return None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> bool | None:
        self._write()
        return None

    def _write(self) -> None:
        history = self.trainer.history
        rows: list[list[object]] = [
            [epoch, *(history.history[name][epoch] if name in history.history else "" for name in self._names)]
            for epoch in history.epoch[self._first :]
        ]
        with atomic(self.filename) as file:
            file.write((self._before + self._lines(rows)).encode())

    def _lines(self, rows: list[list[object]]) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=self.separator, lineterminator="\n").writerows(rows)
        return text.getvalue()
