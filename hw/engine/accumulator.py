"""Two lanes' accumulators: one multiplier block where the part has them, adders elsewhere."""

from __future__ import annotations

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw import series7

SPACING = 24  # bits from one lane's sum to the other's in the multiplier block's 48


class PairAccumulator(wiring.Component):
    """``sum = (0 | sum | 2 * sum) + count`` for two lanes.

    On 7-series parts both sums lie in the 48-bit accumulator of one DSP48E1: its three-input adder
    doubles, by adding the sum to itself, and never carries from the lower sum into the upper one, because sums stay below
    2**width with width < SPACING.

    Parameters
    ----------
    width: bits of a sum. count: bits of a count.

    Members
    -------
    counts: in, two of them; first: in, they start a sum; double: in, the sum before them counts twice.
    step: in, one cycle behind these: take them.
    sums: out, one cycle behind `step`.
    """

    def __init__(self, width: int, count: int) -> None:
        assert width < SPACING
        self.width = width
        super().__init__(
            {
                "counts": In(count).array(2),
                "first": In(1),
                "double": In(1),
                "step": In(1),
                "sums": Out(width).array(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if platform == series7.SERIES7:
            self._block(m)
        else:
            first, double = Signal(reset_less=True), Signal(reset_less=True)
            m.d.sync += [first.eq(self.first), double.eq(self.double)]
            for value, amount in zip(self.sums, self.counts, strict=True):
                count, total = Signal.like(amount, reset_less=True), Signal.like(value, reset_less=True)
                m.d.sync += count.eq(amount)
                with m.If(self.step):
                    m.d.sync += total.eq(Mux(first, 0, Mux(double, total << 1, total)) + count)
                m.d.comb += value.eq(total)
        return m

    def _block(self, m: Module) -> None:
        addend = Signal(48)
        m.submodules.block, total = series7.accumulator(addend, self.first, self.step, double=self.double)
        m.d.comb += [
            addend.eq(Cat(self.counts[0], C(0, SPACING - len(self.counts[0])), self.counts[1])),
            *(value.eq(total[i * SPACING :]) for i, value in enumerate(self.sums)),
        ]
