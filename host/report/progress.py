"""Progress of a run: a bar on a terminal or in a notebook, elsewhere a line for each epoch."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from bnnedge.callbacks import Callback
from bnnedge.checker import LONG
from bnnedge.terminal import bare, duration, in_notebook
from bnnedge.underway import beating

_SILENT = 300.0  # seconds without a line, within an epoch


class Progress(Callback):
    """Shows loss, accuracy and the time left of the run as training goes on.

    A bar on a terminal or in a notebook, if tqdm is installed; elsewhere a line for each epoch, and within a long one every
    five minutes. `fit` has one of its own, unless told otherwise, wherever it shows a bar.
    """

    shows = often = True

    def __init__(self) -> None:
        self._done = self._first = self._steps = self._epochs = 0
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        self._alive = contextlib.ExitStack()
        self._tested = ""

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        self._done = self._first = int(logs["step"])
        self._steps, self._epochs, self._tested = int(logs["steps"]), int(logs["epochs"]), ""
        self._started = self._told = time.monotonic()
        if logs["step"] < logs["steps"]:
            plan = self.trainer.plan
            assert plan is not None
            self._bar = _bar(int(logs["steps"]), self._done, f"epoch {plan.epoch + 1}/{self._epochs}")
            if self._bar is not None:
                self._alive = beating(self._bar.refresh)

    def on_check_begin(self, steps: int, seconds: float) -> None:
        announce_check(steps, seconds)

    def on_batch_end(self, step: int, logs: Mapping[str, float]) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {int(logs['epoch']) + 1}/{self._epochs}", refresh=False)
            self._bar.set_postfix_str(f"{_numbers(logs)}{self._tested}", refresh=False)
            self._bar.update(step - self._done)
        self._done = step
        # As an epoch ends there is a line anyway, unless its validation takes long.
        if self._bar is None and time.monotonic() - self._told >= _SILENT:
            plan = self.trainer.plan
            assert plan is not None
            share = (step - 1) % plan.epoch_steps + 1
            self._tell(int(logs["epoch"]), f", {100 * share / plan.epoch_steps:.0f} %", _numbers(logs))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._tested = f", test accuracy {100 * logs['val_accuracy']:.1f} %" if "val_accuracy" in logs else ""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{_numbers(logs)}{self._tested}")
        else:
            self._tell(epoch, "", _numbers(logs) + self._tested)

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        self.close()

    def _tell(self, epoch: int, share: str, numbers: str) -> None:
        """A line, with the time since the beginning, and that which is left of the whole run at this pace."""
        self._told = time.monotonic()
        passed, left = self._told - self._started, self._steps - self._done
        remaining = f", {duration(passed * left / (self._done - self._first))} left" if left and self._done > self._first else ""
        print(f"epoch {epoch + 1:3}/{self._epochs}{share}: {numbers} ({duration(passed)}{remaining})", flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._alive.close()
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def progress_for(callbacks: Sequence[Any], wanted: bool | None) -> tuple[Progress, ...]:
    """The progress that `fit` shows beside its callbacks, if any; see its argument `progress`."""
    if wanted not in (None, True, False):
        raise ValueError(f"progress must be True, False or None (on a terminal or in a notebook), not {wanted!r:.80}")
    if wanted is None:
        wanted = can_show() and not any(getattr(callback, "shows", False) for callback in callbacks)
    return (Progress(),) if wanted else ()


def can_show() -> bool:
    """Whether somebody would see a bar: on a terminal or in a notebook."""
    return in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def announce_check(steps: int, seconds: float) -> None:
    """Print that comparing `steps` with the golden model will take `seconds`, if that is long."""
    if seconds >= LONG:
        time_text = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
        print(
            f"comparing {steps:,} steps with the golden model takes about {time_text} "
            '(--no-check, in Python check="none", leaves that out)',
            flush=True,
        )


def _numbers(logs: Mapping[str, float]) -> str:
    return f"loss {logs['loss']:.3f}, accuracy {100 * logs['accuracy']:.1f} %"


def _bar(total: int, done: int, text: str) -> Any:
    """A tqdm bar, or None where nothing can show one, or there is no tqdm."""
    notebook = in_notebook()
    if not can_show():
        return None
    try:
        import tqdm
    except ModuleNotFoundError:
        return None
    with warnings.catch_warnings():
        # Of an experimental feature, or of a missing ipywidgets, without which a notebook's bar is one of text.
        warnings.simplefilter("ignore", tqdm.TqdmWarning)
        from tqdm.auto import tqdm as bar
    # tqdm puts a comma before the postfix. Its notebook's bar takes no width, and a kernel's stderr is pink.
    form = "{desc} |" + ("{bar}" if notebook else "{bar:20}") + "| {percentage:3.0f} % {elapsed}, {remaining} left{postfix}"
    file = bare(sys.stdout if notebook else sys.stderr)
    size: dict[str, Any] = {"ncols": 80, "nrows": 24} if _unsized(file) else {"dynamic_ncols": True}
    return bar(total=total, initial=done, desc=text, bar_format=form, file=file, **size)


def _unsized(stream: Any) -> bool:
    """Whether it is a terminal that doesn't know its size, as a serial console: tqdm would show nothing there."""
    try:
        return os.get_terminal_size(stream.fileno()).columns == 0
    except (OSError, ValueError, AttributeError):  # no terminal
        return False
