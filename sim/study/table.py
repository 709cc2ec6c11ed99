"""The table of a study: a CSV file with a row for each run that has ended."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from pathlib import Path
from typing import Any

from bnnedge.files import atomic
from bnnedge.sim.study.grid import Run


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of a run.

    accuracy: 0..1, after the last epoch, of the test set or of the images held out. train_accuracy, loss (nats): of its
    last epoch. seconds: it took. curve: accuracy after each epoch. spread: J = std(W) sqrt(inputs) of the layer with the
    most weights, before the first epoch and after each; empty for the binary networks in float32.
    """

    run: Run
    accuracy: float
    train_accuracy: float
    loss: float
    seconds: float
    curve: tuple[float, ...]
    spread: tuple[float, ...] = ()


_RESULTS = ("accuracy", "train_accuracy", "loss", "seconds")
_LISTS = ("curve", "spread")
_COLUMNS = ("key", *(field.name for field in dataclasses.fields(Run)), *_RESULTS, *_LISTS)


class Table:
    """Rows by the keys of their runs, in a file that is complete at any time.

    path: of the file, which need not exist yet. ValueError if it is no such table.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.rows: dict[str, Row] = {}
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) != _COLUMNS:
                    raise ValueError(f"{self.path} is no table of this version's studies: move it away, or delete it")
                for line, fields in enumerate(reader, 2):
                    try:
                        row = _row(fields)
                    except (TypeError, ValueError) as error:
                        raise ValueError(f"{self.path}, line {line}: {error}") from None
                    self.rows[row.run.key] = row

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


def _row(fields: dict[str, Any]) -> Row:
    kinds = {"int": int, "float": float, "str": str}
    run = Run(**{field.name: kinds[str(field.type)](fields[field.name]) for field in dataclasses.fields(Run)})
    if run.key != fields["key"]:
        raise ValueError(f"key {fields['key']} is not that of the run, {run.key}")
    curve, spread = (tuple(float(value) for value in fields[name].split()) for name in _LISTS)
    return Row(run, **{name: float(fields[name]) for name in _RESULTS}, curve=curve, spread=spread)
