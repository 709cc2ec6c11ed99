"""The table of the study: a CSV file with a row for each run that has ended, and the arithmetic of those of the integer form."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bnnedge import formats
from bnnedge.files import atomic
from bnnedge.parsing import read_text
from bnnedge.sim.study.finetuning.grid import Row, Run

LARGEST = 1 << 22  # bytes of a table
_TRUTH = {"True": True, "False": False}
_KINDS: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "bool": _TRUTH.__getitem__}
_COLUMNS = (*(field.name for field in dataclasses.fields(Run)), "new", "old", "arithmetic")


def read(path: str | os.PathLike[str]) -> dict[Run, Row]:
    """The rows of a table; ValueError if it is none."""
    try:
        lines = list(csv.reader(io.StringIO(read_text(Path(path), LARGEST), newline=""), strict=True))
        if not lines or tuple(lines[0]) != _COLUMNS:
            raise ValueError("its first line is another")
        rows = [_row(line) for line in lines[1:]]
    except (csv.Error, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no table of this study: {error}: delete it, and the study begins anew") from None
    return {row.run: row for row in rows}


def _row(line: Sequence[str]) -> Row:
    if len(line) != len(_COLUMNS):
        raise ValueError(f"a line has {len(line)} of {len(_COLUMNS)} columns")
    values = [_KINDS[str(field.type)](text) for field, text in zip(dataclasses.fields(Run), line, strict=False)]
    run, (new, old) = Run(*values), map(float, line[len(values) : -1])
    if not (0 <= new <= 1 and 0 <= old <= 1):
        raise ValueError(f"accuracies {new} and {old} are not in 0..1")
    if line[-1] != _arithmetic(run):
        raise ValueError(f"a line is of arithmetic {line[-1] or 'none'!r:.20}, and this bnnedge has {formats.VERSION}")
    return Row(run, new, old)


def _arithmetic(run: Run) -> str:
    """Of the integer form, whose results another arithmetic does not have; nothing of float32."""
    return "" if run.form == "float32" else str(formats.VERSION)


def save(path: str | os.PathLike[str], rows: Iterable[Row]) -> None:
    """Write the table, whole or not at all."""
    text = io.StringIO()
    lines = ((*dataclasses.astuple(row.run), f"{row.new:.6g}", f"{row.old:.6g}", _arithmetic(row.run)) for row in rows)
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *lines])
    with atomic(path) as file:
        file.write(text.getvalue().encode())
