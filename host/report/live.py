"""A plot in a notebook that follows a training run: loss, accuracy, and what the device's counters say."""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Mapping
from typing import Any

from bnnedge.callbacks import Callback
from bnnedge.report.progress import announce_check
from bnnedge.report.style import INK, TEST, TRAINING, curve, line, percent, title
from bnnedge.trainer import Trainer

_PAUSE = 0.5  # seconds between two pictures, at least
_SHARE = 4  # and so many times as long as a picture takes: drawing is slow on a board, and training waits for it
_HEIGHT, _WIDTH, _WIDE = 3.2, 8.4, 12.0  # inches; wide with counters
_SCALE = 90  # pixels of the notebook's page an inch
# Counters of the engine's time, and what to call them.
_PARTS = {
    "engine": "engine multiplies",
    "stall_token": "it waits for data",
    "stall_drain": "it waits for room",
    "stall_memory": "update waits for memory",
}


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a device's counters say of a stretch of training.

    images_per_second: at the device's clock. parts: 0..1 of all cycles, by what they were spent on.
    read, written: bytes a cycle on all memory ports.
    """

    images_per_second: float
    parts: dict[str, float]
    read: float
    written: float

    @classmethod
    def between(cls, before: Mapping[str, int], after: Mapping[str, int], clock_hz: int) -> Rates | None:
        """Rates between two readings of `Trainer.counters`; None if no time passed on them."""
        spent = {name: value - before.get(name, 0) for name, value in after.items()}
        cycles = spent.get("cycles", 0)
        if not cycles:
            return None
        return cls(
            spent["images"] * clock_hz / cycles,
            {text: spent[name] / cycles for name, text in _PARTS.items() if name in spent},
            *(sum(spent[name] for name in spent if name.startswith(kind)) / cycles for kind in ("read_", "write_")),
        )


class LivePlot(Callback):
    """Draws loss and accuracy below the notebook's cell, anew as training goes on.

    Beside them, for a device with a clock: images/s, how much of the time its engine multiplies or waits, and bytes a
    cycle to and from memory, since this was made (without steps that are compared with the golden model, which disturbs the
    clock). A run that is resumed is shown from its beginning; one that is interrupted leaves the plot of its last step.

    Parameters
    ----------
    trainer: whose `fit` gets this callback, if the counters of earlier runs are to count, too. There is something new about
        once a second, or as often as `steps_per_call` of `fit` says.

    Raises
    ------
    ModuleNotFoundError: matplotlib or IPython is not installed
    """

    shows = often = True

    def __init__(self, trainer: Trainer | None = None) -> None:
        try:
            import IPython.display
            import matplotlib.figure  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"LivePlot needs {error.name}, which is not installed: pip install 'bnnedge[notebook]'", name=error.name
            ) from error
        self._display: Any = IPython.display
        self._counted: Trainer | None = None
        if trainer is not None:
            self.set_trainer(trainer)
        self._handle: Any = None
        self._running: Mapping[str, float] | None = None  # of the epoch that is not closed
        self._next, self._drawn = 0.0, True

    def set_trainer(self, trainer: Trainer) -> None:
        """Count from here on, if the trainer is another one."""
        super().set_trainer(trainer)
        if trainer is not self._counted:
            self._counted, self._first = trainer, trainer.counters

    def on_check_begin(self, steps: int, seconds: float) -> None:
        announce_check(steps, seconds)

    def on_batch_end(self, step: int, logs: Mapping[str, float]) -> None:
        self._running = logs
        self._changed()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._running = None
        self._changed()

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Draw what is not drawn yet."""
        if not self._drawn:
            self._draw()

    def _changed(self) -> None:
        self._drawn = False
        if time.monotonic() >= self._next:
            self._draw()

    def _draw(self) -> None:
        began = time.monotonic()
        rates = self._rates()
        width = _WIDTH if rates is None else _WIDE
        image = self._display.Image(data=self._picture(rates, width), format="png", width=int(_SCALE * width))
        if self._handle is None:
            self._handle = self._display.display(image, display_id=True)
        else:
            self._handle.update(image)
        now = time.monotonic()
        self._next, self._drawn = now + max(_PAUSE, _SHARE * (now - began)), True

    def _rates(self) -> Rates | None:
        trainer = self.trainer
        return Rates.between(self._first, trainer.counters, trainer.device.configuration.clock_hz)

    def _picture(self, rates: Rates | None, width: float) -> bytes:
        """The plot as a PNG file."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, _HEIGHT), dpi=1.5 * _SCALE, layout="constrained")
        FigureCanvasAgg(figure)
        loss, accuracy, *counters = figure.subplots(1, 2 if rates is None else 3)
        self._curves(loss, accuracy)
        if rates is not None:
            _bars(counters[0], rates, self.trainer.device.configuration.clock_hz)
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return file.getvalue()

    def _curves(self, loss: Any, accuracy: Any) -> None:
        plan = self.trainer.plan
        assert plan is not None
        history = {name: list(values) for name, values in plan.history.items()}
        # An epoch without validation data, of a run that was resumed, has NaN.
        kind = "val_" if history["val_loss"] and not math.isnan(history["val_loss"][-1]) else ""
        # The last epoch of a run may be a partial one.
        epochs = [min(n + 1, plan.step / plan.epoch_steps) for n in range(plan.closed)]
        if self._running is not None:
            passed = [*epochs, plan.step / plan.epoch_steps]
            for name in ("loss", "accuracy"):
                history[name].append(self._running[name])
        else:
            passed = epochs
        for axes, name, scaled in ((loss, "loss", list), (accuracy, "accuracy", percent)):
            line(axes, passed, scaled(history[name]), TRAINING, "training")
            line(axes, epochs, scaled(history[f"val_{name}"]), TEST, "test")
            curve(axes)
            # From the start as wide as the whole run.
            axes.set_xlim(0, 1.03 * plan.steps / plan.epoch_steps)
        loss.set_ylim(bottom=0)
        title(loss, f"cross-entropy (nats): {history[f'{kind}loss'][-1]:.3f}")
        title(accuracy, f"accuracy: {100 * history[f'{kind}accuracy'][-1]:.1f} %")


def _bars(axes: Any, rates: Rates, clock_hz: int) -> None:
    """Draw the counters: parts of the time as bars, the rest in words."""
    names, values = list(rates.parts), percent(list(rates.parts.values()))
    axes.barh(names, values, height=0.5, color=[TEST] + [TRAINING] * (len(names) - 1))
    for place, value in enumerate(values):
        axes.text(value + 2, place, f"{value:.0f} %", va="center", fontsize=9, color=INK)
    axes.set_xlim(0, 115)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(labelsize=9, colors=INK, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"memory: {rates.read:.2f} bytes read, {rates.written:.2f} written a cycle", fontsize=9, color=INK)
    title(axes, f"{rates.images_per_second:,.0f} images/s at {clock_hz / 1e6:g} MHz")
