"""Pieces of device memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bnnedge.devices.bus import Bus


class Region:
    """A piece of device memory. Host and accelerator may each see it through caches, or over a network: data is copied."""

    def __init__(self, bus: Bus, nbytes: int) -> None:
        self.bus, self.nbytes = bus, nbytes
        self.address, self._bytes = bus.allocate(max(64, nbytes))

    def fetch(self, dtype: str) -> np.ndarray:
        """A copy of the bytes, as numbers."""
        self.bus.sync_from_device(self.address)
        return self._bytes[: self.nbytes].copy().view(dtype)

    def fill(self, data: np.ndarray | bytes) -> None:
        """Copy `data` to the front of the region."""
        self.fill_with([data])

    def fill_with(self, parts: Iterable[np.ndarray | bytes]) -> None:
        """Copy `parts` to the front of the region, one behind the other, each as it comes."""
        place = 0
        for data in parts:
            flat = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data).view(np.uint8).ravel()
            self._bytes[place : place + len(flat)] = flat
            place += len(flat)
        self.bus.sync_to_device(self.address)

    def release(self) -> None:
        """Give the memory back."""
        self.bus.release(self.address)
