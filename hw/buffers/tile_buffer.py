"""The ring of rows of sums between the engine and the heads."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw.layouts import tile_row

READ_LATENCY = 2


class TileBuffer(wiring.Component):
    """A queue of rows whose consumer may also look at, and rewrite, rows ahead of the front.

    Members
    -------
    reserve: in, take room for `lanes` rows; only while `room` is 1.
    push, row_in: in, write the next row (room was reserved before).
    available: out, rows written and not yet popped.
    offset: in, row counted from the front; row_out: out, that row READ_LATENCY cycles later.
    pop: in, drop the row at the front; only while `available` is not 0.
    rewrite, rewrite_offset, rewrite_row: in, replace a row, counted from the front; only while nothing is pushed.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        depth = config.tile_rows
        super().__init__(
            {
                "reserve": In(1),
                "room": Out(1),
                "push": In(1),
                "row_in": In(tile_row(config)),
                "available": Out(range(depth + 1)),
                "offset": In(range(depth)),
                "row_out": Out(tile_row(config)),
                "pop": In(1),
                "rewrite": In(1),
                "rewrite_offset": In(range(depth)),
                "rewrite_row": In(tile_row(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, lanes = self.config.tile_rows, self.config.lanes
        m.submodules.rows = rows = memory.Memory(shape=tile_row(self.config).as_shape(), depth=depth, init=[])
        read, write = rows.read_port(), rows.write_port()
        front = Signal(range(depth))
        back = Signal(range(depth))
        free = Signal(range(depth + 1), init=depth)
        m.d.comb += [
            read.addr.eq(front + self.offset),
            write.addr.eq(Mux(self.push, back, front + self.rewrite_offset)),
            write.data.eq(Mux(self.push, self.row_in, self.rewrite_row)),
            write.en.eq(self.push | self.rewrite),
            self.room.eq(free >= lanes),
        ]
        m.d.sync += [
            self.row_out.eq(read.data),
            front.eq(front + self.pop),
            back.eq(back + self.push),
            free.eq(free - Mux(self.reserve, lanes, 0) + self.pop),
            self.available.eq(self.available + self.push - self.pop),
        ]
        return m
