"""The table of a study: a CSV file with a row for each run that has ended."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnnedge import formats
from bnnedge.files import atomic
from bnnedge.parsing import read_text
from bnnedge.sim.study.grid import Run


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of a run.

    accuracy: 0..1, after the last epoch, of the test set or of the images held out. train_accuracy, loss (nats): of its
    last epoch. seconds: it took. curve: accuracy after each epoch. train_curve: of training in each epoch, as far as it is
    known: empty of a tanh network, and of rows of earlier versions. spread: J = std(W) sqrt(inputs) of the layer with the
    most weights, before the first epoch and after each; empty for the binary networks in float32.
    """

    run: Run
    accuracy: float
    train_accuracy: float
    loss: float
    seconds: float
    curve: tuple[float, ...]
    spread: tuple[float, ...] = ()
    train_curve: tuple[float, ...] = ()

    def check(self) -> None:
        """ValueError if these are no results of a training."""
        for name in _RESULTS:
            _check(name, getattr(self, name))
        for name in _LISTS:
            for value in getattr(self, name):
                _check(name, value)
        if not self.curve:
            raise ValueError("curve is empty")
        if self.train_curve and len(self.train_curve) != len(self.curve):
            raise ValueError(f"train_curve has {len(self.train_curve)} epochs, and curve {len(self.curve)}")


_RESULTS = ("accuracy", "train_accuracy", "loss", "seconds")
_LISTS = ("curve", "spread", "train_curve")
_HIGHEST = {"accuracy": 1.0, "train_accuracy": 1.0, "curve": 1.0, "train_curve": 1.0, "seconds": 1e9}  # of those that are finite
LARGEST = 1 << 26  # bytes of a table
_REMEDY = "delete what is damaged, or the file, and the study runs again what it lacks"
_COLUMNS = ("key", *(field.name for field in dataclasses.fields(Run)), *_RESULTS, *_LISTS)


class Table:
    """Rows by the keys of their runs, in a file that is complete at any time.

    path: of the file, which need not exist yet. ValueError if it is no such table.
    folder: where the runs that go on keep their states, beside the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.rows: dict[str, Row] = {}
        self.read()

    @property
    def folder(self) -> Path:
        return self.path.with_suffix(".runs")

    def read(self) -> None:
        """Take the rows that the file has by now; ValueError if it is no such table."""
        if self.path.exists():
            try:
                text = read_text(self.path, LARGEST)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}: {_REMEDY}") from None
            self._take(text)

    def _take(self, text: str) -> None:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            if tuple(next(reader, ())) != _COLUMNS:
                raise ValueError("it is no table of this version's studies")
            for fields in reader:
                row = _row(fields)
                self.rows[row.run.key] = row
            if not text.endswith("\n"):  # a number may have lost its end, and still be one
                raise ValueError("it is cut short")
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{self.path}, line {reader.line_num}: {error}: {_REMEDY}") from None

    def add(self, row: Row) -> None:
        """Keep a row, in the file, too; one of the same run is replaced."""
        self.rows[row.run.key] = row
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for key, kept in self.rows.items():
            results = {name: f"{getattr(kept, name):.6g}" for name in _RESULTS}
            lists = {name: " ".join(f"{value:.6g}" for value in getattr(kept, name)) for name in _LISTS}
            writer.writerow({"key": key, **dataclasses.asdict(kept.run), **results, **lists})
        with atomic(self.path) as file:
            file.write(text.getvalue().encode())


def _row(values: list[str]) -> Row:
    if len(values) != len(_COLUMNS):
        raise ValueError(f"it has {len(values)} of {len(_COLUMNS)} columns")
    fields = dict(zip(_COLUMNS, values, strict=True))
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str, "int | str": _whole_or_text}
    run = Run(**{field.name: kinds[str(field.type)](fields[field.name]) for field in dataclasses.fields(Run)})
    if run.key != fields["key"]:
        other = "" if run.model != "integer" else f"; before arithmetic {formats.VERSION} the integer form trained otherwise"
        raise ValueError(f"key {fields['key']!r:.40} is not that of the run, {run.key}{other}")
    results = {name: float(fields[name]) for name in _RESULTS}
    curve, spread, train_curve = (tuple(map(float, fields[name].split())) for name in _LISTS)
    row = Row(run, **results, curve=curve, spread=spread, train_curve=train_curve)
    row.check()
    return row


def _whole_or_text(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _check(name: str, value: float) -> None:
    """ValueError if it is no such result. Of a training that went astray, loss and spread may be infinite, or NaN."""
    high = _HIGHEST.get(name)
    if high is not None and not 0 <= value <= high:
        raise ValueError(f"{name} must be a number in 0..{high:g}, not {value:.40g}")
