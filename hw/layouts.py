"""Amaranth views of what `bnnedge.isa` and `bnnedge.formats` describe: the payloads that units pass on."""

from __future__ import annotations

from amaranth import signed, unsigned
from amaranth.lib import data

from bnnedge import formats, isa
from bnnedge.configuration import Configuration

INSTRUCTION_BITS = 8 * isa.INSTRUCTION_BYTES


def instruction_layout(opcode: isa.Opcode) -> data.StructLayout:
    """Layout of the fields of `opcode`, header included, from bit 0 of an instruction."""
    return data.StructLayout({name: unsigned(field.bits) for name, field in isa.layout(opcode).items()})


PASS = instruction_layout(isa.Opcode.PASS)
TRANSFER = instruction_layout(isa.Opcode.LOAD)
LOOP = instruction_layout(isa.Opcode.LOOP)

# One channel of the parameter memory; in DDR mu and psi share the first 64-bit word, beta is the second.
# An exponent record keeps E in `mu`.
RECORD = data.StructLayout(
    {"mu": signed(formats.MU_BITS), "psi": unsigned(formats.MU_BITS), "beta": signed(formats.WEIGHT_WORD)}
)
RECORD_BEATS = 2


# What the statistics need at the start of a group; a backward group has no pivots.
PIVOTS = data.StructLayout({"channel": 14, "forward": 1})


def tile_row(config: Configuration) -> data.ArrayLayout:
    """A row of the tile buffer: for each of Q columns its sum and, in the backward pass, the sign of the activation."""
    return data.ArrayLayout(data.StructLayout({"value": signed(config.accumulator), "active": 1}), config.lanes)


def tile_meta() -> data.StructLayout:
    """What travels with a finished tile from the operand fetch to the statistics."""
    return data.StructLayout({"head": isa.Head, "first": 1, "last": 1, "columns": 5})
