"""The accelerator in a cocotb bench as a `Bus`, so that the driver of boards runs it unchanged."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

BASE = 0x1000_0000
PERIOD = 10  # ns


class Ddr:
    """Memory that both ports share: `bytes` from BASE on. The rest of 4 GiB fails, and so do writes to `protected`."""

    def __init__(self, size: int) -> None:
        self.bytes = np.zeros(size, np.uint8)
        self.protected = range(0)

    def __len__(self) -> int:
        return 1 << 32

    def __getitem__(self, place: slice) -> bytes:
        if not BASE <= place.start < place.stop <= BASE + self.bytes.size:
            raise IndexError(f"there is no memory at {place.start:#x}")
        return self.bytes[place.start - BASE : place.stop - BASE].tobytes()

    def __setitem__(self, place: slice, content: bytes) -> None:
        if not BASE <= place.start < place.stop <= BASE + self.bytes.size or place.start in self.protected:
            raise IndexError(f"there is no memory to write at {place.start:#x}")
        self.bytes[place.start - BASE : place.stop - BASE] = np.frombuffer(bytes(content), np.uint8)


class CocotbBus:
    """The accelerator `dut` with memory at its ports.

    Make it in a cocotb test and await `reset`; the methods of `Bus` are called from a function under `cocotb.bridge`.

    Attributes
    ----------
    ddr: the memory. cycles: clock cycles of `run` so far.
    interrupt_after: `run` raises KeyboardInterrupt, once, after so many cycles.
    """

    def __init__(self, dut: Any, size: int = 1 << 20) -> None:
        logging.getLogger("cocotb.accelerator").setLevel(logging.ERROR)
        self.dut, self.ddr = dut, Ddr(size)
        self.clock = Clock(dut.clk, PERIOD, "ns")
        self.clock.start()
        ports = [AxiBus.from_prefix(dut, f"m{port}_axi") for port in range(2)]
        self.rams = [AxiRam(port, dut.clk, dut.rst, size=1 << 32, mem=self.ddr) for port in ports]
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        self.used = 0
        self.cycles = 0
        self.interrupt_after: int | None = None

    async def reset(self) -> None:
        """Pulse the hardware's reset."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)

    def stall(self, chance: float, seed: int) -> None:
        """Hold back every channel of all ports with this chance in each cycle; 0: never."""
        source = random.Random(seed)

        def pauses() -> Iterator[bool]:
            own = random.Random(source.random())
            return (own.random() < chance for _ in itertools.count())

        for end in (*self.rams, self.registers):
            channels = (
                *(getattr(end.write_if, f"{name}_channel") for name in ("aw", "w", "b")),
                *(getattr(end.read_if, f"{name}_channel") for name in ("ar", "r")),
            )
            for channel in channels:
                channel.clear_pause_generator()
                channel.pause = False
                if chance:
                    channel.set_pause_generator(pauses())

    # Bus

    def read(self, offset: int) -> int:
        """Return a register."""
        return self._read(offset)

    def write(self, offset: int, value: int) -> None:
        """Write a register."""
        self._write(offset, value)

    def allocate(self, nbytes: int, align: int = 4096) -> tuple[int, np.ndarray]:
        """Reserve memory that has not been used before."""
        start = -(-self.used // align) * align
        if start + nbytes > self.ddr.bytes.size:
            raise MemoryError(f"no room for {nbytes} bytes")
        self.used = start + nbytes
        return BASE + start, self.ddr.bytes[start : start + nbytes]

    def sync_to_device(self, address: int) -> None:
        """Nothing: both sides see the same bytes."""

    def sync_from_device(self, address: int) -> None:
        """Nothing: both sides see the same bytes."""

    def release(self, address: int) -> None:
        """Nothing is used again."""

    def run(self, max_cycles: int) -> bool:
        """Wait for the interrupt."""
        if self.interrupt_after is not None:
            cycles, self.interrupt_after = self.interrupt_after, None
            if not self._run(cycles):
                raise KeyboardInterrupt
        return self._run(max_cycles)

    def close(self) -> None:
        """The bench ends by itself."""

    @resume
    async def _read(self, offset: int) -> int:
        return await self.registers.read_dword(offset)

    @resume
    async def _write(self, offset: int, value: int) -> None:
        await self.registers.write_dword(offset, value)

    @resume
    async def _run(self, max_cycles: int) -> bool:
        start = get_sim_time("ns")
        if not int(self.dut.irq.value):
            await First(RisingEdge(self.dut.irq), Timer(max_cycles * PERIOD, "ns"))
            await RisingEdge(self.dut.clk)
        self.cycles += round((get_sim_time("ns") - start) / PERIOD)
        return bool(int(self.dut.irq.value))
