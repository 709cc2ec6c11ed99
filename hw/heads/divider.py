"""The one division of a class and batch: log2(e) / psi, bit by bit."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats

RECIPROCAL_BITS = 25  # psi is 1.0 or more, so the quotient is at most LOG2_E << (RECIPROCAL - STATISTICS)


class Divider(wiring.Component):
    """quotient = (LOG2_E << RECIPROCAL) // divisor, one bit a cycle.

    Members
    -------
    begin: in, one cycle, with divisor >= 2**STATISTICS. done: out, one cycle; quotient stands from then on.
    """

    def __init__(self) -> None:
        super().__init__({"begin": In(1), "divisor": In(formats.MU_BITS), "done": Out(1), "quotient": Out(RECIPROCAL_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        dividend = formats.LOG2_E << formats.RECIPROCAL
        known = dividend >> RECIPROCAL_BITS  # what no divisor fits into: the bits before the quotient's are 0
        assert known < 1 << formats.STATISTICS
        rest, bits = Signal(formats.MU_BITS + 1, reset_less=True), Signal(RECIPROCAL_BITS, reset_less=True)
        left = Signal(range(RECIPROCAL_BITS + 1))
        trial = Cat(bits[-1], rest)
        fits = trial >= self.divisor
        quotient = Signal.like(self.quotient, reset_less=True)
        m.d.comb += self.quotient.eq(quotient)
        m.d.sync += self.done.eq(left == 1)
        with m.If(self.begin):
            m.d.sync += [rest.eq(known), bits.eq(dividend), left.eq(RECIPROCAL_BITS)]
        with m.Elif(left != 0):
            m.d.sync += [
                rest.eq(Mux(fits, trial - self.divisor, trial)),
                bits.eq(bits << 1),
                quotient.eq(Cat(fits, quotient)),
                left.eq(left - 1),
            ]
        return m
