"""A sum over the rows of a group, in a multiplier block where the part has them."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw import series7
from bnnedge.hw.checks import check_fits


class Accumulator(wiring.Component):
    """``sum = (0 | sum) +- addend``.

    Parameters
    ----------
    width: bits of the sum. addend: bits of what is added, both signed. On 7-series parts registers, adder and the choice of
    sign are those of a DSP48E1.

    Members
    -------
    addend: in; step: in, it counts; first: in, it starts a sum; minus: in, it is subtracted. All in the same cycle.
    sum: out, two cycles behind.
    """

    def __init__(self, width: int, addend: int) -> None:
        super().__init__(
            {
                "addend": In(signed(addend)),
                "first": In(1),
                "minus": In(1),
                "step": In(1),
                "sum": Out(signed(width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        step = Signal()
        m.d.sync += step.eq(self.step)
        if platform == series7.SERIES7:
            addend = Signal(48)
            m.submodules.block, total = series7.accumulator(addend, self.first, step, minus=self.minus)
            m.d.comb += [addend.eq(self.addend), self.sum.eq(total)]
        else:
            addend = Signal.like(self.addend, reset_less=True)
            first, minus = (Signal(name=name, reset_less=True) for name in ("first", "minus"))
            m.d.sync += [addend.eq(self.addend), first.eq(self.first), minus.eq(self.minus)]
            exact = Mux(first, 0, self.sum) + Mux(minus, -addend, addend)
            with m.If(step):
                m.d.sync += self.sum.eq(exact)
            check_fits(m, platform, step, exact, self.sum.shape(), "statistics: sum of a pass")
        return m
