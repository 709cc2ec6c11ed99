"""Turns a stream of words of one width into words of another, at full speed."""

from __future__ import annotations

import math

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Gearbox(wiring.Component):
    """Words of `wide_in` bits in, of `wide_out` bits out: the same bits in the same order, the lowest first.

    What is held never waits for what is yet to come, so that a run of whole words on both sides leaves nothing behind.

    Members
    -------
    i: in stream. o: out stream.
    """

    def __init__(self, wide_in: int, wide_out: int) -> None:
        self.wide_in, self.wide_out = wide_in, wide_out
        super().__init__({"i": In(stream.Signature(wide_in)), "o": Out(stream.Signature(wide_out))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = math.gcd(self.wide_in, self.wide_out)
        most = max(self.wide_in, self.wide_out) // unit - 1  # units held
        held, rest = Signal(range(most + 1)), Signal(most * unit, reset_less=True)
        with m.Switch(held):
            for count in range(most + 1):
                known = count * unit
                with m.Case(count):
                    if known >= self.wide_out:
                        m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(rest)]
                        with m.If(self.o.ready):
                            m.d.sync += [held.eq((known - self.wide_out) // unit), rest.eq(rest >> self.wide_out)]
                        continue
                    word = Cat(rest[:known], self.i.payload)
                    full = known + self.wide_in >= self.wide_out
                    taken = self.wide_out if full else 0
                    m.d.comb += self.i.ready.eq(self.o.ready if full else 1)
                    if full:
                        m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(word)]
                    with m.If(self.i.valid & self.i.ready):
                        m.d.sync += [held.eq((known + self.wide_in - taken) // unit), rest.eq(word >> taken)]
        return m
