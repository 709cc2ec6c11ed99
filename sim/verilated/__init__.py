"""The simulated device: the accelerator's generated Verilog, compiled, with a memory model around it."""

from bnnedge.caches import cache_folder

from .build import library, library_of
from .bus import BusError, ProtocolError, Traffic, VerilatedBus
from .memory import MemoryModel
from .tools import BuildError

__all__ = [
    "BuildError",
    "BusError",
    "MemoryModel",
    "ProtocolError",
    "Traffic",
    "VerilatedBus",
    "cache_folder",
    "library",
    "library_of",
]
