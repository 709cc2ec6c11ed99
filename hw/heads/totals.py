"""Sums of a layer's channels over the batch: what passes add up, and what the parameters come from."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw.heads.statistics import group_layout
from bnnedge.hw.layouts import TOTALS

READ_LATENCY = 2


class Totals(wiring.Component):
    """A memory of `TOTALS`, to which each finished group is added, a column a cycle.

    Members
    -------
    group: in stream, from `Statistics`. added: out stream, without payload: a group has been added (or there was nothing
    to add), in the order in which they came.
    read: in, the memory is read in this cycle, at `address`, channel of the layer. record: out, READ_LATENCY cycles later.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "group": In(stream.Signature(group_layout(config))),
                "added": Out(stream.Signature(0)),
                "read": In(1),
                "address": In(range(config.layer_channels)),
                "record": Out(TOTALS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.lanes
        m.submodules.records = records = memory.Memory(shape=TOTALS.as_shape(), depth=self.config.layer_channels, init=[])
        read, write = records.read_port(), records.write_port()
        sums = Signal(group_layout(self.config))
        column = Signal(range(lanes))
        own = Signal(range(self.config.layer_channels))
        adding, issue = Signal(), Signal()
        lane_bits = lanes.bit_length() - 1
        m.d.comb += [
            own.eq(Cat(Const(0, lane_bits), sums.group) | column),
            issue.eq(adding & ~self.read),
            read.addr.eq(Mux(self.read, self.address, own)),
        ]
        m.d.sync += self.record.eq(read.data)

        # Cycle 1: the record is here; the sums have moved on by a column. Cycle 2: added.
        before, fresh = data.View(TOTALS, read.data), Signal(TOTALS)
        column_1, place_1 = Signal(sums.sums[0].shape()), Signal.like(own)
        issued_1, issued_2 = Signal(), Signal()
        place_2 = Signal.like(own)
        m.d.sync += [issued_1.eq(issue), issued_2.eq(issued_1), place_1.eq(own), place_2.eq(place_1)]
        with m.If(issue):
            m.d.sync += [column_1.eq(sums.sums[0]), column.eq(column + 1)]
            m.d.sync += [sums.sums[i].eq(sums.sums[i + 1]) for i in range(lanes - 1)]
        for name in TOTALS.members:
            m.d.sync += fresh[name].eq(Mux(sums.fresh, 0, before[name]) + column_1[name])
        m.d.comb += [write.addr.eq(place_2), write.data.eq(fresh), write.en.eq(issued_2)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.group.ready.eq(1)
                m.d.sync += [sums.eq(self.group.payload), column.eq(0)]
                with m.If(self.group.valid):
                    m.next = "ADD"
                    with m.If(~self.group.payload.counts):
                        m.next = "ADDED"
            with m.State("ADD"):
                m.d.comb += adding.eq(1)
                with m.If(issue & (column == lanes - 1)):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                with m.If(~issued_1 & ~issued_2):
                    m.next = "ADDED"
            with m.State("ADDED"):
                m.d.comb += self.added.valid.eq(1)
                with m.If(self.added.ready):
                    m.next = "IDLE"
        return m
