"""The ring of rows of sums between the engine and the heads, and of sums that several passes add up."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw.checks import CHECKED, check, check_fits
from bnnedge.hw.layouts import tile_row

READ_LATENCY = 2


class TileBuffer(wiring.Component):
    """A queue of rows whose consumer may also look at, and rewrite, rows ahead of the front.

    Rows of an unfinished pass stand behind the back of the queue, in their order. The pass that continues it adds its own
    rows to them, and if it is finished they join the queue one by one.

    Members
    -------
    reserve: in, take room for `lanes` rows; only while `room` is 1.
    push, row_in: in, the next row (room was reserved by the first pass that wrote it). continues: it is added to the row
    that is there. unfinished: it does not join the queue yet. begins: it is the first row of its pass.
    available: out, rows written and not yet popped.
    offset: in, row counted from the front; row_out: out, that row READ_LATENCY cycles later, unless `busy`: out, the
    reading side is taken in this cycle by a row that is added.
    pop: in, drop the row at the front; only while `available` is not 0.
    rewrite, rewrite_offset, rewrite_sum: in, replace the sum in those columns of a row, counted from the front; only when nothing
    has been pushed for READ_LATENCY cycles.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        depth = config.tile_rows
        super().__init__(
            {
                "reserve": In(1),
                "room": Out(1),
                "push": In(1),
                "continues": In(1),
                "unfinished": In(1),
                "begins": In(1),
                "row_in": In(tile_row(config)),
                "available": Out(range(depth + 1)),
                "offset": In(range(depth)),
                "row_out": Out(tile_row(config)),
                "busy": Out(1),
                "pop": In(1),
                "rewrite": In(config.lanes),
                "rewrite_offset": In(range(depth)),
                "rewrite_sum": In(signed(config.accumulator)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, lanes = self.config.tile_rows, self.config.lanes
        m.submodules.rows = rows = memory.Memory(shape=tile_row(self.config).as_shape(), depth=depth, init=[])
        read, write = rows.read_port(), rows.write_port(granularity=tile_row(self.config).elem_shape.size)
        front, back = Signal(range(depth)), Signal(range(depth))
        ahead = Signal(range(depth))  # rows of the present pass that stay behind the back
        free = Signal(range(depth + 1), init=depth)

        # A pushed row waits until the row that it may be added to has been read.
        place = Signal(range(depth))
        step = data.StructLayout({"continues": 1, "joins": 1, "place": range(depth), "row": tile_row(self.config)})
        steps = [Signal(step, name=f"step_{i}", reset_less=True) for i in range(READ_LATENCY + 1)]
        pushed = Signal(READ_LATENCY)
        last, last_push = steps[-1], pushed[-1]
        own_ahead = Mux(self.begins, 0, ahead)
        m.d.comb += [
            place.eq(back + own_ahead),
            steps[0].continues.eq(self.continues),
            steps[0].joins.eq(~self.unfinished),
            steps[0].place.eq(place),
            steps[0].row.eq(self.row_in),
            self.busy.eq(self.push & self.continues),
            read.addr.eq(Mux(self.busy, place, front + self.offset)),
        ]
        m.d.sync += pushed.eq(Cat(self.push, pushed))
        m.d.sync += [later.eq(earlier) for earlier, later in zip(steps, steps[1:], strict=False)]
        with m.If(~pushed[-2]):  # nothing: what is rewritten is added to it
            m.d.sync += last.row.eq(0)
        m.d.sync += ahead.eq(Mux(self.push & self.begins, 0, ahead) + (self.push & self.unfinished))
        read_row, added = Signal(tile_row(self.config), reset_less=True), Signal(tile_row(self.config))
        for j in range(lanes):
            new = Signal(tile_row(self.config).elem_shape, name=f"new_{j}")
            m.d.comb += [new.slope.eq(0), new.sum.value.eq(self.rewrite_sum)]
            more = Mux(last_push, read_row[j].slope & last.continues.replicate(len(new.slope)), new.slope)
            m.d.comb += added[j].slope.eq(last.row[j].slope + more)
        m.d.comb += [
            write.addr.eq(Mux(last_push, last.place, front + self.rewrite_offset)),
            write.data.eq(added),
            write.en.eq(last_push.replicate(lanes) | self.rewrite),
            self.room.eq(free >= lanes),
            self.row_out.eq(read_row),
        ]
        m.d.sync += [
            read_row.eq(read.data),
            front.eq(front + self.pop),
            back.eq(back + (self.push & ~self.unfinished)),
            free.eq(free - Mux(self.reserve, lanes, 0) + self.pop),
            self.available.eq(self.available + (last_push & last.joins) - self.pop),
        ]
        if platform == CHECKED:
            queued = Signal(range(depth + 1))  # rows between front and back
            m.d.sync += queued.eq(queued + (self.push & ~self.unfinished) - self.pop)
            reserved = depth - free + Mux(self.reserve, lanes, 0)
            for when, holds, message in (
                (self.reserve, self.room, "rows are reserved where there is no room"),
                (self.push, queued + own_ahead < reserved, "a row is pushed for which no room was reserved"),
                (self.pop, self.available != 0, "a row is popped that is not there"),
                (self.rewrite.any(), self.rewrite_offset < self.available, "a row is rewritten that is not there"),
                (self.rewrite.any(), ~last_push, "a row is rewritten while another one is written"),
                ((self.busy | self.pop) & write.en.any(), write.addr != read.addr, "a row is written while it is read"),
            ):
                check(m, platform, when, holds, f"tile buffer: {message}")
            for j in range(lanes):
                exact, shape = last.row[j].slope + read_row[j].slope, added[j].slope.shape()
                check_fits(m, platform, last_push & last.continues, exact, shape, f"tile buffer: sum of column {j}")
        return m
