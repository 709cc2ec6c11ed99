"""Sums of a layer's channels over the batch: what passes add up, and what the parameters come from."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw.checks import check, check_fits
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads.statistics import group_layout
from bnnedge.hw.layouts import TOTALS

READ_LATENCY = 2


class Totals(wiring.Component):
    """A memory of `TOTALS`, to which each finished group is added, a column a cycle; then the group is taken.

    Members
    -------
    group: in stream, from `Statistics`. added: out stream, without payload: a group has been added (or there was nothing
    to add), in the order in which they came.
    address: in, channel of the layer; record: out, READ_LATENCY cycles later, while `added` waits.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "group": In(stream.Signature(group_layout(config))),
                "added": Out(stream.Signature(0)),
                "address": In(range(config.layer_channels)),
                "record": Out(TOTALS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.lanes
        m.submodules.records = records = memory.Memory(shape=TOTALS.as_shape(), depth=self.config.layer_channels, init=[])
        read, write = records.read_port(), records.write_port()
        group = self.group.payload
        column = Signal(range(lanes))
        own = Signal(range(self.config.layer_channels))
        adding = Signal()
        lane_bits = lanes.bit_length() - 1
        m.d.comb += [
            own.eq(Cat(Const(0, lane_bits), group.group) | column),
            read.addr.eq(Mux(adding, own, self.address)),
        ]
        m.d.comb += self.record.eq(delayed(m, Value.cast(read.data), 1, "record"))

        # Cycle 1: the column's sums. Cycle 2: the record is here. Cycle 3: added.
        issued, places = [adding], [own]
        for cycle in range(1, 4):
            issued.append(Signal(name=f"issued_{cycle}"))
            places.append(Signal.like(own, name=f"place_{cycle}", reset_less=True))
            m.d.sync += [issued[cycle].eq(issued[cycle - 1]), places[cycle].eq(places[cycle - 1])]
        column_1 = Signal(group.sums[0].shape(), reset_less=True)
        column_2, fresh_2 = Signal.like(column_1, reset_less=True), delayed(m, group.fresh, 2, "fresh")
        added = Signal(TOTALS, reset_less=True)
        m.d.sync += [column_1.eq(group.sums[column]), column_2.eq(column_1)]
        m.d.sync += [added[name].eq(Mux(fresh_2, 0, self.record[name]) + column_2[name]) for name in TOTALS.members]
        for name in TOTALS.members:
            exact = Mux(fresh_2, 0, self.record[name]) + column_2[name]
            check_fits(m, platform, issued[2], exact, added[name].shape(), f"totals: {name}")
        meets = write.en & adding
        check(m, platform, meets, write.addr != read.addr, "totals: line {} is written while it is read", read.addr)
        with m.If(adding):
            m.d.sync += column.eq(column + 1)
        m.d.comb += [write.addr.eq(places[3]), write.data.eq(added), write.en.eq(issued[3])]

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.group.valid):
                    m.next = "ADD"
                    with m.If(~group.counts):
                        m.d.comb += self.group.ready.eq(1)
                        m.next = "ADDED"
            with m.State("ADD"):
                m.d.comb += adding.eq(1)
                with m.If(column == lanes - 1):
                    m.d.comb += self.group.ready.eq(1)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                with m.If(~Cat(issued[1:]).any()):
                    m.next = "ADDED"
            with m.State("ADDED"):
                m.d.comb += self.added.valid.eq(1)
                with m.If(self.added.ready):
                    m.next = "IDLE"
        return m
