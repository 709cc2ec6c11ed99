"""Rows of a weight gradient on their way to the update, read ahead of it."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw.heads.update import row_layout
from bnnedge.hw.layouts import PASS

ROW_QUEUE = 8  # rows


class Feed(wiring.Component):
    """Takes the rows of a pass, and no more, as long as its queue has room.

    Members
    -------
    begin: in, one cycle, with `rows` of the pass. active: in, from the next cycle on until its last row has left.
    there: in, a row and its random bits can be taken; take: out, in this cycle. came: in, later: the signs `positive` of the
    row and its `random` bits are here.
    room: in, the tile register has room for a tile; start: out, the first row of one leaves. row: out stream, to `Update`.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "begin": In(1),
                "rows": In(PASS.members["rows"].width),
                "active": In(1),
                "there": In(1),
                "take": Out(1),
                "came": In(1),
                "positive": In(config.lanes),
                "random": In(64),
                "room": In(1),
                "start": Out(1),
                "row": Out(stream.Signature(row_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=row_layout(self.config).size, depth=ROW_QUEUE)
        ahead = Signal(range(ROW_QUEUE + 1))  # rows taken that have not left
        left, more = Signal.like(self.rows, reset_less=True), Signal()  # rows of this pass that have not been taken
        fed = Signal(range(self.config.lanes))
        leaves = self.row.valid & self.row.ready
        m.d.comb += [
            self.take.eq(self.active & more & self.there & (ahead != ROW_QUEUE)),
            queue.w_data.eq(Cat(self.positive, self.random)),
            queue.w_en.eq(self.came),
            self.row.valid.eq(queue.r_rdy & ((fed != 0) | self.room)),
            self.row.payload.eq(queue.r_data),
            queue.r_en.eq(leaves),
            self.start.eq(leaves & (fed == 0)),
        ]
        m.d.sync += [ahead.eq(ahead + self.take - leaves), fed.eq(fed + leaves)]
        with m.If(self.begin):
            m.d.sync += [left.eq(self.rows), more.eq(1)]
        with m.Elif(self.take):
            m.d.sync += [left.eq(left - 1), more.eq(left != 1)]
        return m
