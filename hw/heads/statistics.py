"""Drains finished tiles into the tile buffer, and sums over the batch on the way."""

from __future__ import annotations

from amaranth import C, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.checks import check, check_fits
from bnnedge.hw.delay import delayed
from bnnedge.hw.engine.array import finish_latency
from bnnedge.hw.heads.accumulator import Accumulator
from bnnedge.hw.layouts import PIVOTS, RECORD, SIDE_BITS, tile_meta, tile_row


def group_layout(config: Configuration) -> data.StructLayout:
    """A finished group, as `Statistics` hands it on.

    sums: of each column over the rows of the pass: y and |y - pivot|, or d and |d|. group: its number in the layer. fresh:
    no pass before has summed. counts: there are sums; if not, this only tells that the group is done.
    """
    column = {"first": signed(formats.SUM_BITS), "second": signed(formats.SUM_BITS)}
    sums = data.ArrayLayout(data.StructLayout(column), config.lanes)
    return data.StructLayout({"sums": sums, "group": PIVOTS.members["group"], "fresh": 1, "counts": 1})


class Statistics(wiring.Component):
    """One row of Q sums a cycle: engine -> bias -> maximum of four places, or mask -> tile buffer, and into the batch sums.

    A drain starts when the tile buffer has room for the whole tile (and, if the tile ends a group, the last group's
    batch sums have been taken), so that it takes P cycles exactly.

    Members
    -------
    done, meta, bias, row, sums: the engine's, see `LaneArray`. drained: out, see `Fetch`.
    sides: in, the bits of a backward tile's routes and then its masks, each P rows of Q; there from `sides_end` (one cycle)
    on, and until `drained` at least.
    pivots: in stream, the next group. reading, mean_address: out, mean: in, 2 cycles later: mu in the parameter memory.
    room, reserve, push, row_out, continues, unfinished, begins: the tile buffer's.
    group: out stream, see `group_layout`; of passes that sum, and of unfinished ones.
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
                "sides": In(data.ArrayLayout(data.ArrayLayout(lanes, lanes), SIDE_BITS + 1)),
                "sides_end": In(1),
                "pivots": In(stream.Signature(PIVOTS)),
                "reading": Out(1),
                "mean_address": Out(range(config.channels)),
                "mean": In(RECORD.members["mu"]),
                "room": In(1),
                "reserve": Out(1),
                "push": Out(1),
                "row_out": Out(tile_row(config)),
                "continues": Out(1),
                "unfinished": Out(1),
                "begins": Out(1),
                "group": Out(stream.Signature(group_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        bits = config.accumulator

        # Pivots of the next group are read one by one while the present group is summed.
        pivots, next_pivots = (
            Signal(data.ArrayLayout(signed(bits), lanes), name=name, reset_less=True) for name in ("pivots", "next_pivots")
        )
        pivots_ready = Signal()
        take_pivots = Signal()
        count = Signal(range(lanes + 3))
        coming, present = Signal(PIVOTS, reset_less=True), Signal(PIVOTS, reset_less=True)
        with m.FSM(name="pivots"):
            with m.State("IDLE"):
                m.d.comb += self.pivots.ready.eq(1)
                m.d.sync += count.eq(0)
                with m.If(self.pivots.valid):
                    m.d.sync += coming.eq(self.pivots.payload)
                    m.d.sync += self.mean_address.eq(self.pivots.payload.channel)
                    m.next = "READ"
                    with m.If(~self.pivots.payload.forward):
                        m.next = "READY"
            with m.State("READ"):
                m.d.comb += self.reading.eq(1)
                m.d.sync += [count.eq(count + 1), self.mean_address.eq(self.mean_address + 1)]
                with m.If(count > 1):
                    # rounds the moving mean to a whole number
                    pivot = (self.mean + (1 << formats.STATISTICS - 1)) >> formats.STATISTICS
                    m.d.sync += [next_pivots[i].eq(next_pivots[i + 1]) for i in range(lanes - 1)]
                    m.d.sync += next_pivots[lanes - 1].eq(pivot)
                    check_fits(m, platform, C(1), pivot, next_pivots[0].shape(), "statistics: pivot")
                with m.If(count == lanes + 1):
                    m.next = "READY"
            with m.State("READY"):
                m.d.comb += pivots_ready.eq(1)
                with m.If(take_pivots):
                    m.d.sync += [pivots.eq(next_pivots), present.eq(coming)]
                    m.next = "IDLE"

        # The drain: rows of the finished tile, one a cycle.
        waiting = Signal()  # a tile stands finished and has not begun to drain
        draining = Signal()
        begin = Signal()
        group_free = Signal(init=1)  # the last group has been taken, or there was none
        sums, first_of_sums, last_of_group, needs_room = Signal(), Signal(), Signal(), Signal()
        is_backward, sides_there = self.meta.head == isa.Head.BACKWARD, Signal()
        m.d.sync += sides_there.eq((sides_there | self.sides_end) & ~(begin & is_backward))
        # Four places make one row; a pass that continues another finds its rows there.
        whole = (self.meta.head != isa.Head.FORWARD) | (self.meta.pool != isa.Pool.SUMS) | (self.meta.place == 3)
        m.d.comb += [
            sums.eq((self.meta.head != isa.Head.UPDATE) & ~self.meta.inference),
            first_of_sums.eq(sums & self.meta.first),
            last_of_group.eq((sums | self.meta.unfinished) & self.meta.last),
            needs_room.eq(whole & ~self.meta.continues),
            begin.eq(
                (waiting | self.done)
                & (~draining | (self.row == lanes - 1))
                & (self.room | ~needs_room)
                & (~first_of_sums | pivots_ready)
                & (~last_of_group | group_free)
                & (~is_backward | sides_there | self.sides_end)
            ),
            self.reserve.eq(begin & needs_room),
        ]
        # Three rows of the group before are still on their way to the pivots.
        takes = Signal(3)
        m.d.sync += takes.eq(Cat(begin & first_of_sums, takes))
        m.d.comb += take_pivots.eq(takes[-1])
        ending = Signal(PIVOTS, reset_less=True)
        ends_sums = Signal()
        with m.If(begin & last_of_group):
            m.d.sync += [ending.eq(Mux(self.meta.first, coming, present)), ends_sums.eq(sums)]
        m.d.sync += waiting.eq((waiting | self.done) & ~begin)
        check(m, platform, self.done, ~waiting, "statistics: a tile is finished before the one ahead of it has moved on")
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

        # Cycle 1: the row comes out of the engine. The next tile's sides may come while the last rows drain.
        held = Signal(tile_meta(), reset_less=True)
        held_bias = Signal(bits - 1, reset_less=True)
        held_whole, held_sums, held_last = (Signal(name=f"held_{name}", reset_less=True) for name in ("whole", "sums", "last"))
        held_sides = Signal.like(self.sides, reset_less=True)
        with m.If(begin):
            m.d.sync += [held.eq(self.meta), held_bias.eq(self.bias), held_sides.eq(self.sides)]
            m.d.sync += [held_whole.eq(whole), held_sums.eq(sums & whole), held_last.eq(last_of_group)]
        flags = data.StructLayout(
            {
                "valid": 1,
                "sums": 1,  # the row counts
                "opens": 1,  # it is the first of its group that does
                "push": 1,
                "continues": 1,
                "end": 1,
            }
        )
        what = data.StructLayout({"row_valid": 1, "row": range(lanes), "meta": tile_meta()})
        f1, f2, f3, f4, f5 = (Signal(flags, name=f"flags_{i}") for i in range(1, 6))
        s1, s2, s3, s4 = (Signal(what, name=f"row_{i}", reset_less=True) for i in range(1, 5))
        m.d.sync += [f2.eq(f1), f3.eq(f2), f4.eq(f3), f5.eq(f4), s2.eq(s1), s3.eq(s2), s4.eq(s3)]
        first_row, last_row = self.row == 0, self.row == lanes - 1
        counts = draining & held_sums
        begun, fresh = Signal(), Signal()  # a group begins, with a tile that may not count: with the largest of four places
        m.d.comb += begun.eq(fresh | (draining & held.first & first_row))
        m.d.sync += fresh.eq(begun & ~counts)
        input_row = Cat(self.row, held.part)[: formats.WINDOW_BITS.bit_length() - 1]
        m.d.sync += [
            f1.valid.eq(draining),
            f1.sums.eq(counts),
            f1.opens.eq(begun & counts),
            f1.push.eq(draining & held_whole),
            f1.continues.eq(held.continues),
            f1.end.eq(draining & held_last & last_row),
            s1.row_valid.eq((input_row >= held.row_first) & (input_row <= held.row_last)),
            s1.row.eq(self.row),
            s1.meta.eq(held),
            s1.meta.begins.eq(held.begins & first_row),
        ]
        sides_1 = Signal(data.ArrayLayout(lanes, SIDE_BITS + 1), reset_less=True)
        m.d.sync += [sides_1[i].eq(held_sides[i][self.row]) for i in range(SIDE_BITS + 1)]
        *route_2, mask_2 = (delayed(m, side, 1, f"side_{i}") for i, side in enumerate(sides_1))
        route_4 = [delayed(m, side, 2, f"route_{i}") for i, side in enumerate(route_2)]
        bias_1 = delayed(m, held_bias, 1, "bias")

        # The largest of the places so far, row by row.
        largest_layout = data.ArrayLayout(data.StructLayout({"value": signed(bits), "place": 2}), lanes)
        m.submodules.largest = largest = memory.Memory(shape=largest_layout.as_shape(), depth=lanes, init=[])
        before, after = largest.read_port(domain="comb"), largest.write_port()
        largest_before, largest_3 = data.View(largest_layout, before.data), Signal(largest_layout, reset_less=True)
        forward_2 = s2.meta.head == isa.Head.FORWARD
        maximum_2 = forward_2 & (s2.meta.pool == isa.Pool.SUMS)
        backward_2, backward_3, backward_4 = (stage.meta.head == isa.Head.BACKWARD for stage in (s2, s3, s4))
        m.d.comb += [
            before.addr.eq(s2.row),
            after.addr.eq(s3.row),
            after.data.eq(largest_3),
            after.en.eq(f3.valid),
        ]

        # Cycle 2: sum = 2 * accumulator - bias; columns beyond the layer's, and invalid rows, count as 0.
        # Cycle 3: masked, or the maximum. Cycle 4: off the pivot. Cycle 5: added up. None of these zeros is a choice between
        # a number and 0 in front of a register: synthesis would make it a reset, one for each column.
        totals = Signal(group_layout(config).members["sums"])
        m.d.comb += [
            self.push.eq(f4.push),
            self.continues.eq(f4.continues),
            self.unfinished.eq(s4.meta.unfinished),
            self.begins.eq(s4.meta.begins),
        ]
        for j in range(lanes):
            value_2 = Signal(signed(bits), name=f"value_2_{j}", reset_less=True)
            value_3, place_3 = largest_3[j].value, largest_3[j].place
            value_4, place_4 = delayed(m, value_3, 1, f"value_{j}"), delayed(m, place_3, 1, f"place_{j}")
            twice, passes = self.sums[j] << 1, ~backward_2 | mask_2[j]
            stays = maximum_2 & (s2.meta.place != 0) & (value_2 <= largest_before[j].value)
            m.d.sync += [
                value_2.eq(twice - Mux(s1.row_valid & (j < s1.meta.columns), bias_1, twice)),
                value_3.eq(Mux(stays, largest_before[j].value, value_2) & passes.replicate(bits)),
                place_3.eq(Mux(stays, largest_before[j].place, s2.meta.place)),
            ]
            with m.If(s4.meta.head == isa.Head.UPDATE):
                m.d.comb += self.row_out[j].slope.eq(value_4)
            with m.Else():
                m.d.comb += [
                    self.row_out[j].sum.value.eq(value_4),
                    self.row_out[j].sum.side.eq(Mux(backward_4, Cat(bit[j] for bit in route_4), place_4)),
                ]
            off = Signal(signed(bits + 1), name=f"off_{j}")
            m.d.comb += off.eq(value_3 - Mux(backward_3, 0, pivots[j]))
            for name, term, minus in (("first", value_3, Const(0, 1)), ("second", off, off < 0)):
                total = totals[j][name]
                m.submodules[f"{name}_{j}"] = adder = Accumulator(len(total), len(term))
                m.d.comb += [
                    adder.addend.eq(term),
                    adder.minus.eq(minus),
                    adder.first.eq(f3.opens),
                    adder.step.eq(f3.sums),
                    total.eq(adder.sum),
                ]

        # A finished group's sums move aside while the next group is summed.
        finished = Signal(group_layout(config), reset_less=True)
        m.d.comb += self.group.payload.eq(finished)
        with m.If(f5.end):
            m.d.sync += [
                finished.sums.eq(totals),
                finished.group.eq(ending.group),
                finished.fresh.eq(ending.fresh),
                finished.counts.eq(ends_sums),
                self.group.valid.eq(1),
            ]
        with m.Elif(self.group.ready):
            m.d.sync += self.group.valid.eq(0)
        with m.If(begin & last_of_group):
            m.d.sync += group_free.eq(0)
        with m.Elif(self.group.valid & self.group.ready):
            m.d.sync += group_free.eq(1)
        return m
