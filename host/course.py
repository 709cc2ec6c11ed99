"""The course of a trainer: the state that it has come to, its place in a run, and the loop that takes it on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from bnnedge.callbacks import History
from bnnedge.callbacks.calling import Calls
from bnnedge.data.augment import Epochs
from bnnedge.rates import round_rate
from bnnedge.runner import Pace, Runner
from bnnedge.schedule import Plan
from bnnedge.state import TrainingState


class Course:
    """Takes the steps of plans on a device, and tells callbacks.

    Parameters
    ----------
    runner: of the device.
    state: to begin with.

    Members
    -------
    now: the training state after the last finished call, and the last run's plan at that place; one tuple, so that an
        interrupt never parts them.
    """

    def __init__(self, runner: Runner, state: TrainingState) -> None:
        self.runner = runner
        self.now: tuple[TrainingState, Plan | None] = (state, None)
        self._history: History | None = None  # of the last run; None while it goes on

    @property
    def state(self) -> TrainingState:
        """The state itself, which must not change."""
        return self.now[0]

    @property
    def plan(self) -> Plan | None:
        """The last run, as far as it went."""
        return self.now[1]

    @property
    def history(self) -> History:
        """Of the last run as it was told, though a callback may have gone back since; without epochs before the first."""
        return self._history or History.of(self.plan.history if self.plan else {"loss": ()})

    @contextlib.contextmanager
    def told(self, calls: Calls, plan: Plan, validation: bool) -> Iterator[None]:
        """Around a run: tell the callbacks that it begins, and how it ends."""
        before, self.now = self.now, (self.state, plan)
        self._history = None
        error: BaseException | None = None
        try:
            try:
                calls.begin({"steps": plan.steps, "epochs": plan.epochs, "step": plan.step, "validation": int(validation)})
            except BaseException:
                self.now = before
                raise
            yield
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._history = self.history
            calls.end(error)

    def run(
        self,
        shown: Epochs,
        labels: np.ndarray,
        validate: Callable[[], Mapping[str, float]] | None,
        calls: Calls,
        pace: Pace,
    ) -> None:
        """Take all steps that are left of the plan, unless a callback ends the run before.

        validate: evaluates on other images, after each epoch. pace: of the calls.
        """
        while (plan := self._planned()).entry_due or not (plan.finished or calls.stopped):
            if plan.entry_due:
                entry = {**plan.running(), "rate": plan.scheduled_rate(plan.closed)}
                if validate:
                    entry.update({f"val_{name}": value for name, value in validate().items()})
                plan = plan.with_entry(entry)
                self.now = (self.state, plan)
                calls.tell("on_epoch_end", plan.closed - 1, entry)
                continue
            if plan.step % plan.epoch_steps == 0:
                calls.tell("on_epoch_begin", plan.epoch, {"rate": plan.scheduled_rate(plan.epoch)})
                if calls.stopped:
                    break
            self._advance(plan, shown, labels, pace)
            plan = self._planned()
            logs = {"steps": plan.steps, "epochs": plan.epochs, "epoch": (plan.step - 1) // plan.epoch_steps}
            calls.tell("on_batch_end", plan.step, {**plan.running(), **logs})

    def _planned(self) -> Plan:
        """The plan of the run, which a callback may have taken back."""
        assert self.plan is not None
        return self.plan

    def _advance(self, plan: Plan, shown: Epochs, labels: np.ndarray, pace: Pace) -> None:
        """Take the next steps of the running epoch."""
        first = plan.step % plan.epoch_steps
        count = min(plan.epoch_steps - first, plan.steps - plan.step, pace.steps)
        order = plan.order()[first * plan.batch : (first + count) * plan.batch]
        rate = round_rate(plan.scheduled_rate(plan.epoch))
        images = shown.show(plan.epoch, plan.variation())
        began = time.monotonic()
        results, state = self.runner.train(self.state, images, labels, order, rate)
        pace.took(count, time.monotonic() - began)
        self.now = (state, plan.after(results))
