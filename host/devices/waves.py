"""Waveforms of the simulated accelerator: all its signals, over some steps of a training."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bnnedge.configuration import Configuration
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.device import DeviceError, DeviceWarning, StepResult, check_order
from bnnedge.devices.tenancy import exclusive
from bnnedge.files import atomic

if TYPE_CHECKING:
    from bnnedge.sim.verilated import VerilatedBus

FORMATS = {".fst": "fst", ".vcd": "vcd"}


@dataclasses.dataclass(frozen=True)
class Waves:
    """What to write: `file`, which ends in .fst or .vcd, and the first and last step, counted from 1, of the training.

    The format FST is compact; it takes the headers of LZ4 and zlib. Beside the file comes FILE.gtkw for GTKWave.
    ValueError if the name ends otherwise, or there are no such steps.
    """

    file: str | os.PathLike[str]
    first: int = 1
    last: int = 1

    def __post_init__(self) -> None:
        if Path(self.file).suffix not in FORMATS:
            raise ValueError(f"waveforms: the file's name must end in {' or '.join(FORMATS)}, not {str(self.file)!r:.200}")
        if not 1 <= self.first <= self.last:
            raise ValueError(f"waveforms: the steps must go from 1 or later to the same or later, not {self.first}-{self.last}")

    @property
    def format(self) -> str:
        """Verilator's name of the format."""
        return FORMATS[Path(self.file).suffix]

    def check(self) -> None:
        """OSError if the file cannot be written: known before minutes have passed."""
        file = Path(self.file)
        if file.exists() and not file.is_file():
            raise OSError(f"waveforms cannot be written to {file}: it is no file")
        with contextlib.suppress(_Stopped), atomic(file):
            raise _Stopped


class _Stopped(Exception):
    """Leaves `atomic` without a file."""


class TracedDevice(AcceleratorDevice):
    """The simulated accelerator that writes waveforms of some steps, the first time that they are taken."""

    bus: VerilatedBus

    def __init__(self, bus: VerilatedBus, configuration: Configuration, name: str, waves: Waves) -> None:
        super().__init__(bus, configuration, name)
        self._waves: Waves | None = waves  # yet to be begun
        self._open: contextlib.ExitStack | None = None

    @exclusive
    def train(self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int) -> list[StepResult]:
        """As ever, but with a call of its own for the steps that are written."""
        self._loaded()
        batch = self.settings.batch
        steps = check_order(order, batch, images, self._step)
        results: list[StepResult] = []
        while len(results) < steps:
            done, passed = len(results), results[-1].cycles if results else 0
            with self._written() as most:
                end = steps if most is None else min(steps, done + most)
                part = super().train(images, labels, order[done * batch : end * batch], rate)
            results += [dataclasses.replace(result, cycles=passed + result.cycles) for result in part]
        return results

    @exclusive
    def probe(
        self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> tuple[StepResult, dict[str, np.ndarray]]:
        """As ever."""
        self._loaded()
        with self._written():
            return super().probe(images, labels, order, rate)

    @contextlib.contextmanager
    def _written(self) -> Iterator[int | None]:
        """Write what is to be written of the next steps; how many may follow until that changes, None if it won't."""
        waves = self._waves
        if waves and waves.first <= self._step + 1 <= waves.last and not self._open:
            self._begin(waves)
        if not waves or self._step >= waves.last:
            yield None
            return
        try:
            yield (waves.last if self._open else waves.first - 1) - self._step
        except DeviceError:
            self._end()  # what led to it is what one wants to see
            raise
        if self._step >= waves.last:
            self._end()

    def _begin(self, waves: Waves) -> None:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(atomic(waves.file))
            place = Path(f"/proc/self/fd/{file.fileno()}")  # it has no name yet
            self.bus.open_waves(place)
            stack.callback(self._finish, place, waves)
            self._open = stack.pop_all()

    def _finish(self, written: Path, waves: Waves) -> None:
        """Close the file, which is still by another name; OSError if it is not whole."""
        from bnnedge.sim.verilated.waves import save_file, whole

        if not self.bus.close_waves() or (waves.format == "fst" and not whole(written)):
            raise OSError(f"waveforms could not be written to {waves.file}: is the disk full?")
        with atomic(f"{waves.file}.gtkw") as file:
            file.write(save_file(self.bus.hierarchy, Path(waves.file).absolute()).encode())

    def _end(self) -> None:
        if self._open:
            stack, self._open, self._waves = self._open, None, None
            stack.close()

    def _release(self) -> None:
        try:
            if self._waves and not self._open:
                steps = f"{self._waves.first}-{self._waves.last}"
                text = f"there are no waveforms in {self._waves.file}: no step of {steps} was taken"
                warnings.warn(text, DeviceWarning, stacklevel=2)
            self._end()
        finally:
            super()._release()
