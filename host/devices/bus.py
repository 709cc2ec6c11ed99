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

    def allocate(self, nbytes: int) -> tuple[int, np.ndarray]:
        """Reserve memory: its device address, a multiple of 4096, and a (nbytes,) uint8 view; MemoryError if there is none."""

    def sync_to_device(self, address: int) -> None:
        """Let the accelerator see what the host wrote to the memory that `allocate` returned with this address."""

    def sync_from_device(self, address: int) -> None:
        """Let the host see what the accelerator wrote there."""

    def release(self, address: int) -> None:
        """Give back what `allocate` returned with this address; its view is invalid from then on."""

    def run(self, max_cycles: int) -> bool:
        """Wait until the accelerator halts or about `max_cycles` clock cycles have passed; tell whether it halted."""

    def close(self) -> None:
        """Give back everything."""
