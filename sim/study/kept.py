"""What is kept of a run that goes on: its course so far, and the state from which it goes on bit for bit after a kill.

It lies beside the study's table, in `<name>.runs/<key>.npz`, a file as `bnnedge.checkpoint.write` makes them, and is removed as
the run's row is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge import checkpoint
from bnnedge.callbacks.periodic import MINUTES
from bnnedge.checkpoint import Checkpoint
from bnnedge.commands.options import check_unasked
from bnnedge.files import remove
from bnnedge.sim.study.grid import Run
from bnnedge.sim.study.table import Row

FORMAT = "bnnedge run"
VERSION = 4  # raise it with every change of what a training computes, too
_COST = 20.0  # keeping the state of epochs that are short takes a twentieth of their time at most
_TELL = 1.0  # seconds between two reports within an epoch


@dataclasses.dataclass(frozen=True)
class Kept:
    """A run that was stopped.

    key: of the run. seconds: it took so far. curve, spread: as in a `Row`, so far. digest: CRC-32 of its images, labels and
    network. arrays: library that computed. state: of the training, a `Checkpoint` or, of floats, arrays by name.
    """

    key: str
    seconds: float
    curve: tuple[float, ...]
    spread: tuple[float, ...]
    digest: int
    arrays: str
    state: Checkpoint | Mapping[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Write it, whole or not at all; OSError if it can't be."""
        header: dict[str, Any] = {"format": FORMAT, "version": VERSION, "training": None}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "state"}
        # A training that went astray has no finite numbers, and JSON no others.
        header.update(fields, **{name: " ".join(repr(float(value)) for value in fields[name]) for name in ("curve", "spread")})
        arrays = self.state
        if isinstance(arrays, Checkpoint):
            header["training"], arrays = checkpoint.packed(arrays)
        checkpoint.write(path, header, arrays)

    @classmethod
    def load(cls, path: Path, *, whole: bool = True) -> Kept:
        """Read what `save` wrote; `CheckpointError` for anything else. If not `whole`, the state is left out."""
        with checkpoint.named(str(path)), checkpoint.opened(path) as file:
            header = checkpoint.header_of(file)
            if header.get("format") != FORMAT:
                raise ValueError("it is not the state of a study's run")
            if header.get("version") != VERSION:
                raise ValueError(f"its format is version {header.get('version')!r:.40}; this bnnedge reads version {VERSION}")
            training = header.get("training", 0)
            names = [name for name in file.names if whole and name != "header"]
            state = {name: file.read(name) for name in names} if training is None or not whole else None
            try:
                return cls(
                    key=str(header["key"]),
                    seconds=float(header["seconds"]),
                    curve=_numbers(header["curve"]),
                    spread=_numbers(header["spread"]),
                    digest=int(header["digest"]),
                    arrays=str(header["arrays"]),
                    state=checkpoint.unpacked(training, file) if state is None else state,
                )
            except KeyError as error:
                raise ValueError(f"its header has no {error}") from None


def _numbers(text: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in str(text).split())


def place(folder: Path, run: Run) -> Path:
    """Where the state of a run lies in the folder of its study."""
    return folder / f"{run.key}.npz"


@dataclasses.dataclass(frozen=True)
class Told:
    """How far a run is.

    key: of the run. share: of its steps that are taken, 0..1. epochs: that it has ended. accuracy: after the last of these.
    seconds: it took so far. note: what else there is to say, perhaps nothing.
    """

    key: str
    share: float = 0.0
    epochs: int = 0
    accuracy: float = 0.0
    seconds: float = 0.0
    note: str = ""


class Keeper:
    """Keeps the state of a run as it goes on, and tells how far it is.

    Parameters
    ----------
    folder: for the file; None, or one that is not there, to keep nothing.
    every: seconds between two saves within an epoch. Another one comes as an epoch ends, unless epochs are so short that saving
        would take much of the time.
    tell: called after each epoch, and about once a second.
    """

    def __init__(
        self,
        run: Run,
        folder: Path | None = None,
        every: float = 60 * MINUTES,
        tell: Callable[[Told], None] | None = None,
    ) -> None:
        self.run, self.every = run, every
        self.path = place(folder, run) if folder is not None and folder.is_dir() else None
        self._tell = tell or (lambda told: None)
        self._before, self._cost, self._epochs = 0.0, 0.0, 0
        self._digest, self._arrays = 0, ""
        self._began = self._saved = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """That the run took so far, all its parts together."""
        return self._before + time.monotonic() - self._began

    def begin(self, digest: int, arrays: str) -> Kept | None:
        """What is there to go on from, of a run with these data; None, perhaps after a note, where it begins anew.

        digest: as in `Kept`. arrays: library that computes.
        """
        self._digest, self._arrays = digest, arrays
        kept = None
        if self.path is not None:
            try:
                check_unasked(self.path)
            except ValueError as error:
                self.note(f"{error}; the run goes on without being kept")
                self.path = None
        if self.path is not None and self.path.exists():
            try:
                kept = Kept.load(self.path)
                integer = self.run.model == "integer"
                spreads = len(kept.curve) + 1 if integer else len(kept.spread)
                found, wanted = (kept.key, kept.digest, len(kept.spread)), (self.run.key, digest, spreads)
                if found != wanted or isinstance(kept.state, Checkpoint) != integer:
                    raise ValueError(f"{self.path}: it is of another run, another network or other data")
                if not integer and kept.arrays != arrays:  # floats are the same up to rounding alone
                    raise ValueError(f"{self.path}: it was computed with {kept.arrays}, not {arrays}")
            except ValueError as error:
                self.note(f"{error}; the run begins anew")
                kept = None
        self._before, self._epochs = (kept.seconds, len(kept.curve)) if kept else (0.0, 0)
        return kept

    def forget(self, error: Exception) -> None:
        """Begin anew after all, as what was kept cannot be used."""
        self.note(f"{self.path}: {error}; the run begins anew")
        self._before, self._epochs = 0.0, 0

    def note(self, text: str) -> None:
        """Tell it."""
        self._tell(Told(self.run.key, note=text))

    def went_on(self, share: float, curve: Sequence[float], keep: Callable[[], tuple[Sequence[float], Any]]) -> None:
        """Note that a step was taken, or an epoch closed; if it is time, save.

        share: of the steps that are taken. curve: so far. keep: called for spread and state, see `Kept`, if they are needed.
        """
        now, closed = time.monotonic(), len(curve) > self._epochs
        if len(curve) < self.run.epochs and self._due(now - self._saved, closed):
            self._save(tuple(curve), keep)
        self._epochs = len(curve)
        if closed or now - self._told >= _TELL:
            self._told = now
            self._tell(Told(self.run.key, share, len(curve), curve[-1] if curve else 0.0, self.seconds))

    def _due(self, since: float, closed: bool) -> bool:
        return self.path is not None and since >= min(self.every, _COST * self._cost if closed else math.inf)

    def _save(self, curve: tuple[float, ...], keep: Callable[[], tuple[Sequence[float], Any]]) -> None:
        assert self.path is not None
        began = time.monotonic()
        spread, state = keep()
        kept = Kept(self.run.key, self.seconds, curve, tuple(spread), self._digest, self._arrays, state)
        try:
            kept.save(self.path)
        except OSError as error:  # hours of training are not lost for a disk that is full
            self.note(f"{self.path}: {error.strerror}; the run goes on without being kept")
            self.path = None
        self._saved = time.monotonic()
        self._cost = self._saved - began


def unfinished(folder: Path, runs: Iterable[Run]) -> list[Row]:
    """What is known of those among `runs` that go on or were stopped, and have ended an epoch: their rows so far.

    Loss and accuracy of training are not known. A file that cannot be read is passed over: the study tells of it.
    """
    rows = []
    for run in runs:
        with contextlib.suppress(ValueError):
            kept = Kept.load(place(folder, run), whole=False)
            if kept.key == run.key and kept.curve:
                row = Row(run, kept.curve[-1], 0.0, math.nan, kept.seconds, kept.curve, kept.spread)
                row.check()
                rows.append(row)
    return rows


def dropped(path: Path) -> None:
    """Remove the state of a run that has ended, if it can be: a study ends no sooner for what is left."""
    with contextlib.suppress(OSError):
        remove(path)


def cleaned(folder: Path, runs: Mapping[str, Any]) -> None:
    """Remove the states of runs, by key, that have ended; and the folder, if nothing else is in it."""
    for path in folder.glob("*.npz"):
        if path.stem in runs:
            dropped(path)
    with contextlib.suppress(OSError):
        folder.rmdir()
