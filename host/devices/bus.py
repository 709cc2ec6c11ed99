"""What a driver needs of the hardware: registers, memory that both sides see, and waiting."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Bus(Protocol):
    """One accelerator, on a board or simulated."""

    def read(self, offset: int) -> int:
        """Return the 32-bit register at byte `offset`."""

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte `offset`."""

    def allocate(self, nbytes: int, align: int = 4096) -> tuple[int, np.ndarray]:
        """Reserve memory: its device address and a (nbytes,) uint8 view; MemoryError if there is none."""

    def release(self, address: int) -> None:
        """Give back what `allocate` returned with this address."""

    def run(self, max_cycles: int) -> bool:
        """Wait until the accelerator halts or about `max_cycles` clock cycles have passed; tell whether it halted."""

    def close(self) -> None:
        """Give back everything."""
