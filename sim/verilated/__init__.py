"""The simulated device: the accelerator's generated Verilog, compiled, with a memory model around it."""

from .build import BuildError, cache_folder, library
from .bus import BusError, ProtocolError, Traffic, VerilatedBus
from .memory import MemoryModel

__all__ = [
    "BuildError",
    "BusError",
    "MemoryModel",
    "ProtocolError",
    "Traffic",
    "VerilatedBus",
    "cache_folder",
    "library",
]
