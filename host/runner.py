"""A device under way: brought to the right state, measured, and compared with the golden model if asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnnedge.devices import Device, StepResult
from bnnedge.state import TrainingState


class MismatchError(RuntimeError):
    """A device and the golden model disagree; the text names the step, what differs, and in how many values."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What training costs on a device with a clock.

    images: counted from the end of a call's first step to that of its last (of a single step, from its start).
    cycles: for these images.
    utilisation: part, 0..1, of all cycles in which the engine multiplied; None if the device does not count them.
    """

    images: int
    cycles: int
    utilisation: float | None


class Runner:
    """Trains and infers on a device from states that its user keeps.

    A call that fails or is interrupted leaves the device somewhere; the next call brings it back to the state given.

    Parameters
    ----------
    device, golden: prepared for the same network and settings; with `golden`, everything is computed on both and
        compared.
    batch: images a step.

    Members
    -------
    bit_exact: True while everything compared was equal, False after a difference, None if nothing was compared.
    """

    def __init__(self, device: Device, golden: Device | None, batch: int) -> None:
        self.device, self.golden, self.batch = device, golden, batch
        self.bit_exact: bool | None = None
        self._measured: list[Measurement] = []
        self._held: TrainingState | None = None  # the state in the devices, if that is sure

    def train(
        self, state: TrainingState, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> tuple[list[StepResult], TrainingState]:
        """Take steps from `state`, which stays as it is; return a result for each, and the new state."""
        self._bring(state)
        self._held = None
        if self.golden is None:
            results = self._train_measured(images, labels, order, rate)
        else:
            results = []
            for start in range(0, len(order), self.batch):
                chosen = order[start : start + self.batch]
                where = f"step {state.step + len(results) + 1}"
                results.append(self._train_checked(where, self.golden, images, labels, chosen, rate))
        self._held = self.device.state()
        return results, self._held

    def infer(self, state: TrainingState, images: np.ndarray) -> np.ndarray:
        """Logits, see `Device.infer`."""
        self._bring(state)
        logits = self.device.infer(images)
        if self.golden is not None:
            found = _difference("logits", logits, self.golden.infer(images))
            self._compared(f"inference after step {state.step}", found)
        return logits

    def measurement(self) -> Measurement | None:
        """The sum over all unchecked `train` calls; None if there was none, or the device has no clock."""
        cycles = sum(m.cycles for m in self._measured)
        if not cycles:
            return None
        known = [(m.utilisation, m.cycles) for m in self._measured if m.utilisation is not None]
        mean = sum(u * c for u, c in known) / sum(c for _, c in known) if known else None
        return Measurement(sum(m.images for m in self._measured), cycles, mean)

    def measure(
        self, state: TrainingState, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> Measurement | None:
        """Take unchecked steps from `state`, and forget what they computed."""
        self._bring(state)
        self._held = None
        self._train_measured(images, labels, order, rate)
        return self.measurement()

    def _bring(self, state: TrainingState) -> None:
        if self._held is not state:
            for device in (self.device, self.golden):
                if device is not None:
                    device.load_state(state)
            self._held = state

    def _train_measured(self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int) -> list[StepResult]:
        before = self.device.counters()
        results = self.device.train(images, labels, order, rate)
        after = self.device.counters()
        if results[-1].cycles:
            total, engine = (after.get(name, 0) - before.get(name, 0) for name in ("cycles", "engine"))
            # From the end of the first step: what a run begins with counts little in a long one.
            many = len(results) > 1
            cycles = results[-1].cycles - (results[0].cycles if many else 0)
            images_counted = (len(results) - many) * self.batch
            self._measured.append(Measurement(images_counted, cycles, engine / total if total else None))
        return results

    def _train_checked(
        self, where: str, golden: Device, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> StepResult:
        result, held = self.device.probe(images, labels, order, rate)
        expected, wanted = golden.probe(images, labels, order, rate)
        found = [] if result.loss == expected.loss else [f"loss: {result.loss}, not {expected.loss}"]
        found += [] if result.hits == expected.hits else [f"hits: {result.hits}, not {expected.hits}"]
        found += _differences(held, wanted)
        found += self.device.state().differences(golden.state())
        self._compared(where, found)
        return result

    def _compared(self, where: str, found: Sequence[str]) -> None:
        if found:
            self.bit_exact = False
            self._held = None
            listed = "; ".join(found[:8]) + (f"; and {len(found) - 8} more" if len(found) > 8 else "")
            raise MismatchError(f"{where}: device {self.device.name!r} and the golden model differ in {listed}")
        self.bit_exact = self.bit_exact is not False


def _differences(values: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> list[str]:
    found = []
    for name, expected in wanted.items():
        # As rows, as columns, or both: see `Device.probe`.
        copies = [copy for copy in (name, f"{name}_columns") if copy in values] or [name]
        for copy in copies:
            found += _difference(copy, values.get(copy), expected)
    return found


def _difference(name: str, value: Any, wanted: np.ndarray) -> list[str]:
    """How `value` differs from `wanted`, in words; empty if it does not."""
    if value is None:
        return [f"{name}: missing"]
    value = np.asarray(value)
    if value.shape != wanted.shape:
        return [f"{name}: shape {value.shape}, not {wanted.shape}"]
    count = np.count_nonzero(value != wanted)
    return [f"{name}: {count} of {wanted.size} values"] if count else []
