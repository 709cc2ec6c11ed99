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


def without(layout: data.StructLayout, *beginnings: str) -> data.StructLayout:
    """Those members of `layout` whose names begin with none of these."""
    return data.StructLayout({name: shape for name, shape in layout.members.items() if not name.startswith(beginnings)})


# What waits in queues, without what its reader does not read: of a PASS on its way from engine to head, of loads and stores.
OPERANDS = ("left_", "right_", "side_", "taps_", "y_", "x_", "strip", "window", "words", "tail", "row_first", "row_last")
HEAD_PASS = without(PASS, "opcode", "wait", "fresh", "continues", *OPERANDS)
WAITING_LOAD = without(TRANSFER, "stride")
WAITING_STORE = without(WAITING_LOAD, "sample_", "labels")
LOOP = instruction_layout(isa.Opcode.LOOP)

# One channel of the parameter memory: centre and size are m and v of docs/arithmetic.md.
RECORD = data.StructLayout(
    {
        name: signed(bits) if name in formats.RECORD_SIGNED else unsigned(bits)
        for word in formats.RECORD_WORDS
        for name, bits in word.items()
    }
)
RECORD_BEATS = len(formats.RECORD_WORDS)


# What the statistics need at the start of a group; a backward group has no pivots. fresh: its totals begin at 0.
PIVOTS = data.StructLayout({"channel": 12, "forward": 1, "group": 10, "fresh": 1})

# Sums of a channel over a batch: y and |y - pivot|, or d and |d|, of which nobody takes the second.
TOTALS = data.StructLayout({"first": signed(formats.TOTAL_BITS), "second": signed(formats.TOTAL_BITS)})

SIDE_BITS = 2  # of a route


def tile_row(config: Configuration) -> data.ArrayLayout:
    """A row of the tile buffer: for each of Q columns a slope (UPDATE), or a sum and what stands beside it.

    side: with `pool`, the place of four that the gradient is routed to; FORWARD with pool SUMS: the place of the maximum.
    """
    value = data.StructLayout({"value": signed(config.accumulator), "side": SIDE_BITS})
    slope = signed(config.accumulator + formats.SLOPE_GUARD)
    return data.ArrayLayout(data.UnionLayout({"slope": slope, "sum": value}), config.lanes)


def tile_meta() -> data.StructLayout:
    """What travels with a finished tile from the operand fetch to the statistics.

    first, last: of its group. place: of four, with `pool` (FORWARD). begins: first tile of its pass. part: number of the
    tile, modulo those that hold a window's WINDOW_BITS.
    """
    return data.StructLayout(
        {
            "head": isa.Head,
            "pool": isa.Pool,
            "place": 2,
            "inference": 1,
            "continues": 1,
            "unfinished": 1,
            "begins": 1,
            "first": 1,
            "last": 1,
            "columns": 5,
            "part": 2,
            "row_first": 4,
            "row_last": 4,
        }
    )
