"""The two-dimensional walk of LOAD and STORE through the buffers."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw.layouts import TRANSFER


class Rows(wiring.Component):
    """Counts through `repeats` rows of `count` buffer addresses that begin `base_stride` apart.

    Members
    -------
    order: in, the instruction, stable. begin: in, to the first address. step: in, to the next one.
    address: out. last: out, no other comes behind it.
    """

    def __init__(self) -> None:
        super().__init__({"order": In(TRANSFER), "begin": In(1), "step": In(1), "address": Out(16), "last": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order = self.order
        base, left, rows = (Signal(bits, reset_less=True, name=name) for name, bits in (("base", 16), ("left", 16), ("rows", 10)))
        row_ends = left == 1
        m.d.comb += self.last.eq(row_ends & (rows == 1))
        with m.If(self.begin):
            m.d.sync += [base.eq(order.base), self.address.eq(order.base), left.eq(order.count), rows.eq(order.repeats)]
        with m.Elif(self.step):
            m.d.sync += [self.address.eq(self.address + 1), left.eq(left - 1)]
            with m.If(row_ends):
                m.d.sync += [base.eq(base + order.base_stride), self.address.eq(base + order.base_stride)]
                m.d.sync += [left.eq(order.count), rows.eq(rows - 1)]
        return m
