"""How far a study is: the runs that go on, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence

from bnnedge.sim.study.grid import Run
from bnnedge.sim.study.kept import Told
from bnnedge.sim.study.table import Row
from bnnedge.terminal import duration, printable

_PAUSE = 10.0  # seconds, at least, between two lines of epochs
_LONG = 60.0  # seconds without a line, after which one within an epoch is printed


class Watch:
    """Is told, by `bnnedge.sim.study.scheduler.work`, how the runs of a study go on. Here nothing comes of it."""

    def began(self, workers: int) -> None:
        """The runs begin, so many of them side by side."""

    def went_on(self, run: Run, told: Told) -> None:
        """A run took steps, or there is something to note of it."""

    def ended(self, run: Run, row: Row | None, left: int) -> None:
        """A run ended, with a row or a failure; so many are left."""


class Left:
    """Estimates the time that a study will take, from the runs that ended and those that go on.

    runs: of the study. rows: of those that ended before. workers: that go on side by side.
    """

    def __init__(self, runs: Iterable[Run], rows: Iterable[Row]) -> None:
        self.workers = 1
        self._waiting = {run.key: run for run in runs}
        self._going: dict[str, tuple[Run, Told]] = {}
        self._paces: dict[tuple[object, ...], list[float]] = {}  # seconds of an epoch, of runs that ended
        for row in rows:
            self.ended(row.run, row)

    def went_on(self, run: Run, told: Told) -> None:
        """Note how far a run is."""
        self._waiting.pop(run.key, None)
        self._going[run.key] = run, told

    def ended(self, run: Run, row: Row | None) -> None:
        """Note that a run ended."""
        self._waiting.pop(run.key, None)
        self._going.pop(run.key, None)
        if row is not None:
            self._paces.setdefault(_like(run), []).append(row.seconds / run.epochs)

    @property
    def going(self) -> Sequence[tuple[Run, Told]]:
        """Runs that go on, in the order in which they began."""
        return list(self._going.values())

    @property
    def seconds(self) -> float | None:
        """Until the study ends, about; None before anything is known."""
        paces = {like: list(values) for like, values in self._paces.items()}
        left = []
        for run, told in self.going:
            if told.share > 0:
                left.append(told.seconds / told.share * (1 - told.share))
                paces.setdefault(_like(run), []).append(told.seconds / told.share / run.epochs)
        every = [value for values in paces.values() for value in values]
        if not every:
            return None
        unknown = [run for run, told in self.going if not told.share > 0]
        for run in (*self._waiting.values(), *unknown):
            known = paces.get(_like(run), every)
            left.append(sum(known) / len(known) * run.epochs)
        return max(sum(left) / self.workers, *left) if left else 0.0


def _like(run: Run) -> tuple[object, ...]:
    """What the time of an epoch depends on."""
    return run.model, run.data, run.network, run.batch, run.samples, run.augment


class Progress(Watch):
    """Prints a line for each run that ends, and in between how far the others are.

    runs, rows: see `Left`. say: shows such a line where somebody looks on, in the place of the last one; None where nobody does:
    then epochs are lines of the output, too, one in some seconds.
    """

    def __init__(self, runs: Sequence[Run], rows: Iterable[Row], say: Callable[[str], None] | None) -> None:
        self._time, self._say, self._runs = Left(runs, rows), say, len(runs)
        self._left, self._epochs = 0, dict[str, int]()
        self._printed = time.monotonic()

    def began(self, workers: int) -> None:
        self._time.workers = workers

    def went_on(self, run: Run, told: Told) -> None:
        if told.note:
            print(f"note: {printable(told.note)}", file=sys.stderr)
            return
        self._time.went_on(run, told)
        if self._say is not None:
            self._say(self.line())
            return
        closed, since = told.epochs > self._epochs.get(run.key, 0), time.monotonic() - self._printed
        self._epochs[run.key] = told.epochs
        if since >= (_PAUSE if closed else _LONG):
            self._print(f"{_name(run)}: {_place(run, told)}{self._remaining()}")

    def ended(self, run: Run, row: Row | None, left: int) -> None:
        self._time.ended(run, row)
        if row is not None:
            remaining = self._remaining() if left else ""
            self._print(f"{_name(run)}: {row.accuracy:.2%} in {row.seconds:.0f} s; {left} to go{remaining}")
        if self._say is not None and left:
            self._say(self.line())

    def line(self) -> str:
        """What to show while the runs go on."""
        going = "".join(f"; {_name(run)}: {_place(run, told)}" for run, told in self._time.going)
        return f"{len(self._time.going)} going{self._remaining()}{going}"

    def _remaining(self) -> str:
        seconds = self._time.seconds
        return "" if seconds is None else f", about {duration(seconds)} left"

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        print(text, flush=True)


def _name(run: Run) -> str:
    return f"{printable(run.label)}, seed {run.seed}"


def _place(run: Run, told: Told) -> str:
    accuracy = f", accuracy {told.accuracy:.2%}" if told.epochs else ""
    return f"{told.share * run.epochs:.1f} of {run.epochs} epochs{accuracy}"
