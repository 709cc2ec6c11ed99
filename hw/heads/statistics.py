"""Drains finished tiles into the tile buffer, and sums over the batch on the way."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.array import finish_latency
from bnnedge.hw.layouts import PIVOTS, RECORD, tile_meta, tile_row


def sums_layout(config: Configuration) -> data.ArrayLayout:
    """Of each column of a group, over the batch.

    first: sum y, or sum d. second: sum |y - pivot|, or sum d * x^. ones: how many x^ are +1.
    """
    sums = {"first": signed(formats.SUM_BITS), "second": signed(formats.SUM_BITS), "ones": unsigned(10)}
    return data.ArrayLayout(data.StructLayout(sums), config.lanes)


class Statistics(wiring.Component):
    """One row of Q sums a cycle: engine -> bias -> mask -> tile buffer, and into the batch sums.

    A drain starts when the tile buffer has room for the whole tile (and, if the tile ends a group, the last group's
    batch sums have been taken), so that it takes P cycles exactly.

    Members
    -------
    done, meta, bias, row, sums: the engine's, see `LaneArray`. drained: out, see `Fetch`.
    signs, masks: in, the tile's side bits, P rows of Q; there before `done`, and until `drained` at least.
    pivots: in stream, channel of the next group. reading, record_address: out, record: in, 1 cycle later: parameter
    memory.
    room, reserve, push, row_out: the tile buffer's.
    group: out stream, batch sums of a finished group.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "done": In(1),
                "meta": In(tile_meta()),
                "bias": In(config.accumulator - 1),
                "row": Out(range(lanes)),
                "sums": In(data.ArrayLayout(config.accumulator - 1, lanes)),
                "drained": Out(1),
                "signs": In(data.ArrayLayout(lanes, lanes)),
                "masks": In(data.ArrayLayout(lanes, lanes)),
                "pivots": In(stream.Signature(PIVOTS)),
                "reading": Out(1),
                "record_address": Out(range(config.channels)),
                "record": In(RECORD),
                "room": In(1),
                "reserve": Out(1),
                "push": Out(1),
                "row_out": Out(tile_row(config)),
                "group": Out(stream.Signature(sums_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        bits = config.accumulator

        # Pivots of the next group are read one by one while the present group is summed.
        pivots = Signal(data.ArrayLayout(signed(bits), lanes))
        next_pivots = Signal(data.ArrayLayout(signed(bits), lanes))
        pivots_ready = Signal()
        take_pivots = Signal()
        count = Signal(range(lanes + 2))
        with m.FSM(name="pivots"):
            with m.State("IDLE"):
                m.d.comb += self.pivots.ready.eq(1)
                m.d.sync += count.eq(0)
                with m.If(self.pivots.valid):
                    m.d.sync += self.record_address.eq(self.pivots.payload.channel)
                    m.next = "READ"
                    with m.If(~self.pivots.payload.forward):
                        m.d.sync += next_pivots.eq(0)
                        m.next = "READY"
            with m.State("READ"):
                m.d.comb += self.reading.eq(1)
                m.d.sync += [count.eq(count + 1), self.record_address.eq(self.record_address + 1)]
                with m.If(count != 0):
                    # rounds the moving mean to a whole number
                    pivot = (self.record.mu + (1 << formats.STATISTICS - 1)) >> formats.STATISTICS
                    m.d.sync += [next_pivots[i].eq(next_pivots[i + 1]) for i in range(lanes - 1)]
                    m.d.sync += next_pivots[lanes - 1].eq(pivot)
                with m.If(count == lanes):
                    m.next = "READY"
            with m.State("READY"):
                m.d.comb += pivots_ready.eq(1)
                with m.If(take_pivots):
                    m.d.sync += pivots.eq(next_pivots)
                    m.next = "IDLE"

        # The drain: rows of the finished tile, one a cycle.
        waiting = Signal()  # a tile stands finished and has not begun to drain
        draining = Signal()
        begin = Signal()
        group_free = Signal(init=1)  # batch sums have been taken, or nothing was summed since
        has_statistics = Signal()
        m.d.comb += [
            has_statistics.eq(self.meta.head != isa.Head.UPDATE),
            begin.eq(
                (waiting | self.done)
                & (~draining | (self.row == lanes - 1))
                & self.room
                & (~has_statistics | ~self.meta.first | pivots_ready)
                & (~has_statistics | ~self.meta.last | group_free)
            ),
            self.reserve.eq(begin),
        ]
        # Two rows of the group before are still on their way to the pivots.
        take_1, take_2 = Signal(), Signal()
        m.d.sync += [take_1.eq(begin & has_statistics & self.meta.first), take_2.eq(take_1)]
        m.d.comb += take_pivots.eq(take_2)
        m.d.sync += waiting.eq((waiting | self.done) & ~begin)
        with m.If(begin):
            m.d.sync += [draining.eq(1), self.row.eq(0)]
        with m.Elif(draining):
            m.d.sync += self.row.eq(self.row + 1)
            with m.If(self.row == lanes - 1):
                m.d.sync += draining.eq(0)
        # The next tile's sums come READ_LATENCY + finish_latency cycles behind its last addresses: time enough for
        # the rows that are left.
        early = max(0, lanes - 1 - (READ_LATENCY + finish_latency(config)))
        m.d.comb += self.drained.eq(draining & (self.row == early))

        # Cycle 1: the row comes out of the engine. The next tile's signs and masks may come while the last rows drain.
        stage = data.StructLayout({"valid": 1, "clear": 1, "end": 1, "head": isa.Head, "columns": 5})
        s1, s2, s3 = (Signal(stage, name=f"stage_{i}") for i in (1, 2, 3))
        signs_1, masks_1 = Signal(lanes), Signal(lanes)
        held = Signal(tile_meta())
        held_bias = Signal(bits - 1)
        held_signs, held_masks = Signal.like(self.signs), Signal.like(self.masks)
        with m.If(begin):
            m.d.sync += [held.eq(self.meta), held_bias.eq(self.bias)]
            m.d.sync += [held_signs.eq(self.signs), held_masks.eq(self.masks)]
        m.d.sync += [
            s1.valid.eq(draining),
            s1.clear.eq(held.first & (self.row == 0)),
            s1.end.eq(held.last & (self.row == lanes - 1) & (held.head != isa.Head.UPDATE)),
            s1.head.eq(held.head),
            s1.columns.eq(held.columns),
            signs_1.eq(held_signs[self.row]),
            masks_1.eq(held_masks[self.row]),
        ]
        bias_1 = Signal(bits - 1)
        m.d.sync += bias_1.eq(held_bias)

        # Cycle 2: sum = 2 * accumulator - bias; columns beyond the layer's count as 0.
        # Cycle 3: masked, and off the pivot.
        backward_2, backward_3 = Signal(), Signal()
        masks_2, signs_2, signs_3 = Signal(lanes), Signal(lanes), Signal(lanes)
        m.d.sync += [s2.eq(s1), s3.eq(s2), masks_2.eq(masks_1), signs_2.eq(signs_1), signs_3.eq(signs_2)]
        m.d.comb += [backward_2.eq(s2.head == isa.Head.BACKWARD), backward_3.eq(s3.head == isa.Head.BACKWARD)]
        m.d.comb += self.push.eq(s3.valid)
        totals = Signal(sums_layout(config))
        for j in range(lanes):
            value_2, value_3, off_3 = Signal(signed(bits)), Signal(signed(bits)), Signal(signed(bits + 1))
            kept = Mux(backward_2 & ~masks_2[j], 0, value_2)
            m.d.sync += [
                value_2.eq(Mux(j < s1.columns, (self.sums[j] << 1) - bias_1, 0)),
                value_3.eq(kept),
                off_3.eq(kept - pivots[j]),
            ]
            m.d.comb += [self.row_out[j].value.eq(value_3), self.row_out[j].active.eq(signs_3[j])]
            total = totals[j]
            minus = Mux(backward_3, ~signs_3[j], off_3 < 0)
            with m.If(s3.valid):
                m.d.sync += [
                    total.first.eq(Mux(s3.clear, 0, total.first) + value_3),
                    total.second.eq(Mux(s3.clear, 0, total.second) + Mux(minus, -off_3, off_3)),
                    total.ones.eq(Mux(s3.clear, 0, total.ones) + signs_3[j]),
                ]

        # A finished group's sums move aside while the next group is summed.
        end_4 = Signal()
        m.d.sync += end_4.eq(s3.valid & s3.end)
        with m.If(end_4):
            m.d.sync += [self.group.payload.eq(totals), self.group.valid.eq(1)]
        with m.Elif(self.group.ready):
            m.d.sync += self.group.valid.eq(0)
        with m.If(begin & has_statistics & self.meta.last):
            m.d.sync += group_free.eq(0)
        with m.Elif(self.group.valid & self.group.ready):
            m.d.sync += group_free.eq(1)
        return m
