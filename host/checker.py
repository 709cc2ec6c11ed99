"""Steps of a device compared with those of the golden model, which trains alongside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnnedge.devices import Device, StepResult
from bnnedge.devices.tenancy import Tenant
from bnnedge.meminfo import meminfo
from bnnedge.network import Network
from bnnedge.state import TrainingState

LEVELS = ("none", "first", "all")  # which steps of each `fit` are compared
FIRST = 2  # steps that "first" means
STATE_ALONE = ("pynq",)  # devices on which a step's tensors take memory and time that a board does not have
LONG = 10.0  # seconds of comparing that one wants to know of before
_WORK = 3 * 2 * 2  # operations for a weight and an activation: three passes, multiply and add, twice as wide as measured
_BYTES = 40  # of memory for each sum of the largest map
_DRAWS = 50  # times what three shifts take: what the golden model does for a weight or a code beside products


class MismatchError(RuntimeError):
    """A device and the golden model disagree; the text names the step, what differs, and in how many values."""


def level(check: bool | str) -> str:
    """One of `LEVELS`: True means "all", False "none"; ValueError for anything else."""
    if isinstance(check, bool):
        return "all" if check else "none"
    if check not in LEVELS:
        raise ValueError(f"check must be one of {', '.join(map(repr, LEVELS))}, True (all) or False (none), not {check!r}")
    return check


class Checker:
    """Compares steps and inference.

    Parameters
    ----------
    golden: the golden model; None to compare nothing.
    level: one of `LEVELS`.

    Members
    -------
    due: steps that are yet to be compared, perhaps infinite.
    steps: compared so far; one that an interrupt made the device take again counts once.
    seconds: that the golden model and the comparison took.
    exact: True if all steps compared were equal, False after any difference, None if no step was compared.
    """

    def __init__(self, golden: Tenant | None, level: str) -> None:
        self.golden, self.level = golden, level
        self.due: float = 0
        self.steps, self.seconds = 0, 0.0
        self._differed, self._last = False, -1

    @property
    def exact(self) -> bool | None:
        return False if self._differed else True if self.steps else None

    def begin(self) -> None:
        """Note that a run begins, or goes on."""
        self.due = {"none": 0, "first": FIRST, "all": math.inf}[self.level] if self.golden else 0

    def step(
        self,
        device: Device,
        before: TrainingState,
        images: np.ndarray,
        labels: np.ndarray,
        order: np.ndarray,
        rate: int,
    ) -> tuple[StepResult, TrainingState]:
        """Take a step from `before`, which the device holds, on both; returns the result and the new state.

        Compares loss, hits and state, and every tensor except with "first" on the devices of STATE_ALONE.
        """
        assert self.golden is not None
        golden = self.golden.device
        tensors = self.level == "all" or device.name not in STATE_ALONE
        held: Mapping[str, np.ndarray] = {}
        if tensors:
            result, held = device.probe(images, labels, order, rate)
        else:
            (result,) = device.train(images, labels, order, rate)
        state = device.state()
        started = time.monotonic()
        self.golden.bring(before)
        if tensors:
            expected, wanted = golden.probe(images, labels, order, rate)
        else:
            (expected,), wanted = golden.train(images, labels, order, rate), {}
        found = [] if result.loss == expected.loss else [f"loss: {result.loss}, not {expected.loss}"]
        found += [] if result.hits == expected.hits else [f"hits: {result.hits}, not {expected.hits}"]
        found += _differences(held, wanted)
        found += state.differences(golden.state())
        self._note(f"step {before.step + 1}", device, found)
        self.golden.keep(state)
        self.due, self.seconds = self.due - 1, self.seconds + time.monotonic() - started
        if state.step > self._last:
            self.steps, self._last = self.steps + 1, state.step
        return result, state

    def inference(self, device: Device, state: TrainingState, images: np.ndarray, logits: np.ndarray) -> None:
        """Compare logits, if everything is to be compared."""
        if self.golden is not None and self.level == "all":
            started = time.monotonic()
            self.golden.bring(state)
            wanted = self.golden.device.infer(images)
            self._note(f"inference after step {state.step}", device, _difference("logits", logits, wanted))
            self.seconds += time.monotonic() - started

    def _note(self, where: str, device: Device, found: Sequence[str]) -> None:
        if found:
            self._differed = True
            listed = "; ".join(found[:8]) + (f"; and {len(found) - 8} more" if len(found) > 8 else "")
            raise MismatchError(f"{where}: device {device.name!r} and the golden model differ in {listed}")


def step_seconds(network: Network, batch: int) -> float:
    """About how long the golden model takes for a step on this machine, from two tiny measurements."""
    matrix, words = np.ones((128, 128), np.float32), np.arange(1 << 14)
    product = _fastest(lambda: matrix @ matrix) / (2 * 128**3)
    shifts = _fastest(lambda: words ^ words << 13 ^ words >> 7 ^ words << 17) / len(words)
    products = sum(layer.fan_in * layer.fan_out * layer.outputs for layer in network.geometry) * batch
    codes = sum(layer.outputs * layer.fan_out for layer in network.geometry) * batch
    return _WORK * products * product + _DRAWS * (network.weights + codes) * shifts


def check_memory(network: Network, batch: int) -> None:
    """ValueError if the golden model's steps take more memory than the machine has left, as on a board they may."""
    needed = _BYTES * batch * max(layer.outputs * layer.fan_out for layer in network.geometry)
    free = meminfo().get("MemAvailable", needed)
    if needed > free:
        raise ValueError(
            f"comparing steps with the golden model takes some {needed >> 20:,} MiB of memory, and {free >> 20:,} MiB are free: "
            'train without (--no-check, in Python check="none"), or with a smaller batch'
        )


def _fastest(run: Callable[[], object]) -> float:
    """Seconds that the fastest of a few runs takes."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


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
