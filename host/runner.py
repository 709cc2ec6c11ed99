"""Brings a device to the right network and state, measures it, and compares it with the golden model if asked for."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from bnnedge.checker import Checker, MismatchError
from bnnedge.devices import Memory, StepResult
from bnnedge.devices.tenancy import Tenant
from bnnedge.network import Network
from bnnedge.state import TrainingState

_WORK = 1 << 26  # products of weights and images in a second of simulation, about
_LONG = 30.0  # seconds a step, from which on a call takes as few as can be
_CALL = 1.0  # seconds between two reports of progress


def call_steps(network: Network, batch: int) -> int:
    """Steps that a call of the device takes, or begins with, where somebody looks on: two at least, to tell a step's cycles."""
    work = batch * sum(layer.fan_in * layer.fan_out * layer.outputs for layer in network.geometry)
    return max(4 if work < _LONG * _WORK else 2, _WORK // work)


@dataclasses.dataclass
class Pace:
    """How many steps the next call of the device takes.

    steps: so many. fixed: whether that stays; else calls come to take about a second, as `took` tells of those before.
    """

    steps: int
    fixed: bool = True

    def took(self, steps: int, seconds: float) -> None:
        """Note how long a call of so many steps took."""
        if not self.fixed:
            each = max(seconds / steps, 1e-9)
            self.steps = max(1 if each >= _LONG else 2, min(2 * self.steps, int(_CALL / each)))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What training costs on a device with a clock.

    images: counted from the report of a call's first step to that of its last; if there are calls of single steps alone, all
        of theirs.
    cycles: for these images.
    utilisation: part, 0..1, of all cycles in which the engine multiplied; None if the device does not count them.
    """

    images: int
    cycles: int
    utilisation: float | None


class Runner:
    """Trains and infers on a device from states that its user keeps.

    Whatever the device holds, be it another's network or what a call left that failed or was interrupted, the next call
    brings it back to the state given.

    Parameters
    ----------
    tenant: of the device.
    checker: compares with the golden model.
    batch: images a step.

    Members
    -------
    counted: "images" of all unchecked steps, and what the device's counters say of them.
    """

    def __init__(self, tenant: Tenant, checker: Checker, batch: int) -> None:
        self.tenant, self.checker, self.batch = tenant, checker, batch
        self.device = tenant.device
        self.counted = Counter[str]()
        self._measured: list[Measurement] = []
        self._singles: list[Measurement] = []  # of calls of one step, with all that a call begins and ends with

    def train(
        self, state: TrainingState, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> tuple[list[StepResult], TrainingState]:
        """Take steps from `state`, which stays as it is; return a result for each, and the new state.

        The first ones are compared with the golden model, if the checker has any due.
        """
        with self.device.claim():
            self.tenant.bring(state)
            results: list[StepResult] = []
            batches = len(order) // self.batch
            while self.checker.due and len(results) < batches:
                chosen = order[len(results) * self.batch :][: self.batch]
                result, state = self.checker.step(self.device, state, images, labels, chosen, rate)
                results.append(result)
            if len(results) < batches:
                rest = order[len(results) * self.batch :]
                results += self._train(images, labels, rest, rate, not results)
                state = self.device.state()
            self.tenant.keep(state)
        return results, state

    def infer(self, state: TrainingState, images: np.ndarray) -> np.ndarray:
        """Logits, see `Device.infer`."""
        with self.device.claim():
            self.tenant.bring(state)
            logits = self.device.infer(images)
            try:
                self.checker.inference(self.device, state, images, logits)
            except MismatchError:
                self.tenant.forget()  # the state in the device may be wrong, too
                raise
        return logits

    def measurement(self) -> Measurement | None:
        """The sum over all unchecked `train` calls; None if there was none, or the device has no clock."""
        found = self._measured or self._singles
        cycles = sum(m.cycles for m in found)
        if not cycles:
            return None
        known = [(m.utilisation, m.cycles) for m in found if m.utilisation is not None]
        mean = sum(u * c for u, c in known) / sum(c for _, c in known) if known else None
        return Measurement(sum(m.images for m in found), cycles, mean)

    def measure(
        self, state: TrainingState, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> Measurement | None:
        """Take unchecked steps from `state`, and forget what they computed."""
        with self.device.claim():
            self.tenant.bring(state)
            self._train(images, labels, order, rate, True)
        return self.measurement()

    def memory(self) -> Memory:
        """Bytes that the network takes, see `Device.memory`."""
        with self.device.claim():
            self.tenant.prepare()
            return self.device.memory()

    def _train(self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int, single: bool) -> list[StepResult]:
        """Take steps; `single`: measure them if it is only one, too."""
        before = self.device.counters()
        results = self.device.train(images, labels, order, rate)
        spent = Counter({name: value - before.get(name, 0) for name, value in self.device.counters().items()})
        self.counted.update(spent, images=len(order))
        total = spent["cycles"]
        busy = spent["engine"] / total if total else None
        if len(results) > 1 and results[-1].cycles:
            # A report comes behind the forward pass: from one to the next is a whole step, from the start to the first is not.
            cycles = results[-1].cycles - results[0].cycles
            self._measured.append(Measurement((len(results) - 1) * self.batch, cycles, busy))
        elif single and total:
            self._singles.append(Measurement(self.batch, total, busy))
        return results
