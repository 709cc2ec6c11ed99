"""The register map: the one description that hardware, drivers and docs/registers.md use.

Registers are 32 bits wide, at multiples of 4 bytes behind the AXI-Lite port.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
from typing import Any

MAGIC = 0x424E4E45  # "BNNE"
ADDRESS_BITS = 12  # of the AXI-Lite port
WINDOW = 1 << ADDRESS_BITS  # bytes that the register file decodes


class Access(enum.Enum):
    """Who writes a register."""

    READ = "read-only"
    WRITE = "read-write"


@dataclasses.dataclass(frozen=True)
class Register:
    """One register; `fields` are (name, lowest bit, bits)."""

    offset: int
    access: Access
    text: str
    fields: tuple[tuple[str, int, int], ...] = ()

    def place(self, field: str) -> tuple[int, int]:
        """Lowest bit and number of bits of a field."""
        return next((low, bits) for name, low, bits in self.fields if name == field)

    def get(self, value: int, field: str) -> int:
        """The field's part of the register's value."""
        low, bits = self.place(field)
        return value >> low & (1 << bits) - 1

    def put(self, **fields: Any) -> Any:
        """The register's value with these fields (numbers, or hardware values), the others 0."""
        return functools.reduce(operator.or_, (value << self.place(field)[0] for field, value in fields.items()))


class Cause(enum.IntEnum):
    """Why the accelerator stopped with an error (register ERROR)."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    READ_ERROR = 2
    WRITE_ERROR = 3


class Counter(enum.Enum):
    """Performance counters, COUNTER_BITS wide: they stand at `COUNTERS` + 8 * index, low word first, in this order."""

    CYCLES = "cycles from start to halt"
    ENGINE = "cycles in which the engine multiplied"
    STALL_TOKEN = "cycles in which the engine waited for a semaphore or for an instruction"
    STALL_DRAIN = "cycles in which the engine waited for room behind it"
    STALL_MEMORY = "cycles in which the update waited for latent weights or for room to write them"
    READ_0 = "bytes read on port 0"
    WRITE_0 = "bytes written on port 0"
    READ_1 = "bytes read on port 1"
    WRITE_1 = "bytes written on port 1"


COUNTERS = 0x80
COUNTER_BITS = 48
REGISTERS: dict[str, Register] = {
    "MAGIC": Register(0x00, Access.READ, f"{MAGIC:#x}"),
    "VERSION": Register(0x04, Access.READ, "version of the instruction set"),
    "CONFIGURATION": Register(0x08, Access.READ, "digest of the configuration"),
    "CONTROL": Register(
        0x0C,
        Access.WRITE,
        "start and reset act when 1 is written and read back as 0 once they have taken effect",
        (("start", 0, 1), ("reset", 1, 1)),
    ),
    "STATUS": Register(0x10, Access.READ, "state", (("busy", 0, 1), ("done", 1, 1), ("error", 2, 1))),
    "ERROR": Register(0x14, Access.READ, "cause of the error", (("cause", 0, 4), ("port", 4, 1))),
    "ERROR_ADDRESS": Register(0x18, Access.READ, "DDR address of the illegal instruction or of the failing burst"),
    "PROGRAM": Register(0x1C, Access.WRITE, "DDR address of the program, a multiple of 64"),
    "STEP": Register(0x20, Access.WRITE, "training steps taken before the program starts"),
    "SEED_LOW": Register(0x24, Access.WRITE, "seed of the random numbers, bits 0..31"),
    "SEED_HIGH": Register(0x28, Access.WRITE, "seed of the random numbers, bits 32..63"),
    **{
        f"{counter.name}_{half}": Register(COUNTERS + 8 * i + 4 * j, Access.READ, f"{counter.value}, {half.lower()} bits")
        for i, counter in enumerate(Counter)
        for j, half in enumerate(("LOW", "HIGH"))
    },
}
