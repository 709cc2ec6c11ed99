"""What a training run is going to do and how far it is: order of the samples, running sums, history.

All of it follows from numbers that a checkpoint keeps, so that a run can stop and go on anywhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnnedge import formats
from bnnedge.data.augment import Augment
from bnnedge.devices.device import StepResult
from bnnedge.rates import FUNCTION, SCHEDULES, scheduled

HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy", "rate")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run of `steps` steps, `step` of which are taken.

    Parameters
    ----------
    samples, batch: training images, and images a step. An epoch is samples // batch steps.
    digest: CRC-32 of the training images and labels: a run can only go on with the data that it began with.
    epochs, steps: planned in all; the last epoch may be a partial one.
    start: steps that the network had taken before the run; tells one run's random orders from another's.
    seed, shuffle, rate, schedule: see `bnnedge.Trainer`.
    step: steps taken.
    loss, hits: sums over the steps of the running epoch, as the device reports them.
    history: a value for each closed epoch, by the names in `HISTORY`.
    augment: how the images vary from epoch to epoch; None if they don't.
    rates: of each epoch, if the schedule is a function of the user's; else empty.
    """

    samples: int
    batch: int
    digest: int
    epochs: int
    steps: int
    start: int
    seed: int
    shuffle: bool
    rate: float
    schedule: str
    step: int = 0
    loss: int = 0
    hits: int = 0
    history: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=lambda: dict.fromkeys(HISTORY, ()))
    augment: Augment | None = None
    rates: tuple[float, ...] = ()

    @property
    def epoch_steps(self) -> int:
        """Steps of a whole epoch."""
        return self.samples // self.batch

    @property
    def epoch(self) -> int:
        """Number, from 0, of the epoch to which the next step belongs."""
        return self.step // self.epoch_steps

    @property
    def closed(self) -> int:
        """Epochs that the history holds."""
        return len(self.history["loss"])

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.steps

    @property
    def entry_due(self) -> bool:
        """Whether the last step ended an epoch that is not in the history yet."""
        complete = -(-self.step // self.epoch_steps) if self.finished else self.epoch
        return complete > self.closed

    def scheduled_rate(self, epoch: int) -> float:
        """Learning rate of an epoch, of which the history has all before it."""
        if self.rates:
            return self.rates[epoch]
        return scheduled(self.schedule, self.rate, epoch, self.epochs, self.history["loss"])

    def order(self) -> np.ndarray:
        """Sample indices of the running epoch, (epoch_steps * batch,) int64: the remainder of the samples is left out."""
        count = self.epoch_steps * self.batch
        if not self.shuffle:
            return np.arange(count, dtype=np.int64)
        return self._random().permutation(self.samples)[:count].astype(np.int64)

    def variation(self) -> np.random.RandomState:
        """What decides how the running epoch's images vary."""
        return self._random(1)

    def _random(self, *purpose: int) -> np.random.RandomState:
        """NumPy's frozen legacy generator, of which every version draws the same, begun anew for the running epoch."""
        source = np.random.SeedSequence(self.seed, spawn_key=(self.start, self.epoch, *purpose))
        return np.random.RandomState(np.random.MT19937(source))

    def after(self, results: Sequence[StepResult]) -> Plan:
        """The plan when these steps of the running epoch are taken."""
        first = self.step % self.epoch_steps == 0
        return dataclasses.replace(
            self,
            step=self.step + len(results),
            loss=(0 if first else self.loss) + sum(result.loss for result in results),
            hits=(0 if first else self.hits) + sum(result.hits for result in results),
        )

    def running(self) -> dict[str, float]:
        """Mean loss (nats) and accuracy over the steps of the last epoch that any step was taken in."""
        images = ((self.step - 1) % self.epoch_steps + 1) * self.batch
        return {"loss": self.loss * math.log(2) / (1 << formats.LOGIT) / images, "accuracy": self.hits / images}

    def with_entry(self, entry: Mapping[str, float]) -> Plan:
        """The plan with an epoch closed; `entry` has a value for some or all names in `HISTORY`."""
        history = {name: tuple(self.history[name]) for name in HISTORY}
        for name in HISTORY:
            # Epochs without validation data, of a run that has some with, have no number, and a place all the same.
            if name in entry or history[name]:
                missing = (math.nan,) * (self.closed - len(history[name]))
                history[name] = (*history[name], *missing, entry.get(name, math.nan))
        return dataclasses.replace(self, history=history)

    def extended(self, steps: int, rates: tuple[float, ...] = ()) -> Plan:
        """The plan with a new end: the remaining epochs follow the schedule of the new length, or have these `rates`."""
        if steps <= self.step:
            raise ValueError(
                f"the run has already taken {self.step} steps ({self.step / self.epoch_steps:.4g} epochs) of the "
                f"{steps} asked for in all; ask for more, or begin a new run"
            )
        partial = self.finished and self.step % self.epoch_steps
        history = {name: tuple(values)[:-1] if partial else tuple(values) for name, values in self.history.items()}
        epochs = -(-steps // self.epoch_steps)
        return dataclasses.replace(self, epochs=epochs, steps=steps, history=history, rates=rates)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes: numbers, strings, lists, None for NaN; `augment` and `rates` only if there are such."""
        data = {
            **dataclasses.asdict(dataclasses.replace(self, history={})),
            "history": {name: [None if math.isnan(n) else n for n in values] for name, values in self.history.items()},
            "rates": list(self.rates),
        }
        return {name: value for name, value in data.items() if value or name not in _LATER}

    @classmethod
    def from_dict(cls, data: Any) -> Plan:
        """Make a plan of what `to_dict` returned; ValueError for anything else."""
        fields = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(data, dict) or set(data) | set(_LATER) != fields:
            raise ValueError("the plan of the run lacks fields, or has unknown ones")
        for name, (low, high) in _RANGES.items():
            if type(data[name]) is not int or not low <= data[name] <= high:
                raise ValueError(f"{name} of the plan must be a whole number in {low}..{high}, not {data[name]!r:.80}")
        if type(data["shuffle"]) is not bool:
            raise ValueError(f"shuffle of the plan must be true or false, not {data['shuffle']!r:.80}")
        if not _finite(data["rate"]) or data["rate"] <= 0:
            raise ValueError(f"rate of the plan must be a positive number, not {data['rate']!r:.80}")
        if data["schedule"] not in (*SCHEDULES, FUNCTION):
            raise ValueError(f"schedule of the plan must be one of {', '.join(SCHEDULES)}, not {data['schedule']!r:.80}")
        rates = data.get("rates", [])
        if not isinstance(rates, list) or not all(map(_finite, rates)):
            raise ValueError("rates of the plan must be a list of numbers")
        history = data["history"]
        if not isinstance(history, dict) or set(history) != set(HISTORY):
            raise ValueError("history of the plan lacks names, or has unknown ones")
        for name, values in history.items():
            if not isinstance(values, list) or not all(_finite(n) or (n is None and name in _OPTIONAL) for n in values):
                raise ValueError(f"{name} in the history of the plan must be a list of numbers")
        augment = data.get("augment")
        if augment is not None:
            if not isinstance(augment, dict) or set(augment) != {field.name for field in dataclasses.fields(Augment)}:
                raise ValueError(f"augment of the plan is {augment!r:.80}")
            augment = Augment(**augment)
        told = {name: tuple(math.nan if n is None else n for n in values) for name, values in history.items()}
        plan = cls(**{**data, "history": told, "augment": augment, "rates": tuple(rates)})
        plan._check()
        return plan

    def _check(self) -> None:
        """ValueError if the fields, each in its range, contradict each other."""
        lengths = {name: len(values) for name, values in self.history.items()}
        due = -(-self.step // self.epoch_steps) if self.batch <= self.samples else 0  # epochs begun
        wrong = {
            "batch": self.batch > self.samples,
            "step": self.step > self.steps,
            "epochs": self.batch <= self.samples and self.epochs != -(-self.steps // self.epoch_steps),
            "history": self.closed > due or any(lengths[name] != self.closed for name in ("accuracy", "rate")),
            "val_loss": max(lengths["val_loss"], lengths["val_accuracy"]) > self.closed,
            "val_accuracy": lengths["val_loss"] != lengths["val_accuracy"],
            "hits": self.hits > self.samples,
            "rates": len(self.rates) != (self.epochs if self.schedule == FUNCTION else 0),
        }
        if any(wrong.values()):
            raise ValueError(f"the plan contradicts itself: {', '.join(name for name, found in wrong.items() if found)}")


# Checkpoints were without these at first; one that has them is refused by what would train on without them.
_LATER = ("augment", "rates")
_OPTIONAL = ("val_loss", "val_accuracy")

# What a field of a plan may be.
_RANGES = {
    "samples": (1, 1 << 32),
    "batch": (1, 1 << 16),
    "digest": (0, (1 << 32) - 1),
    "epochs": (1, (1 << 63) - 1),  # a run may be planned that nobody waits for
    "steps": (1, (1 << 63) - 1),
    "start": (0, (1 << formats.STEP_BITS) - 1),
    "seed": (0, (1 << 64) - 1),
    "step": (0, (1 << formats.STEP_BITS) - 1),
    "loss": (-(1 << 63), (1 << 63) - 1),
    "hits": (0, 1 << 32),
}


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
