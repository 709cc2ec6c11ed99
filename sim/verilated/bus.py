"""The verilated accelerator as a bus: registers, a DDR memory shared with the host, and a clock that runs on demand."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from bnnedge.devices.device import DeviceError

from .build import library
from .memory import CMemory, CTraffic, MemoryModel

_CHUNK = 1 << 17
"""Cycles per call of the library: under a second, so that Ctrl-C and other threads get their turn."""

_RESPONSES = {1: "EXOKAY", 2: "SLVERR", 3: "DECERR"}


class ProtocolError(DeviceError):
    """The accelerator broke a rule of AXI, or an assertion in it failed, see `bnnedge.hw.checks`. Only a reset clears it."""


class BusError(RuntimeError):
    """A register access was answered with an error response, or not at all."""


@dataclass(frozen=True)
class Traffic:
    """What one port moved since the creation of the bus, in bytes; a beat counts 8 whatever its strobes."""

    bytes_read: int
    bytes_written: int


class VerilatedBus:
    """A simulated accelerator with its memory. Use it from one thread at a time, and close it (or use ``with``).

    Time passes only in :meth:`run`, :meth:`read`, :meth:`write` and :meth:`reset`.

    Parameters
    ----------
    path
        What :func:`~bnnedge.sim.verilated.build.library` returned.
    size
        Bytes of DDR, a multiple of 4096. The operating system commits pages as they are written.
    base
        Device address of the first byte of DDR, a multiple of 4096.
    model
        How the memory behaves, see :meth:`set_memory`.

    Attributes
    ----------
    memory
        The whole DDR, shape ``(size,)``, uint8. It and views of it outlive :meth:`close`.
    base
        Device address of ``memory[0]``.
    masters
        Number of AXI masters.
    """

    def __init__(self, path: Path, *, size: int = 256 << 20, base: int = 0x1000_0000, model: MemoryModel = MemoryModel()) -> None:
        if size <= 0 or size % 4096 or base % 4096 or base < 0 or base + size > 1 << 32:
            raise ValueError(f"DDR of {size} bytes at {base:#x} is not made of 4096-byte pages within 32-bit addresses")
        self._handle: int | None = None
        self._library = _load(path)
        # The arrays keep the mapping alive, the harness only borrows it.
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory: npt.NDArray[np.uint8] = np.frombuffer(pages, dtype=np.uint8)
        self.base = base
        self.masters: int = self._library.bnnedge_masters()
        self._allocated: list[tuple[int, int]] = []
        self._handle = self._library.bnnedge_create(self.memory.ctypes.data, size, base)
        self.set_memory(model)
        self.reset()

    @classmethod
    def from_verilog(
        cls,
        verilog: str,
        masters: int,
        *,
        cache: Path | None = None,
        size: int = 256 << 20,
        base: int = 0x1000_0000,
        model: MemoryModel = MemoryModel(),
    ) -> VerilatedBus:
        """Build the library, or find it in the cache, and open it."""
        return cls(library(verilog, masters, cache), size=size, base=base, model=model)

    # Registers

    def read(self, offset: int) -> int:
        """Read the 32-bit register at byte ``offset`` (a multiple of 4 below 4096) over AXI-Lite.

        Raises
        ------
        BusError
            The response was an error, or none came within 1000 cycles (then reset before anything else).
        ProtocolError
            See :meth:`run`.
        """
        value = ctypes.c_uint32()
        _check_offset(offset)
        self._check_register("read", offset, self._library.bnnedge_read(self._open(), offset, ctypes.byref(value)))
        return value.value

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``; errors as for :meth:`read`."""
        _check_offset(offset)
        if not 0 <= value < 1 << 32:
            raise ValueError(f"register value must be 32-bit unsigned, not {value!r}")
        self._check_register("write", offset, self._library.bnnedge_write(self._open(), offset, value))

    def _check_register(self, kind: str, offset: int, response: int) -> None:
        self._check_violation()
        if response < 0:
            raise BusError(f"{kind} of register {offset:#05x}: no response")
        if response:
            raise BusError(f"{kind} of register {offset:#05x}: {_RESPONSES[response]}")

    # Memory

    def allocate(self, nbytes: int, align: int = 4096) -> tuple[int, npt.NDArray[np.uint8]]:
        """Reserve DDR: the device address, a multiple of ``align`` bytes, and a view of the bytes (not cleared).

        Raises
        ------
        MemoryError
            No gap is large enough.
        """
        if nbytes <= 0 or align <= 0 or align & (align - 1):
            raise ValueError(f"cannot allocate {nbytes!r} bytes aligned to {align!r} (a power of two)")
        at = self.base
        end = self.base + self.memory.size
        for index, (low, high) in enumerate([*self._allocated, (end, end)]):
            at = (at + align - 1) & -align
            if at + nbytes <= low:
                self._allocated.insert(index, (at, at + nbytes))
                return at, self.memory[at - self.base : at - self.base + nbytes]
            at = high
        raise MemoryError(f"no room for {nbytes} bytes in the device's {self.memory.size} bytes of DDR")

    def sync_to_device(self, address: int) -> None:
        """Nothing: both sides see the same bytes."""

    def sync_from_device(self, address: int) -> None:
        """Nothing: both sides see the same bytes."""

    def release(self, address: int) -> None:
        """Give back what :meth:`allocate` returned with this address; ``ValueError`` where there is none."""
        for index, (low, _) in enumerate(self._allocated):
            if low == address:
                del self._allocated[index]
                return
        raise ValueError(f"nothing is allocated at {address:#x}")

    def free_all(self) -> None:
        """Give back everything allocated."""
        self._allocated.clear()

    def set_memory(self, model: MemoryModel) -> None:
        """Change the memory's behaviour from the next cycle on; bursts under way keep their latency."""
        c_model: CMemory = model.to_c()
        self._library.bnnedge_set_memory(self._open(), ctypes.byref(c_model))
        self.model = model

    # Time

    def run(self, max_cycles: int) -> bool:
        """Clock until ``irq`` is high or ``max_cycles`` have passed: whether ``irq`` is high.

        An ``irq`` that is high already costs no cycle.

        Raises
        ------
        ProtocolError
            The accelerator broke a rule of AXI, or an assertion in it failed, now or since the last reset.
        """
        handle = self._open()
        left = max_cycles
        while left > 0 and not self.irq:
            chunk = min(left, _CHUNK)
            self._library.bnnedge_run(handle, chunk)
            self._check_violation()
            left -= chunk
        self._check_violation()
        return self.irq

    def reset(self) -> None:
        """Pulse ``rst`` and forget bursts under way and violations; DDR, allocations and counters stay."""
        self._library.bnnedge_reset(self._open())
        self._check_violation()

    @property
    def irq(self) -> bool:
        """The accelerator's interrupt line."""
        return bool(self._library.bnnedge_irq(self._open()))

    @property
    def cycles(self) -> int:
        """Clock cycles since the creation, resets included."""
        return int(self._library.bnnedge_cycles(self._open()))

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """Bytes moved so far, per port."""
        counts = []
        for port in range(self.masters):
            count = CTraffic()
            self._library.bnnedge_traffic(self._open(), port, ctypes.byref(count))
            counts.append(Traffic(count.bytes_read, count.bytes_written))
        return tuple(counts)

    @property
    def races(self) -> int:
        """Bursts accepted so far that overlapped one in flight, of which at least one writes.

        AXI does not order reads against writes, nor port against port: on real memory the result is open.
        """
        return int(self._library.bnnedge_races(self._open()))

    # Waveforms, of a library that was built for them

    def open_waves(self, path: Path) -> None:
        """Write all signals to a file, which exists, from now on. ValueError if the library was built for none."""
        if not hasattr(self._library, "bnnedge_waves_open"):
            raise ValueError("the library was not built for waveforms: see library_of(trace=...)")
        if self._library.bnnedge_waves_open(self._open(), os.fsencode(path)):
            raise OSError(f"waveforms cannot be written to {path}")

    def close_waves(self) -> bool:
        """Finish the file; return whether all could be written."""
        return not self._library.bnnedge_waves_close(self._open())

    @property
    def hierarchy(self) -> str:
        """What `bnnedge.sim.verilated.waves.hierarchy` found when the library was built."""
        return str(self._library.bnnedge_hierarchy().decode())

    def close(self) -> None:
        """Release the simulator; the DDR lives on as long as arrays refer to it. A second call does nothing."""
        if self._handle is not None:
            self._library.bnnedge_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> VerilatedBus:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the bus is closed")
        return self._handle

    def _check_violation(self) -> None:
        if text := self._library.bnnedge_violation(self._open()):
            raise ProtocolError(f"the simulated accelerator stopped in {text.decode(errors='replace')}")


def _check_offset(offset: int) -> None:
    if not 0 <= offset < 4096 or offset % 4:
        raise ValueError(f"register offset must be a multiple of 4 below 4096, not {offset!r}")


def _load(path: Path) -> ctypes.CDLL:
    """Open the library and declare its functions; the C side is the end of ``harness.cpp``."""
    c = ctypes.CDLL(str(path))
    handle, u32, u64, i64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
    c.bnnedge_create.restype, c.bnnedge_create.argtypes = handle, [handle, u64, u64]
    c.bnnedge_destroy.restype, c.bnnedge_destroy.argtypes = None, [handle]
    c.bnnedge_reset.argtypes = [handle]
    c.bnnedge_run.restype, c.bnnedge_run.argtypes = i64, [handle, i64]
    c.bnnedge_irq.argtypes = [handle]
    c.bnnedge_read.argtypes = [handle, u32, ctypes.POINTER(u32)]
    c.bnnedge_write.argtypes = [handle, u32, u32]
    c.bnnedge_cycles.restype, c.bnnedge_cycles.argtypes = u64, [handle]
    c.bnnedge_races.restype, c.bnnedge_races.argtypes = u64, [handle]
    c.bnnedge_violation.restype, c.bnnedge_violation.argtypes = ctypes.c_char_p, [handle]
    c.bnnedge_masters.argtypes = []
    c.bnnedge_traffic.restype, c.bnnedge_traffic.argtypes = None, [handle, ctypes.c_int, ctypes.POINTER(CTraffic)]
    with contextlib.suppress(AttributeError):  # waves.cpp
        c.bnnedge_waves_open.argtypes = [handle, ctypes.c_char_p]
        c.bnnedge_waves_close.argtypes = [handle]
        c.bnnedge_hierarchy.restype, c.bnnedge_hierarchy.argtypes = ctypes.c_char_p, []
    c.bnnedge_set_memory.restype, c.bnnedge_set_memory.argtypes = None, [handle, ctypes.POINTER(CMemory)]
    return c
