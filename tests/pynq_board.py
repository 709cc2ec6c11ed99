"""A PYNQ board without one: a device of the real pynq package whose programmable logic is the verilated accelerator.

Host and accelerator see memory through copies that only flush and invalidate bring together, as if every cache line stayed
in its cache for ever.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from pretend import BOARD
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device

from bnnedge.registers import REGISTERS

TICK = 20_000  # cycles that pass while the processor looks at STATUS once
SLCR, AFI = 0xF800_0000, 0xF800_8000
PROCESSOR = {
    SLCR + 0x108: 20 << 12,  # IO PLL: 20 times 50 MHz
    SLCR + 0x170: 20 << 8 | 1 << 20,  # FCLK0: 1000 MHz / 20 / 1
    SLCR + 0x530: 0x23727093,  # the chip: xc7z020, revision 2
    **{AFI + 0x1000 * port + offset: 1 for port in range(4) for offset in (0x00, 0x14)},  # ports 32 bits wide
}


class Buffer(PynqBuffer):
    """Contiguous memory, tracked until it is given back."""

    def freebuffer(self) -> None:
        if isinstance(self.bo, int) and self.bo in self.device.buffers:
            self.device.buffers.pop(self.bo)[0][:] = 0x5A  # where a board unmaps it
            self.device.bus.release(self.bo)


class SimulatedBoard(Device):
    """A PYNQ-Z2 whose logic is `bus` (a VerilatedBus) once a bitstream is loaded. log: what was done to it, in order."""

    name = "simulated"
    arch = "armv7l"

    def __init__(self, bus: Any) -> None:
        super().__init__("simulated")
        self.capabilities = {"REGISTER_RW": True}
        self.bus = bus
        self.processor = dict(PROCESSOR)
        self.stuck: set[int] = set()  # processor registers that keep their value
        self.buffers: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # by address: host's copy, accelerator's
        self.log: list[str] = []
        self.failure: Exception | None = None  # of access to registers

    # Registers

    def read_registers(self, address: int, length: int) -> bytes:
        return b"".join(struct.pack("<I", self._read(address + i)) for i in range(0, length, 4))

    def write_registers(self, address: int, data: bytes) -> None:
        for i, value in enumerate(struct.unpack(f"<{len(data) // 4}I", data)):
            self._write(address + 4 * i, value)

    def _offset(self, address: int) -> int | None:
        base, size = BOARD.registers
        if self.failure:
            raise self.failure
        if not base <= address < base + size:
            return None
        assert "download" in self.log, "a processor that reads logic without a bitstream hangs"
        return address - base

    def _read(self, address: int) -> int:
        offset = self._offset(address)
        if offset is None:
            return self.processor.get(address, 0)
        if offset == REGISTERS["STATUS"].offset:
            self.bus.run(TICK)
        return self.bus.read(offset)

    def _write(self, address: int, value: int) -> None:
        offset = self._offset(address)
        if offset is not None:
            self.bus.write(offset, value)
        elif address not in self.stuck:
            self.processor[address] = value
            self.log.append(f"{address:#x}")

    # Memory

    def allocate(self, shape: tuple[int, ...], dtype: Any, **options: Any) -> Buffer:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            address, there = self.bus.allocate(nbytes)
        except MemoryError:
            raise RuntimeError("BO allocation failed: Cannot allocate memory") from None
        here = np.full(nbytes, 0xA5, np.uint8)
        self.buffers[address] = here, there
        return Buffer(shape, dtype, buffer=here.data, device=self, device_address=address, bo=address, coherent=False)

    def flush(self, bo: int, offset: int, pointer: int, nbytes: int) -> None:
        here, there = self.buffers[bo]
        there[:] = here

    def invalidate(self, bo: int, offset: int, pointer: int, nbytes: int) -> None:
        here, there = self.buffers[bo]
        here[:] = there

    # Bitstreams

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        path = Path(bitfile_name).with_suffix(".hwh")
        from pynqmetadata.frontends import Metadata

        try:
            from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser  # pynq 3.0 has its own
        except ModuleNotFoundError:
            from pynqmetadata.views.runtime import RuntimeMetadataParser

        return RuntimeMetadataParser(Metadata(input=str(path)))

    def download(self, bitstream: Any, parser: Any = None) -> None:
        self.log.append("download")
        self.post_download(bitstream, parser, self.name)
