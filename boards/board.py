"""What a board is: data that generator, build flows and drivers share."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Part:
    """An FPGA.

    name: with package and speed grade, as vendor tools call it. idcode: its JTAG identification, revision (the upper four
    bits) aside. luts: 6-input lookup tables. ffs: flip-flops. bram36: block RAMs of 36 kbit. dsps: multiplier blocks.
    """

    name: str
    idcode: int
    luts: int
    ffs: int
    bram36: int
    dsps: int


@dataclasses.dataclass(frozen=True)
class Board:
    """A board with a processor and programmable logic.

    name: what the command line calls it. title: what it says on it. configuration: of the accelerator that it gets if none
    is chosen. pins: package pin and I/O standard of each port of the top that leaves the chip. registers: address and size
    in bytes of the register window, as the processor sees it. memory_ports: numbers of the processor's high-performance
    ports (64 bits, AXI3) behind the accelerator's memory ports 0 and 1. ddr: bytes of memory.
    """

    name: str
    title: str
    part: Part
    configuration: str
    pins: dict[str, tuple[str, str]]
    registers: tuple[int, int]
    memory_ports: tuple[int, int]
    ddr: int


XC7Z020 = Part("xc7z020clg400-1", idcode=0x3727093, luts=53_200, ffs=106_400, bram36=140, dsps=220)
