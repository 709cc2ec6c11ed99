"""The plan of a run: of a new one, or of the last one that goes on."""

from __future__ import annotations

import dataclasses

import numpy as np

from bnnedge import formats
from bnnedge.data.augment import Augment
from bnnedge.rates import FUNCTION, Schedule, rates_of
from bnnedge.samples import digest
from bnnedge.schedule import Plan
from bnnedge.settings import Settings, count


@dataclasses.dataclass(frozen=True)
class Planner:
    """Makes plans for the runs of a trainer.

    settings, rate, schedule: see `bnnedge.Trainer`. function: the schedule, if it is one. rates: that the device represents.
    """

    settings: Settings
    rate: float
    schedule: str
    function: Schedule | None
    rates: range

    def plan(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        epochs: int | None,
        steps: int | None,
        augment: Augment | None,
        start: int,
        shuffle: bool,
        last: Plan | None,
    ) -> Plan:
        """The plan of a call of `fit`; ValueError if there can't be such.

        start: steps that the network has taken. last: the run to go on with, or None.
        """
        epochs, steps = count("epochs", epochs), count("steps", steps)
        if not isinstance(augment, (Augment, type(None))):
            raise ValueError(f"augment must be an Augment, such as Augment(flip=True), not {augment!r:.80}")
        if epochs is not None and steps is not None:
            raise ValueError("give epochs or steps, not both")
        if last is None:
            plan = self._new(images, labels, epochs, steps, augment, start, shuffle)
        else:
            plan = self._resumed(last, images, labels, epochs, steps, augment)
        countable = (1 << formats.STEP_BITS) - 1 - plan.start
        if plan.steps > countable:
            raise ValueError(f"a run of {plan.steps} steps is too long to count; {countable} fit: give fewer epochs or steps")
        return plan

    def _new(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        epochs: int | None,
        steps: int | None,
        augment: Augment | None,
        start: int,
        shuffle: bool,
    ) -> Plan:
        batch = self.settings.batch
        if len(images) < batch:
            smaller = len(images) >= formats.BATCH_STEP
            hint = "or use a smaller batch" if smaller else "or these several times (np.concatenate([x] * n), and y likewise)"
            raise ValueError(f"x has {len(images)} images, less than a batch of {batch}: give more images, {hint}")
        if self.schedule == FUNCTION and self.function is None:
            raise ValueError(
                "the checkpoint's schedule was a function, which no file keeps: resume its run, or give one to "
                "Trainer.load(schedule=...) (--schedule)"
            )
        steps = steps or (epochs or 1) * (len(images) // batch)
        epochs = -(-steps // (len(images) // batch))
        return Plan(
            samples=len(images),
            batch=batch,
            digest=digest(images, labels),
            epochs=epochs,
            steps=steps,
            start=start,
            seed=self.settings.seed,
            shuffle=shuffle,
            rate=self.rate,
            schedule=self.schedule,
            augment=augment,
            rates=rates_of(self.function, self.rate, epochs, self.rates) if self.function else (),
        )

    def _resumed(
        self,
        plan: Plan,
        images: np.ndarray,
        labels: np.ndarray,
        epochs: int | None,
        steps: int | None,
        augment: Augment | None,
    ) -> Plan:
        if (plan.samples, plan.digest) != (len(images), digest(images, labels)):
            raise ValueError(
                f"the run to resume began with other data ({plan.samples} images; these are {len(images)}): "
                "give the same, in the same order, and the same validation_split, or begin a new run"
            )
        if augment not in (None, plan.augment):
            raise ValueError(f"the run to resume began with augment {plan.augment!r}: give the same, or none")
        if epochs is not None:
            steps = epochs * plan.epoch_steps
        if steps is None or steps == plan.steps:
            return plan
        epochs = -(-steps // plan.epoch_steps)
        if plan.schedule != FUNCTION:
            return plan.extended(steps)
        if self.function is not None:
            return plan.extended(steps, rates_of(self.function, plan.rate, epochs, self.rates))
        if epochs > len(plan.rates):
            raise ValueError(
                f"the schedule of the run to resume was a function, of which the checkpoint keeps {len(plan.rates)} epochs: "
                "ask for no more, or begin a new run with Trainer.load(schedule=...)"
            )
        return plan.extended(steps, plan.rates[:epochs])
